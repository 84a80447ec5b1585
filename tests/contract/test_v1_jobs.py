"""`/v1/jobs` on either master: what a pipeline sees."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import salt.payload

from service.api.v1.v1_jobs import head_of
from service.errors import MasterTimeout
from tests.caller import Response
from tests.contract.conftest import Api, a_store, fake_api
from tests.fakes import FakeGateway
from tests.unit.jobs.kept import JID, job

BOTH = {"minion-1", "minion-2"}
keys = itertools.count()


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[Api]:
    """The application of one test, over a fake master."""
    made = fake_api(tmp_path, **a_store(tmp_path))
    yield made
    made.process.stop()


def gateway_of(api: Api) -> FakeGateway:
    assert isinstance(api.process.gateway, FakeGateway)
    return api.process.gateway


def token_of(api: Api, user: dict[str, str] | None = None) -> str:
    token: str = api.caller.post(user or api.demo, "/login").json()["return"][0]["token"]
    return token


def post(api: Api, query: str = "?wait=30", key: str = "", **asked: Any) -> Response:
    headers = {"x_auth_token": token_of(api), **({"idempotency_key": key} if key else {})}
    return api.caller.post({"tgt": "*", "fun": "test.ping", **asked}, f"/v1/jobs{query}", **headers)


def get(api: Api, path: str, **headers: str) -> Response:
    return api.caller.get(f"/v1/jobs{path}", x_auth_token=token_of(api), **headers)


def problem(answer: Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["status"] == answer.status
    return answer.status, body["error"]


def test_a_job_is_waited_for_and_judged(api: Api) -> None:
    answer = post(api, "?wait=30&fail=1", fun="test.echo", arg=["hi"])
    job = answer.json()

    assert (answer.status, job["status"], job["exit_code"], job["counts"], job["expected"]) == (200, "succeeded", 0, {"ok": 2}, 2)
    assert job["minions"].keys() == BOTH
    assert answer.headers["location"] == job["links"]["self"] == f"/v1/jobs/{job['jid']}"
    assert "return" not in job["minions"]["minion-1"]
    whole = get(api, f"/{job['jid']}?fields=return,minions").json()
    assert {minion: part["return"] for minion, part in whole["minions"].items()} == dict.fromkeys(BOTH, "hi")
    assert get(api, f"/{job['jid']}?fields=status").json() == {"jid": job["jid"], "status": "succeeded"}
    one = get(api, f"/{job['jid']}/minions/minion-2").json()
    assert (one["minion"], one["status"], one["return"], one["retcode"]) == ("minion-2", "ok", "hi", 0)


def test_a_jobs_parent_is_linked() -> None:
    first, again = head_of(job(), "/salt"), head_of(job("2" * 20, parent=JID), "/salt")

    assert (first["parent"], "parent" in first["links"]) == (None, False)
    assert (again["parent"], again["links"]["parent"]) == (JID, f"/salt/v1/jobs/{JID}")


def test_a_failure_has_a_reason_and_a_status_for_who_asks(api: Api) -> None:
    lax, strict, header = (
        post(api, "?wait=30", fun="no.such"),
        post(api, "?wait=30&fail=1", fun="no.such"),
        api.caller.post({"tgt": "*", "fun": "no.such"}, "/v1/jobs?wait=30", x_auth_token=token_of(api), prefer="handling=strict"),
    )

    assert (lax.status, strict.status, header.status) == (200, 422, 422)
    assert (lax.json()["status"], lax.json()["exit_code"]) == ("failed", 1)
    assert {part["reason"] for part in strict.json()["minions"].values()} == {"unknown_function"}
    assert get(api, f"/{lax.json()['jid']}?failed=1&minions=*-1").json()["minions"].keys() == {"minion-1"}


def test_a_job_in_waves_is_one_job(api: Api) -> None:
    answer = post(api, "?wait=30&fields=return,status,counts,waves,wave,minions,jid", fun="test.echo", arg=["hi"], batch=[1, "50%"], stop_after_failures=1)
    job = answer.json()

    assert (job["status"], job["counts"], job["waves"], job["wave"]) == ("succeeded", {"ok": 2}, 2, 2)
    assert {minion: (part["wave"], part["return"]) for minion, part in job["minions"].items()} == {"minion-1": (1, "hi"), "minion-2": (2, "hi")}
    told = [json.loads(line) for line in get(api, f"/{job['jid']}/events", accept="application/x-ndjson").body.splitlines() if line]
    assert [(one["wave"], one["of"], one["minions"]) for one in told if one["event"] == "wave"] == [(1, 2, 1), (2, 2, 1)]
    assert "wave 2 of 2, 1 minions" in get(api, f"/{job['jid']}/log").body.decode()
    assert post(api, tgt="nobody", batch=1).json()["status"] == "no_match"


def test_a_canary_that_fails_stops_the_job(api: Api) -> None:
    answer = post(api, "?wait=30&fail=1", fun="no.such", batch=1, stop_after_failures="10%")
    job = answer.json()

    assert (answer.status, job["status"], job["cause"], job["exit_code"], job["counts"]) == (422, "failed", "stopped", 1, {"failed": 1, "not_run": 1})
    assert job["minions"]["minion-2"] == {"status": "not_run", "wave": 2, "why": "stopped_by_failures"}
    assert b'<skipped message="stopped_by_failures"' in get(api, f"/{job['jid']}/junit").body
    assert "minion-2: not_run (stopped_by_failures)" in get(api, f"/{job['jid']}/log").body.decode()


def test_a_right_that_is_missing_for_the_first_wave_leaves_the_key_free(api: Api) -> None:
    pinger, key = token_of(api, api.pinger), f"k{next(keys)}"
    refused = api.caller.post({"tgt": "*", "fun": "test.echo", "arg": ["x"], "batch": 1}, "/v1/jobs", x_auth_token=pinger, idempotency_key=key)
    allowed = api.caller.post({"tgt": "*", "fun": "test.ping", "batch": 1}, "/v1/jobs?wait=30", x_auth_token=pinger, idempotency_key=key)

    assert problem(refused) == (403, "Forbidden")
    assert (allowed.status, allowed.json()["status"]) == (200, "succeeded")


def test_no_match_is_no_success(api: Api) -> None:
    answer = post(api, "?fail=1", tgt="nobody")

    assert (answer.status, answer.json()["status"], answer.json()["exit_code"]) == (404, "no_match", 2)


def test_a_minion_without_a_key_is_missing_unless_that_is_tolerated(api: Api) -> None:
    named: dict[str, Any] = {"tgt": ["minion-1", "ghost"], "tgt_type": "list"}
    strict, lax = post(api, "?wait=30&fail=1", **named), post(api, "?wait=30&fail=1", missing="ignore", **named)

    assert (strict.status, strict.json()["status"], strict.json()["cause"], strict.json()["exit_code"]) == (424, "failed", "missing", 3)
    assert strict.json()["minions"]["ghost"] == {"status": "no_key"}
    assert (lax.status, lax.json()["status"], lax.json()["exit_code"]) == (200, "partial", 0)


def test_the_same_key_twice_is_one_job(api: Api) -> None:
    key = f"gh-1-{next(keys)}"
    first, again, quoted = post(api, key=key), post(api, "", key=key), post(api, key=f'"{key}"')

    assert first.json()["jid"] == again.json()["jid"] == quoted.json()["jid"]
    assert ("idempotency-replayed" in first.headers, again.headers["idempotency-replayed"]) == (False, "true")
    assert problem(post(api, key=key, fun="test.echo", arg=["x"])) == (422, "KeyReused")
    assert post(api, key=f"gh-1-{next(keys)}").json()["jid"] != first.json()["jid"]
    other = api.caller.post({"tgt": "*", "fun": "test.ping"}, "/v1/jobs?wait=30", x_auth_token=token_of(api, api.pinger), idempotency_key=key)
    assert (other.status, other.json()["jid"] == first.json()["jid"]) == (200, False)


@pytest.mark.parametrize("key", ["a b", "x" * 256, "", '""', "\xe9", "y" * 10_240])
def test_a_key_that_is_none_is_refused(api: Api, key: str) -> None:
    answer = api.caller.post({"tgt": "*", "fun": "test.ping"}, "/v1/jobs", x_auth_token=token_of(api), idempotency_key=key)

    assert problem(answer) == (400, "BadRequest")


def test_others_do_not_see_a_job(api: Api) -> None:
    jid = post(api).json()["jid"]
    pinger = token_of(api, api.pinger)

    for path in (f"/v1/jobs/{jid}", f"/v1/jobs/{jid}/minions/minion-1", "/v1/jobs/1", "/v1/jobs/" + "9" * 500):
        assert problem(api.caller.get(path, x_auth_token=pinger)) == (404, "NoSuchJob")
    assert jid not in api.caller.get("/v1/jobs?limit=1000", x_auth_token=pinger).body.decode()
    assert problem(api.caller.get(f"/v1/jobs/{jid}")) == (401, "Unauthenticated")
    assert problem(get(api, f"/{jid}/minions/nobody")) == (404, "NoSuchJob")


def test_a_right_that_is_missing_is_403_and_leaves_the_key_free(api: Api) -> None:
    pinger, key = token_of(api, api.pinger), f"k{next(keys)}"
    refused = api.caller.post({"tgt": "*", "fun": "test.echo", "arg": ["x"]}, "/v1/jobs", x_auth_token=pinger, idempotency_key=key)
    allowed = api.caller.post({"tgt": "*", "fun": "test.ping"}, "/v1/jobs?wait=30", x_auth_token=pinger, idempotency_key=key)

    assert problem(refused) == (403, "Forbidden")
    assert (allowed.status, allowed.json()["status"]) == (200, "succeeded")


def test_the_index_shows_ones_own_jobs_the_newest_first_page_by_page(api: Api) -> None:
    jids = [post(api).json()["jid"] for _ in range(3)]
    first = get(api, "?limit=2").json()
    rest = get(api, f"?limit=2&after={first['next']}").json()

    assert [job["jid"] for job in first["jobs"]] == jids[:0:-1]
    assert rest["jobs"][0]["jid"] == jids[0]
    assert {job["status"] for job in get(api, "?status=no_match").json()["jobs"]} <= {"no_match"}
    assert "minions" not in first["jobs"][0]


def test_an_answer_that_is_known_is_not_sent_again(api: Api) -> None:
    answer = post(api)
    again = get(api, f"/{answer.json()['jid']}", if_none_match=answer.headers["etag"])

    assert (again.status, again.body) == (304, b"")
    assert get(api, f"/{answer.json()['jid']}", if_none_match='"other"').status == 200


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"fun": "test.ping"}, "/tgt"),
        ({"odd": 1}, "/odd"),
        ({"tgt": "*", "fun": "a b"}, "/fun"),
        ({"tgt": "*", "fun": "test.ping", "tgt_type": "x"}, "/tgt_type"),
    ],
)
def test_what_cannot_be_taken_is_422_with_a_pointer(api: Api, body: dict[str, Any], pointer: str) -> None:
    answer = api.caller.post(body, "/v1/jobs", x_auth_token=token_of(api))

    assert problem(answer) == (422, "Unprocessable")
    assert pointer in {error["pointer"] for error in answer.json()["errors"]}


@pytest.mark.parametrize("query", ["?wait=-1", "?wait=61", "?wait=nan", "?wait=soon", "?wait=1e400"])
def test_an_absurd_wait_is_refused_before_anything_is_done(api: Api, query: str) -> None:
    assert problem(post(api, query)) == (400, "BadRequest")
    assert problem(get(api, f"/1{query}")) == (400, "BadRequest")


@pytest.mark.parametrize("query", ["?status=odd", "?limit=x", "?limit=1001", "?since=x"])
def test_an_absurd_search_is_refused(api: Api, query: str) -> None:
    assert problem(get(api, query)) == (400, "BadRequest")


def test_credentials_in_the_body_are_no_session(api: Api) -> None:
    answer = api.caller.post({"tgt": "*", "fun": "test.ping", **api.demo}, "/v1/jobs")

    assert problem(answer) == (401, "Unauthenticated")


def test_a_runner_is_one_minion_the_master(api: Api) -> None:
    asked = {"client": "runner", "fun": "test.arg", "arg": ["a"], "kwarg": {"b": 1}}
    answer = api.caller.post(asked, "/v1/jobs?wait=30&fields=return,status,minions,exit_code,jid", x_auth_token=token_of(api), idempotency_key="run-once")
    again = api.caller.post(asked, "/v1/jobs?wait=30", x_auth_token=token_of(api), idempotency_key="run-once")
    job = answer.json()

    assert (answer.status, job["status"], job["exit_code"], list(job["minions"])) == (200, "succeeded", 0, ["master"])
    assert job["minions"]["master"]["return"] == {"args": ["a"], "kwargs": {"b": 1}}
    assert (again.json()["jid"], again.headers["idempotency-replayed"]) == (job["jid"], "true")


def test_a_wheel_is_over_with_the_masters_answer(api: Api) -> None:
    def wheel(**asked: Any) -> dict[str, Any]:
        answer = api.caller.post({"client": "wheel", **asked}, "/v1/jobs?fields=return,status,minions", x_auth_token=token_of(api))
        job: dict[str, Any] = answer.json()
        return job

    found = wheel(fun="key.name_match", kwarg={"match": "minion-*"})
    assert (found["status"], found["minions"]["master"]["return"]) == ("succeeded", {"minions": ["minion-1", "minion-2"]})
    failed = wheel(fun="no.such")
    assert (failed["status"], failed["minions"]["master"]["reason"]) == ("failed", "exception")


def test_what_runs_on_the_master_needs_the_right_to_that(api: Api) -> None:
    for client, fun in (("runner", "test.arg"), ("wheel", "key.list_all")):
        answer = api.caller.post({"client": client, "fun": fun}, "/v1/jobs", x_auth_token=token_of(api, api.pinger))
        assert problem(answer) == (403, "Forbidden")


# The fake alone: what a real master does not do at will.


@pytest.mark.costly
def test_a_job_that_is_not_over_is_202_and_goes_on(fake: Api) -> None:
    gateway_of(fake).master.silent = {"minion-2"}
    answer = post(fake, "?fail=1&wait=0.01")

    assert (answer.status, answer.json()["status"], answer.json()["exit_code"]) == (202, "running", None)
    assert answer.json()["counts"] == {"ok": 1, "waiting": 1}
    jid = answer.json()["jid"]
    gateway_of(fake).hub.deliver(returned(jid, "minion-2", fun="cmd.run", fun_args=["forged"]))
    gateway_of(fake).hub.deliver(returned(jid, "minion-2"))
    over = get(fake, f"/{jid}?wait=30&fail=1")
    assert (over.status, over.json()["status"], over.json()["foreign_returns"]) == (200, "succeeded", 1)


@pytest.mark.parametrize("client", ["local", "local_async", "local_batch", "local_subset"])
@pytest.mark.parametrize("is_over", [False, True])
@pytest.mark.slow
def test_nothing_else_runs_under_the_jid_of_a_job_not_even_its_owners(fake: Api, client: str, is_over: bool) -> None:
    master = gateway_of(fake).master
    master.silent = set() if is_over else {"minion-2"}
    jid = post(fake, "?wait=30" if is_over else "").json()["jid"]
    published = [load for load in master.loads if load["cmd"] == "publish"]
    low = {"client": client, "tgt": "*", "fun": "test.ping", "jid": jid}

    for path, who in (("/", fake.demo), ("/run", fake.demo), ("/", fake.pinger)):
        assert fake.caller.post([{**who, **low}], path).status == 409
    assert fake.caller.post([low], x_auth_token=token_of(fake)).status == 409
    assert fake.caller.post([{**fake.demo, "password": "wrong", **low}]).status == 401
    assert [load for load in master.loads if load["cmd"] == "publish"] == published


@pytest.mark.slow
def test_a_job_is_cancelled_by_who_may_end_it(fake: Api) -> None:
    master = gateway_of(fake).master
    master.silent = {"minion-2"}
    jid = post(fake, "").json()["jid"]
    master.silent = set()
    answers = [fake.caller.request("DELETE", f"/v1/jobs/{jid}", b"", x_auth_token=token_of(fake)) for _ in range(2)]
    over = get(fake, f"/{jid}?wait=30&fail=1")

    assert [(answer.status, answer.json()["cancel_asked"]) for answer in answers] == [(202, True)] * 2
    assert len([load for load in master.loads if load.get("fun") == "saltutil.term_job"]) == 1
    assert (over.status, over.json()["status"], over.json()["exit_code"], over.json()["counts"]) == (409, "cancelled", 5, {"ok": 1, "cancelled": 1})


def test_the_end_of_a_job_that_is_over_is_its_end(api: Api) -> None:
    jid = post(api).json()["jid"]
    answer = api.caller.request("DELETE", f"/v1/jobs/{jid}", b"", x_auth_token=token_of(api))

    assert (answer.status, answer.json()["status"]) == (200, "succeeded")
    assert problem(api.caller.request("DELETE", f"/v1/jobs/{jid}", b"", x_auth_token=token_of(api, api.pinger))) == (404, "NoSuchJob")


@pytest.mark.costly
def test_who_may_not_end_a_job_does_not(fake: Api) -> None:
    gateway_of(fake).master.silent = {"minion-2"}
    token = token_of(fake, fake.pinger)
    jid = fake.caller.post({"tgt": "*", "fun": "test.ping"}, "/v1/jobs", x_auth_token=token).json()["jid"]

    assert problem(fake.caller.request("DELETE", f"/v1/jobs/{jid}", b"", x_auth_token=token)) == (403, "Forbidden")


def returned(jid: str, minion: str, **fields: Any) -> bytes:
    data = {"id": minion, "jid": jid, "fun": "test.ping", "fun_args": [], "return": True, "retcode": 0, "success": True, **fields}
    return f"salt/job/{jid}/ret/{minion}\n\n".encode() + bytes(salt.payload.dumps(data))


@pytest.mark.slow
@pytest.mark.parametrize("reaches", [True, False])
def test_a_publish_of_which_nothing_is_known_is_looked_up_before_it_is_tried_again(fake: Api, monkeypatch: pytest.MonkeyPatch, reaches: bool) -> None:
    master = gateway_of(fake).master
    send = master.send
    lost: list[dict[str, Any]] = []

    def lose(load: dict[str, Any], *, timeout: float | None = None, slow: bool = False) -> Any:
        if load["cmd"] == "publish" and not lost:
            lost.append(load)
            if reaches:
                send(load, timeout=timeout, slow=slow)
            raise MasterTimeout("no answer in time")
        return send(load, timeout=timeout, slow=slow)

    monkeypatch.setattr(master, "send", lose)
    first = post(fake, "", key="k")
    again = post(fake, "?wait=30", key="k")

    assert (first.status, first.json()["status"], first.json()["exit_code"]) == (202, "in_doubt", 6)
    assert again.json()["jid"] == first.json()["jid"]
    assert again.json()["status"] == "succeeded"
    assert len([load for load in master.loads if load["cmd"] == "publish" and load["fun"] == "test.ping"]) == 1
    assert list(master.published) == [first.json()["jid"]]


@pytest.mark.costly
def test_without_a_place_for_the_store_all_but_v1_works(tmp_path: Path) -> None:
    api = fake_api(tmp_path, SIDECAR_JOBS_STORE="sqlite:///nonexistent/jobs.db")

    for answer in (post(api), get(api, ""), get(api, "/1")):
        assert problem(answer) == (503, "StorageUnavailable")
        assert "folder" in answer.json()["detail"]
        assert "retry-after" in answer.headers
    assert api.value(client="local", tgt="*", fun="test.ping") == dict.fromkeys(BOTH, True)
    assert api.process.metrics.value("salt_api_jobs_store_up") == 0


def test_who_wants_no_store_is_not_told_that_it_is_missing(tmp_path: Path) -> None:
    assert fake_api(tmp_path, SIDECAR_JOBS_STORE="").process.metrics.value("salt_api_jobs_store_up") is None


@pytest.mark.costly
def test_no_secret_of_a_job_is_in_the_store(fake: Api, tmp_path: Path) -> None:
    post(fake, fun="test.echo", arg=["hunter2-argument"], metadata={"x": "hunter2-metadata"}, kwarg={"pillar": "hunter2-pillar"}, key="k")
    token = token_of(fake)
    fake.process.stop()
    kept = b"".join(path.read_bytes() for path in tmp_path.glob("jobs.db*"))

    assert kept
    assert b"hunter2-metadata" not in kept
    assert b"hunter2-pillar" not in kept
    assert token.encode() not in kept


@pytest.mark.costly
def test_what_is_counted_and_logged(fake: Api) -> None:
    post(fake)
    post(fake, fun="no.such")
    value = fake.process.metrics.value

    assert value("salt_api_jobs_ended_total", client="local", status="succeeded") == 1
    assert value("salt_api_jobs_ended_total", client="local", status="failed") == 1
    assert [value("salt_api_jobs_open", status=status) for status in ("queued", "publishing", "in_doubt", "running")] == [0, 0, 0, 0]
    assert value("salt_api_job_state_seconds_count", status="publishing") == 2
    assert value("salt_api_jobs_store_up") == 1
    assert json.dumps(value("salt_api_jobs_store_bytes"))
