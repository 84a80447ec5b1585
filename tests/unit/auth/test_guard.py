"""The guard: who pays for a login, who gets it back, and that no credential stays behind."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from service.errors import Forbidden, MasterUnreachable, Throttled, Unauthenticated
from service.gateway.clients.publish import UnclearRefusal
from tests.unit.auth.gatehouse import ME, TOKEN, WRONG, Gatehouse


@pytest.fixture
def house() -> Gatehouse:
    return Gatehouse()


def test_good_logins_cost_nothing(house: Gatehouse) -> None:
    for number in range(20):
        house.log_in({**ME, "password": f"p{number}"})

    assert house.attempts == [("file", "success")] * 20


def test_the_masters_verdict_is_timed_once_and_what_comes_after_it_is_not(house: Gatehouse) -> None:
    with house.admit(ME, "192.0.2.1") as accepted:
        house.now += 2
        accepted()
        house.now += 60
        accepted()
    with pytest.raises(ValueError, match="no answer"), house.admit(ME, "192.0.2.1"):
        raise ValueError("no answer")
    house.fail()

    assert house.decided == [("file", 2.0), ("file", 0.0)]


def test_a_token_that_lived_has_expired_and_one_that_never_did_is_bad(house: Gatehouse) -> None:
    house.log_in({"token": "ab" * 32})
    for token in ("ab" * 32, "cd" * 32):
        house.fail({"token": token}, fault=Unauthenticated("unknown"))

    assert house.results() == ["success", "expired_token", "bad_credentials"]


def test_failed_logins_of_a_user_use_up_its_allowance_from_any_address(house: Gatehouse) -> None:
    for number in range(3):
        house.fail(address=f"192.0.2.{number}")

    with pytest.raises(Throttled, match="too many failed logins") as caught, house.admit(WRONG, "192.0.2.9"):
        pass
    assert caught.value.retry_after_seconds == 10
    assert house.results() == ["bad_credentials"] * 3 + ["throttled"]


def test_failed_logins_of_an_address_use_up_its_allowance_for_any_user(house: Gatehouse) -> None:
    for number in range(6):
        house.fail({**WRONG, "username": f"user-{number}"})

    with pytest.raises(Throttled), house.admit({**ME, "username": "another"}, "192.0.2.1"):
        pass
    house.log_in({**ME, "username": "another"}, "192.0.2.2")


def test_failed_logins_of_many_users_from_many_addresses_add_up() -> None:
    house = Gatehouse(overall=4)
    house.log_in()
    for number in range(4):
        house.fail({**WRONG, "username": f"user-{number}"}, f"192.0.2.{number + 1}")

    with pytest.raises(Throttled) as caught, house.admit({**WRONG, "username": "another"}, "192.0.2.9"):
        pass
    house.log_in()  # proven

    assert caught.value.retry_after_seconds == 5
    assert not house.addresses.wait("192.0.2.9")


def test_who_cannot_pay_all_pays_nothing(house: Gatehouse) -> None:
    for _ in range(100):
        house.newcomers.take("")
    for _ in range(20):
        with pytest.raises(Throttled), house.admit(WRONG, "192.0.2.1"):
            pass
    house.now += 5

    house.fail()


def test_an_address_does_not_pay_for_a_user_that_is_throttled(house: Gatehouse) -> None:
    for number in range(3):
        house.fail(address=f"192.0.2.{number + 10}")
    for _ in range(20):
        with pytest.raises(Throttled), house.admit(WRONG, "192.0.2.1"):
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

    with pytest.raises(Throttled), house.admit(TOKEN, "192.0.2.1"):
        pass
    house.log_in(TOKEN, "192.0.2.2")
    assert house.attempts[-1] == ("token", "success")


def test_credentials_that_worked_pass_though_their_user_and_address_are_throttled(house: Gatehouse) -> None:
    house.log_in()
    for _ in range(3):
        house.fail()

    house.log_in()
    with pytest.raises(Throttled), house.admit(WRONG, "192.0.2.1"):
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

    with pytest.raises(Throttled), house.admit(ME, "192.0.2.1"):
        pass


def test_a_missing_right_is_no_failed_login_and_proves_the_credentials(house: Gatehouse) -> None:
    for _ in range(10):
        house.fail(ME, fault=Forbidden("no right"))

    assert house.results() == ["forbidden"] * 10
    assert house.guard.proven.has(house.guard.proven.digest_of(ME))


def refuse(house: Gatehouse, credentials: Mapping[str, str]) -> type[Exception]:
    """Have the master refuse a runner or wheel call; return what its caller sees."""
    with pytest.raises(Unauthenticated, match="no") as caught, house.admit(credentials, "192.0.2.1"):
        raise UnclearRefusal("no")
    return caught.type


def test_a_refusal_of_bad_credentials_or_of_a_right_is_cleared_up_before_anybody_pays(house: Gatehouse) -> None:
    house.good = [ME]

    assert [refuse(house, ME) for _ in range(10)] == [Forbidden] * 10
    assert house.asked == [ME]  # then they are proven
    assert [refuse(house, WRONG) for _ in range(3)] == [Unauthenticated] * 3
    assert house.results() == ["forbidden"] * 10 + ["bad_credentials"] * 3
    with pytest.raises(Throttled), house.admit(WRONG, "192.0.2.9"):
        pass


def test_a_refusal_that_cannot_be_cleared_up_costs_nothing(house: Gatehouse) -> None:
    house.fault = MasterUnreachable("down")

    assert [refuse(house, ME) for _ in range(10)] == [Unauthenticated] * 10
    assert house.results() == ["error"] * 10
    house.log_in()


def test_the_time_to_clear_a_refusal_up_is_not_the_masters_time_to_decide(house: Gatehouse) -> None:
    refuse(house, WRONG)

    assert house.decided == [("file", 0.0)]


def test_a_proven_callers_refused_call_counts_as_a_missing_right(house: Gatehouse) -> None:
    house.log_in()
    for _ in range(10):
        refuse(house, ME)

    assert house.results() == ["success"] + ["forbidden"] * 10
    house.log_in({**ME, "password": "new"})


def test_a_proven_token_that_has_died_meanwhile_is_told_from_one_without_the_right(house: Gatehouse) -> None:
    house.good = [TOKEN]
    house.log_in(TOKEN)
    alive = refuse(house, TOKEN)
    house.good = []

    assert (alive, refuse(house, TOKEN)) == (Forbidden, Unauthenticated)
    assert house.results() == ["success", "forbidden", "expired_token"]


def test_a_proven_caller_whose_password_the_master_calls_wrong_has_a_bad_one(house: Gatehouse) -> None:
    house.log_in()
    house.fail(ME)

    assert house.results() == ["success", "bad_credentials"]


@pytest.mark.parametrize("fault", [MasterUnreachable("down"), ZeroDivisionError("ours")])
def test_a_call_that_the_master_did_not_judge_costs_nothing(house: Gatehouse, fault: Exception) -> None:
    for _ in range(10):
        house.fail(fault=fault)

    house.log_in()
    assert set(house.results()) <= {"error", "success"}


def test_credentials_without_a_backend_are_reported_as_such(house: Gatehouse) -> None:
    house.log_in({})

    assert house.attempts == [("unknown", "success")]


def test_no_credential_stays_in_memory_or_in_an_exception() -> None:
    house = Gatehouse(burst=1)
    odd = {**ME, "password": "s3cret\ud800"}
    house.log_in(odd)
    house.fail(WRONG)
    with pytest.raises(Throttled) as caught, house.admit({**WRONG, "password": "s3cret-2"}, "192.0.2.1"):
        pass

    parts = house.guard, *vars(house.guard).values(), house.guard.proven, house.users, house.addresses, caught.value
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
    house.guard.forget(house.guard.shown(ME))
    for _ in range(3):
        house.fail()

    with pytest.raises(Throttled), house.admit(ME, "192.0.2.9"):
        pass
