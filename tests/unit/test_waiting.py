"""Whoever waits for a start is told how long it takes, and gives up in the end."""

from __future__ import annotations

import pytest

from service.demo.embedded import until
from service.demo.processes import POLL_SECONDS


def test_a_long_wait_is_reported_now_and_then_and_ends() -> None:
    clock = Clock()
    said: list[float] = []

    rounds = sum(1 for _ in until(21, said.append, monotonic=clock.monotonic, sleep=clock.sleep))

    assert [round(seconds) for seconds in said] == [5, 10, 15, 20]
    assert rounds == pytest.approx(21 / POLL_SECONDS, abs=2)


class Clock:
    """A clock that goes on only when somebody sleeps."""

    def __init__(self) -> None:
        self._now = 100.0

    def monotonic(self) -> float:
        return self._now

    def sleep(self, seconds: float) -> None:
        self._now += seconds
