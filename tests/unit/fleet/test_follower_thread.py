"""The follower's queue and thread: what does not fit is counted, a bug costs one event, and large events do not wait."""

from __future__ import annotations

import time

import pytest

from service.fleet.follower import HURRY_BYTES
from tests.unit.fleet.following import JID, Following, packed


@pytest.fixture
def bus() -> Following:
    return Following()


def test_a_full_queue_drops_and_counts() -> None:
    bus = Following(queue_events=3)
    for number in range(5):
        bus.hub.deliver(packed(f"salt/job/{number}/new", {"fun": "test.ping", "minions": []}))
    assert (bus.dropped, bus.follower.depth()) == (2, 3)
    bus.follower.handle_waiting()

    assert bus.follower.depth() == 0
    narrow = Following(queue_bytes=100)
    narrow.hub.deliver(packed("salt/job/9/ret/m1", {"return": "x" * 200}))
    assert narrow.dropped == 1


def test_a_bug_ends_neither_the_thread_nor_the_count(bus: Following, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bus.tracker, "announced", lambda *_args, **_kwargs: 1 / 0)
    bus.announce("m1")
    bus.answer("m1")

    assert bus.crashes == 1
    assert bus.values("salt_job_returns_total") == {"other,success,unsolicited": 1}


@pytest.mark.slow
def test_large_events_are_not_kept_for_the_pace() -> None:
    bus = Following(pace_seconds=3600.0)
    bus.follower.start()
    for number in range(3):
        bus.hub.deliver(packed(f"salt/job/{number}/ret/m1", {"return": "x" * HURRY_BYTES}))
        for _ in range(600):
            if not bus.follower.depth():
                break
            time.sleep(0.05)
        assert bus.follower.depth() == 0
    bus.follower.stop(30)

    assert not bus.follower.alive()


@pytest.mark.slow
def test_the_thread_handles_what_comes_and_ends(bus: Following) -> None:
    bus.follower.start()
    bus.hub.deliver(packed(f"salt/job/{JID}/new", {"fun": "test.ping", "minions": ["m1"]}))
    for _ in range(600):
        if bus.values("salt_jobs_started_total"):
            break
        time.sleep(0.05)
    bus.follower.stop(30)

    assert bus.values("salt_jobs_started_total") == {"test.ping,other": 1}
    assert not bus.follower.alive()
