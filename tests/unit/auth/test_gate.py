"""The gate: how many logins go to the master at one time, and how many wait for their turn."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from service.auth.guard import GATE_WAIT_SECONDS
from service.errors import Throttled
from tests.unit.auth.gatehouse import ME, WRONG, Gatehouse


@contextmanager
def inside(house: Gatehouse, count: int, username: str = "me") -> Iterator[threading.Event]:
    """Hold *count* logins at the master, until the event is set or the block ends."""
    entered, release = threading.Semaphore(0), threading.Event()

    def hold(number: int) -> None:
        with house.admit({**ME, "username": username, "password": f"held-{number}"}, f"198.51.100.{number}"):
            entered.release()
            release.wait(10)

    threads = [threading.Thread(target=hold, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for _ in threads:
        assert entered.acquire(timeout=60)
    try:
        yield release
    finally:
        release.set()
        for thread in threads:
            thread.join(60)


def await_waiting(house: Gatehouse, count: int) -> None:
    """Spin until *count* logins wait for their turn."""
    deadline = time.monotonic() + 60
    while house.guard.gates.strangers.waiting != count:
        assert time.monotonic() < deadline


def test_only_a_few_logins_are_at_the_master_at_one_time() -> None:
    house = Gatehouse(burst=10, gate_wait_seconds=0.001)
    house.log_in()
    with inside(house, 2):
        with pytest.raises(Throttled, match="too many logins at one time"), house.admit(WRONG, "192.0.2.9"):
            pass
        house.log_in()  # proven

    house.log_in(WRONG, "192.0.2.9")
    assert house.results()[:3] == ["success", "throttled", "success"]


def test_who_is_where_somebody_has_logged_in_well_does_not_queue_with_strangers() -> None:
    house = Gatehouse(burst=10, concurrency=1, gate_wait_seconds=0.001)
    house.log_in()
    with inside(house, 1):
        house.log_in({**ME, "username": "another"})

    assert "throttled" not in house.results()


def test_a_login_takes_its_turn_when_another_is_done() -> None:
    house = Gatehouse(burst=10)
    with inside(house, 2) as release:
        waiting = threading.Thread(target=house.log_in)
        waiting.start()
        release.set()
        waiting.join(60)

    assert house.results() == ["success"] * 3


def test_a_login_leaves_the_gate_as_soon_as_the_master_has_accepted_it() -> None:
    house = Gatehouse(concurrency=1, gate_wait_seconds=0.001)
    with house.admit(ME, "192.0.2.1") as accepted:
        accepted()
        house.log_in({**ME, "username": "other"})

    assert house.results() == ["success"] * 2


def test_a_login_that_finds_no_turn_costs_nothing() -> None:
    house = Gatehouse(burst=2, concurrency=1, gate_wait_seconds=0.0)
    with inside(house, 1):
        for _ in range(5):
            with pytest.raises(Throttled, match="at one time"), house.admit(ME, "192.0.2.1"):
                pass

    house.fail(ME)
    house.fail(ME)


def test_first_calls_with_good_credentials_do_not_use_up_each_others_allowance() -> None:
    house = Gatehouse(burst=2, concurrency=1)
    with inside(house, 1) as release:
        waiting = [threading.Thread(target=house.log_in) for _ in range(8)]
        for thread in waiting:
            thread.start()
        await_waiting(house, 8)
        release.set()
        for thread in waiting:
            thread.join(60)

    assert house.results() == ["success"] * 9


@pytest.mark.parametrize("who", ["one user", "one address"])
def test_an_attempt_whose_allowance_was_used_up_while_it_waited_is_throttled_and_leaves_the_gate(who: str) -> None:
    house = Gatehouse(burst=1, concurrency=1)
    house.addresses.adjust(1 if who == "one address" else 100, 6)
    results: list[str] = []

    def try_once(number: int) -> None:
        try:
            house.fail({**WRONG, "username": f"user-{number}"} if who == "one address" else WRONG)
            results.append("refused")
        except Throttled:
            results.append("throttled")

    with inside(house, 1, "another") as release:
        waiting = [threading.Thread(target=try_once, args=(number,)) for number in range(4)]
        for thread in waiting:
            thread.start()
        await_waiting(house, 4)
        release.set()
        for thread in waiting:
            thread.join(60)

    assert sorted(results) == ["refused", "throttled", "throttled", "throttled"]
    house.log_in({**ME, "username": "a third"}, "192.0.2.99")


def test_the_queue_before_the_gate_is_bounded() -> None:
    house = Gatehouse(gate_waiting=0)

    with pytest.raises(Throttled, match="too many logins at one time") as caught, house.admit(ME, "192.0.2.1"):
        pass
    assert caught.value.retry_after_seconds == GATE_WAIT_SECONDS
