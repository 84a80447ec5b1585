"""Logins that are kept: one at a time, only so many, ended when it is time, and nothing of them to be seen."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from service.errors import Fault, MasterTimeout, MasterUnreachable, Overloaded
from service.gateway.clients.local import Request
from tests.unit.logins.logins_world import ALICE, PASSWORD, PATIENCE_SECONDS, LoginsWorld, low_of

CALLERS = 8


def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds that another thread does."""
    waited = threading.Event()
    for _ in range(int(PATIENCE_SECONDS / 0.01)):
        if holds():
            return
        waited.wait(0.01)
    raise AssertionError("it never came to that")


def waiting(world: LoginsWorld) -> int:
    return sum(login.lows for login in vars(world.logins)["_kept"].values())


def at_once(world: LoginsWorld) -> list[object]:
    """Run lows of several callers while the first of them logs in; return what they were told, or their faults."""
    world.run()
    world.master.during_login = lambda: until(lambda: waiting(world) == CALLERS)

    def call(_: int) -> object:
        try:
            return world.run()
        except Fault as fault:
            return fault

    with ThreadPoolExecutor(CALLERS) as pool:
        return list(pool.map(call, range(CALLERS)))


def test_callers_who_come_at_once_log_in_once() -> None:
    world = LoginsWorld()
    told = at_once(world)

    assert len(world.master.asked_to_make) == 1
    assert sorted(world.used) == ["first", *["hit"] * (CALLERS - 1), "miss"]
    assert told.count(["accepted"]) == 1


@pytest.mark.parametrize("fault", [MasterUnreachable("away"), MasterTimeout("slow", jid="1"), Overloaded("full", retry_after_seconds=3.0)])
def test_what_a_login_fails_by_is_told_to_each_who_waited_and_tried_again_by_the_next(fault: Fault) -> None:
    world = LoginsWorld()
    world.master.fault = fault
    told = at_once(world)
    world.master.fault = None
    world.master.during_login = lambda: None
    world.run()

    assert [(type(one), str(one), vars(one)) for one in told] == [(type(fault), str(fault), vars(fault))] * CALLERS
    assert len({id(one) for one in told}) == CALLERS, "what one request adds to its fault is not in another's"
    assert (len(world.master.asked_to_make), world.used[-1]) == (2, "miss")


def test_without_a_token_all_show_their_password_and_nobody_asks_for_one_again() -> None:
    world = LoginsWorld()
    world.master.makes_tokens = False
    told = at_once(world)
    world.run()

    assert told == [["accepted"]] * CALLERS
    assert len(world.master.asked_to_make) == 1
    assert world.used == ["first", *["failed"] * (CALLERS + 1)]


def test_who_waits_for_a_login_waits_no_longer_than_the_master_may_take() -> None:
    world = LoginsWorld(wait_seconds=0.0)
    world.run()
    world.master.during_login = lambda: until(lambda: bool(late))
    late: list[Fault] = []

    def waits() -> None:
        until(lambda: waiting(world) == 1)
        with pytest.raises(MasterTimeout, match="a login with the same credentials is under way") as caught:
            world.run()
        late.append(caught.value)

    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(waits)
        world.run()
        done.result(PATIENCE_SECONDS)

    assert world.used == ["first", "miss"]


def test_a_bug_in_a_login_leaves_nobody_waiting() -> None:
    world = LoginsWorld()
    world.run()

    def broken() -> None:
        raise ZeroDivisionError

    world.master.during_login = broken
    with pytest.raises(ZeroDivisionError):
        world.run()

    assert (world.logins.kept(), waiting(world)) == (0, 0)


def test_one_user_has_only_so_many_and_others_have_theirs() -> None:
    world = LoginsWorld(most_of_a_user=2)
    alices = [low_of({**ALICE, "otp": number}, fun="test.ping", client=low_of().client.LOCAL) for number in range(3)]
    for low in (*alices, *alices, low_of({**ALICE, "username": "bob"}), low_of({**ALICE, "username": "bob"})):
        world.run(low)

    assert world.used == ["first"] * 3 + ["miss", "miss", "full", "first", "miss"]
    assert world.logins.kept() == 3


def test_spellings_of_a_name_share_the_room_of_one() -> None:
    world = LoginsWorld(most_of_a_user=1)
    world.master.passwords |= {"Alice": PASSWORD, "ALICE ": PASSWORD}
    for name in ("alice", "Alice", "ALICE "):
        world.run(low_of({**ALICE, "username": name}))
        world.run(low_of({**ALICE, "username": name}))

    assert world.used == ["first", "miss", "first", "full", "first", "full"]


def test_all_users_together_have_only_so_many() -> None:
    world = LoginsWorld(most=1)
    for name in ("alice", "bob"):
        world.run(low_of({**ALICE, "username": name}))
        world.run(low_of({**ALICE, "username": name}))

    assert world.used == ["first", "miss", "first", "full"]


def test_a_token_whose_time_is_over_is_removed_though_nobody_calls() -> None:
    world = LoginsWorld(0.05)
    world.run()
    world.run()
    world.clocks.now += 0.05

    until(lambda: world.given_up == ["removed"])
    assert world.master.discarded == list(world.master.tokens)
    assert world.logins.kept() == 0
    world.logins.stop(PATIENCE_SECONDS)


def test_a_token_in_use_is_not_removed_before_its_low_has_ended() -> None:
    world = LoginsWorld()
    world.run()
    world.run()

    def over() -> None:
        world.logins.adjust(60.0, 1.0)
        world.run()
        assert world.master.discarded == []

    def once() -> None:
        world.master.during_low = lambda: None
        over()

    world.master.during_low = once
    world.run()

    until(lambda: world.master.discarded == [f"{1:064x}"])
    assert world.used == ["first", "miss", "hit", "miss"]
    world.logins.stop(PATIENCE_SECONDS)


def test_a_reload_ends_all_logins_and_takes_the_new_limits() -> None:
    world = LoginsWorld()
    world.run()
    world.run()
    world.logins.adjust(5.0, 10.0)
    world.run()
    world.logins.adjust(0.0, 10.0)
    world.run()

    until(lambda: len(world.master.discarded) == 2)
    assert world.used == ["first", "miss", "miss"]
    assert world.master.asked_to_make[1]["token_expire"] == 75.0
    world.logins.stop(PATIENCE_SECONDS)


@pytest.mark.parametrize("fault", [None, MasterUnreachable("away")])
def test_a_reload_while_somebody_logs_in_leaves_the_login_to_them_alone(fault: Fault | None) -> None:
    world = LoginsWorld()
    world.run()
    world.master.fault = fault
    world.master.during_login = lambda: world.logins.adjust(60.0, 1.0)
    if fault is None:
        world.run()
    else:
        with pytest.raises(MasterUnreachable):
            world.run()
    world.master.fault = None
    world.run()

    assert world.used[-1] == "miss"
    assert len(world.master.asked_to_make) == 2
    world.logins.stop(PATIENCE_SECONDS)


def test_a_refusal_of_a_token_that_a_reload_has_ended_says_nothing_of_the_next() -> None:
    world = LoginsWorld()
    world.run()
    world.run()
    shown = world.logins.shown(ALICE)
    world.logins.adjust(60.0, 1.0)
    world.run()
    world.logins.refused(shown, "0" * 64)
    world.run()

    assert world.used == ["first", "miss", "miss", "refused", "hit"]
    world.logins.stop(PATIENCE_SECONDS)


def test_at_the_end_every_token_is_given_up_those_in_use_too() -> None:
    world = LoginsWorld()
    world.master.shares_folder = False
    world.run()
    world.run()
    world.run(low_of({**ALICE, "username": "bob"}))
    world.run(low_of({**ALICE, "username": "bob"}))
    world.master.during_low = lambda: world.logins.stop(PATIENCE_SECONDS)
    world.run()

    assert sorted(world.master.discarded) == sorted(world.master.tokens)
    assert world.given_up == ["left", "left"]


def test_a_bug_while_tokens_are_removed_is_told_and_does_not_end_the_thread() -> None:
    world = LoginsWorld()
    world.run()
    world.run()
    world.master.discard = lambda token: bool(1 // len(token[:0]))  # type: ignore[method-assign]
    world.logins.adjust(60.0, 1.0)
    until(lambda: world.crashed == [True])
    world.run()
    del world.master.discard
    world.logins.adjust(60.0, 1.0)

    until(lambda: world.given_up == ["removed"])
    world.logins.stop(PATIENCE_SECONDS)


def test_nothing_kept_shows_the_password_or_the_token() -> None:
    world = LoginsWorld()
    world.run()
    world.run()
    (login,) = vars(world.logins)["_kept"].values()
    kept = repr((login, vars(world.logins)))

    assert login.token
    assert login.token not in kept
    assert PASSWORD not in kept
    assert PASSWORD not in repr(vars(login))


def test_another_process_knows_the_same_credentials_by_another_name() -> None:
    assert LoginsWorld().logins.shown(ALICE).digest != LoginsWorld().logins.shown(ALICE).digest


def test_a_request_that_nobody_listens_to_is_run_all_the_same() -> None:
    world = LoginsWorld()
    for _ in range(3):
        assert world.runner.run(low_of(), Request("", world.clocks.now)).outcome == "ok"

    assert world.used == ["first", "miss", "hit"]
