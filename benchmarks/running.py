"""The processes of a benchmark: started with a pipe that is read, awaited, and ended with all that they forked."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from service.demo.embedded import StartFailed, until
from service.demo.processes import WhileNeeded, end_session, session_members

ROOT = Path(__file__).resolve().parents[1]
START_SECONDS = 600.0
STOP_SECONDS = 60.0
LINES_KEPT = 60


class Running(WhileNeeded):
    """
    A process in a session of its own. What it prints is read all the time, as a container's runtime would.

    ready: says whether it can be used; asked again and again.
    """

    def __init__(self, name: str, argv: Sequence[str], environ: Mapping[str, str] | None = None, ready: Callable[[], bool] = lambda: True) -> None:
        self.name = name
        self._argv = list(argv)
        self._environ = {**clean_environment(), **(environ or {})}
        self._ready = ready
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None
        self.last_lines: deque[bytes] = deque(maxlen=LINES_KEPT)
        self.lines_read = 0

    @property
    def pid(self) -> int:
        assert self._process is not None  # noqa: S101 - asked between start and stop
        return self._process.pid

    @property
    def pids(self) -> list[int]:
        """The process and all it forked."""
        return session_members(self.pid)

    def start(self, timeout_seconds: float = START_SECONDS) -> None:
        """Start it and wait until it is ready. Raises StartFailed."""
        self._process = subprocess.Popen(
            self._argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=self._environ, cwd=ROOT, start_new_session=True
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        for _ in until(timeout_seconds):
            if self._ready():
                return
            if self._process.poll() is not None:
                raise StartFailed(f"{self.name} ended with status {self._process.returncode}:\n{self.last_words()}")
        raise StartFailed(f"{self.name} was not ready after {timeout_seconds:g} s:\n{self.last_words()}")

    def get_ready(self) -> None:
        """Start it. Raises StartFailed."""
        self.start()

    def stop(self) -> None:
        """End it and all it forked."""
        if self._process is None:
            return
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_SECONDS)
        end_session(self._process.pid)
        self._process.wait()
        if self._reader is not None:
            self._reader.join(STOP_SECONDS)

    def said(self, event: str) -> dict[str, Any] | None:
        """Return the last line about an event, from a process that prints JSON lines."""
        for line in reversed(list(self.last_lines)):
            with contextlib.suppress(ValueError):
                found = json.loads(line)
                if isinstance(found, dict) and found.get("event") == event:
                    return found
        return None

    def last_words(self) -> str:
        return b"".join(self.last_lines).decode(errors="replace")

    def _read(self) -> None:
        assert self._process is not None  # noqa: S101 - started before us
        stream = self._process.stdout
        assert stream is not None  # noqa: S101 - a pipe
        with stream:
            for line in stream:
                self.lines_read += 1
                self.last_lines.append(line)


def fleet(master_config: Path, folder: Path, minions: int, **behaviour: float) -> Running:
    """Make a simulated fleet, not yet started."""
    options = [f"--{name.replace('_', '-')}={value}" for name, value in behaviour.items()]
    argv = [sys.executable, "-W", "ignore", "-m", "benchmarks.fleet", f"--master-config={master_config}", f"--folder={folder}", f"--minions={minions}"]
    made = Running("the fleet", [*argv, *options], ready=lambda: made.said("ready") is not None)
    return made


def crowd(master_config: Path, minions: int, rate: float) -> Running:
    """Make a crowd on the bus, not yet started."""
    argv = [sys.executable, "-W", "ignore", "-m", "benchmarks.crowd", f"--master-config={master_config}", f"--minions={minions}", f"--rate={rate}"]
    made = Running("the crowd", argv, ready=lambda: made.said("ready") is not None)
    return made


def clean_environment() -> dict[str, str]:
    """Return our environment without what is meant for other servers."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("SIDECAR_", "SALT_"))}
