"""Events for the fan-out, and what its readers get."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import salt.payload

from service.events.event import read
from service.events.owners import Owner
from service.streaming.fanout import Streams
from service.streaming.readers import Reader
from service.streaming.rendering import StreamEvent
from tests.listening import Received, parse

Make = Callable[..., Streams]


def owner(user: str) -> Owner:
    """Return whose a job is that is announced with a user's name, where there is one eauth module."""
    return Owner("file", user)


def event(tag: str, data: dict[str, Any] | None = None) -> StreamEvent:
    raw = tag.encode() + b"\n\n" + salt.payload.dumps(data or {})
    return StreamEvent(read(raw), 0.0)


def fire(fan_out: Streams, tag: str, **data: Any) -> None:
    fan_out.take(read(tag.encode() + b"\n\n" + salt.payload.dumps(data)))


def until(reader: Reader, tag: str) -> list[Received]:
    """Return the events a reader gets, up to *tag*."""
    found: list[Received] = []
    while not found or found[-1].tag != tag:
        batch = reader.next(5)
        assert batch is not None, found
        events = parse(batch.data)
        assert batch.count == len(events)
        found += events
    return found
