"""What a request leaves behind: its trace in answer, job and log; and what the ops listener shows with and without its token."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.caller import Caller
from tests.contract.conftest import Api, fake_api

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


def loads(api: Api) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = api.process.gateway.master.loads  # type: ignore[attr-defined]
    return found


def test_a_trace_goes_from_the_caller_to_the_master_and_back(tmp_path: Path) -> None:
    api = fake_api(tmp_path)
    low = {**api.demo, "tgt": "*"}
    lows = [{**low, "client": "local", "fun": "test.ping"}, {**low, "client": "runner", "fun": "test.arg"}, {**low, "client": "wheel", "fun": "key.list_all"}]
    with capture_logs() as lines:
        answer = api.caller.post(lows, traceparent=PARENT, tracestate="a=1")
        refused = api.caller.post([{"client": "no"}], traceparent=PARENT)

    local, runner, wheel = (load for load in loads(api) if load["cmd"] in {"publish", "runner", "wheel"})
    assert answer.status == 200
    assert (local["traceparent"], local["tracestate"], local["kwargs"]["metadata"]["traceparent"]) == (PARENT, "a=1", PARENT)
    assert (runner["traceparent"], "traceparent" in wheel) == (PARENT, False)
    assert answer.headers["traceresponse"] == PARENT
    assert refused.json()["trace_id"] == TRACE
    (first, _) = (line for line in lines if line["event"] == "http.request")
    assert (first["trace_id"], first["trace_flags"], first["span_id"]) == (TRACE, "01", "00f067aa0ba902b7")


@pytest.mark.costly
def test_no_master_minds_a_trace(api: Api) -> None:
    """Also those that know nothing of traces."""
    for low in ({"client": "local", "tgt": "*", "fun": "test.ping"}, {"client": "runner", "fun": "test.arg"}, {"client": "wheel", "fun": "key.list_all"}):
        answer = api.caller.post([{**api.demo, **low}], traceparent=PARENT, tracestate="a=1")
        assert (answer.status, answer.headers["traceresponse"]) == (200, PARENT), answer.body


def test_without_a_trace_nothing_says_that_there_is_one(tmp_path: Path) -> None:
    api = fake_api(tmp_path)
    for header in ({}, {"traceparent": f"00-{TRACE}-0000000000000000-01", "tracestate": "a=1"}, {"traceparent": PARENT.upper()}):
        answer = api.caller.post([{**api.demo, "client": "local", "tgt": "*", "fun": "test.ping"}], **header)
        assert (answer.status, "traceresponse" in answer.headers) == (200, False)

    assert not any("trace" in name for load in loads(api) for name in (*load, *load["kwargs"]["metadata"]))


def test_the_line_of_a_request_says_where_the_time_went(tmp_path: Path) -> None:
    api = fake_api(tmp_path, SIDECAR_LOG_INCLUDE_TARGET="true")
    with capture_logs() as lines:
        api.run(client="local", tgt=["minion-1", "password=CANARY"], tgt_type="list", fun="test.ping")
        api.process.reloading.reload({"SIDECAR_LOG_INCLUDE_TARGET": "false", "SALT_MASTER_CONFIG": str(tmp_path / "master")})
        api.run(client="local", tgt="minion-1", fun="test.ping")

    shown, hidden = (line for line in lines if line["event"] == "http.request")
    assert {"auth_s", "publish_s", "first_return_s", "wait_s", "duration_s"} <= set(shown)
    assert shown["network.protocol.version"] == "1.0"
    assert shown["salt.lows"][0]["tgt"] == "minion-1,password=<redacted>"
    assert "tgt" not in hidden["salt.lows"][0]
    assert re.fullmatch("[0-9a-f]{16}", hidden["salt.lows"][0]["tgt_hash"])
    assert "CANARY" not in str(lines)


def test_each_answer_has_one_line_beside_those_of_its_logins_and_jobs(tmp_path: Path) -> None:
    api = fake_api(tmp_path)
    ping = {**api.demo, "client": "local", "tgt": "*", "fun": "test.ping"}
    told = []
    for lows in ([ping], [ping, ping], [{**api.demo, "client": "runner", "fun": "test.arg"}], [{"client": "no"}]):
        with capture_logs() as lines:
            api.caller.post(lows)
        told.append([line["event"] for line in lines])

    assert told == [
        ["salt.job.published", "auth.success", "http.request"],
        ["salt.job.published", "salt.job.published", "http.request"],
        ["http.request"],
        ["http.request"],
    ]


OTHERS = {"http.request", "salt.job.published"}


@pytest.mark.costly
def test_logins_and_refusals_are_told_and_a_known_caller_is_no_news(tmp_path: Path) -> None:
    api = fake_api(tmp_path)
    with capture_logs() as lines:
        for low in (api.demo, api.demo, {**api.demo, "password": "wrong"}, api.pinger):
            api.caller.post([{**low, "client": "local", "tgt": "*", "fun": "test.echo", "arg": ["x"]}])
        api.caller.post(api.demo, "/login")
        token = api.process.gateway.runner.tokens.mk_token(api.pinger)["token"]
        api.caller.post([{"client": "local", "tgt": "*", "fun": "test.echo", "arg": ["x"]}], x_auth_token=token)
        api.caller.post([{**api.demo, "client": "local", "tgt": "*", "fun": "test.ping"}] * 1000)
        api.caller.request("POST", "/", b"x", content_type="text/csv")

    assert [(line["event"], line.get("user.name"), line.get("salt.fun"), line.get("reason")) for line in lines if line["event"] not in OTHERS] == [
        ("auth.success", "demo", "test.echo", None),
        ("auth.failure", "demo", "test.echo", None),
        ("authz.denied", "pinger", "test.echo", None),
        ("auth.success", "demo", None, None),
        ("auth.success", "pinger", None, None),
        ("authz.denied", "pinger", "test.echo", None),
        ("http.request.rejected", None, None, "unsupported_media_type"),
    ]


def test_ops_pages_are_on_the_ops_listener_alone_and_details_ask_for_the_token(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("open-sesame\n")
    api = fake_api(tmp_path, SIDECAR_OPS_TOKEN_FILE=str(tmp_path / "token"))
    ops, key = Caller(api.process.ops), {"authorization": "Bearer open-sesame"}

    assert [api.caller.get(path).status for path in ("/metrics", "/livez", "/readyz")] == [404] * 3
    assert (ops.get("/livez").status, ops.get("/readyz").json()) == (200, {"status": "ready"})
    refused = ops.get("/metrics", authorization="Bearer guess")
    assert (refused.status, refused.headers["www-authenticate"], b"open" in refused.body) == (401, 'Bearer realm="ops"', False)
    page = ops.get("/metrics?name[]=salt_master_up&name[]=nothing", **key, accept="application/openmetrics-text;version=abc")
    assert (page.status, page.headers["content-type"].partition(";")[0]) == (200, "text/plain")
    assert [line for line in page.body.decode().splitlines() if not line.startswith("#")] == ["salt_master_up 0.0"]
    checks = ops.get("/readyz", **key).json()["checks"]
    assert set(checks) == {"process", "master", "bus", "audit"}
    assert set(checks["bus"]) == {"ok", "reason", "since"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", checks["bus"]["since"])
