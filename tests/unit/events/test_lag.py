"""The lag of the bus: measured from one small event a second."""

from __future__ import annotations

import datetime as dt

import pytest
import salt.payload

from service.events.event import TAG_END, Event, read
from service.events.hub import LagSampler


def event(tag: str, data: object) -> Event:
    payload: bytes = salt.payload.dumps(data, use_bin_type=True)
    return read(tag.encode() + TAG_END + payload)


class Lags:
    """A sampler under moved clocks."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.now = 10.0
        self.sampler = LagSampler(self.seconds.append, monotonic=lambda: self.now, now=lambda: 1_767_225_600.0)  # 2026-01-01T00:00:00Z


@pytest.mark.parametrize("stamp", ["2025-12-31T23:59:58", "2026-01-01T00:59:58+01:00"])
def test_lag_is_the_age_of_an_events_stamp(stamp: str) -> None:
    lags = Lags()
    lags.sampler.look(event("salt/auth", {"_stamp": stamp}))

    assert lags.seconds == [pytest.approx(2)]


def test_one_event_a_second_is_looked_at() -> None:
    lags = Lags()
    stamped = event("salt/auth", {"_stamp": dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc).isoformat()})
    for second in (10.0, 10.9, 11.0, 11.5):
        lags.now = second
        lags.sampler.look(stamped)

    assert lags.seconds == [0, 0]


@pytest.mark.parametrize(
    "heard", [event("t", {"_stamp": "yesterday"}), event("t", {}), read(b""), read(b"t\n\n\xc1"), event("t", {"_stamp": "2026-01-01", "x": "y" * 5000})]
)
def test_an_event_without_a_stamp_or_too_long_tells_no_lag(heard: Event) -> None:
    lags = Lags()
    lags.sampler.look(heard)

    assert lags.seconds == []
