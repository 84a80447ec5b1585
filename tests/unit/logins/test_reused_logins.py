"""Lows with a name and password, while a token may stand for them: whom the master judges, how often, and what callers are told."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest

from service.clients import CLIENTS, Client
from service.errors import Forbidden, MasterTimeout, MasterUnreachable, Unauthenticated
from service.gateway.low import parse_lowstate
from service.logins.reused_logins import UNFIT_EAUTHS, UNFIT_OPTIONS, is_fit
from tests.unit.logins.logins_world import ALICE, DEADLINE_SECONDS, PASSWORD, LoginsWorld, low_of


@pytest.fixture
def world() -> LoginsWorld:
    return LoginsWorld()


def warm(world: LoginsWorld) -> str:
    """Run what makes a token; return it."""
    world.run()
    world.run()
    return list(world.master.tokens)[-1]


def test_credentials_that_the_master_took_become_a_token_that_further_lows_use(world: LoginsWorld) -> None:
    told = [world.run() for _ in range(5)]

    assert world.master.logins == 2
    assert ["password" in shown for shown in world.master.shown] == [True, False, False, False, False]
    assert told == [["accepted"], ["accepted"], *[["reused", "accepted"]] * 3]
    assert world.used == ["first", "miss", "hit", "hit", "hit"]


def test_a_login_is_used_for_the_seconds_of_the_setting_and_no_longer(world: LoginsWorld) -> None:
    warm(world)
    world.clocks.now += 59.0
    world.run()
    world.clocks.now += 1.0
    world.run()

    assert world.used == ["first", "miss", "hit", "miss"]
    assert len(world.master.tokens) == 2


@pytest.mark.parametrize("client", CLIENTS)
def test_with_a_token_a_low_is_what_a_session_would_send(world: LoginsWorld, client: str) -> None:
    token = warm(world)
    (low,) = parse_lowstate(
        {"client": client, "tgt": "*", "fun": "test.ping", "timeout": 3, "kwarg": {"password": "an argument"}, **ALICE}, enabled=CLIENTS, most=1
    )
    world.run(low)

    sent = world.master.lows[-1]
    assert dict(sent.fields) == {"token": token, **{name: value for name, value in low.fields.items() if name not in ALICE}}
    assert (sent.client, sent.fun) == (low.client, low.fun)


def test_without_the_setting_nothing_is_kept() -> None:
    world = LoginsWorld(0.0)
    for _ in range(3):
        world.run()

    assert (world.master.logins, world.used, world.logins.kept()) == (3, [], 0)


@pytest.mark.parametrize(
    "credentials", [{"token": "ab" * 32}, *({**ALICE, "eauth": eauth} for eauth in sorted(UNFIT_EAUTHS)), {**ALICE, "sharedsecret": "more"}]
)
def test_what_a_token_cannot_stand_for_goes_to_the_master_each_time(world: LoginsWorld, credentials: dict[str, Any]) -> None:
    world.master.tokens["ab" * 32] = 1e9
    for _ in range(3):
        world.run(low_of(credentials))

    assert (world.used, world.master.asked_to_make) == ([], [])
    assert world.master.shown == [credentials] * 3


@pytest.mark.parametrize("lacking", ["eauth", "username", "password"])
def test_what_is_no_name_and_password_is_no_login(lacking: str) -> None:
    assert is_fit(ALICE)
    assert not is_fit({name: value for name, value in ALICE.items() if name != lacking})


@pytest.mark.parametrize("name", ["token_expire", "cmd", "key"])
def test_a_field_that_a_login_reads_in_another_way_is_no_credential_to_keep(world: LoginsWorld, name: str) -> None:
    for _ in range(3):
        world.run(low_of({**ALICE, name: "5"}, Client.LOCAL, "test.ping"))

    assert (world.used, world.master.logins) == ([], 3)


@pytest.mark.parametrize("option", UNFIT_OPTIONS)
def test_a_master_whose_tokens_have_other_rights_gets_every_password(option: str) -> None:
    world = LoginsWorld(**{option: True})
    for _ in range(3):
        world.run()

    assert (world.used, world.master.logins) == ([], 3)


def test_a_further_field_makes_other_credentials(world: LoginsWorld) -> None:
    codes = [low_of({**ALICE, "otp": code}, Client.LOCAL, "test.ping") for code in ("1", 1, True, "1")]
    for low in (low_of(client=Client.LOCAL, fun="test.ping"), *codes):
        world.run(low)

    assert world.used == ["first", "first", "first", "first", "miss"]
    assert world.master.asked_to_make[0]["otp"] == "1"


@pytest.mark.parametrize("wrong", [{"password": "wrong"}, {"username": "bob", "password": PASSWORD + " "}, {"username": "nobody"}])
def test_a_wrong_password_after_a_right_one_is_refused_and_never_kept(world: LoginsWorld, wrong: dict[str, str]) -> None:
    warm(world)
    for _ in range(3):
        with pytest.raises(Unauthenticated):
            world.run(low_of({**ALICE, **wrong}))

    assert world.used[2:] == ["first"] * 3
    assert len(world.master.asked_to_make) == 1, "a guess is judged once, as without the setting"


def test_a_password_that_was_changed_is_refused_when_its_login_is_over(world: LoginsWorld) -> None:
    warm(world)
    world.master.passwords["alice"] = "changed"
    world.run()
    world.clocks.now += 60.0
    for _ in range(2):
        with pytest.raises(Unauthenticated):
            world.run()

    assert world.used == ["first", "miss", "hit", "failed", "first"]


def test_a_token_that_is_dead_at_the_master_costs_a_login_and_runs_no_low_twice(world: LoginsWorld) -> None:
    token = warm(world)
    ran: list[bool] = []
    world.master.during_low = lambda: ran.append(True)
    del world.master.tokens[token]
    told = [world.run() for _ in range(3)]

    assert len(ran) == 3
    assert told == [["accepted"], ["accepted"], ["reused", "accepted"]]
    assert world.used == ["first", "miss", "hit", "refused", "miss", "hit"]


def test_a_right_that_is_missing_is_refused_in_the_masters_words_for_the_password(world: LoginsWorld) -> None:
    warm(world)
    world.master.forbidden = {"test.ping"}
    with pytest.raises(Forbidden, match="Authorization error occurred"):
        world.run(low_of(client=Client.LOCAL, fun="test.ping"))
    world.run()

    assert [sorted(shown) for shown in world.master.shown[-3:]] == [["token"], sorted(ALICE), ["token"]], "the token is used on: the password was good"
    assert world.used[2:] == ["hit", "refused", "hit"]


def test_a_refusal_that_may_mean_the_password_ends_the_login(world: LoginsWorld) -> None:
    warm(world)
    world.master.forbidden = {"key.accept"}
    with pytest.raises(Unauthenticated, match="of one kind or the other"):
        world.run(low_of(fun="key.accept"))
    world.run()

    assert world.used[2:] == ["hit", "refused", "first"]


def test_who_gets_no_answer_about_a_token_does_not_use_it_again(world: LoginsWorld) -> None:
    warm(world)
    world.master.forbidden = {"test.ping"}
    world.master.look_up_fault = MasterUnreachable("away")
    with pytest.raises(Forbidden):
        world.run(low_of(client=Client.LOCAL, fun="test.ping"))
    world.run()

    assert world.used[2:] == ["hit", "refused", "miss"]


@pytest.mark.parametrize("fault", [Unauthenticated("the token died meanwhile"), Forbidden("of a later part"), MasterTimeout("too slow")])
def test_a_low_that_the_master_took_is_not_run_again(world: LoginsWorld, fault: Exception) -> None:
    warm(world)

    def fail() -> None:
        raise fault

    world.master.during_low = fail
    with pytest.raises(type(fault)):
        world.run()

    assert world.used == ["first", "miss", "hit"]
    assert len(world.master.shown) == 3


def test_a_token_that_could_die_before_the_low_ends_is_for_lows_that_do_not_wait(world: LoginsWorld) -> None:
    world.master.expire_seconds = DEADLINE_SECONDS - 1
    world.run()
    world.run()
    waits = low_of(client=Client.LOCAL, fun="test.ping")
    told = [world.run(waits), world.run()]

    assert told == [["accepted"], ["reused", "accepted"]]
    assert world.used == ["first", "miss", "short", "hit"]


def test_the_master_is_asked_for_a_token_no_longer_than_the_longest_low_needs_it(world: LoginsWorld) -> None:
    warm(world)

    assert world.master.asked_to_make == [{**ALICE, "token_expire": 60.0 + DEADLINE_SECONDS + 60.0}]


def test_rights_are_asked_for_with_the_password(world: LoginsWorld) -> None:
    world.runner.check_rights(low_of(), lambda: nullcontext(lambda: None))

    assert world.master.shown == [ALICE]
