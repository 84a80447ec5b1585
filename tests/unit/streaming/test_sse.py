"""The body of a stream: heartbeats, the end of its token, a caller that left or does not read."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest

from service.streaming.sse import PROBE_SECONDS, RETRY, UNSENT_BYTES, EventStream

BEAT = 10.0


@dataclasses.dataclass
class Chunk:
    data: bytes
    count: int = 1
    received_at: float = 0.0


@dataclasses.dataclass
class World:
    """A clock, a source and a connection; waiting takes no time."""

    now: float = 100.0
    chunks: list[Chunk] = dataclasses.field(default_factory=list)
    ended: str | None = None
    last_message: bytes = b""
    gone: bool = False
    unsent: int = 0
    living: bool = True
    closed: list[Any] = dataclasses.field(default_factory=list)
    lags: list[float] = dataclasses.field(default_factory=list)
    waits: list[float] = dataclasses.field(default_factory=list)

    def next(self, timeout: float) -> Chunk | None:
        if self.chunks:
            return self.chunks.pop(0)
        self.sleep(timeout)
        return None

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds

    def hung_up(self) -> bool:
        return self.gone

    def unsent_bytes(self) -> int:
        return self.unsent

    def stream(self) -> EventStream:
        return EventStream(
            self,
            self,
            heartbeat_seconds=BEAT,
            alive=lambda: self.living,
            on_lag=self.lags.append,
            on_closed=lambda *account: self.closed.append(account),
            monotonic=lambda: self.now,
            sleep=self.sleep,
        )


def moments(world: World, body: Iterator[bytes], count: int) -> list[float]:
    """Return when the next chunks come."""
    times = []
    for _ in range(count):
        assert next(body) == RETRY
        times.append(world.now)
    return times


def test_the_heartbeat_comes_at_once_and_then_at_its_pace() -> None:
    world = World()

    assert moments(world, iter(world.stream()), 4) == [100, 110, 120, 130]


def test_events_go_out_as_they_come_and_are_counted() -> None:
    world = World(chunks=[Chunk(b"one", 1, 99.5), Chunk(b"two", 2, 100.0)])
    stream = world.stream()
    body = iter(stream)

    assert [next(body) for _ in range(4)] == [RETRY, b"one", b"two", RETRY]
    stream.close()
    assert world.lags == [0.5, 0.0]
    assert world.closed == [("client", 3)]


def test_the_end_of_the_token_ends_the_stream_at_the_next_heartbeat() -> None:
    world = World()
    stream = world.stream()
    body = iter(stream)
    next(body)
    world.living = False

    assert list(body) == []
    stream.close()
    stream.close()
    assert world.now == 110
    assert world.closed == [("token_expired", 0)]


def test_a_source_that_ends_has_the_last_word() -> None:
    world = World(ended="slow_consumer", last_message=b"told")
    stream = world.stream()

    assert list(stream) == [RETRY, b"told"]
    stream.close()
    assert world.closed == [("slow_consumer", 0)]


def test_a_caller_that_hung_up_gets_quick_heartbeats_and_is_believed_if_it_takes_them() -> None:
    world = World()
    body = iter(world.stream())
    next(body)
    world.gone = True

    times = moments(world, body, 6)

    assert times == [110, 110 + PROBE_SECONDS, 110 + 2 * PROBE_SECONDS, 110 + 3 * PROBE_SECONDS, 123, 133]


def test_a_connection_that_takes_nothing_is_given_no_events_and_its_thread_back() -> None:
    world = World(unsent=UNSENT_BYTES + 1, chunks=[Chunk(b"event")])
    body = iter(world.stream())

    assert next(body) == RETRY
    assert next(body) == RETRY
    assert max(world.waits) <= 0.1
    world.ended = "slow_consumer"
    assert list(body) == []
    assert len(world.chunks) == 1


def test_a_bug_ends_the_stream_as_one() -> None:
    world = World()
    stream = world.stream()
    world.next = lambda _timeout: 1 / 0  # type: ignore[method-assign,assignment,return-value]

    with pytest.raises(ZeroDivisionError):
        list(stream)
    stream.close()

    assert world.closed == [("error", 0)]


def test_a_stream_that_was_never_read_is_closed_all_the_same() -> None:
    world = World()

    world.stream().close()

    assert world.closed == [("client", 0)]
