"""The policy: rules x callers x functions x targets; what it must say is worked out here from every way that things could be."""

from __future__ import annotations

import fnmatch
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.auth.call_policy import CallPolicy, KnownCaller, PolicyCall
from service.clients import CLIENTS
from service.errors import Forbidden
from service.gateway.low import FAR_REACHING_FIELDS, Low, parse_lowstate
from service.settings.policy_settings import PolicyRule

# The last of these is in no rule: there are always others.
MINIONS = ("web1", "web2", "db1", "other")
USERS, EAUTHS, GROUPS = ("anna", "bert", "carl"), ("pam", "ldap", "file"), ("ops", "dev")
FUNCTIONS = ("test.ping", "cmd.run", "cmd.shell", "key.delete")
KINDS = ("local", "runner", "wheel")
ADDRESSES = {"10.0.0.1": "10.0.0.0/8", "192.0.2.1": "192.0.2.0/24"}
# What each target hits, if that can be said.
TARGETS: dict[tuple[str, str], set[str] | None] = {
    ("*", "glob"): set(MINIONS),
    ("web*", "glob"): {"web1", "web2"},
    ("web1", "glob"): {"web1"},
    ("WEB[1]", "glob"): {"web1"},
    ("db1,web1", "list"): {"db1", "web1"},
    ("os:Debian", "grain"): None,
    ("web1", "compound"): None,
}
Facts = dict[str, Any]


def sets_of(things: tuple[str, ...]) -> list[set[str]]:
    return [set(some) for size in range(len(things) + 1) for some in itertools.combinations(things, size)]


def worlds(call: PolicyCall, known: KnownCaller, hits: set[str] | None) -> Iterator[Facts]:
    """Yield all facts that could be, given what is known of a call. hits: None if nobody knows."""
    users = [known.user] if known.user else list(USERS)
    eauths = [known.eauth] if known.eauth else list(EAUTHS)
    groups = [set(known.groups)] if known.groups is not None else sets_of(GROUPS)
    # A target that hits nobody decides nothing.
    all_hits = [hits] if hits is not None else [some for some in sets_of(MINIONS) if some]
    for user, eauth, some, hit in itertools.product(users, eauths, groups, all_hits):
        yield {"user": user, "eauth": eauth, "groups": some, "hits": hit, "address": call.address, "kind": call.kind}


def holds(rule: dict[str, Any], facts: Facts, function: str, targets: Any) -> bool:
    """Say whether a rule fits in one world. targets: `any` or `all`, of the minions that are hit."""
    tests: dict[str, Callable[[Any], bool]] = {
        "users": lambda globs: any(fnmatch.fnmatchcase(facts["user"], one) for one in globs),
        "eauth": lambda globs: any(fnmatch.fnmatchcase(facts["eauth"], one) for one in globs),
        "groups": lambda globs: any(fnmatch.fnmatchcase(group, one) for group in facts["groups"] for one in globs),
        "networks": lambda names: ADDRESSES[facts["address"]] in names,
        "clients": lambda kinds: facts["kind"] in kinds,
        "functions": lambda globs: any(fnmatch.fnmatchcase(function, one) for one in globs),
        "targets": lambda globs: targets(any(fnmatch.fnmatchcase(minion, one) for one in globs) for minion in facts["hits"]),
    }
    return all(tests[field](entries) for field, entries in rule.items() if field != "action")


def expected(rules: list[dict[str, Any]], call: PolicyCall, known: KnownCaller, hits: set[str] | None) -> bool:
    """Say whether all functions of a call are allowed: a refusal fits in any world and on any minion, an allowance in all and on all."""
    every = list(worlds(call, known, hits))
    for function in call.functions:
        for rule in rules:
            if rule["action"] == "refuse" and any(holds(rule, facts, function, any) for facts in every):
                return False
            if rule["action"] == "allow" and all(holds(rule, facts, function, all) for facts in every):
                break
    return True


def some(*entries: str) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(entries), min_size=1, max_size=2, unique=True)


rules = st.fixed_dictionaries(
    {"action": st.sampled_from(["allow", "refuse"])},
    optional={
        "users": some("anna", "b*"),
        "groups": some("ops", "d*"),
        "eauth": some("pam", "ldap"),
        "networks": some(*ADDRESSES.values()),
        "clients": some(*KINDS),
        "functions": some("cmd.*", "test.ping", "*.delete"),
        "targets": some("web*", "web1", "db?", "*"),
    },
)
callers = st.builds(
    KnownCaller, st.sampled_from([*USERS, None]), st.sampled_from([*EAUTHS, None]), st.one_of(st.none(), st.sets(st.sampled_from(GROUPS)).map(tuple))
)


def policy_of(*given_rules: dict[str, Any], writes: bool = True) -> CallPolicy:
    return CallPolicy([PolicyRule.model_validate(rule) for rule in given_rules], refuse_master_writes=not writes, on_refused=lambda _rule, _asked: None)


def allows(policy: CallPolicy, call: PolicyCall) -> bool:
    return all(ruling.allowed for ruling in policy.rulings(call))


@pytest.mark.costly
@given(
    st.lists(rules, max_size=4),
    callers,
    st.sampled_from(KINDS),
    st.lists(st.sampled_from(FUNCTIONS), min_size=1, max_size=3),
    st.sampled_from(list(TARGETS)),
    st.sampled_from(list(ADDRESSES)),
)
def test_the_first_rule_that_fits_decides_and_what_is_not_known_counts_against_the_call(
    given_rules: list[dict[str, Any]], known: KnownCaller, kind: Any, functions: list[str], target: tuple[str, str], address: str
) -> None:
    tgt, tgt_type = target if kind == "local" else (None, "")
    call = PolicyCall(kind, tuple(functions), tgt, tgt_type, address, lambda: known)

    assert allows(policy_of(*given_rules), call) is expected(given_rules, call, known, TARGETS[target] if kind == "local" else None)


ANNA = KnownCaller("anna", "pam", ("ops",))
STRANGE = KnownCaller(None, None, None)


def low_of(**fields: Any) -> Low:
    return parse_lowstate({"client": "local", "tgt": "web1", "eauth": "pam", "fun": "test.ping", **fields}, enabled=CLIENTS, most=1)[0]


def permits(policy: CallPolicy, low: Low, known: KnownCaller = ANNA, address: str = "10.0.0.1") -> bool:
    try:
        policy.check(PolicyCall.of(low, address, lambda: known), {"salt.client": low.client})
    except Forbidden:
        return False
    return True


@pytest.mark.parametrize(("targets", "allowed"), [("*", True), ("web*", False)])
def test_of_a_runner_an_allowance_for_all_minions_is_certain_and_none_for_some(targets: str, allowed: bool) -> None:
    policy = policy_of({"action": "allow", "targets": targets}, {"action": "refuse"})

    assert permits(policy, low_of(client="runner", fun="test.arg")) is allowed


@pytest.mark.parametrize("client", CLIENTS)
def test_a_function_is_refused_by_whatever_client_of_its_kind(client: str) -> None:
    policy = policy_of({"action": "refuse", "clients": client.partition("_")[0], "functions": "cmd.run"})

    assert not permits(policy, low_of(client=client, fun="cmd.run"))
    assert permits(policy, low_of(client=client))


@pytest.mark.parametrize("fun", [["cmd.run"], ["cmd.run", "test.ping"], ["test.ping", "cmd.run"], ["test.ping", "test.ping", "cmd.run"]])
@pytest.mark.parametrize("rule", [{"action": "refuse", "functions": "cmd.*"}, {"action": "allow", "functions": "test.*"}])
def test_each_function_of_a_list_is_judged_by_itself(fun: list[str], rule: dict[str, str]) -> None:
    policy = policy_of(rule, *([{"action": "refuse"}] if rule["action"] == "allow" else []))

    assert not permits(policy, low_of(fun=fun, arg=[[] for _ in fun]))
    assert permits(policy, low_of(fun=["test.ping", "test.echo"], arg=[[], ["x"]]))


@pytest.mark.parametrize("field", FAR_REACHING_FIELDS)
def test_what_makes_a_function_do_anything_counts_as_one_that_does(field: str) -> None:
    policy = policy_of({"action": "refuse", "functions": "cmd.*"})

    assert not permits(policy, low_of(**{field: {"x": 1}}))
    assert permits(policy, low_of(**{field: {}}))


@pytest.mark.parametrize("fun", ["CMD.run", "cmd.RUN", "Cmd.Run"])
def test_a_function_in_other_letters_may_be_refused_and_is_never_allowed(fun: str) -> None:
    assert not permits(policy_of({"action": "refuse", "functions": "cmd.run"}), low_of(fun=fun))
    assert not permits(policy_of({"action": "allow", "functions": "cmd.run"}, {"action": "refuse"}), low_of(fun=fun))


@pytest.mark.parametrize("name", ["Anna", "ANNA", " anna", "anna\n", "\uff41nna", "\xe1nna", "a\u0301nna", "an\u200bna", "an\xadna", "anna\0x", "x" * 2000])
def test_a_name_that_a_directory_may_take_for_a_users_may_be_refused_and_is_never_allowed(name: str) -> None:
    caller = KnownCaller(name, "ldap", ())

    assert not permits(policy_of({"action": "refuse", "users": "anna"}), low_of(), caller)
    assert not permits(policy_of({"action": "allow", "users": "anna"}, {"action": "refuse"}), low_of(), caller)


@pytest.mark.parametrize("field", ["users", "groups", "eauth"])
def test_who_is_not_known_may_be_anybody(field: str) -> None:
    assert not permits(policy_of({"action": "refuse", field: "x"}), low_of(), STRANGE)
    assert not permits(policy_of({"action": "allow", field: "*"}, {"action": "refuse"}), low_of(), STRANGE)


def test_an_address_that_is_not_known_may_be_any() -> None:
    for address in ("unknown", "", "nonsense"):
        assert not permits(policy_of({"action": "refuse", "networks": "192.0.2.0/24"}), low_of(), address=address)
        assert not permits(policy_of({"action": "allow", "networks": "192.0.2.0/24"}, {"action": "refuse"}), low_of(), address=address)
    assert permits(policy_of({"action": "refuse", "networks": "192.0.2.0/24"}), low_of(), address="10.0.0.1")


def test_nobody_is_asked_who_calls_unless_a_rule_comes_to_that() -> None:
    def nobody() -> KnownCaller:
        raise AssertionError

    policy = policy_of({"action": "refuse", "users": "bert", "functions": "cmd.*"}, {"action": "allow", "groups": "ops", "targets": "db*"}, writes=False)
    policy.check(PolicyCall.of(low_of(), "10.0.0.1", nobody), {})


WRITES = ("file_roots.write", "pillar_roots.write", "config.apply", "config.update_config")


@pytest.mark.parametrize("client", ["wheel", "wheel_async"])
@pytest.mark.parametrize("fun", WRITES)
def test_the_masters_files_are_not_written_unless_that_is_switched_on(client: str, fun: str) -> None:
    low = low_of(client=client, fun=fun)

    assert not permits(policy_of({"action": "allow"}, writes=False), low)
    assert permits(policy_of(), low)
    assert permits(policy_of(writes=False), low_of(client=client, fun="file_roots.read"))
    assert permits(policy_of(writes=False), low_of(client=client, fun="config.values"))


def test_a_refusal_says_which_rule_to_the_log_and_the_function_alone_to_the_caller() -> None:
    heard: list[tuple[str, Any]] = []
    rule = PolicyRule.model_validate({"action": "refuse", "functions": "cmd.*"})
    policy = CallPolicy([rule], refuse_master_writes=True, on_refused=lambda rule, asked: heard.append((rule, asked)))
    low = low_of(fun=["test.ping", "cmd.run"], arg=[[], ["SECRET"]], username="anna", password="SECRET")

    with pytest.raises(Forbidden) as caught:
        policy.check(PolicyCall.of(low, "10.0.0.1", lambda: ANNA), {"salt.client": low.client})
    assert "cmd.run" in caught.value.reason
    assert "SECRET" not in f"{caught.value.reason} {caught.value.details} {heard}"
    assert heard == [("policy.rules.0", {"salt.client": "local", "salt.fun": "cmd.run"})]
