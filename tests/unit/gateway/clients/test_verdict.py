"""Verdicts: on returns that were recorded on a real master, and on what one could make up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.clients import Kind
from service.gateway.clients.verdict import judges_value, why_failed

# Recorded on Salt 3008.3; `status` and `reason` are what a person says who knows what happened.
SHAPES = json.loads(Path(__file__).with_name("shapes.json").read_text(encoding="utf-8"))
BAD_STATE = {"test_|-x_|-x_|-nop": {"result": False, "changes": {}}}
TIMED_OUT = "sleep 9 : Timed out after 2 seconds"

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.sampled_from([TIMED_OUT, "result", "stdout", "cmd.run", "state.apply"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a_|-b_|-c_|-d", "result", "changes", "cmd.run"]), inner, max_size=3),
    max_leaves=8,
)


def kind_of(fun: object) -> Kind:
    return next((kind for kind in ("runner", "wheel") if str(fun).startswith(f"{kind}.")), "local")


@pytest.mark.parametrize("shape", SHAPES, ids=[shape["case"] for shape in SHAPES])
def test_every_recorded_return_is_judged_as_a_person_would(shape: dict[str, Any]) -> None:
    event = shape["event"]
    reason = why_failed(event["fun"], event, event["return"], kind_of(event["fun"]))

    assert (shape["status"], shape["reason"]) == ("failed" if reason else "ok", reason)


def test_there_are_36_of_them() -> None:
    assert len({shape["case"] for shape in SHAPES}) == 36


@pytest.mark.parametrize(
    ("event", "kind", "reason"),
    [
        ({"fun": "cmd.script", "return": {"retcode": 2, "stdout": ""}, "retcode": 0}, "local", "exit_code"),
        ({"fun": "cmd.run", "return": "the log says: Timed out after 2 seconds, then went on"}, "local", None),
        ({"fun": "test.echo", "return": TIMED_OUT}, "local", None),
        ({"fun": "test.echo", "return": {"retcode": 2}}, "local", None),
        ({"fun": ["test.ping", "cmd.run"], "return": {"test.ping": True, "cmd.run": TIMED_OUT}, "retcode": {"test.ping": 0}}, "local", "timed_out_on_minion"),
        ({"fun": ["cmd.run", "test.ping"], "return": [TIMED_OUT, True], "retcode": [0, 0], "success": [True, True]}, "local", "timed_out_on_minion"),
        ({"fun": ["test.ping", "no.such"], "return": {"no.such": "'no.such' is not available."}, "success": {"no.such": False}}, "local", "unknown_function"),
        ({"fun": ["test.ping", "test.ping"], "return": [True], "retcode": 0}, "local", None),
        ({"fun": "state.apply", "return": BAD_STATE, "retcode": 0, "success": True}, "local", "state_failed"),
        ({"fun": "ours.deploy", "return": BAD_STATE, "retcode": 0, "success": True}, "local", "state_failed"),
        ({"fun": "ours.check", "return": {"x": BAD_STATE["test_|-x_|-x_|-nop"]}, "retcode": 0}, "local", None),
        ({"fun": "ours.check", "return": ["a", "b"], "retcode": 1}, "local", "exit_code"),
        ({"fun": "pkg.install", "return": "'pkg' __virtual__ returned False: no apt", "retcode": 1}, "local", "unknown_function"),
        ({"fun": "pkg.install", "return": "ERROR: Problem encountered", "retcode": 1}, "local", "exception"),
        ({"fun": "runner.x.y", "return": "\nPassed invalid arguments: no", "success": True}, "runner", "bad_arguments"),
        ({"fun": "test.echo", "return": "\nPassed invalid arguments: no"}, "local", None),
        ({"fun": "runner.state.orchestrate", "return": {"data": {"master": BAD_STATE}}, "success": True}, "runner", "state_failed"),
        ({"return": 1, "retcode": {"a.b": 0, "c.d": 1}}, "local", "exit_code"),
        ({"return": 1, "retcode": None, "success": None}, "local", None),
    ],
)
def test_further_returns(event: dict[str, Any], kind: Kind, reason: str | None) -> None:
    assert why_failed(event.get("fun"), event, event["return"], kind) == reason


@pytest.mark.costly
@given(st.sampled_from(["state.apply", "cmd.run", "test.ping", ["cmd.run", "state.apply"], None, 3]), anything, anything, anything)
def test_whatever_a_minion_sends_is_judged(fun: object, value: object, success: object, retcode: object) -> None:
    why_failed(fun, {"success": success, "retcode": retcode}, value)


@given(st.sampled_from(["state.apply", "cmd.run", "test.ping", ["cmd.run", "test.ping"]]), anything, st.sampled_from([{"success": False}, {"retcode": 3}]))
def test_what_calls_itself_a_failure_never_is_a_success(fun: object, value: object, word: dict[str, Any]) -> None:
    assert why_failed(fun, word, value) is not None


def may_hold_states(value: object) -> bool:
    """Say whether a function's value, or one of several functions', may be what states returned, which a function of somebody's own hands on."""
    return any(isinstance(one, dict) for one in (value, *(value if isinstance(value, list) else ())))


def test_states_that_a_function_hands_on_decide_also_among_several() -> None:
    assert why_failed(["test.ping", "mine.deploy"], {"success": True, "retcode": 0}, [True, BAD_STATE]) == "state_failed"


@pytest.mark.costly
@given(st.sampled_from(["test.ping", "pkg.install", ["test.ping", "grains.items"], None]), anything.filter(lambda value: not may_hold_states(value)))
def test_a_value_that_is_not_asked_for_does_not_decide(fun: object, value: object) -> None:
    assert not judges_value(fun)
    assert why_failed(fun, {"success": True, "retcode": 0}, value) is None
