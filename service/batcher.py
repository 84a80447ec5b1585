"""The batcher: a bounded queue and one thread that handles what waits in it, many items at a time."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Batcher(Generic[T]):
    """
    Hands items, in the order of `put`, to a handler on a thread of its own; `put` never waits for the handler.

    A batch is held back for `linger_seconds` after its first item, and for `pace_seconds` after the batch before it: fewer writes and changes of threads.
    With a pace alone the first item after a silence goes at once. A batch is not held back when it has an urgent item or is full, nor when the queue is half full.
    An item counts as waiting until the handler returns, or calls `release` for it.

    limit_items, limit_bytes: of what waits. most_at_once: items in a batch; None: all that wait.
    idle_seconds(): after this time without an item the handler gets an empty batch; None: it does not.
    on_crash(batch): called inside the `except` of a handler that raised; the thread goes on. at_end(): called on the thread when `stop` was called and all is handled.
    lazy: the first item starts the thread; else `start` does.
    """

    def __init__(
        self,
        name: str,
        handle: Callable[[list[T]], None],
        *,
        limit_items: int,
        on_crash: Callable[[list[T]], None],
        limit_bytes: float = math.inf,
        most_at_once: int | None = None,
        linger_seconds: float = 0.0,
        pace_seconds: float = 0.0,
        idle_seconds: Callable[[], float | None] = lambda: None,
        at_end: Callable[[], object] = lambda: None,
        lazy: bool = True,
    ) -> None:
        self.limit_items = limit_items
        self._name = name
        self._handle, self._on_crash, self._at_end = handle, on_crash, at_end
        self._limit_bytes = limit_bytes
        self._most_at_once = most_at_once
        self._linger_seconds, self._pace_seconds, self._idle_seconds = linger_seconds, pace_seconds, idle_seconds
        self._lazy = lazy
        self._closed = False  # guarded by _lock, like all in _reset
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._wake = threading.Condition(self._lock)
        self._queue: deque[tuple[T, int, int]] = deque()  # item, what it counts for, bytes
        self._items = self._bytes = 0  # waiting, those in work included
        self._items_in_work = self._bytes_in_work = 0
        self._urgent = False  # until the next batch
        self._thread: threading.Thread | None = None

    def put(self, item: T, *, items: int = 1, size: int = 0, urgent: bool = False) -> bool:
        """
        Queue an item; False if it does not fit or `stop` was called: the caller counts what it lost.

        items: how many it counts for; 0, without a size, always fits. size: bytes.
        """
        with self._lock:
            waiting, waiting_bytes = self._items + items, self._bytes + size
            if self._closed or waiting > self.limit_items or waiting_bytes > self._limit_bytes:
                return False
            self._queue.append((item, items, size))
            self._items, self._bytes = waiting, waiting_bytes
            queued = len(self._queue)
            hurries = urgent or waiting * 2 > self.limit_items or waiting_bytes * 2 > self._limit_bytes or queued == self._most_at_once
            if self._lazy and self._thread is None:
                self._start()
            if queued == 1 or (hurries and not self._urgent):
                self._wake.notify()
            if hurries:
                self._urgent = True
            return True

    @property
    def waiting(self) -> int:
        """How many items wait."""
        return self._items

    @property
    def waiting_bytes(self) -> int:
        """How many bytes wait."""
        return self._bytes

    @property
    def fill(self) -> float:
        """How full it is, from 0 to 1."""
        return max(self._items / self.limit_items, self._bytes / self._limit_bytes)

    @property
    def running(self) -> bool:
        """Whether the thread was started and has not ended."""
        thread = self._thread
        return thread is not None and thread.is_alive()

    def start(self) -> None:
        """Start the thread; a second time does nothing."""
        with self._lock:
            self._start()

    def stop(self, timeout: float) -> int:
        """Refuse new items and handle what waits, for at most *timeout* seconds; return how many items are left."""
        with self._lock:
            self._closed = True
            self._wake.notify()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)
        return self._items

    def after_fork(self) -> None:
        """Start again in a forked child: what waits is the parent's, and neither thread nor lock came along."""
        self._reset()

    # The thread; the handler runs here.

    def release(self, items: int, size: int = 0) -> None:
        """Make room for others before the handler returns: this much of its batch has left the queue."""
        with self._lock:
            self._items -= items
            self._bytes -= size
            self._items_in_work -= items
            self._bytes_in_work -= size

    def handle_waiting(self) -> None:
        """Handle one batch, which may be empty. The thread's work; a test that has not started it may do it instead."""
        with self._lock:
            taken = self._take()
        batch = [item for item, _, _ in taken]
        try:
            self._handle(batch)
        except Exception:
            self._on_crash(batch)
        self.release(self._items_in_work, self._bytes_in_work)

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()

    def _run(self) -> None:
        pace_ends = 0.0
        while self._wait(pace_ends):
            pace_ends = time.monotonic() + self._pace_seconds
            self.handle_waiting()
        self._at_end()

    def _wait(self, pace_ends: float) -> bool:
        """Wait until a batch is due, which may be empty; False at the end."""
        # Asked outside our lock: the owner may need a lock of its own to answer.
        idle_seconds = self._idle_seconds()
        with self._lock:
            self._wake.wait_for(lambda: self._queue or self._closed, idle_seconds)
            if self._queue:
                self._wake.wait_for(lambda: self._urgent or self._closed, max(self._linger_seconds, pace_ends - time.monotonic()))
            return bool(self._queue) or not self._closed

    def _take(self) -> deque[tuple[T, int, int]]:
        most = self._most_at_once
        if most is None or len(self._queue) <= most:
            # Swapped, not copied: `put` waits for this lock, and must not wait longer for a longer queue.
            taken, self._queue = self._queue, deque()
            self._items_in_work, self._bytes_in_work = self._items, self._bytes
        else:
            taken = deque(self._queue.popleft() for _ in range(most))
            self._items_in_work = sum(items for _, items, _ in taken)
            self._bytes_in_work = sum(size for _, _, size in taken)
        self._urgent = bool(self._queue)
        return taken
