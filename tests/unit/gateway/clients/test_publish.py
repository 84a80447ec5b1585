"""Publishing: the load that the master gets, and what its answers mean."""

from __future__ import annotations

import os
import pwd
from typing import Any

import pytest

from service.errors import BadRequest, Forbidden, MasterRefused, Unauthenticated
from service.gateway.clients.publish import Job, Target, UnclearRefusal, raise_error_of
from tests.unit.gateway.clients.world import JID, NO_MATCH, TOKEN, World, low, published

GROUPS: dict[str, Any] = {"web": "web1* or N@db", "db": ["db1", "db2"], "one": "L@a,b"}


@pytest.fixture
def world() -> World:
    world = World()
    world.replies = [published("a", missing=("gone",))] * 3
    return world


def load_of(world: World, options: dict[str, Any] | None = None, /, **fields: Any) -> dict[str, Any]:
    world.publisher(**(options or {})).publish_low(low(**fields), metadata={}, accepted=world.accept)
    return world.loads[-1]


def test_a_load_has_what_local_client_sends_and_no_key(world: World) -> None:
    load = load_of(world, fun="test.arg", arg=["a", "b=1"], kwarg={"c": 2}, tgt="a", token=None, eauth="file", username="me", password="p")

    assert load == {
        "cmd": "publish",
        "tgt": "a",
        "tgt_type": "glob",
        "fun": "test.arg",
        "arg": ["a", "b=1", {"__kwarg__": True, "c": 2}],
        "key": "",
        "ret": "",
        "jid": "",
        "kwargs": {"eauth": "file", "username": "me", "password": "p"},
        "user": load["user"],
    }
    assert pwd.getpwuid(os.getuid()).pw_name in load["user"]


def test_fields_that_nobody_knows_travel_beside_the_credentials(world: World) -> None:
    assert load_of(world, gather_job_timeout=3, odd={"x": 1}, timeout=9, full_return=True)["kwargs"] == {
        "token": TOKEN,
        "gather_job_timeout": 3,
        "odd": {"x": 1},
    }


def test_the_callers_jid_and_returners_are_sent(world: World) -> None:
    load = load_of(world, {"ext_job_cache": "redis"}, jid=JID, ret="mysql,slack")

    assert (load["jid"], load["ret"]) == (JID, "mysql,slack,redis")
    assert load_of(world, {"ext_job_cache": "redis"})["ret"] == "redis"


def test_the_request_joins_the_callers_own_metadata(world: World) -> None:
    publisher = world.publisher()
    publisher.publish_low(low(metadata={"ticket": 7, "request_id": "x"}), metadata={"request_id": "r"}, accepted=world.accept)
    publisher.publish_low(low(metadata={}), metadata={}, accepted=world.accept)

    assert [load["kwargs"].get("metadata") for load in world.loads] == [{"ticket": 7, "request_id": "r"}, {}]


@pytest.mark.parametrize(("timeout", "sent"), [({}, 5), ({"timeout": 9}, 9)])
def test_a_master_of_masters_is_told_how_long_to_wait(world: World, timeout: dict[str, int], sent: int) -> None:
    assert load_of(world, {"order_masters": True}, **timeout)["to"] == sent
    assert "to" not in load_of(world, **timeout)


def test_a_node_group_is_spelled_out_because_minions_do_not_know_it(world: World) -> None:
    load = load_of(world, {"nodegroups": GROUPS}, tgt="web", tgt_type="nodegroup")

    assert (load["tgt_type"], load["tgt"]) == ("compound", "( web1* or L@db1,db2 )")


@pytest.mark.parametrize("tgt", ["G@os:Debian and N@one", ["G@os:Debian", "and", "N@one"]])
def test_node_groups_inside_a_compound_target_are_spelled_out(world: World, tgt: Any) -> None:
    load = load_of(world, {"nodegroups": GROUPS}, tgt=tgt, tgt_type="compound")

    assert load["tgt"] == "G@os:Debian and L@a,b"


@pytest.mark.parametrize(("tgt", "tgt_type"), [("nope", "nodegroup"), ("* and N@nope", "compound")])
def test_an_unknown_node_group_is_a_bad_request(world: World, tgt: str, tgt_type: str) -> None:
    with pytest.raises(BadRequest, match="Node group nope unavailable") as caught:
        load_of(world, {"nodegroups": GROUPS}, tgt=tgt, tgt_type=tgt_type)

    assert caught.value.details == {"field": "tgt"}
    assert world.loads == []


def test_other_targets_are_sent_as_they_are(world: World) -> None:
    assert load_of(world, tgt=["a", "b"], tgt_type="list")["tgt"] == ["a", "b"]
    assert load_of(world, tgt="* and N@", tgt_type="compound")["tgt"] == "* and N@"


def test_a_job_has_its_jid_its_minions_and_its_unknown_targets(world: World) -> None:
    assert world.publisher().publish(Target("*", "glob"), "test.ping", [], {}) == Job(JID, ["a"], ["gone"])


@pytest.mark.parametrize("load", [{"jid": None, "minions": ["a"]}, {"jid": JID, "minions": []}, {"jid": JID}, {}])
def test_a_job_without_jid_or_minions_is_none(world: World, load: dict[str, Any]) -> None:
    world.replies = [{"load": load}]

    assert world.publisher().publish(Target("*", "glob"), "test.ping", [], {}) is None


def test_on_a_master_of_masters_minions_may_be_named_later(world: World) -> None:
    world.replies = [{"load": {"jid": JID, "minions": []}}, NO_MATCH]
    publisher = world.publisher(order_masters=True)

    assert publisher.publish(Target("*", "glob"), "test.ping", [], {}) == Job(JID, [], [])
    assert publisher.publish(Target("*", "glob"), "test.ping", [], {}) is None


@pytest.mark.parametrize("load", [{"minions": 5}, {"minions": [{}]}, {"minions": ["a"], "missing": [5]}], ids=str)
def test_minions_that_are_no_names_are_refused(world: World, load: dict[str, Any]) -> None:
    world.replies = [{"load": {"jid": JID, **load}}]

    with pytest.raises(MasterRefused, match="no names"):
        world.publisher().publish(Target("*", "glob"), "test.ping", [], {})


@pytest.mark.parametrize("reply", [{}, {"load": None}, [], 5, {"load": "x"}])
def test_an_answer_that_is_none_we_know_is_refused(world: World, reply: Any) -> None:
    world.replies = [reply]

    with pytest.raises(MasterRefused, match="not one we know"):
        world.publisher().publish(Target("*", "glob"), "test.ping", [], {})


@pytest.mark.parametrize(
    ("reply", "fault", "reason"),
    [
        ("", UnclearRefusal, "Authentication error occurred."),
        (None, UnclearRefusal, "Authentication error occurred."),
        (False, UnclearRefusal, "Authentication error occurred."),
        ("bad load" + "x" * 500, MasterRefused, "the master answered: bad load" + "x" * 192),
        ({"error": {"name": "AuthorizationError", "message": "no right"}}, Forbidden, "no right"),
        ({"error": {"name": "AuthorizationError"}}, Forbidden, "Authentication error occurred."),
        ({"error": {"name": "AuthenticationError", "message": ""}}, Unauthenticated, "Authentication error occurred."),
        ({"error": {"name": "EauthAuthenticationError", "message": "failure for user me"}}, UnclearRefusal, "failure for user me"),
        ({"error": {"name": "TokenAuthenticationError", "message": "dead"}}, UnclearRefusal, "dead"),
        ({"error": {"name": "SaltInvocationError", "message": "odd"}}, MasterRefused, "SaltInvocationError: odd"),
        ({"error": "just words"}, MasterRefused, "just words"),
        ({"error": {"name": "X", "message": "y" * 1000}}, MasterRefused, "X: " + "y" * 497),
    ],
)
def test_an_error_of_the_master_becomes_the_fault_it_stands_for(reply: Any, fault: type[Exception], reason: str) -> None:
    with pytest.raises(fault) as caught:
        raise_error_of(reply)

    assert type(caught.value) is fault
    assert str(caught.value) == reason


@pytest.mark.parametrize("reply", [{"load": {}}, {"error": ""}, {"error": None}, {}, []])
def test_other_answers_are_no_errors(reply: Any) -> None:
    raise_error_of(reply)


def test_a_right_that_the_masters_blacklist_takes_says_nothing_of_the_credentials(world: World) -> None:
    world.replies = [{"error": {"name": "AuthorizationError", "message": "no right"}}] * 2

    with pytest.raises(Forbidden):
        load_of(world)
    with pytest.raises(UnclearRefusal, match="no right"):
        load_of(world, {"publisher_acl_blacklist": {"modules": ["cmd"]}})
