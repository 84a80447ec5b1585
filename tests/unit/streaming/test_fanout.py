"""Fan-out: what is queued, for whom, how much of it, and what comes back to those who left."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import salt.payload

from service.errors import Draining
from service.http.media import encode
from service.streaming import fanout, readers
from service.streaming.fanout import Streams
from service.streaming.readers import Reader, View
from tests.listening import Received, parse

Make = Callable[..., Streams]


@pytest.fixture
def make() -> Iterator[Make]:
    """Make fan-outs, and end them."""
    made: list[Streams] = []

    def one(**changes: Any) -> Streams:
        made.append(Streams(**{"encode": encode, "queue_events": 100, "pace_seconds": 0.001, **changes}))
        return made[-1]

    yield one
    for fan_out in made:
        fan_out.stop()


def fire(fan_out: Streams, tag: str, **data: Any) -> None:
    fan_out.take(tag.encode(), tag.encode() + b"\n\n" + salt.payload.dumps(data))


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
    assert (fan_out._thread, fan_out.queued()) == (None, 0)

    alices, mallorys, everybodys = fan_out.open(View(user="alice", ids=True)), fan_out.open(View(user="mallory")), fan_out.open(View())
    fire(fan_out, "salt/job/1/ret/m")
    fire(fan_out, "salt/job/2/new", user="mallory")

    assert [event.tag for event in until(everybodys, "salt/job/2/new")] == ["salt/job/1/ret/m", "salt/job/2/new"]
    assert [event.tag for event in until(alices, "salt/job/1/ret/m")] == ["salt/job/1/ret/m"]
    assert [event.tag for event in until(mallorys, "salt/job/2/new")] == ["salt/job/2/new"]


@pytest.mark.parametrize("bound", ["UNREAD_EVENTS", "UNREAD_BYTES"])
def test_what_waits_for_a_reader_is_bounded(make: Make, monkeypatch: pytest.MonkeyPatch, bound: str) -> None:
    monkeypatch.setattr(fanout, bound, 2)
    fan_out = make()

    for number in range(4):
        fire(fan_out, f"salt/job/{number}/new", user="alice")

    assert fan_out._fed == 4
    assert fan_out._unread == []


def test_an_event_is_serialised_once_for_all_readers_and_not_for_none(make: Make) -> None:
    rendered: list[Any] = []

    def counting(value: object) -> bytes:
        rendered.append(value)
        return encode(value)

    fan_out = make(encode=counting)
    views = [View(), View(globs=("my/*",)), View(globs=("other",)), View(ids=True), View(user="alice")]
    all_readers = [fan_out.open(view) for view in views]

    fire(fan_out, "nobodys/event")
    all_readers.remove(all_readers[2])
    fire(fan_out, "my/event")
    for reader in all_readers[:3]:
        until(reader, "my/event")

    assert [value["tag"] for value in rendered] == ["nobodys/event", "my/event"]


def test_a_reader_of_one_user_sees_that_users_jobs_only(make: Make) -> None:
    fan_out = make()
    reader = fan_out.open(View(user="alice"))

    for jid, user in (("1", "alice"), ("2", "bob"), ("3", "alice")):
        fire(fan_out, f"salt/job/{jid}/new", user=user)
    for jid in ("2", "9", "1", "3"):
        fire(fan_out, f"salt/job/{jid}/ret/m")
    fire(fan_out, "salt/auth")
    fire(fan_out, "salt/job/3/ret/last")

    tags = [event.tag for event in until(reader, "salt/job/3/ret/last")]
    assert tags == ["salt/job/1/new", "salt/job/3/new", "salt/job/1/ret/m", "salt/job/3/ret/m", "salt/job/3/ret/last"]


def test_a_user_cannot_claim_a_job_that_another_started(make: Make) -> None:
    fan_out = make()
    reader = fan_out.open(View(user="mallory"))

    fire(fan_out, "salt/job/1/new", user="alice")
    fire(fan_out, "salt/job/1/new", user="mallory")
    fire(fan_out, "salt/job/1/ret/m")
    fire(fan_out, "salt/job/2/new", user="mallory")

    assert [event.tag for event in until(reader, "salt/job/2/new")] == ["salt/job/2/new"]


@pytest.mark.parametrize(
    ("globs", "expected"),
    [
        (("a/*",), ["a/1", "a/b/2"]),
        (("a/?",), ["a/1"]),
        (("[ab]/*", "c"), ["a/1", "a/b/2", "b/1", "c"]),
        (("A/*",), []),
        (("",), []),
        (("[", "(", "*+$"), []),
    ],
)
def test_globs_select_tags_as_a_shell_would(make: Make, globs: tuple[str, ...], expected: list[str]) -> None:
    fan_out = make()
    reader = fan_out.open(View(globs=(*globs, "end")))

    for tag in ("a/1", "a/b/2", "b/1", "c", "end"):
        fire(fan_out, tag)

    assert [event.tag for event in until(reader, "end")] == [*expected, "end"]


def test_a_reader_that_does_not_read_is_dropped_and_the_others_notice_nothing(make: Make) -> None:
    dropped: list[int] = []
    fan_out = make(queue_events=10, on_slow=dropped.append)
    slow, quick = fan_out.open(View()), fan_out.open(View())

    for number in range(30):
        fire(fan_out, f"my/{number}")
        until(quick, f"my/{number}")

    assert slow.ended == "slow_consumer"
    assert quick.ended is None
    (told,) = parse(slow.farewell)
    assert told.tag == "salt/sidecar/stream/dropped"
    assert dropped == [slow.dropped] == [told.data["dropped"]]
    assert slow.next(0) is None
    assert fan_out.subscribers() == 1


def test_large_events_fill_a_queue_too(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "QUEUE_BYTES", 1000)
    fan_out = make()
    slow, quick = fan_out.open(View()), fan_out.open(View())

    for number in range(3):
        fire(fan_out, f"my/{number}", text="x" * 600)
        until(quick, f"my/{number}")

    assert slow.ended == "slow_consumer"


def test_one_burst_larger_than_the_queue_is_no_slowness(make: Make) -> None:
    fan_out = make(queue_events=10, pace_seconds=0.2)
    reader = fan_out.open(View())
    fire(fan_out, "first")
    until(reader, "first")

    for number in range(40):
        fire(fan_out, f"my/{number}")

    assert len(until(reader, "my/39")) == 40


def test_what_does_not_fit_between_the_threads_is_counted(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fanout, "FEED_EVENTS", 3)
    blocked, dropped = threading.Event(), []
    entered = threading.Event()

    def slowly(value: object) -> bytes:
        entered.set()
        assert blocked.wait(10)
        return encode(value)

    fan_out = make(encode=slowly, on_drop=lambda: dropped.append(1))
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
    thread = fan_out._thread

    fan_out.stop()

    assert thread is not None
    assert not thread.is_alive()


# Ids.

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
    reader = fan_out.open(View(user="alice", ids=True))
    fire(fan_out, "salt/job/1/new", user="alice")
    last = until(reader, "salt/job/1/new")[-1].id
    other = fan_out.open(View())
    fire(fan_out, "salt/job/2/new", user="bob")
    fire(fan_out, "salt/job/1/ret/m")
    until(other, "salt/job/1/ret/m")

    again = fan_out.open(View(user="alice", ids=True), last)

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

    clock.now += readers.REPLAY_SECONDS - 1
    in_time = gap(fan_out, last)
    clock.now += readers.REPLAY_SECONDS + 1
    too_late = gap(fan_out, last)

    assert (in_time, too_late, len(gaps)) == (False, True, 1)


def test_what_was_pushed_out_of_the_replay_is_a_gap(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "REPLAY_EVENTS", 2)
    fan_out = make()
    reader = fan_out.open(IDS)
    for number in range(4):
        fire(fan_out, f"my/{number}")
    ids = [event.id for event in until(reader, "my/3")]

    assert [gap(fan_out, last) for last in ids] == [True, False, False, False]


def test_a_replay_is_bounded_in_bytes(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "REPLAY_BYTES", 1000)
    fan_out = make()
    reader = fan_out.open(IDS)
    for number in range(4):
        fire(fan_out, f"my/{number}", text="x" * 400)
    ids = [event.id for event in until(reader, "my/3")]

    assert gap(fan_out, ids[0])
    assert not gap(fan_out, ids[2])


@pytest.mark.parametrize("junk", ["x", "-", "-1", "0badcafe-1", "0badcafe-", "²-²", "a" * 10_000, "\n", "%s-99999999999999999999"])
def test_an_id_that_is_none_of_ours_is_a_gap(make: Make, junk: str) -> None:
    fan_out = make()
    fan_out.open(IDS)

    assert gap(fan_out, junk.replace("%s", fan_out._replay._epoch))


def test_the_first_time_there_is_no_gap(make: Make) -> None:
    fan_out = make()

    assert not gap(fan_out, None)
    assert not gap(fan_out, "")
