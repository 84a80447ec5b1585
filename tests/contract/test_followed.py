"""What callers do appears in the job metrics and the log, beside what others do."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tests.contract.conftest import fake_api


@pytest.mark.slow
def test_jobs_of_ours_are_counted_as_ours_with_what_was_missing(tmp_path: Path) -> None:
    api = fake_api(tmp_path)
    value = api.process.metrics.value
    with capture_logs() as lines:
        api.value(client="local", tgt="*", fun="test.ping")
        api.process.gateway.master.silent = {"minion-2"}  # type: ignore[attr-defined]
        api.run(client="local", tgt="*", fun="test.echo", arg=["x"], timeout=1, gather_job_timeout=1)
        api.value(client="local_async", tgt="L@minion-1,unheard-of", tgt_type="compound", fun="test.ping")
        api.value(client="runner", fun="test.arg", arg=[1])
        api.process.follower.handle_waiting()

    assert value("salt_jobs_started_total", function="test.ping", origin="api") == 1
    assert value("salt_jobs_started_total", function="test.echo", origin="api") == 1
    assert value("salt_job_returns_total", function="test.ping", result="success", origin="published") == 2
    assert value("salt_job_missing_returns_total", function="test.echo", reason="no_return") == 1
    assert value("salt_runner_jobs_total", function="test.arg", result="success") == 1
    assert value("salt_minions_seen", window="5m") == 2
    assert value("salt_api_sessions_active") == 0
    published = [line for line in lines if line["event"] == "salt.job.published"]
    completed = [line for line in lines if line["event"] == "salt.job.completed"]
    assert [(line["salt.fun"], line["minions_expected"]) for line in published] == [("test.ping", 2), ("test.echo", 2)]
    assert [(line["salt.fun"], line["origin"], line["missing_sample"]) for line in completed] == [("test.ping", "api", []), ("test.echo", "api", ["minion-2"])]
    assert {line["jid"] for line in published} == {line["jid"] for line in completed}


def test_sizes_are_observed_and_a_refused_low_is_no_call(tmp_path: Path) -> None:
    api = fake_api(tmp_path)
    api.caller.post([{**api.demo, "client": "ssh_async"}])
    value = api.process.metrics.value

    assert value("salt_api_http_request_body_bytes_count") == 1
    assert value("salt_api_http_response_body_bytes_count") == 1
    assert value("salt_api_client_requests_total", client="invalid", outcome="invalid") == 1
    assert value("salt_api_client_request_duration_seconds_count", client="invalid") == 0
