"""Jobs of one concurrency group, as callers of `/v1/jobs` see them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.conftest import Api
from tests.contract.test_v1_events import follow, told
from tests.contract.test_v1_jobs import fake, gateway_of, get, post, problem, returned, token_of

__all__ = ["fake"]

Group = dict[str, Any]


def group(when_busy: str = "queue") -> Group:
    return {"concurrency": {"group": "deploy/production", "when_busy": when_busy}}


def delete(api: Api, jid: str) -> Any:
    return api.caller.request("DELETE", f"/v1/jobs/{jid}", b"", x_auth_token=token_of(api)).json()


@pytest.fixture
def busy(fake: Api) -> tuple[Api, str]:
    """Return a sidecar and the job that is under way in the group, whose second minion is silent."""
    gateway_of(fake).master.silent = {"minion-2"}
    jid = post(fake, "", **group()).json()["jid"]
    gateway_of(fake).master.silent = set()
    return fake, jid


@pytest.mark.costly
def test_a_queued_job_is_202_and_its_followers_hear_of_it_from_the_start(busy: tuple[Api, str]) -> None:
    api, first = busy
    answer = post(api, "?fail=1", key="k", **group())
    queued = answer.json()
    assert (answer.status, queued["status"], queued["exit_code"], queued["expected"], queued["minions"]) == (202, "queued", None, 0, {})
    assert queued["concurrency"] == group()["concurrency"]
    assert [job["jid"] for job in get(api, "?status=queued").json()["jobs"]] == [queued["jid"]]
    assert post(api, "", key="k", **group()).headers["idempotency-replayed"] == "true"
    assert api.process.metrics.value("salt_api_jobs_open", status="queued") == 1
    gateway_of(api).hub.deliver(returned(first, "minion-2"))

    assert get(api, f"/{queued['jid']}?wait=30").json()["status"] == "succeeded"
    statuses = [one["status"] for one in told(follow(api, queued["jid"])) if one["event"] == "status"]
    assert (statuses[0], statuses[-1]) == ("queued", "succeeded")


@pytest.mark.slow
def test_a_queued_job_can_have_waves(busy: tuple[Api, str]) -> None:
    api, first = busy
    jid = post(api, "", batch=1, **group()).json()["jid"]
    gateway_of(api).hub.deliver(returned(first, "minion-2"))
    over = get(api, f"/{jid}?wait=30").json()

    assert (over["status"], over["counts"]) == ("succeeded", {"ok": 2})
    assert [load["tgt"] for load in gateway_of(api).master.loads if load.get("jid") == jid and load["fun"] == "test.ping"] == [["minion-1"], ["minion-2"]]


@pytest.mark.costly
def test_who_wants_no_queue_gets_409_with_the_job_that_is_under_way(busy: tuple[Api, str]) -> None:
    api, first = busy
    answer = post(api, "", key="k", **group("refuse"))
    stranger = api.caller.post({"tgt": "*", "fun": "test.ping", **group("refuse")}, "/v1/jobs", x_auth_token=token_of(api, api.pinger))

    assert (problem(answer), problem(stranger)) == ((409, "GroupBusy"), (409, "GroupBusy"))
    assert (answer.json()["jid"], "jid" in stranger.json()) == (first, False)
    assert "retry-after" in answer.headers
    assert [job["jid"] for job in get(api, "").json()["jobs"]] == [first]
    gateway_of(api).hub.deliver(returned(first, "minion-2"))
    get(api, f"/{first}?wait=30")
    assert post(api, key="k", **group("refuse")).json()["status"] == "succeeded"


@pytest.mark.costly
def test_a_queued_job_is_cancelled_before_its_turn(busy: tuple[Api, str]) -> None:
    api, _ = busy
    jid = post(api, "", **group()).json()["jid"]
    cancelled = delete(api, jid)

    assert (cancelled["status"], cancelled["cause"], cancelled["exit_code"], cancelled["cancel_asked"]) == ("cancelled", "not_run", 5, True)
    assert delete(api, jid) == cancelled
    assert len([load for load in gateway_of(api).master.loads if load.get("fun") == "test.ping"]) == 1


def test_others_cannot_cancel_what_runs(busy: tuple[Api, str]) -> None:
    api, first = busy
    answer = api.caller.post({"tgt": "*", "fun": "test.ping", **group("cancel_running")}, "/v1/jobs", x_auth_token=token_of(api, api.pinger))

    assert problem(answer) == (409, "GroupBusy")
    assert "cancel_asked" not in get(api, f"/{first}").json()


@pytest.mark.slow
def test_the_running_one_is_cancelled_and_the_next_begins(busy: tuple[Api, str]) -> None:
    api, first = busy
    second = post(api, "?wait=30", **group("cancel_running")).json()

    assert second["status"] == "succeeded"
    assert get(api, f"/{first}").json()["status"] == "cancelled"


@pytest.mark.parametrize(
    ("concurrency", "pointer"),
    [
        ({}, "/concurrency/group"),
        ({"group": "a b"}, "/concurrency/group"),
        ({"group": "g", "when_busy": "wait"}, "/concurrency/when_busy"),
        ("g", "/concurrency"),
    ],
)
def test_a_group_that_cannot_be_taken_is_422(api: Api, concurrency: object, pointer: str) -> None:
    answer = post(api, "", concurrency=concurrency)

    assert problem(answer) == (422, "Unprocessable")
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]
