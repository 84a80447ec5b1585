"""The dispatcher: what it counts, and the internals of waitress it counts with."""

from __future__ import annotations

import inspect
import logging
import threading
import time
from collections.abc import Iterator

import pytest
import waitress.task
from waitress.task import ThreadedTaskDispatcher

from service.server.dispatcher import Dispatcher


class FakeClock:
    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        return self.time


class Task:
    """Work that lasts until it is told to end."""

    queue_wait_seconds = -1.0

    def __init__(self) -> None:
        self.started = threading.Event()
        self.end = threading.Event()
        self.thread = ""
        self.cancelled = False

    def service(self) -> None:
        self.thread = threading.current_thread().name
        self.started.set()
        assert self.end.wait(10)

    def cancel(self) -> None:
        self.cancelled = True


def _until_active(pool: Dispatcher, threads: int) -> None:
    """Wait until only *threads* threads are not idle. They change the number and fall asleep in one hold of the lock."""
    deadline = time.monotonic() + 60
    while pool.active_count != threads and time.monotonic() < deadline:
        time.sleep(0.001)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def dispatcher(clock: FakeClock, waits: list[float]) -> Iterator[Dispatcher]:
    pool = Dispatcher("api", 1, waits.append, clock)
    yield pool
    pool.shutdown(timeout=60)


def test_busy_threads_waiting_requests_and_their_waits_are_counted(dispatcher: Dispatcher, clock: FakeClock, waits: list[float]) -> None:
    first, second = Task(), Task()
    dispatcher.add_task(first)
    dispatcher.add_task(second)
    assert (dispatcher.busy_threads(), dispatcher.queue_depth()) == (0, 2)
    clock.time += 1

    dispatcher.start()
    assert first.started.wait(10)
    assert (dispatcher.busy_threads(), dispatcher.queue_depth()) == (1, 1)
    clock.time += 5
    assert dispatcher.busy_seconds() == 5
    first.end.set()
    assert second.started.wait(10)
    clock.time += 2
    assert dispatcher.busy_seconds() == 7
    second.end.set()
    dispatcher.shutdown(timeout=60)

    assert waits == [1, 6]
    assert (first.queue_wait_seconds, second.queue_wait_seconds) == (1, 6)
    assert (dispatcher.busy_threads(), dispatcher.queue_depth()) == (0, 0)
    assert dispatcher.busy_seconds() == 7
    assert first.thread == "api-0"


def test_a_task_that_raises_frees_its_thread(dispatcher: Dispatcher, caplog: pytest.LogCaptureFixture) -> None:
    class Failing(Task):
        def service(self) -> None:
            raise ValueError("on purpose")

    after = Task()
    after.end.set()
    dispatcher.add_task(Failing())
    dispatcher.add_task(after)

    dispatcher.start()

    assert after.started.wait(10)
    dispatcher.shutdown(timeout=60)
    assert dispatcher.busy_threads() == 0
    assert "Exception when servicing" in caplog.text


def test_tasks_still_queued_at_the_end_are_cancelled(dispatcher: Dispatcher) -> None:
    task = Task()
    dispatcher.add_task(task)

    dispatcher.shutdown(timeout=1)

    assert task.cancelled
    assert dispatcher.queue_depth() == 0


def test_the_thread_that_was_busy_last_works_next_and_a_thread_is_started_only_when_none_is_idle() -> None:
    pool = Dispatcher("api", 3, lambda _seconds: None)
    pool.start()
    _until_active(pool, 0)
    first, second, third = Task(), Task(), Task()
    for task in (first, second):
        pool.add_task(task)
        assert task.started.wait(10)
    for still_active, task in ((1, first), (0, second)):
        task.end.set()
        _until_active(pool, still_active)
    pool.add_task(third)
    assert third.started.wait(10)

    assert (len(pool.threads), third.thread) == (2, second.thread)
    third.end.set()
    pool.shutdown(timeout=60)
    assert not pool.threads


def test_a_request_waits_for_a_busy_thread_when_no_other_can_be_started(dispatcher: Dispatcher, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_given: object) -> None:
        raise RuntimeError("can't start new thread")

    first, second = Task(), Task()
    dispatcher.size = 2
    dispatcher.start()
    dispatcher.add_task(first)
    assert first.started.wait(10)
    monkeypatch.setattr(dispatcher, "start_new_thread", refuse)

    dispatcher.add_task(second)
    assert not second.started.is_set()
    first.end.set()

    assert second.started.wait(10)
    second.end.set()


@pytest.mark.usefixtures("dispatcher")
def test_a_queued_request_is_no_warning() -> None:
    assert not logging.getLogger("waitress.queue").isEnabledFor(logging.WARNING)


def test_waitress_still_has_the_internals_we_stand_on() -> None:
    pool = ThreadedTaskDispatcher()

    assert list(inspect.signature(ThreadedTaskDispatcher.handler_thread).parameters) == ["self", "thread_no"]
    assert pool.active_count == 0
    with pool.lock:
        pool.queue_cv.notify()  # raises unless this is its lock
    assert list(inspect.signature(ThreadedTaskDispatcher.start_new_thread).parameters) == ["self", "target", "thread_no"]
    assert list(inspect.signature(ThreadedTaskDispatcher.shutdown).parameters) == ["self", "cancel_pending", "timeout"]
    assert len(pool.queue) == 0
    assert waitress.task.queue_logger is pool.queue_logger
