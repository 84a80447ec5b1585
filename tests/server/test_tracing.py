"""Tracing: spans reach a real collector, and a collector that is away holds up nobody."""

from __future__ import annotations

import dataclasses
import socket
from pathlib import Path

import pytest

from service.http.middleware import Canonical, log_fields
from service.observe.trace.spans import Tracing
from service.observe.trace.timeline import Timeline
from tests.caller import Caller
from tests.collector import Collector
from tests.contract.conftest import Api, fake_api

pytestmark = pytest.mark.slow

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SERVER, ERROR = 2, 2


def ping(api: Api, **headers: str) -> str:
    """Run a job and return what the answer says of its trace."""
    answer = api.caller.post([{**api.demo, "client": "local", "tgt": "*", "fun": "test.ping"}], **headers)
    assert answer.status == 200
    return answer.headers["traceresponse"]


def is_sampled(flags: str) -> bool:
    """Newer SDKs also say that the id is random."""
    return bool(int(flags, 16) & 1)


def flush(api: Api) -> None:
    assert api.process.tracing is not None
    api.process.tracing.stop(20)


def test_a_request_is_a_span_and_so_is_each_of_its_stages(tmp_path: Path) -> None:
    with Collector() as collector:
        api = fake_api(tmp_path, SIDECAR_TRACING_ENDPOINT=collector.url)
        _, trace_id, span_id, flags = ping(api).split("-")
        flush(api)

    spans = collector.of("salt-sidecar")
    whole = spans["POST /"]
    assert set(spans) == {"POST /", "auth", "publish", "gather"}
    assert (whole.trace_id, whole.span_id, whole.parent_id, whole.kind) == (trace_id, span_id, "", SERVER)
    assert is_sampled(flags)
    assert {(span.trace_id, span.parent_id) for name, span in spans.items() if name != "POST /"} == {(trace_id, span_id)}
    assert whole.seconds >= spans["publish"].seconds > 0
    assert {**whole.attributes, "http.route": "/", "http.response.status_code": 200, "salt.fun": "test.ping", "salt.lows.count": 1} == whole.attributes
    load = api.process.gateway.master.loads[0]  # type: ignore[attr-defined]
    assert load["traceparent"] == f"00-{trace_id}-{span_id}-{flags}"
    assert api.process.metrics.value("salt_api_trace_spans_total", result="exported") == 4


def test_a_callers_own_decision_is_followed_and_nothing_secret_is_told(tmp_path: Path) -> None:
    with Collector() as collector:
        api = fake_api(tmp_path, SIDECAR_TRACING_ENDPOINT=collector.url, SIDECAR_TRACING_SAMPLE_RATIO="0")
        sampled = ping(api, traceparent=f"00-{TRACE}-{PARENT}-01")
        unsampled = [ping(api, traceparent=f"00-{TRACE}-{PARENT}-00"), ping(api), ping(api, traceparent="malformed")]
        for secret in ({"password": "CANARY-1"}, {"token": "CANARY-2"}, {"kwarg": {"api_key": "CANARY-3"}, "fun": "test.arg", "arg": ["password=CANARY-4"]}):
            low = {**api.demo, "client": "local", "tgt": "password=CANARY-5", "fun": "test.ping", **secret}
            api.caller.post([low], path="/?password=CANARY-6", traceparent=f"00-{TRACE}-{PARENT}-01", x_auth_token="CANARY-7" if "token" in secret else "")
        flush(api)

    roots = [span for span in collector.spans if span.name == "POST /"]
    assert len(roots) == 4
    assert {(span.trace_id, span.parent_id) for span in roots} == {(TRACE, PARENT)}
    assert [is_sampled(value[-2:]) for value in (sampled, *unsampled)] == [True, False, False, False]
    assert unsampled[0].split("-")[1] == TRACE
    assert not [text for text in collector.texts if "CANARY" in text]


def test_a_collector_that_never_answers_holds_up_nobody_and_what_it_misses_is_counted(tmp_path: Path) -> None:
    api = fake_api(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        tracing = Tracing(f"http://127.0.0.1:{silent.getsockname()[1]}/v1/traces", 1.0, {}, api.process.report.traces, queue_spans=8, batch_spans=4)
        traced = Canonical(api.process.api.app, api.process.metrics, lambda *over: tracing.finish(over[0].timeline, log_fields(*over)), tracer=tracing)
        for _ in range(20):
            ping(dataclasses.replace(api, caller=Caller(traced)))
        tracing.stop(0.1)

    assert (api.process.metrics.value("salt_api_trace_spans_total", result="dropped") or 0) > 60


def test_a_collector_that_is_away_is_told_of_with_the_reason() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    told: list[tuple[str, int, str]] = []
    ours = Tracing(f"http://127.0.0.1:{port}/v1/traces", 1.0, {}, lambda *what: told.append(what), export_seconds=0.5)
    timeline = Timeline()
    ours.begin(timeline)
    ours.finish(timeline, {"http.request.method": "GET", "http.route": "/", "http.response.status_code": 503, "error.type": "MasterUnreachable"})
    ours.stop(15)

    assert [(result, count) for result, count, _ in told] == [("failed", 1)]
    assert told[0][2]
