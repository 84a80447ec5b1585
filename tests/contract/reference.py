"""Salt's own NetapiClient in a process of its own: takes lows on standard input, answers on standard output, pickled."""

from __future__ import annotations

import collections.abc
import os
import pickle
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from types import TracebackType
from typing import Any

TIMEOUT_SECONDS = 300.0


class Reference:
    """Runs lows through NetapiClient.run, in the process that this file is when it is run as a script."""

    def __init__(self, master_config: Path) -> None:
        self._process = subprocess.Popen([sys.executable, __file__, str(master_config)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __enter__(self) -> Reference:  # noqa: PYI034 - Self needs Python 3.11
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def run(self, low: dict[str, Any]) -> tuple[str, Any]:
        """Return ("value", what came back) or ("raised", the exception's class name)."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        pickle.dump(low, self._process.stdin)
        self._process.stdin.flush()
        watchdog = threading.Timer(TIMEOUT_SECONDS, self._process.kill)
        watchdog.start()
        try:
            answer: tuple[str, Any] = pickle.load(self._process.stdout)
        finally:
            watchdog.cancel()
        return answer


def serve(master_config: str) -> None:
    """Answer lows until standard input ends. Salt prints, so its standard output becomes the error stream."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    warnings.simplefilter("ignore")
    import salt.config  # noqa: PLC0415
    import salt.netapi  # noqa: PLC0415

    client = salt.netapi.NetapiClient(salt.config.client_config(master_config))
    while True:
        try:
            low = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        try:
            value = client.run(low)
            answer = ("value", list(value) if isinstance(value, collections.abc.Iterator) else value)
        except Exception as exc:
            answer = ("raised", type(exc).__name__)
        pickle.dump(answer, answers)
        answers.flush()


if __name__ == "__main__":
    serve(sys.argv[1])
