"""Rights of a low that does several things: whose name decides, what the master is asked, and which sets of rights permit what."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.clients import CLIENTS
from service.errors import Forbidden, Unauthenticated
from service.gateway.clients.result import LowResult
from service.gateway.clients.rights import Rights, permitted
from service.gateway.clients.tokens import Tokens
from service.gateway.low import Doing, Low, parse_lowstate
from service.gateway.master.options import MasterOptions

TOKEN = "ab" * 32
PASSWORD = {"eauth": "file", "username": "alice", "password": "secret"}
COMPOUND = {"client": "local", "tgt": "*", "fun": ["test.ping", "cmd.run"], "arg": [[], ["id"]]}


class Desk:
    """Rights over a master that knows one user, in some groups."""

    def __init__(self, rules: dict[str, Any], groups: list[str] | None = None, *, eauth: str = "file", **raw: Any) -> None:
        self.loads: list[str] = []
        self.admitted: list[str] = []
        self.data: Any = {"token": TOKEN, "name": "alice", "eauth": eauth, "start": 0.0, "expire": 1e12, "groups": groups or []}
        options = MasterOptions.of({"ret_port": 1, "sock_dir": "/nonexistent", "external_auth": {eauth: rules}, **raw})
        self._rights = Rights(Tokens(self, options, lambda _low, _request: LowResult(None)), options)

    def send(self, load: dict[str, Any], *, timeout: float | None = None, slow: bool = False) -> Any:
        del timeout, slow
        self.loads.append(load["cmd"])
        return self.data

    @contextlib.contextmanager
    def _admit(self) -> Iterator[Any]:
        self.admitted.append("entered")
        yield lambda: self.admitted.append("accepted")

    def permits(self, **fields: Any) -> bool:
        low: Low
        (low,) = parse_lowstate({**COMPOUND, **fields}, enabled=CLIENTS, most=1)
        try:
            self._rights.check(low, self._admit)
        except Forbidden:
            return False
        return True


def test_a_low_that_does_one_thing_is_left_to_the_master() -> None:
    desk = Desk({})

    assert desk.permits(fun="cmd.run", arg=["id"], token=TOKEN)
    assert desk.permits(fun=["cmd.run"], arg=[["id"]], **PASSWORD)
    assert desk.permits(client="runner", fun="state.orch", token=TOKEN, arg=["x"], ret_kwargs={"x": 1})
    assert desk.loads == []


def test_of_a_user_with_full_rights_the_master_is_asked_nothing() -> None:
    desk = Desk({"alice": [".*"]})

    assert desk.permits(**PASSWORD)
    assert (desk.loads, desk.admitted) == ([], [])


def test_a_name_is_refused_only_after_the_master_has_heard_the_password() -> None:
    """Otherwise the answer would tell anybody who has which rights."""
    desk = Desk({"alice": ["test.ping"]})

    assert not desk.permits(**PASSWORD)
    assert (desk.loads, desk.admitted) == (["mk_token"], ["entered", "accepted"])

    desk.data = ""
    with pytest.raises(Unauthenticated):
        desk.permits(**PASSWORD)
    assert desk.admitted[2:] == ["entered"]


def test_a_token_is_looked_up_and_a_dead_one_is_no_right() -> None:
    desk = Desk({"alice": ["test.ping", "cmd.run"]})

    assert desk.permits(token=TOKEN)
    desk.data = {}
    with pytest.raises(Unauthenticated, match="session is over"):
        desk.permits(token=TOKEN)
    assert desk.loads == ["get_token", "get_token"]


@pytest.mark.parametrize("credentials", [PASSWORD, {"token": TOKEN}])
def test_groups_count_as_the_master_counts_them(credentials: dict[str, str]) -> None:
    rules = {"alice": ["test.ping"], "ops%": ["cmd.run"], "others%": [".*"]}

    assert Desk(rules, ["ops"]).permits(**credentials)
    assert not Desk(rules, ["users"]).permits(**credentials)


@pytest.mark.parametrize(
    ("rules", "options", "good"),
    [
        ({"a*": [".*"]}, {}, False),
        ({"al.ce": [".*"]}, {}, False),
        ({"bob": [".*"]}, {}, False),
        ({"*": [".*"]}, {}, True),
        ({"*": [".*"], "alice": ["test.ping"]}, {}, False),
        ({"*": [".*"], "alice": ["test.ping"]}, {"permissive_acl": True}, False),
        ({"alice": [{"*": [".*"]}]}, {}, True),
        ({"alice": [{"*": [".*"]}]}, {"auth.enable_expanded_auth_matching": True}, False),
        ({"alice": [".*"]}, {"eauth_acl_module": "custom"}, False),
    ],
)
def test_names_are_matched_as_the_master_matches_them(rules: dict[str, Any], options: dict[str, Any], *, good: bool) -> None:
    assert Desk(rules, **options).permits(**PASSWORD) is good


def test_rights_that_an_eauth_module_has_of_its_own_are_known_from_the_token_only() -> None:
    desk = Desk({"alice": [".*"]}, eauth="rest", keep_acl_in_token=True)

    assert not desk.permits(**{**PASSWORD, "eauth": "rest"})
    desk.data["auth_list"] = ["test.ping"]
    assert not desk.permits(token=TOKEN)
    desk.data["auth_list"] = [".*"]
    assert desk.permits(token=TOKEN)
    desk.data["auth_list"] = None
    assert not desk.permits(token=TOKEN)


def test_without_an_acl_a_password_has_the_rights_of_its_groups_and_a_token_none() -> None:
    """So the master reads `auth_list: None`: salt/auth/__init__.py, get_auth_list, takes a token's as it stands, and asks the module again for a password."""
    desk = Desk({"ops%": [".*"]}, ["ops"], keep_acl_in_token=True)
    desk.data["auth_list"] = None

    assert desk.permits(**PASSWORD)
    assert not desk.permits(token=TOKEN)


def test_what_a_module_says_itself_counts_for_a_password_too() -> None:
    desk = Desk({"alice": [".*"]}, eauth="company", keep_acl_in_token=True)
    inline = {**PASSWORD, "eauth": "company"}

    for said, good in ((["test.ping"], False), ([], False), (None, False), ([".*"], True)):
        desk.data["auth_list"] = said
        assert desk.permits(**inline) is good


@pytest.mark.parametrize("name", ["module_executors", "executor_opts", "ret_config", "ret_kwargs"])
def test_what_reaches_further_than_its_function_needs_the_right_to_everything(name: str) -> None:
    low = {"fun": "test.ping", "arg": [], name: {"x": 1}, **PASSWORD}

    assert not Desk({"alice": ["test.ping"]}).permits(**low)
    assert Desk({"alice": ["test.ping", "cmd.run"]}).permits(**low)
    assert Desk({"alice": [{"web*": [".*"]}]}).permits(**low)
    assert Desk({"alice": ["test.ping"]}).permits(**{**low, name: {}})


# The master, in one line each: an entry is a function everywhere, or one on some minions.
MINIONS = ("a", "b", "c")
entries = st.one_of(
    st.sampled_from(["f", "g", "h", ".*"]),
    st.tuples(st.sampled_from(["a", "b", "ab", "abc"]), st.lists(st.sampled_from(["f", "g", "h"]), max_size=3)).map(lambda pair: {pair[0]: pair[1]}),
)


def salt_permits(auth_list: list[Any], fun: str, minions: set[str]) -> bool:
    """Say whether the master permits one function on these minions: some entry has it, and covers them all."""
    everywhere = {entry for entry in auth_list if isinstance(entry, str)}
    placed = [(set(minions_of), funs) for entry in auth_list if isinstance(entry, dict) for minions_of, funs in entry.items()]
    return bool(everywhere & {fun, ".*"}) or any(fun in funs and minions <= covered for covered, funs in placed)


@pytest.mark.costly
@given(st.lists(entries, max_size=5), st.lists(st.sampled_from(["f", "g", "h"]), min_size=2, max_size=3), st.sets(st.sampled_from(MINIONS), min_size=1))
def test_what_we_and_the_master_permit_is_permitted_function_by_function(auth_list: list[Any], funs: list[str], minions: set[str]) -> None:
    doings: list[Doing] = [(fun, [], None) for fun in funs]
    content = any(salt_permits(auth_list, fun, minions) for fun in funs)

    if permitted(doings, auth_list) and content:
        assert all(salt_permits(auth_list, fun, minions) for fun in funs)


@pytest.mark.parametrize(
    ("limits", "arg", "good"),
    [
        ({"args": ["good"]}, ["good"], True),
        ({"args": ["good"]}, ["bad"], False),
        ({"args": ["good"]}, [], False),
        ({"args": [None, "x"]}, ["any", "xy"], True),
        ({"kwargs": {"mods": "web"}}, [{"__kwarg__": True, "mods": "web.base"}], True),
        ({"kwargs": {"mods": "web"}}, [{"__kwarg__": True, "mods": "db"}], False),
        ({"kwargs": {"mods": None}}, [{"__kwarg__": True}], False),
        ([{"args": ["a"]}, {"args": ["b"]}], ["b"], True),
        ("good", ["good"], False),
    ],
)
def test_limits_of_arguments_count(limits: object, arg: list[Any], *, good: bool) -> None:
    desk = Desk({"alice": [{"*": ["test.ping", {"cmd.run": limits}]}]})

    assert desk.permits(**PASSWORD, arg=[[], arg]) is good
    assert not desk.permits(**PASSWORD, arg=[[], "good"])
