"""Fan-out: what is queued, and how much of it."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from service.errors import Draining
from service.http.media import encode
from service.streaming.readers import View
from tests.listening import parse
from tests.unit.streaming.streams import Make, fire, owner, until


def test_every_reader_gets_every_event_in_order(make: Make) -> None:
    fan_out = make()
    first, second = fan_out.open(View()), fan_out.open(View())

    for number in range(50):
        fire(fan_out, f"my/{number}", n=number)

    for reader in (first, second):
        assert [event.data["n"] for event in until(reader, "my/49")] == list(range(50))


def test_while_nobody_reads_no_thread_is_woken_and_who_comes_then_sees_its_job_s_returns_only(make: Make) -> None:
    fan_out = make()
    fire(fan_out, "salt/job/1/ret/early")
    fire(fan_out, "salt/job/1/new", user="alice")
    fire(fan_out, "salt/job/1/new", user="mallory")
    assert (fan_out.alive(), fan_out.queued()) == (False, 0)

    alices, mallorys, everybodys = fan_out.open(View(owner("alice"), ids=True)), fan_out.open(View(owner("mallory"))), fan_out.open(View())
    fire(fan_out, "salt/job/1/ret/m")
    fire(fan_out, "salt/job/2/new", user="mallory")

    assert [event.tag for event in until(everybodys, "salt/job/2/new")] == ["salt/job/1/ret/m", "salt/job/2/new"]
    assert [event.tag for event in until(alices, "salt/job/1/ret/m")] == ["salt/job/1/ret/m"]
    assert [event.tag for event in until(mallorys, "salt/job/2/new")] == ["salt/job/2/new"]


@pytest.mark.parametrize("bound", ["unread_events", "unread_bytes"])
def test_what_waits_for_a_reader_is_bounded(make: Make, bound: str) -> None:
    passed_on: list[int] = []
    fan_out = make(**{bound: 2}, feed_events=0, on_drop=lambda: passed_on.append(1))

    for number in range(4):
        fire(fan_out, f"salt/job/{number}/new", user="alice")

    assert len(passed_on) == 4
    for number in range(2):
        fire(fan_out, f"salt/job/{number}/new", user="alice")
    assert len(passed_on) == 6


def test_an_event_is_serialised_once_for_all_readers_and_not_for_none(make: Make) -> None:
    rendered: list[Any] = []

    def counting(value: object) -> bytes:
        rendered.append(value)
        return encode(value)

    fan_out = make(encode=counting)
    views = [View(), View(globs=("my/*",)), View(globs=("other",)), View(ids=True), View(owner("alice"))]
    all_readers = [fan_out.open(view) for view in views]

    fire(fan_out, "nobodys/event")
    all_readers.remove(all_readers[2])
    fire(fan_out, "my/event")
    for reader in all_readers[:3]:
        until(reader, "my/event")

    assert [value["tag"] for value in rendered] == ["nobodys/event", "my/event"]


def test_a_reader_that_does_not_read_is_dropped_and_the_others_notice_nothing(make: Make) -> None:
    dropped: list[int] = []
    fan_out = make(queue_events=10, on_slow=dropped.append)
    slow, quick = fan_out.open(View()), fan_out.open(View())

    for number in range(30):
        fire(fan_out, f"my/{number}")
        until(quick, f"my/{number}")

    assert slow.ended == "slow_consumer"
    assert quick.ended is None
    (told,) = parse(slow.last_message)
    assert told.tag == "salt/sidecar/stream/dropped"
    assert dropped == [slow.dropped] == [told.data["dropped"]]
    assert slow.next(0) is None
    assert fan_out.subscribers() == 1


def test_large_events_fill_a_queue_too(make: Make) -> None:
    fan_out = make(queue_bytes=1000)
    slow, quick = fan_out.open(View()), fan_out.open(View())

    for number in range(3):
        fire(fan_out, f"my/{number}", text="x" * 600)
        until(quick, f"my/{number}")

    assert slow.ended == "slow_consumer"


@pytest.mark.slow
def test_one_burst_larger_than_the_queue_is_no_slowness(make: Make) -> None:
    fan_out = make(queue_events=10, pace_seconds=0.2)
    reader = fan_out.open(View())
    fire(fan_out, "first")
    until(reader, "first")

    for number in range(40):
        fire(fan_out, f"my/{number}")

    assert len(until(reader, "my/39")) == 40


def test_what_does_not_fit_between_the_threads_is_counted(make: Make) -> None:
    blocked, dropped = threading.Event(), []
    entered = threading.Event()

    def slowly(value: object) -> bytes:
        entered.set()
        assert blocked.wait(10)
        return encode(value)

    fan_out = make(encode=slowly, feed_events=3, on_drop=lambda: dropped.append(1))
    fan_out.open(View())
    fire(fan_out, "my/0")
    assert entered.wait(5)

    for number in range(1, 6):
        fire(fan_out, f"my/{number}")
    blocked.set()

    assert len(dropped) == 3


def test_a_bug_costs_its_events_and_not_the_fan_out(make: Make) -> None:
    crashed = threading.Event()

    def broken(value: Any) -> bytes:
        if value["tag"] == "bad":
            raise RuntimeError("bug")
        return encode(value)

    fan_out = make(encode=broken, on_crash=crashed.set)
    reader = fan_out.open(View())

    fire(fan_out, "bad")
    assert crashed.wait(5)
    fire(fan_out, "good")

    assert [event.tag for event in until(reader, "good")] == ["good"]


def test_closing_twice_is_closing_once_and_what_was_sent_stays_counted(make: Make) -> None:
    fan_out = make()
    reader = fan_out.open(View())
    fire(fan_out, "my/1")
    until(reader, "my/1")

    fan_out.close(reader)
    fan_out.close(reader)

    assert (fan_out.subscribers(), fan_out.sent_total()) == (0, 1)


def test_at_the_end_readers_are_woken_and_no_new_one_begins(make: Make) -> None:
    fan_out = make()
    reader = fan_out.open(View())

    fan_out.end_all()

    assert reader.next(60) is None
    assert reader.ended == "shutdown"
    with pytest.raises(Draining):
        fan_out.open(View())


def test_the_thread_ends(make: Make) -> None:
    fan_out = make()
    fan_out.open(View())
    fire(fan_out, "salt/job/1/new")
    assert fan_out.alive()

    fan_out.stop()

    assert not fan_out.alive()
