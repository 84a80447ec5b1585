"""`within`: results, deadlines, and cancellations that are heard in whatever turn they come."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from service.deadline import within

LONG_SECONDS = 300.0


async def fails() -> None:
    raise ValueError("the thing itself")


def test_it_returns_what_comes_and_raises_what_is_raised() -> None:
    assert asyncio.run(within(LONG_SECONDS, asyncio.sleep(0, "done"))) == "done"
    with pytest.raises(ValueError, match="the thing itself"):
        asyncio.run(within(LONG_SECONDS, fails()))


@pytest.mark.parametrize("is_cancelled", [False, True])
def test_what_takes_too_long_or_is_not_wanted_any_more_is_over_with_the_waiting(is_cancelled: bool) -> None:
    steps = []

    async def works() -> None:
        try:
            await asyncio.sleep(LONG_SECONDS)
        finally:
            await asyncio.sleep(0)
            steps.append("cleaned up")

    async def run() -> None:
        waiting = asyncio.ensure_future(within(LONG_SECONDS if is_cancelled else 0.001, works()))
        if is_cancelled:
            await asyncio.sleep(0.001)
            waiting.cancel()
        with pytest.raises(asyncio.CancelledError if is_cancelled else asyncio.TimeoutError):
            await waiting
        steps.append("the waiting is over")

    asyncio.run(run())
    assert steps == ["cleaned up", "the waiting is over"]


@pytest.mark.parametrize("turns", range(6))
@pytest.mark.parametrize("cancelled_first", [False, True])
@pytest.mark.parametrize("end", ["result", "error"])
def test_a_cancellation_is_heard_in_whatever_turn_the_work_ends(turns: int, cancelled_first: bool, end: str) -> None:
    """It is over by the cancellation, or had ended a turn or more before; it never goes on with its next work."""
    complaints: list[Any] = []

    async def run() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context))
        work = asyncio.get_running_loop().create_future()

        async def one_after_the_other() -> None:
            await within(LONG_SECONDS, finish(work))
            await asyncio.sleep(LONG_SECONDS)

        task = asyncio.ensure_future(one_after_the_other())
        await asyncio.sleep(0.001)
        acts: list[Callable[[], object]] = [lambda: ended(work, end), task.cancel]
        for act in reversed(acts) if cancelled_first else acts:
            act()
            for _ in range(turns):
                await asyncio.sleep(0)
        await asyncio.wait([task], timeout=LONG_SECONDS / 10)
        assert task.done()
        assert task.cancelled() or isinstance(task.exception(), ValueError)

    async def finish(work: asyncio.Future[None]) -> None:
        await work

    asyncio.run(run())
    assert not complaints


def ended(work: asyncio.Future[None], end: str) -> None:
    """Let the work end, if nobody has ended it yet."""
    if not work.done():
        work.set_result(None) if end == "result" else work.set_exception(ValueError())
