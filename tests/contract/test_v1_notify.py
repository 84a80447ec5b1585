"""`notify`: who asked for it is told when a job is over, at a URL of the settings and nowhere else."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from service.demo.embedded import PATIENCE_SECONDS, until
from tests.contract.conftest import Api, a_store, fake_api
from tests.contract.test_v1_jobs import get, post, problem
from tests.receiver import Receiver, receiving


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as server:
        yield server


@pytest.fixture
def telling(tmp_path: Path, receiver: Receiver) -> Iterator[Api]:
    """The application that may tell the receiver."""
    secret = tmp_path / "secret"
    secret.write_bytes(b"hunter2\n")
    settings = {"SIDECAR_JOBS_NOTIFY_URLS": receiver.url, "SIDECAR_JOBS_NOTIFY_SECRET_FILE": str(secret)}
    made = fake_api(tmp_path, **a_store(tmp_path), **settings)
    made.process.jobs.start()
    yield made
    made.process.stop()


@pytest.mark.slow
def test_the_end_of_a_job_is_told_and_signed(telling: Api, receiver: Receiver) -> None:
    url = f"{receiver.url}build-7?token=hunter3"
    with capture_logs() as lines:
        jid = post(telling, fun="no.such", notify=url).json()["jid"]
        receiver.has(1)
        for _ in until(PATIENCE_SECONDS):
            if any(line["event"] == "job.notified" for line in lines):
                break
    path, headers, body = receiver.got[0]
    told = json.loads(body)

    assert (path, len(receiver.got)) == ("/hooks/build-7?token=hunter3", 1)
    assert headers["x-hub-signature-256"] == "sha256=" + hmac.new(b"hunter2", body, hashlib.sha256).hexdigest()
    assert (told["jid"], told["status"], told["exit_code"], told["counts"]) == (jid, "failed", 1, {"failed": 2})
    assert telling.process.metrics.value("salt_api_jobs_notices_total", result="sent") == 1
    assert "hunter" not in str(lines) + get(telling, f"/{jid}").body.decode()


def test_a_url_that_no_entry_allows_is_refused_before_anything_is_done(telling: Api, receiver: Receiver) -> None:
    for url in ("https://evil.example/", f"{receiver.url}../x", receiver.url.replace("127.0.0.1", "localhost")):
        answer = post(telling, notify=url)
        assert (problem(answer), [error["pointer"] for error in answer.json()["errors"]]) == ((422, "Unprocessable"), ["/notify"])
    assert [error["pointer"] for error in post(telling, notify="file:///etc/passwd").json()["errors"]] == ["/notify"]
    assert get(telling, "").json()["jobs"] == []
    assert receiver.got == []


def test_without_a_list_nobody_is_told(tmp_path: Path) -> None:
    api = fake_api(tmp_path, **a_store(tmp_path))

    assert problem(post(api, notify="https://ci.example.org/hooks/")) == (422, "Unprocessable")
    api.process.stop()
