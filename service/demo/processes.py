"""A program with everything it forks: started in its own session, ended without leaving a process behind."""

from __future__ import annotations

import abc
import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self

POLL_SECONDS = 0.05


class WhileNeeded(abc.ABC):
    """What runs inside a `with`: ready when it is entered, and stopped after it, also when it did not get ready."""

    @abc.abstractmethod
    def get_ready(self) -> None:
        """Start, and return when it can be used."""

    @abc.abstractmethod
    def stop(self) -> None:
        """End whatever was started."""

    def __enter__(self) -> Self:
        try:
            self.get_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()


class Child:
    """
    One program, its log, and the processes it forks.

    grace_seconds: how long it may take to stop by itself; 0 ends it at once.
    """

    def __init__(self, name: str, argv: Sequence[str], log: Path, environ: Mapping[str, str], *, grace_seconds: float = 5.0) -> None:
        self.name = name
        self.log = log
        self._argv = list(argv)
        self._environ = dict(environ)
        self._grace_seconds = grace_seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._is_wanted = False

    @property
    def pid(self) -> int | None:
        """The process id, also of one that has ended; None before the first start."""
        return self._process.pid if self._process else None

    @property
    def returncode(self) -> int | None:
        return self._process.poll() if self._process else None

    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def is_lost(self) -> bool:
        """Say whether it has ended although nobody here has stopped it."""
        return self._is_wanted and not self.alive()

    def start(self) -> None:
        """Start it; what it prints goes to its log."""
        self._is_wanted = True
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._argv, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=self._environ, start_new_session=True
            )

    def ask_to_stop(self) -> None:
        """Send SIGTERM to the program alone; it tells those it forked."""
        self._is_wanted = False
        if self.alive() and self._process and self._grace_seconds:
            self._process.send_signal(signal.SIGTERM)

    def wait_stopped(self) -> int | None:
        """Wait for the program, then kill whatever of its session is left. Returns the exit status."""
        if self._process is None:
            return None
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=self._grace_seconds)
        end_session(self._process.pid)
        return self._process.wait()

    def stop(self) -> int | None:
        self.ask_to_stop()
        return self.wait_stopped()

    def last_words(self, lines: int = 12) -> str:
        """Return the end of the log."""
        try:
            return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
        except OSError:
            return ""


def session_members(session: int) -> list[int]:
    """Return the living processes of a session. Source: /proc/PID/stat, fields 3 (state) and 6 (session)."""
    members = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            # The name in field 2 may hold spaces and brackets: count from its end.
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] not in "ZX":
            members.append(int(entry.name))
    return members


def end_session(session: int, grace_seconds: float = 0.0, deadline_seconds: float = 60.0) -> None:
    """End every process of a session, by force after *grace_seconds*."""
    started = time.monotonic()
    while members := session_members(session):
        waited = time.monotonic() - started
        if waited > deadline_seconds:
            raise TimeoutError(f"processes {members} do not end")
        for pid in members:
            send(pid, signal.SIGTERM if waited < grace_seconds else signal.SIGKILL)
        time.sleep(POLL_SECONDS)


def send(pid: int, number: signal.Signals) -> None:
    """Signal a process that may be gone already."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def command_line(pid: int) -> str:
    """Return a process' command line, empty if it is gone."""
    try:
        return (Path("/proc") / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""
