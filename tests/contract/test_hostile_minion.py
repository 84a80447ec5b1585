"""A hostile minion, as callers see it: no request ends in an error of ours, and the others' returns are there as if it did nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.contract.conftest import Api, fake_api
from tests.fakes import FakeGateway
from tests.hostile import MALLORY, Fired, events, packed

# In hostile events it stands for the jid of whatever is under way.
JID = "20260101000000000000"
HOSTILE = st.lists(events([JID], ["minion-1"]), max_size=6)
ACCEPT = st.sampled_from(["application/json", "application/x-yaml"])
ECHO = {"tgt": "*", "fun": "test.echo", "arg": ["x"]}
LOWS: dict[str, dict[str, Any]] = {
    "local": {"client": "local", **ECHO},
    "full_return": {"client": "local", "full_return": True, **ECHO},
    "local_subset": {"client": "local_subset", **ECHO},
    "local_batch": {"client": "local_batch", **ECHO},
}


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Api:
    """Make the application, all of its calls audited, over a fake master with one honest minion and one hostile."""
    folder: Path = tmp_path_factory.mktemp("hostile")
    (folder / "key").write_text("an hmac key of these tests")
    audit = {"SINKS": "file", "FILE": str(folder / "audit.jsonl"), "HMAC_KEY_FILE": str(folder / "key"), "RULES": '[{"level": "request_response"}]'}
    api = fake_api(folder, **{f"SIDECAR_AUDIT_{name}": value for name, value in audit.items()}, SIDECAR_AUDIT_WRITE_SECONDS="30")
    gateway_of(api).master.minions = ["minion-1", MALLORY]
    return api


def gateway_of(api: Api) -> FakeGateway:
    assert isinstance(api.process.gateway, FakeGateway)
    return api.process.gateway


def run(api: Api, hostile: list[Fired], low: dict[str, Any], accept: str = "application/json") -> list[Any]:
    """Run a low while hostile events come over the bus, between the announcement of each of its jobs and the returns; return the values."""

    def fire(jid: str) -> None:
        for tag, data in hostile:
            mine = isinstance(data, dict) and data.get("jid") == JID
            gateway_of(api).hub.deliver(packed((tag.replace(JID, jid), {**data, "jid": jid} if mine else data)))

    gateway_of(api).master.meanwhile = fire
    answer = api.caller.post([{**api.demo, **low}], accept=accept)
    assert answer.status == 200, answer.body
    values: list[Any] = (answer.json() if accept.endswith("json") else yaml.safe_load(answer.body))["return"]
    return values


@pytest.mark.slow
@given(HOSTILE, st.sampled_from([*LOWS]), ACCEPT)
def test_the_others_returns_are_in_every_answer(api: Api, hostile: list[Fired], name: str, accept: str) -> None:
    values = run(api, hostile, LOWS[name], accept)
    returns = {minion: value for one in values for minion, value in one.items()}

    assert (returns["minion-1"]["ret"] if name == "full_return" else returns["minion-1"]) == "x"
    assert returns.keys() <= {"minion-1", MALLORY}


@pytest.mark.slow
@given(HOSTILE)
def test_a_runner_returns_what_it_returned(api: Api, hostile: list[Fired]) -> None:
    assert run(api, hostile, {"client": "runner", "fun": "test.arg", "arg": ["x"]}) == [{"args": ["x"], "kwargs": {}}]


@pytest.mark.parametrize("accept", ["application/json", "application/x-yaml"])
def test_a_return_nested_without_end_costs_the_others_nothing(api: Api, accept: str) -> None:
    deep: Any = 1
    for _ in range(500):
        deep = {"x": [deep]}
    hostile = [(f"salt/job/{JID}/ret/{MALLORY}", {"id": MALLORY, "jid": JID, "return": deep})]

    (value,) = run(api, hostile, LOWS["local"], accept)

    assert value["minion-1"] == "x"
    assert "<cut>" in str(value[MALLORY])
