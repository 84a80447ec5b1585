"""Sessions ask the master seldom, believe it shortly, and let nobody guess."""

from __future__ import annotations

import pytest

from service.auth.sessions import token_of
from service.errors import BadRequest, MasterTimeout, MasterUnreachable, Overloaded, Throttled, Unauthenticated
from service.http.access import Access
from service.http.request_info import ENVIRON_KEY
from service.limits import Holder
from tests.unit.auth.world import GOOD, OTHER, SOMEBODY, TOKEN, request, world


def test_a_session_tells_whose_it_is_and_the_log_line_too() -> None:
    environ = request(x_auth_token=TOKEN)
    session = world().sessions.of(environ)

    assert (session.identity.user, session.identity.eauth, session.identity.groups, session.start, session.expire) == ("alice", "pam", ("ops",), 900.0, 2000.0)
    assert session.identity.perms == [".*", "test.*"]
    assert environ[ENVIRON_KEY].who == {"user.name": "alice", "auth.eauth": "pam", "auth.session": session.digest}
    assert TOKEN not in repr(session)


def test_who_may_do_everything_sees_everything_and_so_may_others_by_name() -> None:
    few = {"pam": {"alice": ["test.*"]}}
    one, other = world(rights=few), world(rights=few, see_all=("alice",))

    assert world().sessions.of(request(x_auth_token=TOKEN)).identity.sees_everything
    assert not one.sessions.of(request(x_auth_token=TOKEN)).identity.sees_everything
    assert other.sessions.of(request(x_auth_token=TOKEN)).identity.sees_everything


@pytest.mark.parametrize(("entry", "user", "sees"), [("pam:al", "al", True), ("al", "al", True), ("file:al", "al", False), ("file:al", "file:al", False)])
def test_who_sees_everything_by_name_is_a_user_of_one_eauth_module(entry: str, user: str, *, sees: bool) -> None:
    here = world(rights={}, see_all=(entry,))
    here.tokens.name = user

    assert here.sessions.of(request(x_auth_token=TOKEN)).identity.sees_everything is sees


def test_the_master_is_asked_again_after_some_seconds() -> None:
    here = world()

    for moment in (1000.0, 1004.9, 1005.1, 1009.9):
        here.clock.now = moment
        here.sessions.of(request(x_auth_token=TOKEN))

    assert here.tokens.asked == 2


def test_sessions_that_are_alive_are_counted() -> None:
    here = world()
    here.sessions.of(request(x_auth_token=TOKEN))
    assert here.sessions.active() == 1
    here.clock.now = 2001.0

    assert here.sessions.active() == 0


def test_nothing_is_remembered_when_the_settings_say_so() -> None:
    here = world(cache_seconds=0)

    for _ in range(3):
        here.sessions.of(request(x_auth_token=TOKEN))

    assert here.tokens.asked == 3


def test_a_token_dies_on_time_though_it_is_remembered() -> None:
    here = world()
    here.tokens.alive[TOKEN] = 1002.0
    here.sessions.of(request(x_auth_token=TOKEN))
    del here.tokens.alive[TOKEN]
    here.clock.now = 1002.5

    with pytest.raises(Unauthenticated, match="the session is over"):
        here.sessions.of(request(x_auth_token=TOKEN))


def test_a_request_without_a_session_has_none() -> None:
    here = world()

    assert here.sessions.find(request()) is None
    with pytest.raises(Unauthenticated, match="No session"):
        here.sessions.of(request())
    assert here.sessions.find(request(x_auth_token=TOKEN)) is not None


@pytest.mark.parametrize("fault", [MasterUnreachable("down"), MasterTimeout("slow")])
def test_a_master_that_cannot_say_is_no_refusal_and_no_guess(fault: Exception) -> None:
    here = world(burst=1)
    here.tokens.fault = fault

    for _ in range(3):
        with pytest.raises(type(fault)):
            here.sessions.of(request(x_auth_token=TOKEN))
    here.tokens.fault = None
    assert here.sessions.of(request(x_auth_token=TOKEN)).identity.user == "alice"


def test_a_remembered_session_outlives_a_short_absence_of_the_master() -> None:
    here = world()
    here.sessions.of(request(x_auth_token=TOKEN))
    here.tokens.fault = MasterUnreachable("down")

    assert here.sessions.of(request(x_auth_token=TOKEN)).identity.user == "alice"


def test_guessing_is_braked() -> None:
    here = world(burst=2)
    for number in range(2):
        with pytest.raises(Unauthenticated):
            here.sessions.of(request(x_auth_token=f"{number:064x}"))

    with pytest.raises(Throttled):
        here.sessions.of(request(x_auth_token=f"{9:064x}"))
    assert here.tokens.asked == 2


def test_the_same_dead_token_again_is_no_further_guess() -> None:
    here = world(burst=1)
    dead = "0" * 64

    for _ in range(20):
        here.clock.now += 2.0
        with pytest.raises(Unauthenticated):
            here.sessions.of(request(x_auth_token=dead))

    assert here.tokens.asked < 10


def test_a_dead_token_pays_again_after_a_long_time_and_may_even_come_back() -> None:
    here = world(burst=1)
    with pytest.raises(Unauthenticated):
        here.sessions.of(request(x_auth_token="0" * 64))
    here.tokens.alive["0" * 64] = 9000.0
    here.clock.now += 700.0

    assert here.sessions.of(request(x_auth_token="0" * 64)).identity.user == "alice"


def test_a_token_that_died_is_no_longer_let_past_the_brakes() -> None:
    here = world(burst=1, cache_seconds=0)
    here.sessions.of(request(x_auth_token=TOKEN))
    del here.tokens.alive[TOKEN]
    with pytest.raises(Unauthenticated):
        here.sessions.of(request(x_auth_token=TOKEN))

    assert not here.guard.proven.has(here.guard.proven.digest_of({"token": TOKEN}))


def test_a_fresh_token_passes_though_the_neighbours_have_used_up_the_allowance() -> None:
    here = world(burst=1)
    here.sessions.login(GOOD, request())
    with pytest.raises(Unauthenticated):
        here.sessions.of(request(x_auth_token="0" * 64))
    here.clock.now += 6.0

    assert here.sessions.of(request(x_auth_token=OTHER)).identity.user == "alice"
    with here.guard.admit(here.guard.shown({"token": OTHER}), "192.0.2.1"):
        pass


def test_a_login_is_remembered_and_told_to_the_log_line() -> None:
    here, environ = world(), request()
    session = here.sessions.login({**GOOD, "otp": "1"}, environ)

    assert here.sessions.of(request(x_auth_token=session.token)) == session
    assert here.tokens.asked == 0
    assert environ[ENVIRON_KEY].who["user.name"] == "alice"


@pytest.mark.parametrize("credentials", [None, [], "x", 1])
def test_a_login_is_an_object(credentials: object) -> None:
    with pytest.raises(BadRequest):
        world().sessions.login(credentials, request())


def test_wrong_logins_are_braked_whatever_else_they_carry() -> None:
    here = world(burst=2)
    for number in range(2):
        with pytest.raises(Unauthenticated):
            here.sessions.login({**GOOD, "password": f"guess {number}", "token": f"{number:064x}"}, request())

    with pytest.raises(Throttled):
        here.sessions.login({**GOOD, "password": "guess 3", "token": f"{3:064x}"}, request())


def test_logout_ends_the_session_at_once_and_is_told() -> None:
    here = world()
    session = here.sessions.of(request(x_auth_token=TOKEN))

    assert here.sessions.logout(session, request()) == "here"

    with pytest.raises(Unauthenticated):
        here.sessions.of(request(x_auth_token=TOKEN))
    assert here.revoked == [(session, "here")]


def test_a_look_up_that_was_under_way_does_not_bring_the_session_back() -> None:
    here = world(cache_seconds=0.001)
    session = here.sessions.of(request(x_auth_token=TOKEN))
    here.clock.now += 1.0
    here.tokens.during_look_up = lambda: here.sessions.logout(session, request())
    here.sessions.of(request(x_auth_token=TOKEN))
    here.tokens.during_look_up = lambda: None

    with pytest.raises(Unauthenticated):
        here.sessions.of(request(x_auth_token=TOKEN))


def test_a_look_up_needs_a_slot_and_a_remembered_session_none() -> None:
    here = world(slots=1)
    here.sessions.of(request(x_auth_token=TOKEN))

    with here.slots.take(SOMEBODY):
        here.sessions.of(request(x_auth_token=TOKEN))
        here.clock.now += 10
        with pytest.raises(Overloaded):
            here.sessions.of(request(x_auth_token=TOKEN))


def test_who_has_not_authenticated_takes_no_slot_from_who_has() -> None:
    here = world(slots=1, burst=10**6)
    here.sessions.of(request(x_auth_token=TOKEN))
    here.clock.now += 10

    with here.strangers.take("192.0.2.9"):
        for unproven in (OTHER, "ef" * 32):
            with pytest.raises(Throttled):
                here.sessions.of(request(x_auth_token=unproven))
        with pytest.raises(Throttled):
            here.sessions.login(GOOD, request())
        assert here.sessions.of(request(x_auth_token=TOKEN)).identity.user == "alice"


def test_what_a_call_counts_to_is_the_user_behind_it_once_the_master_has_said_so() -> None:
    here = world(burst=10**6)
    before = [here.sessions.holder_of(here.guard.shown(credentials), "2001:db8::1") for credentials in ({"token": TOKEN}, GOOD)]
    here.sessions.of(request(x_auth_token=TOKEN))
    session = here.sessions.login({**GOOD, "username": " Alice"}, request())

    assert [holder.proven for holder in before] == [False, False]
    assert {holder.address for holder in before} == {"2001:db8::/64"}
    shown = [{"token": TOKEN}, {"token": session.token}, {**GOOD, "username": " Alice"}]
    assert {here.sessions.holder_of(here.guard.shown(credentials), "192.0.2.1") for credentials in shown} == {Holder("192.0.2.1/32", "user pam:alice")}
    here.sessions.logout(session, request())
    assert not here.sessions.holder_of(here.guard.shown({"token": session.token}), "192.0.2.1").proven


def test_what_is_remembered_has_an_end() -> None:
    here = world(burst=10**6, most_remembered=3)
    alive, dead = ([f"{number:x}" * 64 for number in numbers] for numbers in (range(5), range(5, 10)))
    here.tokens.alive.update(dict.fromkeys(alive, 2000.0))
    for token in alive:
        here.sessions.of(request(x_auth_token=token))
    for token in dead:
        with pytest.raises(Unauthenticated):
            here.sessions.of(request(x_auth_token=token))

    assert here.sessions.active() == 3
    here.tokens.asked = 0
    for token in reversed(dead):
        with pytest.raises(Unauthenticated):
            here.sessions.of(request(x_auth_token=token))
    assert here.tokens.asked == 2


def test_a_user_may_be_bound_to_addresses() -> None:
    here = world(access=Access(users={"alice": ["198.51.100.0/24"]}))

    with pytest.raises(Unauthenticated, match="may not call from this address"):
        here.sessions.of(request(x_auth_token=TOKEN))
    with pytest.raises(Unauthenticated, match="may not call from this address"):
        here.sessions.login(GOOD, request())
    assert here.sessions.of(request("198.51.100.7", x_auth_token=TOKEN)).identity.user == "alice"


def test_credentials_inside_a_low_are_bound_too() -> None:
    here = world(access=Access(users={"alice": ["198.51.100.0/24"]}))

    for credentials in (GOOD, {"token": TOKEN}, {"eauth": "pam"}):
        with pytest.raises(Unauthenticated, match="may not call from this address"):
            here.sessions.admit(credentials, "192.0.2.1")
    here.sessions.admit(GOOD, "198.51.100.7")
    here.sessions.admit({"token": TOKEN}, "198.51.100.7")


def test_nobody_is_looked_up_for_a_list_that_is_empty() -> None:
    here = world()
    here.sessions.admit({"token": TOKEN}, "192.0.2.1")

    assert here.tokens.asked == 0


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"x_auth_token": ""}, None),
        ({"x_auth_token": "  "}, None),
        ({"x_auth_token": "anything"}, "anything"),
        ({"x_auth_token": "", "cookie": f"session_id={TOKEN}"}, TOKEN),
        ({"x_auth_token": OTHER, "cookie": f"session_id={TOKEN}"}, OTHER),
        ({"authorization": f"Bearer {TOKEN}"}, TOKEN),
        ({"authorization": f"bearer   {TOKEN} ", "cookie": f"session_id={OTHER}"}, TOKEN),
        ({"authorization": "Bearer eyJhbGciOi.J9", "cookie": f"session_id={OTHER}"}, OTHER),
        ({"authorization": f"Basic {TOKEN}"}, None),
        ({"authorization": "Bearer"}, None),
        ({"cookie": f'a=b; session_id="{TOKEN}"'}, TOKEN),
        ({"cookie": f"session_id=; session_id=junk; session_id={TOKEN}"}, TOKEN),
        ({"cookie": f"xsession_id={TOKEN}; session_id; =; ;;;"}, None),
        ({"cookie": "\xff" * 1000 + "=\x00;"}, None),
    ],
)
def test_where_the_token_is_taken_from(headers: dict[str, str], expected: str | None) -> None:
    assert token_of(request(**headers), "session_id") == expected
