"""Hub: who hears which event, what is kept, what is dropped and counted, and that no bytes disturb it."""

from __future__ import annotations

import queue
import threading
import time
from typing import Any

import pytest
import salt.payload
from hypothesis import given
from hypothesis import strategies as st

from service.errors import MasterUnreachable
from service.events.event import TAG_END, Event
from service.events.hub import Hub, Interruption, Waiter
from service.events.tags import KINDS

JID = "20260101000000000000"
OTHER_JID = "20260101000000000001"


def raw(tag: str, data: object = None) -> bytes:
    payload: bytes = salt.payload.dumps({"id": "a"} if data is None else data, use_bin_type=True)
    return tag.encode() + TAG_END + payload


RETURN = raw(f"salt/job/{JID}/ret/a")


class Heard:
    """A hub, and what it told its observer."""

    def __init__(self, *, early_limit_bytes: int = 10_000, **limits: Any) -> None:
        self.bells: list[queue.SimpleQueue[None]] = []  # of its waiters
        self.events: list[tuple[str, int]] = []
        self.drops = 0
        self.hub = Hub(
            early_limit_bytes=early_limit_bytes,
            on_event=lambda kind, size: self.events.append((kind, size)),
            on_drop=self._dropped,
            new_bell=self._new_bell,
            **limits,
        )
        self.hub.opened()

    def _new_bell(self) -> queue.SimpleQueue[None]:
        self.bells.append(queue.SimpleQueue())
        return self.bells[-1]

    def _dropped(self) -> None:
        self.drops += 1


def tags(waiter: Waiter) -> list[str]:
    """Take all that is in the inbox."""
    items = []
    while (item := waiter.next(0)) is not None:
        items.append(item.tag if isinstance(item, Event) else "interruption")
    return items


def test_a_waiter_hears_the_jobs_it_watches_and_no_other() -> None:
    hub = Heard().hub
    with hub.listen() as waiter:
        waiter.watch(JID)
        hub.deliver(RETURN)
        hub.deliver(raw(f"salt/job/{OTHER_JID}/ret/a"))
        hub.deliver(raw("salt/auth"))

        assert tags(waiter) == [f"salt/job/{JID}/ret/a"]


def test_two_waiters_of_one_job_hear_the_same() -> None:
    hub = Heard().hub
    with hub.listen() as first, hub.listen() as second:
        first.watch(JID)
        second.watch(JID)
        hub.deliver(RETURN)

        assert tags(first) == tags(second) == [f"salt/job/{JID}/ret/a"]


def test_one_waiter_can_watch_several_jobs() -> None:
    hub = Heard().hub
    with hub.listen() as waiter:
        waiter.watch(JID)
        waiter.watch(OTHER_JID)
        hub.deliver(raw(f"salt/job/{OTHER_JID}/ret/a"))
        hub.deliver(RETURN)

        assert tags(waiter) == [f"salt/job/{OTHER_JID}/ret/a", f"salt/job/{JID}/ret/a"]


def test_a_waiter_that_left_hears_nothing_and_leaves_nothing_behind() -> None:
    hub = Heard().hub
    with hub.listen() as stays:
        stays.watch(JID)
        with hub.listen() as leaves:
            leaves.watch(JID)
            leaves.watch(OTHER_JID)
        hub.deliver(RETURN)

        assert (tags(leaves), tags(stays)) == ([], [f"salt/job/{JID}/ret/a"])
    assert hub.is_idle


def test_events_of_a_job_that_is_being_published_are_kept_in_order() -> None:
    hub = Heard().hub
    with hub.listen() as waiter:
        with hub.keep_early():
            hub.deliver(raw(f"salt/job/{JID}/new"))
            hub.deliver(RETURN)
            waiter.watch(JID)
        hub.deliver(raw(f"salt/job/{JID}/ret/b"))

        assert tags(waiter) == [f"salt/job/{JID}/new", f"salt/job/{JID}/ret/a", f"salt/job/{JID}/ret/b"]


def test_nothing_is_kept_while_nobody_publishes() -> None:
    heard = Heard()
    with heard.hub.listen() as waiter:
        heard.hub.deliver(RETURN)
        waiter.watch(JID)

        assert (tags(waiter), heard.drops) == ([], 0)


def test_early_events_live_until_the_last_publish_is_over() -> None:
    hub = Heard().hub
    with hub.listen() as waiter, hub.keep_early():
        with hub.keep_early():
            hub.deliver(RETURN)
        waiter.watch(JID)

        assert tags(waiter) == [f"salt/job/{JID}/ret/a"]


def test_early_events_are_gone_after_the_publish() -> None:
    hub = Heard().hub
    with hub.keep_early():
        hub.deliver(RETURN)
    with hub.listen() as waiter:
        waiter.watch(JID)

        assert tags(waiter) == []
    assert hub.is_idle


def test_early_events_are_bounded_in_bytes_and_drops_are_counted() -> None:
    heard = Heard(early_limit_bytes=2 * len(RETURN))
    with heard.hub.listen() as waiter, heard.hub.keep_early():
        for _ in range(5):
            heard.hub.deliver(RETURN)
        waiter.watch(JID)

        assert (len(tags(waiter)), heard.drops) == (2, 3)
        heard.hub.deliver(raw(f"salt/job/{OTHER_JID}/ret/a"))
    assert heard.drops == 3  # what was handed over makes room


def test_a_waiter_that_reads_nothing_is_bounded_and_drops_are_counted() -> None:
    heard = Heard(inbox_limit_bytes=2 * len(RETURN))
    with heard.hub.listen() as waiter:
        waiter.watch(JID)
        for _ in range(5):
            heard.hub.deliver(RETURN)

        assert (len(tags(waiter)), heard.drops) == (2, 3)
        heard.hub.deliver(RETURN)
        assert (len(tags(waiter)), heard.drops) == (1, 3)


def test_early_events_that_fill_the_inbox_are_dropped_and_counted() -> None:
    heard = Heard(inbox_limit_bytes=len(RETURN))
    with heard.hub.listen() as waiter, heard.hub.keep_early():
        heard.hub.deliver(RETURN)
        heard.hub.deliver(RETURN)
        waiter.watch(JID)

        assert (len(tags(waiter)), heard.drops) == (1, 1)


def test_states_that_end_wake_nobody_and_take_no_room() -> None:
    heard = Heard()
    taken: list[str] = []
    heard.hub.subscribe(lambda event: taken.append(event.kind))
    with heard.hub.listen() as waiter, heard.hub.keep_early():
        waiter.watch(JID)
        for jid in (JID, OTHER_JID):
            heard.hub.deliver(raw(f"salt/job/{jid}/prog/a/0"))
        waiter.watch(OTHER_JID)

        assert (waiter.waiting, heard.bells[0].empty(), taken) == (0, True, ["job_prog"] * 2)


def test_an_interruption_wakes_every_waiter_even_one_whose_inbox_is_full() -> None:
    hub = Heard(inbox_limit_bytes=0).hub
    with hub.listen() as first, hub.listen() as second:
        first.watch(JID)
        hub.interrupted()

        assert isinstance(first.next(60), Interruption)
        assert isinstance(second.next(60), Interruption)
        assert first.interrupted


def test_a_closed_hub_takes_no_waiters_until_it_opens_again() -> None:
    hub = Heard().hub
    hub.interrupted()

    with pytest.raises(MasterUnreachable, match="event bus is not connected"), hub.listen():
        pass
    assert not hub.is_open
    hub.opened()
    with hub.listen() as waiter:
        assert not waiter.interrupted
    assert hub.is_open


def test_a_waiting_thread_wakes_when_its_event_comes() -> None:
    hub = Heard().hub
    heard: list[Any] = []
    with hub.listen() as waiter:
        waiter.watch(JID)
        thread = threading.Thread(target=lambda: heard.append(waiter.next(60)))
        thread.start()
        hub.deliver(RETURN)
        thread.join(60)

    assert [item.tag for item in heard] == [f"salt/job/{JID}/ret/a"]


def test_a_thread_may_sleep_until_so_many_returns_wait_and_wakes_for_anything_else() -> None:
    heard = Heard()
    hub = heard.hub
    with hub.listen() as waiter:
        (bell,) = heard.bells
        waiter.watch(JID)
        waiter.wake_at(3)
        for _ in range(2):
            hub.deliver(RETURN)

        assert bell.empty()
        hub.deliver(RETURN)
        assert not bell.empty()
        assert (waiter.waiting, len(tags(waiter))) == (3, 3)
        hub.deliver(raw(f"salt/job/{JID}/error"))
        assert not bell.empty()


def test_large_returns_wake_a_thread_before_the_last_one_is_there() -> None:
    heard = Heard(inbox_ring_bytes=2 * len(RETURN))
    hub = heard.hub
    with hub.listen() as waiter:
        (bell,) = heard.bells
        waiter.watch(JID)
        waiter.wake_at(100)
        rung = []
        for _ in range(3):
            hub.deliver(RETURN)
            rung.append(bell.qsize())
        assert rung == [0, 1, 1]  # once, and again when they were taken
        assert len(tags(waiter)) == 3
        for _ in range(2):
            hub.deliver(RETURN)
        assert bell.qsize() == 1


def test_many_threads_each_hear_their_own_job_whole() -> None:
    hub = Heard(early_limit_bytes=10**6).hub
    jids = [f"2026010100000000{number:04}" for number in range(8)]
    heard: dict[str, list[str]] = {}

    def wait_for(jid: str, published: threading.Barrier) -> None:
        with hub.listen() as waiter:
            with hub.keep_early():
                published.wait(10)
                waiter.watch(jid)
            heard[jid] = []
            ends_at = time.monotonic() + 60
            while len(heard[jid]) < 50 and time.monotonic() < ends_at:
                item = waiter.next(1)  # nothing, now and then: a bell may ring for what was taken already
                heard[jid] += [item.tag] if isinstance(item, Event) else []

    barrier = threading.Barrier(len(jids) + 1)
    threads = [threading.Thread(target=wait_for, args=(jid, barrier)) for jid in jids]
    for thread in threads:
        thread.start()
    barrier.wait(10)
    for number in range(50):
        for jid in jids:
            hub.deliver(raw(f"salt/job/{jid}/ret/{number}"))
    for thread in threads:
        thread.join(60)

    assert heard == {jid: [f"salt/job/{jid}/ret/{number}" for number in range(50)] for jid in jids}
    assert hub.is_idle


def test_an_event_is_decoded_only_when_somebody_looks() -> None:
    heard = Heard()
    with heard.hub.listen() as waiter:
        waiter.watch(JID)
        heard.hub.deliver(f"salt/job/{JID}/ret/a".encode() + TAG_END + b"\xc1 no msgpack")
        item = waiter.next(0)

        assert isinstance(item, Event)
        assert (item.jid, item.tag, waiter.believed(item)) == (JID, f"salt/job/{JID}/ret/a", None)


def test_every_event_is_reported_by_type_and_size() -> None:
    heard = Heard()
    heard.hub.deliver(RETURN)
    heard.hub.deliver(b"")

    assert heard.events == [("job_ret", len(RETURN)), ("custom", 0)]


SEGMENT = st.sampled_from(
    [b"salt", b"job", b"run", b"syndic", b"ret", b"new", b"", b"\xff\xfe", JID.encode(), b"x" * 10_000, b"minion", b"presence"]
) | st.binary(max_size=20)
TAG = st.lists(SEGMENT, max_size=6).map(b"/".join) | st.binary(max_size=50)


@given(TAG, st.binary(max_size=50))
def test_any_bytes_have_a_kind_and_disturb_nobody(tag: bytes, payload: bytes) -> None:
    heard = Heard()
    with heard.hub.listen() as waiter, heard.hub.keep_early():
        heard.hub.deliver(tag + TAG_END + payload)
        heard.hub.deliver(RETURN)
        waiter.watch(JID)

        assert tags(waiter)[-1] == f"salt/job/{JID}/ret/a"
    assert heard.events[0][0] in KINDS
