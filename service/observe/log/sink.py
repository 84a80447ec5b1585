"""The sink: one bounded queue and one thread between whoever logs and a file descriptor that may block."""

from __future__ import annotations

import os
import select
import threading
import time
from collections import Counter, deque
from collections.abc import Callable

LEVELS = ("debug", "info", "warning", "error", "critical")

# Lines that come close together are written together: one write, and one change of threads, costs more than many lines.
_LINGER_SECONDS = 0.1
_MOST_AT_ONCE = 64
# What may be the last that a process says before it dies does not linger, nor what came before it.
_URGENT = frozenset({"error", "critical"})
# After close() a line is written by its own thread; a reader that hangs may hold the interpreter's exit up for this long.
_LAST_WORDS_SECONDS = 0.5


class Sink:
    """
    Writes lines in the order given, without ever blocking who gives them.

    A full queue drops the new line and counts it. After `close` lines are written at once, so that nothing said during the interpreter's
    exit is lost. `write_now` is for writers that must know the line is out (the audit log).
    """

    def __init__(self, fd: int, queue_lines: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._fd = fd
        self.queue_lines = queue_lines
        self._clock = clock
        self._closed = False
        self._counts: Counter[str] = Counter(dict.fromkeys(LEVELS, 0))  # guarded by _wake
        self._dropped = 0  # guarded by _wake
        self._reset()

    def put(self, line: bytes, level: str) -> None:
        """Queue one line; it must not hold a line feed."""
        with self._wake:
            if not self._closed:
                self._enqueue(line, level)
                return
            self._counts[level] += 1
        self.write_now(line, self._clock() + _LAST_WORDS_SECONDS)

    def write_now(self, line: bytes, deadline: float | None = None) -> bool:
        """Write one line before returning; False if it could not be written by *deadline*."""
        return self._write(line + b"\n", deadline)

    def is_terminal(self) -> bool:
        """Tell whether a person reads the lines."""
        return os.isatty(self._fd)

    def dropped(self) -> int:
        """Return how many lines were lost to a full queue or a dead reader."""
        with self._wake:
            return self._dropped

    def counts(self) -> dict[str, int]:
        """Return how many lines were accepted, by level."""
        with self._wake:
            return dict(self._counts)

    def close(self, timeout: float) -> bool:
        """Write what is queued, for at most *timeout* seconds; True if all of it went out."""
        with self._wake:
            self._closed = True
            self._wake.notify()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)
        return thread is None or not thread.is_alive()

    def after_fork(self) -> None:
        """Start anew in a forked child: the queued lines are the parent's, and neither thread nor locks came along."""
        self._reset()

    def _reset(self) -> None:
        self._wake = threading.Condition(threading.Lock())
        self._write_lock = threading.Lock()
        self._queue: deque[bytes] = deque()  # guarded by _wake
        self._hurry = False  # until the queue is empty; guarded by _wake
        self._thread: threading.Thread | None = None  # guarded by _wake

    def _enqueue(self, line: bytes, level: str) -> None:
        if len(self._queue) >= self.queue_lines:
            self._dropped += 1
            return
        self._queue.append(line)
        self._counts[level] += 1
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
            self._thread.start()
        hurries = not self._hurry and (level in _URGENT or len(self._queue) >= _MOST_AT_ONCE)
        self._hurry = self._hurry or hurries
        if hurries or len(self._queue) == 1:
            self._wake.notify()

    def _run(self) -> None:
        while batch := self._next_batch():
            if not self._write(b"".join(batch), None):
                with self._wake:
                    self._dropped += len(batch)

    def _next_batch(self) -> list[bytes]:
        with self._wake:
            self._wake.wait_for(lambda: self._queue or self._closed)
            self._wake.wait_for(lambda: self._hurry or self._closed, _LINGER_SECONDS)
            batch = [self._queue.popleft() + b"\n" for _ in range(min(len(self._queue), _MOST_AT_ONCE))]
            self._hurry = bool(self._queue)
            return batch

    def _write(self, data: bytes, deadline: float | None) -> bool:
        seconds = -1 if deadline is None else max(0.0, deadline - self._clock())
        if not self._write_lock.acquire(timeout=seconds):
            return False
        try:
            return self._write_all(data, deadline)
        except OSError:
            # The reader is gone (EPIPE) or the disk is full: there is nobody left to tell, the counter says it.
            return False
        finally:
            self._write_lock.release()

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
