"""The dispatcher: waitress' thread pool, counted."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Protocol

from waitress.task import ThreadedTaskDispatcher


class Work(Protocol):
    """What waitress queues: a channel with a request."""

    queue_wait_seconds: float

    def service(self) -> None: ...
    def cancel(self) -> None: ...


class Dispatcher(ThreadedTaskDispatcher):  # type: ignore[misc]
    """
    Wraps each task on its way into the queue, and so knows how long it waited, which threads are busy and for how long.

    on_wait: called in the worker thread with the seconds a request waited.
    Pinned by tests/unit/server/test_dispatcher.py: `add_task`, `threads`, `queue` and `start_new_thread` of waitress 3.0.2.
    """

    def __init__(self, name: str, threads: int, on_wait: Callable[[float], None], clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        # One warning per queued request; the queue depth is a metric.
        self.queue_logger.setLevel(logging.ERROR)
        self.size = threads
        self.clock = clock
        self.on_wait = on_wait
        self._name = name
        self._counting = threading.Lock()
        self._running: dict[_Timed, float] = {}  # since when; guarded by _counting
        self._worked = 0.0  # seconds of finished work; guarded by _counting

    def start(self) -> None:
        """Start the threads."""
        self.set_thread_count(self.size)

    def start_new_thread(self, target: Callable[[int], None], thread_no: int) -> None:
        """Start a worker under a name that says whose it is."""
        threading.Thread(target=target, args=(thread_no,), name=f"{self._name}-{thread_no}", daemon=True).start()

    def add_task(self, task: Work) -> None:
        """Queue a task."""
        super().add_task(_Timed(task, self))

    def busy_threads(self) -> int:
        """Return how many threads serve a request now."""
        with self._counting:
            return len(self._running)

    def busy_seconds(self) -> float:
        """Return the seconds all threads have worked, running requests included."""
        with self._counting:
            now = self.clock()
            return self._worked + sum(now - since for since in self._running.values())

    def queue_depth(self) -> int:
        """Return how many requests wait for a thread."""
        return len(self.queue)

    def began(self, task: _Timed, now: float) -> None:
        """Count a thread as busy."""
        with self._counting:
            self._running[task] = now

    def ended(self, task: _Timed) -> None:
        """Count it as idle again."""
        with self._counting:
            self._worked += self.clock() - self._running.pop(task)


class _Timed:
    """A task with the moment it was queued."""

    def __init__(self, task: Work, dispatcher: Dispatcher) -> None:
        self._task = task
        self._dispatcher = dispatcher
        self._queued = dispatcher.clock()

    def service(self) -> None:
        now = self._dispatcher.clock()
        self._task.queue_wait_seconds = now - self._queued
        self._dispatcher.began(self, now)
        try:
            self._dispatcher.on_wait(now - self._queued)
            self._task.service()
        finally:
            self._dispatcher.ended(self)

    def cancel(self) -> None:
        self._task.cancel()
