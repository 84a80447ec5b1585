"""Fan-outs that end with their test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from service.events.owners import Owners
from service.http.media import encode
from service.streaming.fanout import Streams
from tests.unit.streaming.streams import Make, owner


@pytest.fixture
def make() -> Iterator[Make]:
    """Make fan-outs, and end them."""
    made: list[Streams] = []

    def one(owners: Owners | None = None, **changes: Any) -> Streams:
        made.append(Streams(owners or Owners(owner), **{"encode": encode, "queue_events": 100, "pace_seconds": 0.001, **changes}))
        return made[-1]

    yield one
    for fan_out in made:
        fan_out.stop()
