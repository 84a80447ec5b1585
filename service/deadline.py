"""A deadline for what is awaited, which never loses a cancellation."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


async def within(seconds: float, doing: Awaitable[T]) -> T:
    """
    Wait for something, at most so long; return its result.

    Raises asyncio.TimeoutError, and what it raises; in either case, and when the waiting is cancelled, it is over too.
    Before Python 3.12 `asyncio.wait_for` drops a cancellation that comes in the turn in which its inner task ends (CPython's issue 86296):
    a task that was told to end goes on, and whoever waits for its end waits for ever. Nothing in service/ calls it.
    """
    task = asyncio.ensure_future(doing)
    # What it raises when nobody waits any more is nobody's to log.
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
    try:
        await asyncio.wait((task,), timeout=seconds)
        if task.done():
            return task.result()
        raise asyncio.TimeoutError
    finally:
        if task.cancel():
            await asyncio.wait((task,))
