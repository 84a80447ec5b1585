"""A program in a terminal, as a person has one: what it prints and when, and Ctrl-C."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
import threading
import time
from collections.abc import Mapping, Sequence

from tests.e2e.shell import StepFailed, eventually

CTRL_C = b"\x03"
ROWS_AND_COLUMNS = (24, 160)
COLOURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """Runs one program; what it prints is read as it comes."""

    def __init__(self, argv: Sequence[str], environ: Mapping[str, str]) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", *ROWS_AND_COLUMNS, 0, 0))
        self._heard: list[tuple[float, bytes]] = [(time.monotonic(), b"")]
        self._process = subprocess.Popen(argv, stdin=theirs, stdout=theirs, stderr=theirs, env={**os.environ, **environ}, start_new_session=True)
        os.close(theirs)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def text(self) -> str:
        """Return all that was printed, without colours; a line that was written over counts as several."""
        said = b"".join(piece for _, piece in list(self._heard)).decode(errors="replace")
        return COLOURS.sub("", said).replace("\r\n", "\n").replace("\r", "\n")

    def wait_for(self, words: str, seconds: float) -> None:
        """Wait until it has printed the words. Raises StepFailed, also if the program ends first."""

        def printed() -> bool:
            if words in self.text():
                return True
            if self._process.poll() is not None and not self._reader.is_alive():
                raise StepFailed(f"ended with {self._process.returncode} before it said {words!r}:\n{self.last_words()}")
            return False

        try:
            eventually(f"it says {words!r}", printed, seconds)
        except StepFailed as exc:
            raise StepFailed(str(exc) if self._process.poll() is not None else f"{exc}\n{self.last_words()}") from None

    def longest_silence(self) -> tuple[float, str]:
        """Return the most seconds without a sign of life, up to now, and what was said before them."""
        heard = list(self._heard)
        ends = [*(moment for moment, _ in heard[1:]), time.monotonic()]
        seconds, words = max((end - moment, piece) for (moment, piece), end in zip(heard, ends, strict=True))
        return seconds, COLOURS.sub("", words.decode(errors="replace")).strip()

    def press_ctrl_c(self, seconds: float) -> int:
        """Interrupt what runs in the terminal, which tells its whole process group, and return the exit status. Raises StepFailed."""
        os.write(self._ours, CTRL_C)
        try:
            status = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise StepFailed(f"it still runs {seconds:g} s after Ctrl-C:\n{self.last_words()}") from None
        self._reader.join(seconds)
        return status

    def last_words(self) -> str:
        return "".join(f"    {line}\n" for line in self.text().splitlines()[-40:])

    def close(self) -> None:
        """Hang up, as closing the window does."""
        self._process.kill()
        self._process.wait()
        os.close(self._ours)

    def _read(self) -> None:
        # A terminal that its last program has left is an error to read from, on Linux.
        with contextlib.suppress(OSError):
            while piece := os.read(self._ours, 65536):
                self._heard.append((time.monotonic(), piece))
