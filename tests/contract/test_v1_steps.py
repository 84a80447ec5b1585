"""Steps one after the other, as callers of `/v1/jobs` see them."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

import pytest

from tests.caller import Response
from tests.contract.conftest import Api
from tests.contract.test_v1_events import follow, told
from tests.contract.test_v1_jobs import fake, gateway_of, get, problem, returned, token_of

__all__ = ["fake"]

PING: dict[str, Any] = {"tgt": "*", "fun": "test.ping"}
FAILING: dict[str, Any] = {"tgt": "*", "fun": "no.such"}


def post_steps(api: Api, *steps: dict[str, Any], query: str = "?wait=30&fail=1", key: str = "", **fields: Any) -> Response:
    headers = {"x_auth_token": token_of(api), **({"idempotency_key": key} if key else {})}
    return api.caller.post({"steps": steps, **fields}, f"/v1/jobs{query}", **headers)


def test_steps_run_one_after_the_other_and_have_one_status(api: Api) -> None:
    answer = post_steps(api, PING, {**PING, "tgt": "minion-1"})
    whole = answer.json()

    assert (answer.status, whole["status"], whole["exit_code"], whole["client"], whole["expected"]) == (200, "succeeded", 0, "steps", 2)
    assert [step["status"] for step in whole["steps"]] == ["succeeded", "succeeded"]
    steps = [get(api, f"/{step['jid']}").json() for step in whole["steps"]]
    assert [step["parent"] for step in steps] == [whole["jid"]] * 2
    happened = told(follow(api, whole["jid"]))
    assert [one["status"] for one in happened if one["event"] == "step" and one["step"] == 1][-1] == "succeeded"
    assert happened[-1]["status"] == "succeeded"
    assert b"step 0: succeeded" in get(api, f"/{whole['jid']}/log").body


def test_the_first_step_that_is_not_well_says_what_came_of_all(api: Api) -> None:
    answer = post_steps(api, PING, FAILING, PING)
    whole = answer.json()

    assert (answer.status, whole["status"], whole["exit_code"]) == (422, "failed", 1)
    assert [step["status"] for step in whole["steps"]] == ["succeeded", "failed", "not_begun"]
    suites = ET.fromstring(get(api, f"/{whole['jid']}/junit").body)
    assert [(suite.get("tests"), suite.get("failures"), suite.get("skipped")) for suite in suites] == [("2", "0", "0"), ("2", "2", "0"), ("1", "0", "1")]
    assert post_steps(api, FAILING, PING, stop_on="never").json()["steps"][1]["status"] == "succeeded"


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"steps": []}, "/steps"),
        ({"steps": [PING] * 51}, "/steps"),
        ({"steps": "x"}, "/steps"),
        ({"steps": [PING, {"tgt": "*"}]}, "/steps/1/fun"),
        ({"steps": [PING, {"fun": "test.ping"}]}, "/steps/1/tgt"),
        ({"steps": [PING, {**PING, "fun": "a b"}]}, "/steps/1/fun"),
        ({"steps": [PING, {**PING, "tgt_type": "odd"}]}, "/steps/1/tgt_type"),
        ({"steps": [PING, {"steps": [PING]}]}, "/steps/1/steps"),
        ({"steps": [PING], "tgt": "*"}, "/tgt"),
        ({"steps": [PING], "stop_on": "x"}, "/stop_on"),
        ({"steps": [PING], "concurrency": {"group": "a b"}}, "/concurrency/group"),
        ({"steps": [PING, {**PING, "concurrency": {"group": "g"}}], "concurrency": {"group": "g"}}, "/steps/1/concurrency/group"),
    ],
)
def test_a_step_that_cannot_be_taken_is_422_and_nothing_is_stored(api: Api, body: dict[str, Any], pointer: str) -> None:
    newest = [job["jid"] for job in get(api, "?limit=1").json()["jobs"]]
    answer = api.caller.post(body, "/v1/jobs", x_auth_token=token_of(api))

    assert problem(answer) == (422, "Unprocessable")
    assert pointer in {error["pointer"] for error in answer.json()["errors"]}
    assert [job["jid"] for job in get(api, "?limit=1").json()["jobs"]] == newest


@pytest.mark.costly
def test_one_key_is_for_all_steps(fake: Api) -> None:
    first = post_steps(fake, PING, PING, key="k")
    again = post_steps(fake, PING, PING, key="k")

    assert (again.json()["jid"], again.headers["idempotency-replayed"]) == (first.json()["jid"], "true")
    assert len([load for load in gateway_of(fake).master.loads if load.get("fun") == "test.ping"]) == 2
    assert problem(post_steps(fake, PING, key="k")) == (422, "KeyReused")


@pytest.mark.costly
def test_a_sequence_does_not_run_again(fake: Api) -> None:
    jid = post_steps(fake, FAILING).json()["jid"]

    assert problem(fake.caller.post({"minions": "failed"}, f"/v1/jobs/{jid}/relaunch", x_auth_token=token_of(fake))) == (409, "Conflict")


@pytest.mark.slow
def test_a_sequence_that_is_cancelled_cancels_its_step(fake: Api) -> None:
    master = gateway_of(fake).master
    master.silent = {"minion-2"}
    begun = post_steps(fake, PING, PING, query="").json()
    assert (begun["status"], begun["exit_code"]) == ("running", None)
    while get(fake, f"/{begun['jid']}").json()["steps"][0]["status"] != "running":
        get(fake, f"/{begun['jid']}?wait=0.05")
    master.silent = set()
    answer = fake.caller.request("DELETE", f"/v1/jobs/{begun['jid']}", b"", x_auth_token=token_of(fake))
    over = get(fake, f"/{begun['jid']}?wait=60&fail=1")

    assert (answer.status, answer.json()["cancel_asked"]) == (202, True)
    assert (over.status, over.json()["status"], [step["status"] for step in over.json()["steps"]]) == (409, "cancelled", ["cancelled", "not_begun"])


@pytest.mark.costly
def test_others_do_not_see_it(fake: Api) -> None:
    jid = post_steps(fake, PING).json()["jid"]

    assert problem(fake.caller.get(f"/v1/jobs/{jid}", x_auth_token=token_of(fake, fake.pinger))) == (404, "NoSuchJob")


@pytest.mark.costly
def test_a_step_waits_for_its_group(fake: Api) -> None:
    master = gateway_of(fake).master
    master.silent = {"minion-2"}
    group = {"concurrency": {"group": "g"}}
    first = fake.caller.post({**PING, **group}, "/v1/jobs", x_auth_token=token_of(fake)).json()["jid"]
    master.silent = set()
    whole = post_steps(fake, {**PING, **group}, query="").json()["jid"]
    while get(fake, f"/{whole}").json()["steps"][0]["status"] != "queued":
        get(fake, f"/{whole}?wait=0.05")
    gateway_of(fake).hub.deliver(returned(first, "minion-2"))

    assert get(fake, f"/{whole}?wait=30").json()["status"] == "succeeded"


@pytest.mark.costly
def test_a_sequence_waits_for_its_group_and_holds_it(fake: Api) -> None:
    master = gateway_of(fake).master
    group: dict[str, Any] = {"concurrency": {"group": "g", "when_busy": "queue"}}
    master.silent = {"minion-2"}
    first = fake.caller.post({**PING, **group}, "/v1/jobs", x_auth_token=token_of(fake)).json()["jid"]
    master.silent = set()
    answer = post_steps(fake, PING, PING, query="", key="k", **group)
    whole = answer.json()
    assert (answer.status, whole["status"], whole["concurrency"]) == (202, "queued", group["concurrency"])
    assert [step["status"] for step in whole["steps"]] == ["not_begun", "not_begun"]
    assert post_steps(fake, PING, PING, query="", key="k", **group).headers["idempotency-replayed"] == "true"
    refused = post_steps(fake, PING, query="", concurrency={"group": "g", "when_busy": "refuse"})
    assert (problem(refused), refused.json()["jid"]) == ((409, "GroupBusy"), first)
    gateway_of(fake).hub.deliver(returned(first, "minion-2"))
    over = get(fake, f"/{whole['jid']}?wait=30").json()

    assert (over["status"], [step["status"] for step in over["steps"]]) == ("succeeded", ["succeeded", "succeeded"])
    statuses = [one["status"] for one in told(follow(fake, whole["jid"])) if one["event"] == "status"]
    assert statuses == ["queued", "running", "succeeded"]


@pytest.mark.costly
def test_a_queued_sequence_is_cancelled_before_its_turn(fake: Api) -> None:
    group: dict[str, Any] = {"concurrency": {"group": "g"}}
    gateway_of(fake).master.silent = {"minion-2"}
    fake.caller.post({**PING, **group}, "/v1/jobs", x_auth_token=token_of(fake))
    jid = post_steps(fake, PING, query="", **group).json()["jid"]
    cancelled = fake.caller.request("DELETE", f"/v1/jobs/{jid}", b"", x_auth_token=token_of(fake)).json()

    assert (cancelled["status"], cancelled["cause"], cancelled["cancel_asked"]) == ("cancelled", "not_run", True)
    assert cancelled["steps"][0]["jid"] is None
