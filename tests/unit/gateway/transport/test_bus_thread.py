"""The bus thread: runs coroutines for threads that block, and ends cleanly."""

from __future__ import annotations

import asyncio
import threading

import pytest

from service.gateway.transport.bus_thread import BusThread


async def thread_name() -> str:
    return threading.current_thread().name


def test_a_coroutine_runs_on_the_bus_thread_and_its_result_comes_back(bus_thread: BusThread) -> None:
    assert bus_thread.call(thread_name(), 10) == "bus"


def test_what_a_coroutine_raises_reaches_the_caller(bus_thread: BusThread) -> None:
    async def fail() -> None:
        raise LookupError("no")

    with pytest.raises(LookupError, match="no"):
        bus_thread.call(fail(), 10)


def test_a_coroutine_that_takes_too_long_is_cancelled(bus_thread: BusThread) -> None:
    cancelled = threading.Event()

    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    with pytest.raises(TimeoutError):
        bus_thread.call(hang(), 0.01)
    assert cancelled.wait(10)


def test_callers_do_not_wait_for_each_other(bus_thread: BusThread) -> None:
    release = bus_thread.call(make_event(), 10)
    waiting = bus_thread.submit(release.wait())

    assert bus_thread.call(thread_name(), 10) == "bus"
    assert not waiting.done()
    bus_thread.call(set_event(release), 10)
    assert waiting.result(10) is True


async def make_event() -> asyncio.Event:
    return asyncio.Event()


async def set_event(event: asyncio.Event) -> None:
    event.set()


async def the_thread() -> threading.Thread:
    return threading.current_thread()


def test_stopping_cancels_what_runs_for_ever_and_what_callers_wait_for() -> None:
    thread = BusThread()
    thread.start()
    ended: list[str] = []

    async def run(name: str, running: threading.Event) -> None:
        try:
            running.set()
            await asyncio.Event().wait()
        finally:
            ended.append(name)

    spawned, submitted = threading.Event(), threading.Event()
    thread.spawn(run("spawned", spawned))
    future = thread.submit(run("submitted", submitted))
    assert spawned.wait(10)
    assert submitted.wait(10)
    its_own = thread.call(the_thread(), 10)
    thread.stop()

    assert sorted(ended) == ["spawned", "submitted"]
    assert future.cancelled()
    assert not its_own.is_alive()


def test_a_thread_may_be_stopped_twice_or_without_a_start() -> None:
    started, unstarted = BusThread(), BusThread()
    started.start()
    started.stop()
    started.stop()
    unstarted.stop()

    for thread in (started, unstarted):
        with pytest.raises(RuntimeError, match="Event loop is closed"):
            thread.soon(print)
