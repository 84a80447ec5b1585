"""The guard: who pays for a login, who gets it back, how many go at one time, and that no credential stays behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from service.auth.guard import GATE_WAIT_SECONDS, Allowances, Guard, TokenDied
from service.errors import Forbidden, MasterUnreachable, Throttled, Unauthenticated
from service.limits import Brake

ME = {"eauth": "file", "username": "me", "password": "s3cret"}
WRONG = {**ME, "password": "guess"}
TOKEN = {"token": "ab" * 32}


class Gatehouse:
    """A guard under a moved clock, and what it told its observer."""

    def __init__(self, *, burst: int = 3, overall: int = 100, concurrency: int = 2, proven_seconds: float = 900, **limits: Any) -> None:
        """limits: of the guard, where they are not its own."""
        self.now = 1000.0
        self.attempts: list[tuple[str, str]] = []
        self.decided: list[tuple[str, float]] = []
        self.addresses = Brake(burst * 2, 6, monotonic=self._monotonic)
        self.users = Brake(burst, 6, monotonic=self._monotonic)
        self.everybody = Brake(overall, 12, monotonic=self._monotonic)
        self.guard = Guard(
            addresses=self.addresses,
            users=self.users,
            everybody=self.everybody,
            concurrency=concurrency,
            proven_seconds=proven_seconds,
            on_attempt=lambda eauth, result: self.attempts.append((eauth, result)),
            on_decided=lambda eauth, seconds: self.decided.append((eauth, seconds)),
            monotonic=self._monotonic,
            **limits,
        )

    def _monotonic(self) -> float:
        return self.now

    def log_in(self, credentials: Mapping[str, str] = ME, address: str = "192.0.2.1") -> None:
        """Go to a master that accepts."""
        with self.guard.admit(credentials, address) as accepted:
            accepted()

    def fail(self, credentials: Mapping[str, str] = WRONG, address: str = "192.0.2.1", fault: Exception | None = None) -> None:
        """Go to a master that refuses; what the guard itself raises comes out."""
        refusal = fault or Unauthenticated("no")
        with pytest.raises(type(refusal)) as caught, self.guard.admit(credentials, address):
            raise refusal
        if caught.value is not refusal:
            raise caught.value

    def results(self) -> list[str]:
        return [result for _, result in self.attempts]


@pytest.fixture
def house() -> Gatehouse:
    return Gatehouse()


def test_good_logins_cost_nothing(house: Gatehouse) -> None:
    for number in range(20):
        house.log_in({**ME, "password": f"p{number}"})

    assert house.attempts == [("file", "success")] * 20


def test_the_masters_verdict_is_timed_once_and_what_comes_after_it_is_not(house: Gatehouse) -> None:
    with house.guard.admit(ME, "192.0.2.1") as accepted:
        house.now += 2
        accepted()
        house.now += 60
        accepted()
    with pytest.raises(ValueError, match="no answer"), house.guard.admit(ME, "192.0.2.1"):
        raise ValueError("no answer")
    house.fail()

    assert house.decided == [("file", 2.0), ("file", 0.0)]


def test_a_token_that_lived_has_expired_and_one_that_never_did_is_bad(house: Gatehouse) -> None:
    house.log_in({"token": "ab" * 32})
    for token in ("ab" * 32, "cd" * 32):
        house.fail({"token": token}, fault=TokenDied("unknown"))

    assert house.results() == ["success", "expired_token", "bad_credentials"]


def test_failed_logins_of_a_user_use_up_its_allowance_from_any_address(house: Gatehouse) -> None:
    for number in range(3):
        house.fail(address=f"192.0.2.{number}")

    with pytest.raises(Throttled, match="too many failed logins") as caught, house.guard.admit(WRONG, "192.0.2.9"):
        pass
    assert caught.value.retry_after_seconds == 10
    assert house.results() == ["bad_credentials"] * 3 + ["throttled"]


def test_failed_logins_of_an_address_use_up_its_allowance_for_any_user(house: Gatehouse) -> None:
    for number in range(6):
        house.fail({**WRONG, "username": f"user-{number}"})

    with pytest.raises(Throttled), house.guard.admit({**ME, "username": "another"}, "192.0.2.1"):
        pass
    house.log_in({**ME, "username": "another"}, "192.0.2.2")


def test_failed_logins_of_many_users_from_many_addresses_add_up() -> None:
    house = Gatehouse(overall=4)
    house.log_in()
    for number in range(4):
        house.fail({**WRONG, "username": f"user-{number}"}, f"192.0.2.{number + 1}")

    with pytest.raises(Throttled) as caught, house.guard.admit({**WRONG, "username": "another"}, "192.0.2.9"):
        pass
    house.log_in()  # proven

    assert caught.value.retry_after_seconds == 5
    assert not house.addresses.wait("192.0.2.9")


def test_who_cannot_pay_all_pays_nothing(house: Gatehouse) -> None:
    allowances, keys = Allowances(house.addresses, house.users, house.everybody), ("192.0.2.1", "me")
    while not house.everybody.wait(""):
        house.everybody.take("")
    for _ in range(20):
        with pytest.raises(Throttled):
            allowances.pay(keys)
    house.now += 5

    allowances.pay(keys)


def test_an_address_does_not_pay_for_a_user_that_is_throttled(house: Gatehouse) -> None:
    for number in range(3):
        house.fail(address=f"192.0.2.{number + 10}")
    for _ in range(20):
        with pytest.raises(Throttled), house.guard.admit(WRONG, "192.0.2.1"):
            pass

    house.log_in({**ME, "username": "another"}, "192.0.2.1")


def test_an_allowance_grows_back(house: Gatehouse) -> None:
    for _ in range(3):
        house.fail()
    house.now += 10

    house.log_in()


def test_tokens_cannot_be_tried_without_end(house: Gatehouse) -> None:
    for number in range(3):
        house.fail({"token": f"{number:064x}"})

    with pytest.raises(Throttled), house.guard.admit(TOKEN, "192.0.2.1"):
        pass
    house.log_in(TOKEN, "192.0.2.2")
    assert house.attempts[-1] == ("token", "success")


def test_credentials_that_worked_pass_though_their_user_and_address_are_throttled(house: Gatehouse) -> None:
    house.log_in()
    for _ in range(3):
        house.fail()

    house.log_in()
    with pytest.raises(Throttled), house.guard.admit(WRONG, "192.0.2.1"):
        pass


def test_credentials_are_proven_for_a_time(house: Gatehouse) -> None:
    house.log_in()
    house.users.adjust(3, 0.001)  # hardly anything grows back
    for _ in range(3):
        house.fail()
    house.now += 899
    house.log_in()  # and proves itself for another 900 s
    house.now += 899
    house.log_in()
    house.now += 901

    with pytest.raises(Throttled), house.guard.admit(ME, "192.0.2.1"):
        pass


def test_a_missing_right_is_no_failed_login_and_proves_the_credentials(house: Gatehouse) -> None:
    for _ in range(10):
        house.fail(ME, fault=Forbidden("no right"))

    assert house.results() == ["forbidden"] * 10
    assert house.guard.proven.has(house.guard.proven.digest_of(ME))


def test_a_proven_callers_refusal_counts_as_a_missing_right(house: Gatehouse) -> None:
    house.log_in()
    for _ in range(10):
        house.fail(ME)

    assert house.results() == ["success"] + ["forbidden"] * 10
    house.log_in({**ME, "password": "new"})


@pytest.mark.parametrize("fault", [MasterUnreachable("down"), ZeroDivisionError("ours")])
def test_a_call_that_the_master_did_not_judge_costs_nothing(house: Gatehouse, fault: Exception) -> None:
    for _ in range(10):
        house.fail(fault=fault)

    house.log_in()
    assert set(house.results()) <= {"error", "success"}


def test_credentials_without_a_backend_are_reported_as_such(house: Gatehouse) -> None:
    house.log_in({})

    assert house.attempts == [("unknown", "success")]


@contextmanager
def inside(house: Gatehouse, count: int, username: str = "me") -> Iterator[threading.Event]:
    """Hold *count* logins at the master, until the event is set or the block ends."""
    entered, release = threading.Semaphore(0), threading.Event()

    def hold(number: int) -> None:
        with house.guard.admit({**ME, "username": username, "password": f"held-{number}"}, f"198.51.100.{number}"):
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
    while house.guard.gate.waiting != count:
        assert time.monotonic() < deadline


def test_only_a_few_logins_are_at_the_master_at_one_time() -> None:
    house = Gatehouse(burst=10, gate_wait_seconds=0.001)
    house.log_in()
    with inside(house, 2):
        with pytest.raises(Throttled, match="too many logins at one time"), house.guard.admit(WRONG, "192.0.2.1"):
            pass
        house.log_in()  # proven

    house.log_in(WRONG)
    assert house.results()[:3] == ["success", "throttled", "success"]


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
    with house.guard.admit(ME, "192.0.2.1") as accepted:
        accepted()
        house.log_in({**ME, "username": "other"})

    assert house.results() == ["success"] * 2


def test_a_login_that_finds_no_turn_costs_nothing() -> None:
    house = Gatehouse(burst=2, concurrency=1, gate_wait_seconds=0.0)
    with inside(house, 1):
        for _ in range(5):
            with pytest.raises(Throttled, match="at one time"), house.guard.admit(ME, "192.0.2.1"):
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

    with pytest.raises(Throttled, match="too many logins at one time") as caught, house.guard.admit(ME, "192.0.2.1"):
        pass
    assert caught.value.retry_after_seconds == GATE_WAIT_SECONDS


def test_the_memory_of_proven_credentials_is_bounded() -> None:
    house = Gatehouse(most_proven=3)
    for number in range(5):
        house.log_in({**ME, "username": f"user-{number}"})

    proven = [house.guard.proven.has(house.guard.proven.digest_of({**ME, "username": f"user-{number}"})) for number in range(5)]
    assert proven == [False, False, True, True, True]


def test_no_credential_stays_in_memory_or_in_an_exception() -> None:
    house = Gatehouse(burst=1)
    odd = {**ME, "password": "s3cret\ud800"}
    house.log_in(odd)
    house.fail(WRONG)
    with pytest.raises(Throttled) as caught, house.guard.admit({**WRONG, "password": "s3cret-2"}, "192.0.2.1"):
        pass

    parts = house.guard, house.guard.gate, house.guard.proven, house.users, house.addresses, caught.value
    state = [*map(vars, parts), caught.value.args, repr(house.guard)]
    assert "s3cret" not in repr(state)
    assert "guess" not in repr(state)
    assert "'me'" not in repr(state)


def test_vouched_credentials_pass_though_the_neighbours_have_used_up_the_allowance(house: Gatehouse) -> None:
    for number in range(6):
        house.fail({**WRONG, "username": f"user-{number}"})
    house.guard.vouch({"token": "fresh"})

    house.log_in({"token": "fresh"})


def test_forgotten_credentials_pay_again(house: Gatehouse) -> None:
    house.guard.vouch(ME)
    house.guard.forget(ME)
    for _ in range(3):
        house.fail()

    with pytest.raises(Throttled), house.guard.admit(ME, "192.0.2.9"):
        pass
