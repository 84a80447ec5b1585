"""Following a job of `/v1`: whole and in order, live or late, in each form."""

from __future__ import annotations

import json
import threading
import xml.etree.ElementTree as ET
from typing import Any

import pytest

from service.jobs.followers import FORMS
from tests.caller import Response
from tests.contract.conftest import Api
from tests.contract.test_v1_jobs import fake, gateway_of, get, post, problem, returned, token_of

__all__ = ["fake"]
NDJSON = "application/x-ndjson"


def follow(api: Api, jid: str, accept: str = NDJSON, query: str = "", **headers: str) -> Response:
    return get(api, f"/{jid}/events{query}", accept=accept, **headers)


def told(answer: Response) -> list[dict[str, Any]]:
    assert answer.status == 200, answer.body
    return [json.loads(line) for line in answer.body.splitlines() if line]


def test_a_job_that_is_over_is_told_whole_and_the_stream_ends(api: Api) -> None:
    jid = post(api, fun="test.echo", arg=["hi"]).json()["jid"]
    happened = told(follow(api, jid))

    assert [one["seq"] for one in happened] == list(range(1, len(happened) + 1))
    assert {one["minion"]: one["status"] for one in happened if one["event"] == "minion"} == {"minion-1": "ok", "minion-2": "ok"}
    assert (happened[-1]["event"], happened[-1]["status"], happened[-1]["exit_code"]) == ("status", "succeeded", 0)
    assert "return" not in str(happened)


def test_a_stream_that_was_cut_goes_on_where_it_was(api: Api) -> None:
    jid = post(api).json()["jid"]
    whole = told(follow(api, jid))

    assert told(follow(api, jid, query="?after=1")) == told(follow(api, jid, last_event_id="1")) == whole[1:]
    assert told(follow(api, jid, last_event_id=str(len(whole)))) == []
    assert problem(follow(api, jid, last_event_id="x")) == (400, "BadRequest")
    assert problem(follow(api, jid, query="?after=-1")) == (400, "BadRequest")


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("*/*", "text/event-stream"),
        ("text/event-stream", "text/event-stream"),
        (NDJSON, NDJSON),
        ("text/plain, */*;q=0.1", "text/plain"),
        ("image/png", "text/event-stream"),
    ],
)
def test_accept_chooses_the_form(api: Api, accept: str, media_type: str) -> None:
    answer = follow(api, post(api).json()["jid"], accept)

    assert (answer.status, answer.headers["content-type"]) == (200, FORMS[media_type].content_type)


def test_server_sent_events_have_numbers_and_names(api: Api) -> None:
    body = follow(api, post(api).json()["jid"], "text/event-stream").body.decode()
    last = body.strip().split("\n\n")[-1].splitlines()

    assert body.startswith("retry: ")
    assert [line.partition(": ")[0] for line in last] == ["id", "event", "data"]
    assert json.loads(last[2].partition(": ")[2])["status"] == "succeeded"


@pytest.mark.costly
def test_text_is_a_line_for_each_and_no_minion_can_make_others(fake: Api) -> None:
    gateway_of(fake).master.silent = {"minion-1", "minion-2"}
    jid = post(fake, "", fun="state.apply").json()["jid"]
    chunk = {"result": False, "changes": {}, "comment": "no\n12:00:00 job: succeeded\r\n::error::x", "name": "b\nc", "__run_num__": 0}
    failed = {"fun": "state.apply", "return": {"a_|-b_|-b_|-c": chunk}, "retcode": 2, "success": False}
    gateway_of(fake).hub.deliver(returned(jid, "minion-1", **failed))
    gateway_of(fake).hub.deliver(returned(jid, "minion-2", fun="state.apply", **{"return": {}}))
    lines = follow(fake, jid, "text/plain").body.decode().splitlines()

    assert [line[9:] for line in lines if line and line[0].isdigit()] == ["job: running", "minion-1: failed (state_failed)", "minion-2: ok", "job: failed"]
    assert "    a.c b c: no 12:00:00 job: succeeded ::error::x" in lines


@pytest.mark.costly
def test_who_follows_hears_at_once(fake: Api) -> None:
    gateway_of(fake).master.silent = {"minion-2"}
    jid = post(fake, "").json()["jid"]
    answers: list[Response] = []
    followers = [threading.Thread(target=lambda: answers.append(follow(fake, jid))) for _ in range(5)]
    for follower in followers:
        follower.start()
    gateway_of(fake).hub.deliver(returned(jid, "minion-2"))
    for follower in followers:
        follower.join(30)

    assert len(answers) == 5
    assert {tuple(one["event"] for one in told(answer)) for answer in answers} == {("status", "minion", "minion", "status")}


def test_a_stream_ends_when_the_process_stops(fake: Api) -> None:
    gateway_of(fake).master.silent = {"minion-2"}
    jid = post(fake, "").json()["jid"]
    fake.process.end_waits()
    happened = told(follow(fake, jid))

    assert happened[-1]["event"] == "minion" or happened[-1]["status"] == "running"
    assert get(fake, f"/{jid}?wait=60").status == 202


def test_others_cannot_follow_a_job(api: Api) -> None:
    jid = post(api).json()["jid"]
    answer = api.caller.get(f"/v1/jobs/{jid}/events", x_auth_token=token_of(api, api.pinger))

    assert problem(answer) == (404, "NoSuchJob")
    assert api.caller.request("HEAD", f"/v1/jobs/{jid}/events", b"", x_auth_token=token_of(api)).body == b""


def test_the_log_is_read_on_from_where_one_was(api: Api) -> None:
    jid = post(api).json()["jid"]
    whole = get(api, f"/{jid}/log")
    size = len(whole.body)

    assert (whole.status, whole.headers["x-complete"]) == (200, "true")
    assert whole.body.decode().splitlines()[-1].endswith("job: succeeded")
    assert get(api, f"/{jid}/log?offset=5").body == whole.body[5:]
    assert get(api, f"/{jid}/log?offset={size + 9}").body == b""
    part = get(api, f"/{jid}/log", range="bytes=5-")
    assert (part.status, part.body, part.headers["content-range"]) == (206, whole.body[5:], f"bytes 5-{size - 1}/{size}")
    beyond = get(api, f"/{jid}/log", range=f"bytes={size}-")
    assert (problem(beyond), beyond.headers["content-range"]) == ((416, "RangeBeyondEnd"), f"bytes */{size}")
    for wrong in ("bytes=5-6", "bytes=-5", "lines=1-", "bytes=x-", "bytes=" + "9" * 50 + "-"):
        assert problem(get(api, f"/{jid}/log", range=wrong)) == (400, "BadRequest"), wrong
    assert problem(get(api, f"/{jid}/log?offset=-1")) == (400, "BadRequest")


def test_the_log_of_a_job_that_runs_says_that_more_may_come(fake: Api) -> None:
    gateway_of(fake).master.silent = {"minion-2"}

    assert get(fake, f"/{post(fake, '').json()['jid']}/log").headers["x-complete"] == "false"


@pytest.mark.costly
def test_a_job_is_a_report_of_tests(fake: Api) -> None:
    gateway_of(fake).master.silent = {"minion-1", "minion-2"}
    jid = post(fake, "", fun="state.apply", tgt=["minion-1", "minion-2", "ghost"], tgt_type="list").json()["jid"]
    chunk = {"result": False, "changes": {}, "comment": "no \x00 <b>&", "name": "b", "__run_num__": 0}
    failed = {"fun": "state.apply", "return": {"a_|-b_|-b_|-c": chunk}, "retcode": 2, "success": False}
    gateway_of(fake).hub.deliver(returned(jid, "minion-1", **failed))
    before = ET.fromstring(get(fake, f"/{jid}/junit").body)
    gateway_of(fake).hub.deliver(returned(jid, "minion-2", fun="state.apply", **{"return": {}}))
    get(fake, f"/{jid}?wait=30")
    answer = get(fake, f"/{jid}/junit")
    suite = ET.fromstring(answer.body)

    assert answer.headers["content-type"] == "application/xml"
    assert {case.get("name"): [child.tag for child in case] for case in suite} == {"ghost": ["error"], "minion-1": ["failure"], "minion-2": []}
    assert [suite.get(name) for name in ("name", "tests", "failures", "errors", "skipped")] == ["state.apply", "3", "1", "1", "0"]
    assert "no \ufffd <b>&" in (suite.findtext(".//failure") or "")
    assert before.get("tests") == "3"
