"""Replay: what comes back to those who left, and for how long."""

from __future__ import annotations

import time

import pytest

from service.streaming.fanout import Streams
from service.streaming.readers import View
from service.streaming.replay import REPLAY_SECONDS, Replay
from tests.listening import parse
from tests.unit.streaming.streams import Make, fire, owner, until

IDS = View(ids=True)


def test_who_comes_back_gets_what_it_missed_before_what_is_new(make: Make) -> None:
    fan_out = make()
    reader, other = fan_out.open(IDS), fan_out.open(View())
    fire(fan_out, "my/1")
    last = until(reader, "my/1")[-1].id
    fan_out.close(reader)
    fire(fan_out, "my/2")
    fire(fan_out, "my/3")
    until(other, "my/1")
    until(other, "my/3")

    again = fan_out.open(IDS, last)
    fire(fan_out, "my/4")

    assert [event.tag for event in until(again, "my/4")] == ["my/2", "my/3", "my/4"]


def test_a_replay_shows_no_more_than_the_view_allows(make: Make) -> None:
    fan_out = make()
    reader = fan_out.open(View(owner("alice"), ids=True))
    fire(fan_out, "salt/job/1/new", user="alice")
    last = until(reader, "salt/job/1/new")[-1].id
    other = fan_out.open(View())
    fire(fan_out, "salt/job/2/new", user="bob")
    fire(fan_out, "salt/job/1/ret/m")
    until(other, "salt/job/1/ret/m")

    again = fan_out.open(View(owner("alice"), ids=True), last)

    assert [event.tag for event in until(again, "salt/job/1/ret/m")] == ["salt/job/1/ret/m"]


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def gap(fan_out: Streams, last: str | None) -> bool:
    """Say whether a caller that comes back with an id is told that events are missing."""
    reader = fan_out.open(IDS, last)
    tags = [event.tag for event in parse(reader.first.data)] if reader.first else []
    fan_out.close(reader)
    return tags == ["salt/sidecar/stream/gap"]


def test_after_a_time_in_which_nothing_was_kept_an_old_id_is_a_gap(make: Make) -> None:
    clock, gaps = Clock(), []
    fan_out = make(monotonic=clock, on_gap=lambda: gaps.append(1))
    reader = fan_out.open(IDS)
    fire(fan_out, "my/1")
    last = until(reader, "my/1")[-1].id
    fan_out.close(reader)

    clock.now += REPLAY_SECONDS - 1
    in_time = gap(fan_out, last)
    clock.now += REPLAY_SECONDS + 1
    too_late = gap(fan_out, last)

    assert (in_time, too_late, len(gaps)) == (False, True, 1)


def test_what_was_pushed_out_of_the_replay_is_a_gap(make: Make) -> None:
    fan_out = make(replay=Replay(time.monotonic, most_events=2))
    reader = fan_out.open(IDS)
    for number in range(4):
        fire(fan_out, f"my/{number}")
    ids = [event.id for event in until(reader, "my/3")]

    assert [gap(fan_out, last) for last in ids] == [True, False, False, False]


def test_a_replay_is_bounded_in_bytes(make: Make) -> None:
    fan_out = make(replay=Replay(time.monotonic, most_bytes=1000))
    reader = fan_out.open(IDS)
    for number in range(4):
        fire(fan_out, f"my/{number}", text="x" * 400)
    ids = [event.id for event in until(reader, "my/3")]

    assert gap(fan_out, ids[0])
    assert not gap(fan_out, ids[2])


@pytest.mark.parametrize("junk", ["x", "-", "-1", "0badcafe-1", "0badcafe-", "²-²", "a" * 10_000, "\n", "%s-99999999999999999999"])
def test_an_id_that_is_none_of_ours_is_a_gap(make: Make, junk: str) -> None:
    fan_out = make()
    reader = fan_out.open(IDS)
    fire(fan_out, "my/1")
    epoch = str(until(reader, "my/1")[-1].id).partition("-")[0]

    assert gap(fan_out, junk.replace("%s", epoch))


def test_the_first_time_there_is_no_gap(make: Make) -> None:
    fan_out = make()

    assert not gap(fan_out, None)
    assert not gap(fan_out, "")
