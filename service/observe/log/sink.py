"""The sink: one bounded queue and one thread between whoever logs and a file descriptor that may block."""

from __future__ import annotations

import os
import select
import threading
import time
from collections import Counter
from collections.abc import Callable

from service.batcher import Batcher

LEVELS = ("debug", "info", "warning", "error", "critical")

# Lines that come close together are written together: one write, and one change of threads, costs more than many lines.
_LINGER_SECONDS = 0.1
_MOST_AT_ONCE = 64
# What may be the last that a process says before it dies does not linger, nor what came before it.
_URGENT = frozenset({"error", "critical"})
# After close() a line is written by its own thread; a reader that hangs may hold the interpreter's exit up for this long.
_LAST_WORDS_SECONDS = 0.5


class LogSink:
    """
    Writes lines in the order given, without ever blocking who gives them.

    A full queue drops the new line and counts it. After `close` lines are written at once, so that nothing said during the interpreter's
    exit is lost. `write_now` is for writers that must know the line is out (the audit log).
    """

    def __init__(self, fd: int, queue_lines: int, *, linger_seconds: float = _LINGER_SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        self._fd = fd
        self._clock = clock
        self._closed = False
        self._counts: Counter[str] = Counter(dict.fromkeys(LEVELS, 0))  # guarded by _counting
        self._dropped = 0  # guarded by _counting
        self._batcher: Batcher[bytes] = Batcher(
            "log-writer",
            self._write_batch,
            limit_items=queue_lines,
            most_at_once=_MOST_AT_ONCE,
            linger_seconds=linger_seconds,
            on_crash=self._lose,
        )
        self._make_locks()

    def put(self, line: bytes, level: str) -> None:
        """Queue one line; it must not hold a line feed."""
        queued = self._batcher.put(line, urgent=level in _URGENT)
        late = self._closed and not queued
        with self._counting:
            if queued or late:
                self._counts[level] += 1
            else:
                self._dropped += 1
        if late:
            self.write_now(line, self._clock() + _LAST_WORDS_SECONDS)

    def write_now(self, line: bytes, deadline: float | None = None) -> bool:
        """Write one line before returning; False if it could not be written by *deadline*."""
        return self._write(line + b"\n", deadline)

    def is_terminal(self) -> bool:
        """Tell whether a person reads the lines."""
        return os.isatty(self._fd)

    def limit(self, queue_lines: int) -> None:
        """Change how many lines may wait."""
        self._batcher.limit_items = queue_lines

    def dropped(self) -> int:
        """Return how many lines were lost to a full queue or a dead reader."""
        with self._counting:
            return self._dropped

    def counts(self) -> dict[str, int]:
        """Return how many lines were accepted, by level."""
        with self._counting:
            return dict(self._counts)

    def close(self, timeout: float) -> bool:
        """Write what is queued, for at most *timeout* seconds; True if all of it went out."""
        self._closed = True
        return not self._batcher.stop(timeout)

    def after_fork(self) -> None:
        """Start again in a forked child: the queued lines are the parent's, and neither thread nor locks came along."""
        self._batcher.after_fork()
        self._make_locks()

    def _make_locks(self) -> None:
        self._counting = threading.Lock()
        self._writing = threading.Lock()

    def _write_batch(self, lines: list[bytes]) -> None:
        if not self._write(b"\n".join([*lines, b""]), None):
            self._lose(lines)

    def _lose(self, lines: list[bytes]) -> None:
        with self._counting:
            self._dropped += len(lines)

    def _write(self, data: bytes, deadline: float | None) -> bool:
        seconds = -1 if deadline is None else max(0.0, deadline - self._clock())
        if not self._writing.acquire(timeout=seconds):
            return False
        try:
            return self._write_all(data, deadline)
        except OSError:
            # The reader is gone (EPIPE) or the disk is full: there is nobody left to tell, the counter says it.
            return False
        finally:
            self._writing.release()

    def _write_all(self, data: bytes, deadline: float | None) -> bool:
        """Write to a descriptor that may be blocking or not; another process may share it and have made it non-blocking."""
        ready = select.poll()
        ready.register(self._fd, select.POLLOUT)
        # A ready pipe takes PIPE_BUF bytes without blocking, more may block for ever: small pieces keep the deadline.
        piece = len(data) if deadline is None else select.PIPE_BUF
        view = memoryview(data)
        while view:
            wait = None if deadline is None else max(0.0, deadline - self._clock()) * 1000
            if not ready.poll(wait):
                return False
            try:
                view = view[os.write(self._fd, view[:piece]) :]
            except BlockingIOError:
                continue
        return True
