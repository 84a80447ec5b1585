"""The batcher: order, bounds, who may hurry it, a handler that raises, and the end."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from service.batcher import Batcher

SECONDS = 60.0


class Handler:
    """Keeps the batches; raises for what is in `bad`, and waits while it is not `free`."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.crashed: list[list[str]] = []
        self.bad: set[str] = set()
        self.free = threading.Event()
        self.free.set()
        self.called = threading.Semaphore(0)
        self.ended = 0

    def __call__(self, batch: list[str]) -> None:
        self.batches.append(batch)
        self.called.release()
        assert self.free.wait(SECONDS)
        if self.bad & set(batch):
            raise ValueError(batch)

    def end(self) -> None:
        self.ended += 1

    def wait(self) -> list[str]:
        """Wait for the next batch."""
        assert self.called.acquire(timeout=SECONDS)
        return self.batches[-1]

    @property
    def items(self) -> list[str]:
        return [item for batch in self.batches for item in batch]


@pytest.fixture
def handler() -> Iterator[Handler]:
    one = Handler()
    yield one
    one.free.set()


def make(handler: Handler, **changes: Any) -> Batcher[str]:
    return Batcher("batcher", **{"handle": handler, "limit_items": 100, "on_crash": handler.crashed.append, "at_end": handler.end, **changes})


def busy(handler: Handler, **changes: Any) -> Batcher[str]:
    """Return a batcher that handles one item and cannot go on."""
    handler.free.clear()
    batcher = make(handler, **changes)
    assert batcher.put("first", size=10)
    assert handler.wait() == ["first"]
    return batcher


def test_items_are_handled_in_order_and_all_of_them_before_the_end(handler: Handler) -> None:
    batcher = make(handler, most_at_once=7)
    for number in range(50):
        batcher.put(str(number))

    assert batcher.stop(SECONDS) == 0
    assert handler.items == [str(number) for number in range(50)]
    assert max(map(len, handler.batches)) <= 7
    assert (handler.ended, batcher.running, batcher.waiting) == (1, False, 0)


def test_what_one_thread_puts_stays_in_order_among_many(handler: Handler) -> None:
    batcher = make(handler, limit_items=10_000)
    threads = [threading.Thread(target=lambda name=name: [batcher.put(f"{name}{number:03}") for number in range(200)]) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)

    assert batcher.stop(SECONDS) == 0
    assert len(handler.items) == 800
    for name in "abcd":
        assert [item for item in handler.items if item[0] == name] == [f"{name}{number:03}" for number in range(200)]


def test_items_that_do_not_fit_are_refused_and_those_in_work_count(handler: Handler) -> None:
    batcher = busy(handler, limit_items=3)

    assert [batcher.put(item) for item in "abc"] == [True, True, False]
    assert batcher.waiting == 3
    assert [batcher.put("for nothing", items=0), batcher.put("too many", items=2)] == [True, False]
    handler.free.set()
    assert batcher.stop(SECONDS) == 0
    assert handler.items == ["first", "a", "b", "for nothing"]


def test_bytes_that_do_not_fit_are_refused(handler: Handler) -> None:
    batcher = busy(handler, limit_bytes=100)

    assert [batcher.put(item, size=size) for item, size in (("a", 91), ("b", 90), ("c", 1), ("d", 0))] == [False, True, False, True]
    assert batcher.waiting_bytes == 100
    handler.free.set()
    assert batcher.stop(SECONDS) == 0
    assert (handler.items, batcher.waiting_bytes) == (["first", "b", "d"], 0)


def test_a_handler_can_make_room_before_it_returns() -> None:
    batcher: Batcher[str]
    seen: list[tuple[int, int]] = []

    def handle(batch: list[str]) -> None:
        batcher.release(1, 10)
        seen.append((batcher.waiting, batcher.waiting_bytes))

    batcher = Batcher("batcher", handle, limit_items=10, on_crash=lambda _: None, lazy=False)
    for item in "ab":
        batcher.put(item, size=10)
    batcher.start()

    assert batcher.stop(SECONDS) == 0
    assert seen == [(1, 10)]
    assert (batcher.waiting, batcher.waiting_bytes) == (0, 0)


def test_a_handler_that_raises_costs_its_batch_and_frees_its_place(handler: Handler) -> None:
    handler.bad = {"bad"}
    batcher = make(handler, limit_items=1)
    batcher.put("bad")
    handler.wait()
    while batcher.waiting:
        threading.Event().wait(0.001)

    assert batcher.put("good")
    assert batcher.stop(SECONDS) == 0
    assert (handler.items, handler.crashed) == (["bad", "good"], [["bad"]])


def test_items_linger_for_company_until_one_is_urgent(handler: Handler) -> None:
    batcher = make(handler, linger_seconds=SECONDS * 10)
    batcher.put("a")
    batcher.put("b", urgent=True)

    assert handler.wait() == ["a", "b"]
    assert batcher.stop(SECONDS) == 0


@pytest.mark.parametrize(
    ("bounds", "size"),
    [({"limit_items": 5}, 0), ({"limit_bytes": 50.0}, 10), ({"most_at_once": 3}, 0)],
    ids=["half of the items", "half of the bytes", "a full batch"],
)
def test_a_full_batch_and_a_half_full_queue_do_not_linger(handler: Handler, bounds: dict[str, Any], size: int) -> None:
    batcher = make(handler, linger_seconds=SECONDS * 10, **bounds)
    for item in "abc":
        batcher.put(item, size=size)

    assert handler.wait() == ["a", "b", "c"]
    assert batcher.stop(SECONDS) == 0


def test_what_did_not_fit_into_a_batch_does_not_linger_either(handler: Handler) -> None:
    batcher = make(handler, most_at_once=2, linger_seconds=SECONDS * 10, lazy=False)
    for item in "abcde":
        batcher.put(item)
    batcher.start()

    assert [handler.called.acquire(timeout=SECONDS) for _ in range(3)] == [True] * 3
    assert batcher.stop(SECONDS) == 0
    assert handler.batches == [["a", "b"], ["c", "d"], ["e"]]


def test_with_a_pace_the_first_item_goes_at_once_and_the_next_ones_together(handler: Handler) -> None:
    batcher = make(handler, pace_seconds=SECONDS * 10)
    batcher.put("first")
    assert handler.wait() == ["first"]
    for item in "abc":
        batcher.put(item)
    assert batcher.waiting >= 3
    batcher.put("d", urgent=True)

    assert handler.wait() == ["a", "b", "c", "d"]
    assert batcher.stop(SECONDS) == 0


def test_stopping_waits_for_neither_linger_nor_pace(handler: Handler) -> None:
    batcher = make(handler, linger_seconds=SECONDS * 10, pace_seconds=SECONDS * 10)
    batcher.put("a")

    assert batcher.stop(SECONDS) == 0
    assert handler.items == ["a"]


def test_without_items_the_handler_is_called_now_and_then_if_it_wants_to_be(handler: Handler) -> None:
    batcher = make(handler, idle_seconds=lambda: 0.001, lazy=False)
    assert not batcher.running
    batcher.start()

    assert [handler.wait(), handler.wait()] == [[], []]
    assert batcher.stop(SECONDS) == 0


def test_the_end_has_a_deadline_and_says_what_is_left(handler: Handler) -> None:
    batcher = busy(handler)
    batcher.put("a")

    assert batcher.stop(0.01) == 2
    assert not batcher.put("late")
    assert (handler.ended, batcher.running) == (0, True)
    handler.free.set()
    assert batcher.stop(SECONDS) == 0
    assert (handler.items, handler.ended) == (["first", "a"], 1)


def test_a_batcher_that_never_began_ends_at_once_and_says_what_is_left(handler: Handler) -> None:
    batcher = make(handler, lazy=False)
    batcher.put("a")

    assert batcher.stop(SECONDS) == 1
    assert (handler.batches, handler.ended) == ([], 0)


def test_its_own_handler_may_stop_it() -> None:
    batcher: Batcher[str]
    left: list[int] = []
    batcher = Batcher("batcher", lambda _batch: left.append(batcher.stop(SECONDS)), limit_items=10, on_crash=lambda _: None)
    batcher.put("a")

    assert batcher.stop(SECONDS) == 0
    assert left == [1]


def test_a_forked_child_begins_with_nothing_and_can_go_on(handler: Handler) -> None:
    handlers = [handler]

    def handle(batch: list[str]) -> None:
        handlers[-1](batch)

    batcher = busy(handler, handle=handle)
    batcher.put("parent's")

    batcher.after_fork()

    assert (batcher.waiting, batcher.running) == (0, False)
    child = Handler()
    handlers.append(child)
    assert batcher.put("child's")
    assert child.wait() == ["child's"]
    assert batcher.stop(SECONDS) == 0


def test_who_has_not_started_the_thread_can_handle_what_waits(handler: Handler) -> None:
    batcher = make(handler, lazy=False)
    batcher.put("a")
    batcher.put("b")

    batcher.handle_waiting()
    batcher.handle_waiting()

    assert handler.batches == [["a", "b"], []]
    assert not batcher.running
