"""While the master cannot be asked, what needs no master goes by what it said lately; a logout reaches it later."""

from __future__ import annotations

import pytest

from service.auth.sessions import OFFLINE_PATIENCE_SECONDS
from service.errors import MasterTimeout, MasterUnreachable, Overloaded, Unauthenticated
from tests.unit.auth.world import OFFLINE_SECONDS, OTHER, SOMEBODY, TOKEN, request, world


@pytest.mark.parametrize("fault", [MasterUnreachable("down"), MasterTimeout("slow"), Overloaded("queue full")])
def test_a_token_that_was_good_lately_is_enough_for_what_needs_no_master(fault: Exception) -> None:
    here = world()
    here.sessions.of_lately(request(x_auth_token=TOKEN))
    here.clock.now += OFFLINE_SECONDS - 1
    here.tokens.fault = fault
    found = here.sessions.of_lately(request(x_auth_token=TOKEN))
    with pytest.raises(type(fault)):
        here.sessions.of(request(x_auth_token=TOKEN))
    here.clock.now += 2
    with pytest.raises(type(fault)):
        here.sessions.of_lately(request(x_auth_token=TOKEN))

    assert (found.identity.user, found.offline) == ("alice", True)
    # Who can wait for the master does; who need not gives it a second.
    assert here.tokens.patience == [None, OFFLINE_PATIENCE_SECONDS, None, None]


def test_a_master_that_answers_is_believed_and_not_what_is_remembered() -> None:
    here = world()
    here.sessions.of_lately(request(x_auth_token=TOKEN))
    here.clock.now += 10
    del here.tokens.alive[TOKEN]

    for _ in range(2):
        with pytest.raises(Unauthenticated):
            here.sessions.of_lately(request(x_auth_token=TOKEN))
        here.tokens.fault = MasterUnreachable("down")


def test_without_the_master_no_token_passes_that_it_never_confirmed_and_none_that_is_over() -> None:
    here = world()
    here.sessions.of_lately(request(x_auth_token=TOKEN))
    here.tokens.fault = MasterUnreachable("down")
    here.sessions.logout(here.sessions.of_lately(request(x_auth_token=TOKEN)), request())

    for token in (TOKEN, OTHER):
        with pytest.raises((MasterUnreachable, Unauthenticated)):
            here.sessions.of_lately(request(x_auth_token=token))


def test_who_logs_out_while_the_master_is_away_is_logged_out_here_now_and_there_later() -> None:
    here = world()
    here.sessions.of_lately(request(x_auth_token=TOKEN))
    here.clock.now += 10
    here.tokens.fault = MasterUnreachable("down")
    session = here.sessions.of_lately(request(x_auth_token=TOKEN))

    assert here.sessions.logout(session, request()) == "later"
    assert here.revoked == [(session, "runner"), (session, "later")]


def test_a_logout_that_finds_no_slot_is_put_off_too() -> None:
    here = world(slots=1)
    session = here.sessions.of(request(x_auth_token=TOKEN))

    with here.slots.take(SOMEBODY):
        assert here.sessions.logout(session, request()) == "later"
