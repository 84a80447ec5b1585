"""rest_wsgi's contract: its three documented calls, its statuses, its error bodies."""

from __future__ import annotations

from pathlib import Path

import pytest

from service import errors
from service.demo.embedded import PATIENCE_SECONDS, until
from service.observe.metrics import domains
from service.wiring.requests import REJECTIONS
from tests.contract.conftest import Api, fake_api


def test_the_first_documented_call_pings_every_minion(api: Api) -> None:
    answer = api.caller.post([{**api.demo, "client": "local", "tgt": "*", "fun": "test.ping"}])

    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json() == {"return": [{"minion-1": True, "minion-2": True}]}


def test_the_second_and_third_documented_calls_start_a_job_and_look_it_up(api: Api) -> None:
    started = api.caller.post([{**api.demo, "client": "local_async", "tgt": "*", "fun": "test.ping"}]).json()
    (job,) = started["return"]
    assert sorted(job) == ["jid", "minions"]
    assert sorted(job["minions"]) == ["minion-1", "minion-2"]

    found: object = None
    for _ in until(PATIENCE_SECONDS):  # a real minion takes its time; each look-up is a runner of its own
        found = api.caller.post([{**api.demo, "client": "runner", "fun": "jobs.lookup_jid", "jid": job["jid"]}]).json()
        if found == {"return": [{"minion-1": True, "minion-2": True}]}:
            break

    assert found == {"return": [{"minion-1": True, "minion-2": True}]}


def test_get_says_that_somebody_is_here_and_lists_the_clients(api: Api) -> None:
    answer = api.caller.get()

    assert answer.status == 200
    assert answer.json()["return"].startswith("They found me.")
    assert "local_async" in answer.json()["clients"]
    assert "destroy" not in answer.json()["clients"]


def test_lows_run_in_order_and_one_object_is_a_list_of_one(api: Api) -> None:
    ping = {**api.demo, "client": "local", "tgt": "minion-1", "fun": "test.ping"}
    echo = {**api.demo, "client": "local", "tgt": "minion-1", "fun": "test.echo", "arg": "x"}

    assert api.caller.post([ping, echo]).json() == {"return": [{"minion-1": True}, {"minion-1": "x"}]}
    assert api.caller.post(ping).json() == {"return": [{"minion-1": True}]}


@pytest.mark.parametrize(
    ("method", "path", "content_type", "body", "status", "said"),
    [
        ("POST", "/", "application/json", b"not json", 400, "400: the body is not JSON"),
        ("POST", "/", "text/html", b"[]", 406, "406: JSON required"),
        ("POST", "/", "", b"[]", 406, "406: JSON required"),
        ("PUT", "/", "application/json", b"[]", 405, "405: Method Not Allowed"),
        ("DELETE", "/", "application/json", b"", 405, "405: Method Not Allowed"),
        ("GET", "/nowhere", "application/json", b"", 404, "404: Not Found"),
        ("POST", "/nowhere", "application/json", b"[]", 404, "404: Not Found"),
    ],
)
def test_an_error_names_its_status_in_the_body(api: Api, method: str, path: str, content_type: str, body: bytes, status: int, said: str) -> None:
    answer = api.caller.request(method, path, body, content_type=content_type)

    assert answer.status == status
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["return"].startswith(said)
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


def test_media_type_parameters_are_ignored(api: Api) -> None:
    answer = api.caller.post([{**api.demo, "client": "local", "tgt": "minion-1", "fun": "test.ping"}], content_type="application/json; charset=UTF-8")

    assert answer.status == 200


def test_a_request_id_is_taken_given_back_and_travels_with_the_job(api: Api) -> None:
    low = {**api.demo, "client": "local_async", "tgt": "minion-1", "fun": "test.ping", "metadata": {"mine": 1}}
    answer = api.caller.post([low], x_request_id="pipeline-42")

    assert answer.headers["x-request-id"] == "pipeline-42"


def test_a_request_refused_before_it_reaches_salt_is_counted_by_its_reason(tmp_path: Path) -> None:
    api = fake_api(tmp_path)
    api.caller.request("POST", "/", b"[]", content_type="image/png")

    assert api.process.metrics.value("salt_api_http_requests_rejected_total", reason="unsupported_media_type") == 1
    assert api.process.metrics.value("salt_api_http_requests_rejected_total", reason="client_disabled") == 0


def test_the_reasons_of_refusals_are_faults_and_label_values() -> None:
    assert set(REJECTIONS) <= set(dir(errors))
    assert set(REJECTIONS.values()) <= set(domains.REJECTIONS)
