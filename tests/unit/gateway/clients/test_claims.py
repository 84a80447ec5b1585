"""Claims: whose the jobs are that this process starts, in every way in which a low says who asks."""

from __future__ import annotations

from typing import Any

import pytest

from service.errors import Conflict, MasterUnreachable, Unauthenticated
from service.events.owners import Owner
from service.gateway.clients.claims import Claims
from tests.unit.gateway.clients.world import AUTHENTICATION_ERROR, JID, NO_MATCH, TOKEN, World, low, published

DATA = {"token": TOKEN, "name": "ann", "eauth": "pam", "start": 1.0, "expire": 2.0}
ANN = Owner("pam", "ann")
INLINE = {"eauth": "pam", "username": "ann", "password": "secret"}
RUNNER_REPLY = {"tag": f"salt/run/{JID}", "jid": JID}


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def claims(world: World) -> Claims:
    return Claims(world, world.hub)


def publish(claims: Claims, credentials: dict[str, Any]) -> Any:
    return claims.send({"cmd": "publish", "fun": "test.ping", "jid": "", "kwargs": credentials})


def test_a_job_belongs_to_the_user_and_the_module_of_its_credentials(world: World, claims: Claims) -> None:
    world.replies = [published("a")]

    assert publish(claims, INLINE) == published("a")
    assert world.hub.owners.of(JID) == ANN


def test_a_runner_belongs_to_the_user_and_the_module_of_its_credentials(world: World, claims: Claims) -> None:
    world.replies = [RUNNER_REPLY]
    claims.send({"cmd": "runner", "fun": "jobs.active", "kwarg": {"kwarg": {"eauth": "file", "username": "bob"}}, **INLINE})

    assert world.hub.owners.of(JID) == ANN


def test_the_master_says_once_whose_a_token_is(world: World, claims: Claims) -> None:
    world.replies = [published("a"), DATA, published("a", jid="2")]
    publish(claims, {"token": TOKEN})
    publish(claims, {"token": TOKEN})

    assert (world.hub.owners.of(JID), world.hub.owners.of("2")) == (ANN, ANN)
    assert [load["cmd"] for load in world.loads] == ["publish", "get_token", "publish"]


def test_a_token_that_was_made_or_looked_up_need_not_be_asked_about(world: World, claims: Claims) -> None:
    world.replies = [DATA, published("a")]
    claims.send({"cmd": "mk_token", **INLINE})
    publish(claims, {"token": TOKEN})

    assert world.hub.owners.of(JID) == ANN


@pytest.mark.parametrize("answer", [{}, False, MasterUnreachable("down")])
def test_a_job_whose_token_cannot_be_looked_up_is_nobodys(world: World, claims: Claims, answer: Any) -> None:
    world.replies = [published("a"), answer]

    assert publish(claims, {"token": TOKEN}) == published("a")
    assert world.hub.owners.of(JID) is None


@pytest.mark.parametrize("reply", [NO_MATCH, AUTHENTICATION_ERROR, "", None, {"load": 5}, {"load": {"jid": 5}}])
def test_what_the_master_did_not_take_is_nobodys(world: World, claims: Claims, reply: Any) -> None:
    world.replies = [reply]

    assert publish(claims, INLINE) == reply
    assert world.hub.owners.of(JID) is None


def test_a_call_that_fails_is_over(world: World, claims: Claims) -> None:
    world.replies = [MasterUnreachable("down")]
    with pytest.raises(MasterUnreachable):
        publish(claims, INLINE)

    assert world.hub.owners.is_settled(JID, world.hub.owners.begun)


def test_a_jid_in_a_low_must_not_be_anothers(world: World, claims: Claims) -> None:
    world.hub.owners.started(JID, Owner("file", "ann"))
    world.replies = [DATA]

    with pytest.raises(Conflict), claims.reserve(low(jid=JID)):
        pass


def test_a_jid_of_ones_own_must_not_be_waited_for(world: World, claims: Claims) -> None:
    world.hub.owners.started(JID, ANN)
    mine = low(jid=JID, **INLINE, token=None)
    with world.hub.listen() as waiter:
        waiter.watch(JID)
        with pytest.raises(Conflict, match=JID), claims.reserve(mine):
            pass

    with claims.reserve(mine):
        pass


def test_a_dead_token_is_told_nothing_of_a_jid(world: World, claims: Claims) -> None:
    world.hub.owners.exists(JID)
    world.replies = [{}]

    with pytest.raises(Unauthenticated), claims.reserve(low(jid=JID)):
        pass


@pytest.mark.parametrize("job", [low(), low("runner", fun="jobs.lookup_jid", jid=JID)], ids=["none", "an argument"])
def test_other_lows_keep_no_jid(world: World, claims: Claims, job: Any) -> None:
    world.hub.owners.exists(JID)

    with claims.reserve(job):
        assert world.loads == []
