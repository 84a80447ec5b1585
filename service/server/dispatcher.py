"""The dispatcher: waitress' thread pool, counted."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Protocol

from waitress.task import ThreadedTaskDispatcher

from service.observe.log import log


class Work(Protocol):
    """What waitress queues: a channel with a request."""

    queue_wait_seconds: float

    def service(self) -> None: ...
    def cancel(self) -> None: ...


class LastIn:
    """
    A condition that wakes the thread that has slept shortest; `threading.Condition` wakes the one that has slept longest.

    So a light load stays on a few threads, whose stacks and memory are warm. lock: held by whoever calls, as with Condition.
    """

    def __init__(self, lock: threading.Lock) -> None:
        self._lock = lock
        self._asleep: list[threading.Lock] = []

    def wait(self) -> None:
        """Sleep until notified; the lock is free meanwhile."""
        bell = threading.Lock()
        bell.acquire()
        self._asleep.append(bell)
        self._lock.release()
        try:
            bell.acquire()
        finally:
            self._lock.acquire()

    def notify(self) -> bool:
        """Wake one; False if nobody sleeps."""
        if self._asleep:
            self._asleep.pop().release()
            return True
        return False

    def notify_all(self) -> None:
        """Wake everybody."""
        while self.notify():
            pass


class Dispatcher(ThreadedTaskDispatcher):  # type: ignore[misc]
    """
    Wraps each task on its way into the queue, and so knows how long it waited, which threads are busy and for how long.

    A request that finds no idle thread starts one, up to `threads` of them; they stay until the end.
    on_wait: called in the worker thread with the seconds a request waited.
    Pinned by tests/unit/server/test_dispatcher.py: the names of waitress 3.0.2 that are used here.
    """

    def __init__(self, name: str, threads: int, on_wait: Callable[[float], None], clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        # One warning per queued request; the queue depth is a metric.
        self.queue_logger.setLevel(logging.ERROR)
        self.size = threads
        self.clock = clock
        self.on_wait = on_wait
        self.queue_cv = LastIn(self.lock)
        self._name = name
        self._serving = self._short = False  # guarded by lock
        self._counting = threading.Lock()
        self._running: dict[_Timed, float] = {}  # since when; guarded by _counting
        self._worked = 0.0  # seconds of finished work; guarded by _counting

    def start(self) -> None:
        """Begin to serve, also what is queued already. Raises RuntimeError if not even one thread can be started."""
        with self.lock:
            self._serving = True
            for _ in range(max(1, len(self.queue))):
                self._hire()

    def start_new_thread(self, target: Callable[[int], None], thread_no: int) -> None:
        """Start a worker under a name that says whose it is."""
        threading.Thread(target=target, args=(thread_no,), name=f"{self._name}-{thread_no}", daemon=True).start()

    def add_task(self, task: Work) -> None:
        """Queue a task, and see that somebody takes it."""
        with self.lock:
            self.queue.append(_Timed(task, self))
            if not self.queue_cv.notify():
                self._hire()

    def shutdown(self, cancel_pending: bool = True, timeout: float = 5) -> bool:  # noqa: FBT002 - waitress' signature
        """End the threads when they have done what they do, and cancel what is queued."""
        with self.lock:
            self._serving = False
        return bool(super().shutdown(cancel_pending, timeout))

    def _hire(self) -> None:
        """Start one thread more, if there may be one. The lock is held."""
        number = len(self.threads)
        if not self._serving or number >= self.size:
            return
        try:
            self.start_new_thread(self.handler_thread, number)
        except RuntimeError:
            # The limit of processes. With threads there, one of them takes the task when it is free.
            if not number:
                raise
            if not self._short:
                self._short = True
                log.get().warning("app.threads_short", threads=number, wanted=self.size)
            return
        self.threads.add(number)
        self.active_count += 1

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
