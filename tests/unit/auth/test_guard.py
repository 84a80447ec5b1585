"""The guard: failures are paid in advance, a few at a time reach the master, and what it accepted passes."""

from __future__ import annotations

import threading

import pytest

from service.auth import guard as module
from service.auth.guard import Guard
from service.errors import BadRequest, Forbidden, Throttled, Unauthenticated
from service.limits import Brake

GOOD = {"eauth": "pam", "username": "alice", "password": "secret"}
BAD = {**GOOD, "password": "guess"}
HERE, THERE = "192.0.2.1", "192.0.2.2"


def guard(*, addresses: int = 100, users: int = 100, concurrency: int = 2) -> tuple[Guard, list[tuple[str, str]]]:
    seen: list[tuple[str, str]] = []
    clock = lambda: 1000.0  # noqa: E731 - time stands still
    made = Guard(
        addresses=Brake(addresses, 1.0, monotonic=clock),
        users=Brake(users, 1.0, monotonic=clock),
        concurrency=concurrency,
        proven_seconds=60.0,
        on_attempt=lambda eauth, result: seen.append((eauth, result)),
        monotonic=clock,
    )
    return made, seen


def fail(here: Guard, credentials: dict[str, str] = BAD, address: str = HERE) -> None:
    with pytest.raises(Unauthenticated), here.admit(credentials, address):
        raise Unauthenticated("no")


def test_failures_of_an_address_are_counted_over_all_users() -> None:
    here, seen = guard(addresses=2)
    fail(here)
    fail(here, {**BAD, "username": "bob"})

    with pytest.raises(Throttled), here.admit({**BAD, "username": "carol"}, HERE):
        pass
    fail(here, address=THERE)
    assert [result for _, result in seen] == ["bad_credentials", "bad_credentials", "throttled", "bad_credentials"]


def test_failures_of_a_user_are_counted_over_all_addresses_and_cost_the_address_nothing_more() -> None:
    here, _ = guard(addresses=2, users=1)
    fail(here)

    for _ in range(5):
        with pytest.raises(Throttled), here.admit(BAD, THERE):
            pass
    fail(here, {**BAD, "username": "bob"}, THERE)


def test_what_the_master_accepted_is_not_braked_any_more() -> None:
    here, seen = guard(addresses=1)
    with here.admit(GOOD, HERE) as accepted:
        accepted()
    fail(here)

    for _ in range(5):
        with here.admit(GOOD, HERE):
            pass
    assert seen[-1] == ("pam", "success")


def test_a_missing_right_is_no_failure_and_proves_the_credentials() -> None:
    here, seen = guard(addresses=1)

    for _ in range(3):
        with pytest.raises(Forbidden), here.admit(GOOD, HERE):
            raise Forbidden("no right")
    assert seen == [("pam", "forbidden")] * 3


def test_a_refusal_of_proven_credentials_is_a_missing_right() -> None:
    here, seen = guard()
    here.vouch({"token": "ab"})

    with pytest.raises(Unauthenticated), here.admit({"token": "ab"}, HERE):
        raise Unauthenticated("no")
    assert seen == [("token", "forbidden")]


def test_a_call_that_the_master_did_not_judge_costs_nothing() -> None:
    here, seen = guard(addresses=1)

    for _ in range(3):
        with pytest.raises(BadRequest), here.admit(GOOD, HERE):
            raise BadRequest("odd")
    assert seen == [("pam", "error")] * 3


def test_only_so_many_authenticate_at_one_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GATE_WAIT_SECONDS", 0.01)
    here, _ = guard(concurrency=1)

    with here.admit(GOOD, HERE), pytest.raises(Throttled, match="at one time"), here.admit(BAD, HERE):
        pass
    with here.admit(BAD, HERE):
        pass


def test_no_endless_queue_waits_for_its_turn() -> None:
    here, _ = guard()
    here._queue = threading.Semaphore(0)

    with pytest.raises(Throttled, match="at one time"), here.admit(GOOD, HERE):
        pass


def test_what_is_remembered_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_PROVEN", 3)
    here, _ = guard()
    for number in range(5):
        here.vouch({"token": str(number)})

    assert len(here._proven) == 3


def test_forgotten_credentials_pay_again() -> None:
    here, _ = guard(addresses=1)
    here.vouch(GOOD)
    here.forget(GOOD)
    fail(here)

    with pytest.raises(Throttled), here.admit(GOOD, HERE):
        pass
