"""What a caller asks for, and what a return says of its states."""

from __future__ import annotations

import json
from typing import Any

import pytest

from service.errors import Unprocessable
from service.http.media import encode
from service.jobs.job_request import digest_of, parse, policy_of
from service.jobs.outcome import SuccessPolicy
from service.jobs.running.findings import findings
from tests.unit.gateway.clients.test_verdict import SHAPES

PING = {"tgt": "*", "fun": "test.ping"}
RETURNS: dict[str, Any] = {shape["case"]: shape["event"]["return"] for shape in SHAPES}


def pointers(body: object) -> list[str]:
    with pytest.raises(Unprocessable) as caught:
        parse(body)
    return sorted(error["pointer"] for error in caught.value.details["errors"])


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ([], [""]),
        (None, [""]),
        ({}, ["/fun"]),
        ({"fun": "test.ping"}, ["/tgt"]),
        ({"client": "runner", "fun": "x.y", "tgt": "*", "timeout": 5}, ["/tgt", "/timeout"]),
        ({"client": "wheel", "fun": "x.y", "kwarg": {"match": "a", "token": "b", "fun": "c"}}, ["/kwarg/fun", "/kwarg/token"]),
        ({**PING, "tgt": 5}, ["/tgt"]),
        ({**PING, "tgt": ["a", 5]}, ["/tgt"]),
        ({**PING, "tgt": {"x": 1}}, ["/tgt"]),
        ({**PING, "odd~/": 1}, ["/odd~0~1"]),
        ({**PING, "client": "ssh_async", "deadline": "1"}, ["/client", "/deadline"]),
        ({"client": "ssh", "fun": "test.ping"}, ["/tgt"]),
        (
            {**PING, "client": "ssh", "timeout": 5, "batch": 1, "metadata": {"a": 1}, "state_events": False},
            ["/batch", "/metadata", "/state_events", "/timeout"],
        ),
        ({**PING, "deadline": 0}, ["/deadline"]),
        ({**PING, "deadline": 1e9}, ["/deadline"]),
        ({**PING, "deadline": True}, ["/deadline"]),
        ({**PING, "timeout": -1}, ["/timeout"]),
        ({**PING, "arg": "x", "kwarg": [], "metadata": 1}, ["/arg", "/kwarg", "/metadata"]),
        ({**PING, "min_success": "101%"}, ["/min_success"]),
        ({**PING, "min_success": 0}, ["/min_success"]),
        ({**PING, "fail_on": "some", "missing": "maybe", "fail_on_false": 1, "on_doubt": None}, ["/fail_on", "/fail_on_false", "/missing", "/on_doubt"]),
        ({**PING, "cause_url": "javascript:alert(1)"}, ["/cause_url"]),
        ({**PING, "dry_run": True}, [""]),
        ({**PING, "state_events": True}, [""]),
        ({**PING, "fun": ["state.apply", "state.single"], "state_events": True}, [""]),
        ({**PING, "fun": "state.apply", "state_events": 1}, ["/state_events"]),
        ({"client": "runner", "fun": "state.apply", "state_events": True}, ["/state_events"]),
    ],
)
def test_what_cannot_be_taken_is_named_by_a_pointer(body: object, wrong: list[str]) -> None:
    assert pointers(body) == wrong


def test_no_fault_repeats_what_was_sent() -> None:
    with pytest.raises(Unprocessable) as caught:
        parse({**PING, "deadline": "hunter2", "kwarg": "hunter2"})

    assert "hunter2" not in json.dumps([caught.value.reason, caught.value.details])


def test_a_share_alone_decides_unless_more_is_asked_for() -> None:
    assert policy_of(parse(PING).kept()) == SuccessPolicy("any", "fail", None)
    assert policy_of(parse({**PING, "min_success": "90%"}).kept()) == SuccessPolicy("none", "fail", "90%")
    assert policy_of(parse({**PING, "min_success": 2, "fail_on": "all", "missing": "ignore"}).kept()) == SuccessPolicy("all", "ignore", 2)


def test_no_argument_is_kept() -> None:
    asked = parse({**PING, "arg": ["hunter2"], "kwarg": {"pillar": {"a": "hunter2"}, "queue": True}, "metadata": {"x": "hunter2"}})

    assert "hunter2" not in json.dumps(asked.kept())
    assert asked.kept()["queues"] is True


def test_requests_for_the_same_are_known_by_their_fingerprint_however_they_are_written() -> None:
    assert parse({"fun": "test.ping", "tgt": "*"}).fingerprint == parse({**PING, "arg": [], "tgt_type": "glob"}).fingerprint
    assert parse(PING).fingerprint != parse({**PING, "arg": [1]}).fingerprint
    assert digest_of([{1: "a", "b": 2}]) == digest_of([{"b": 2, 1: "a"}])


def test_a_dry_run_is_a_state_run_that_changes_nothing() -> None:
    low = parse({"tgt": "*", "fun": "state.apply", "dry_run": True, "kwarg": {"test": False, "mods": "x"}, "timeout": 3}).low("77")

    assert low == {"tgt": "*", "tgt_type": "glob", "fun": "state.apply", "arg": [], "jid": "77", "kwarg": {"test": True, "mods": "x"}, "timeout": 3}


@pytest.mark.parametrize("fun", ["state.apply", "state.highstate", "state.sls", "state.sls_id"])
def test_who_wants_to_hear_of_each_state_has_the_function_told_so(fun: str) -> None:
    request = parse({**PING, "fun": fun, "state_events": True, "kwarg": {"mods": "x"}})

    assert request.low("77")["kwarg"] == {"mods": "x", "state_events": True}
    assert request.fingerprint != parse({**PING, "fun": fun, "kwarg": {"mods": "x"}}).fingerprint


@pytest.mark.parametrize(
    ("case", "states", "failed"),
    [
        ("state ok", {"unchanged": 1}, []),
        ("changes", {"changed": 2}, []),
        ("state failed", {"unchanged": 1, "failed": 1}, ["test.fail_without_changes"]),
        ("requisite failed", {"failed": 1, "not_run": 1}, ["test.fail_without_changes", "test.succeed_without_changes"]),
        ("test=True", {"would_change": 2}, []),
        ('orchestration [{"mods": "orch.bad"}]', {"failed": 1, "not_run": 1}, ["salt.state", "salt.function"]),
        ("ping", None, []),
    ],
)
def test_a_return_says_how_its_states_ended(case: str, states: dict[str, int] | None, failed: list[str]) -> None:
    found = findings(RETURNS[case], encode(RETURNS[case]))

    assert (found.get("states"), [one["fun"] for one in found.get("failures", [])]) == (states, failed)
    assert found.get("dry_run", False) == (case == "test=True")


def test_a_return_that_the_master_has_cut_says_so() -> None:
    cut = RETURNS["1.5 MB in one state, another fails"]

    assert findings(cut, encode(cut))["truncated"] is True
