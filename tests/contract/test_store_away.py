"""A store of jobs that cannot be had when the sidecar starts: `/v1/jobs` says why, everything else works, and it opens by itself once it can."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, MutableMapping
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from service.demo.embedded import until
from service.errors import ConfigFault, StorageUnavailable
from service.jobs.stores.place import locked
from service.observe.log import log
from service.observe.metrics.metrics import Metrics
from service.observe.report.report import Report
from service.wiring.durable import DurableJobs, OpenStore
from tests.contract.conftest import Api, a_store, fake_api
from tests.contract.test_v1_jobs import gateway_of, get, post, problem, returned
from tests.unit.jobs.test_submission import Desk

PATIENCE_SECONDS = 60.0


@contextlib.contextmanager
def started(folder: Path, **settings: str) -> Iterator[Api]:
    api = fake_api(folder, **settings)
    api.process.jobs.start()
    yield api
    api.process.stop()


def opens(api: Api) -> None:
    for _ in until(PATIENCE_SECONDS):
        if api.process.jobs.takes_jobs():
            return
    raise AssertionError(post(api).body)


def events(lines: list[MutableMapping[str, Any]]) -> list[str]:
    return [line["event"] for line in lines if line["event"].startswith("job.store.")]


@pytest.mark.slow
def test_a_file_that_another_process_has_is_opened_when_that_lets_it_go_and_its_open_jobs_are_closed(tmp_path: Path) -> None:
    with started(tmp_path, **a_store(tmp_path)) as before:
        gateway_of(before).master.silent = {"minion-2"}
        jid = post(before, "").json()["jid"]
    other = locked(tmp_path / "jobs.db")
    with capture_logs() as lines, started(tmp_path, **a_store(tmp_path)) as api:
        assert problem(answer := post(api)) == (503, "StorageUnavailable")
        assert "another process has it" in answer.json()["detail"]
        assert api.value(client="local", tgt="minion-1", fun="test.ping") == {"minion-1": True}
        assert api.process.metrics.value("salt_api_jobs_store_up") == 0
        other.close()
        opens(api)
        for _ in until(PATIENCE_SECONDS):
            gateway_of(api).hub.deliver(returned(jid, "minion-2"))
            if (answer := get(api, f"/{jid}")).json()["status"] == "succeeded":
                break

        assert (answer.json()["status"], answer.json()["counts"]) == ("succeeded", {"ok": 2})
        assert post(api).json()["status"] == "succeeded"
        assert api.process.metrics.value("salt_api_jobs_store_up") == 1
    assert events(lines) == ["job.store.unusable", "job.store.opened"]


@pytest.fixture
def jobs_report() -> Report:
    return Report(Metrics(environ={}), log.get(), {})


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[OpenStore]:
    desk = Desk(tmp_path)
    yield OpenStore(desk.sidecar.store, desk.sidecar.jobs, desk.desk)
    desk.close()


def fault(problem: str) -> ConfigFault:
    return ConfigFault("jobs.store", problem, "mend it")


def test_what_is_wrong_is_logged_anew_only_when_it_is_something_else(opened: OpenStore, jobs_report: Report) -> None:
    found: list[OpenStore | ConfigFault] = [fault("locked"), fault("locked"), fault("a folder"), fault("a folder"), opened]
    with capture_logs() as lines:
        jobs = DurableJobs(lambda: found.pop(0), jobs_report, is_wanted=True, reopen_seconds=0.001)
        with pytest.raises(StorageUnavailable, match="locked"):
            jobs.submissions()
        jobs.start()
        for _ in until(PATIENCE_SECONDS):
            if "job.store.opened" in events(lines):
                break

    assert [line.get("problem") for line in lines] == ["locked", "a folder", None]
    assert jobs.takes_jobs()
    assert jobs.submissions() is opened.submissions


def test_a_process_that_stops_meanwhile_tries_no_longer_and_leaves_nothing_open(opened: OpenStore, jobs_report: Report) -> None:
    tried, stops = threading.Event(), threading.Event()
    found = [fault("locked")]

    def open_store() -> OpenStore | ConfigFault:
        if found:
            return found.pop()
        tried.set()
        stops.wait(PATIENCE_SECONDS)
        return opened

    jobs = DurableJobs(open_store, jobs_report, is_wanted=True, reopen_seconds=0.001)
    jobs.start()
    assert tried.wait(PATIENCE_SECONDS)
    stops.set()
    jobs.stop()

    with pytest.raises(StorageUnavailable):
        opened.store.prune(0.0, 0)


@pytest.mark.costly
def test_without_a_store_nothing_is_tried(tmp_path: Path) -> None:
    with capture_logs() as lines, started(tmp_path, SIDECAR_JOBS_STORE="") as api:
        assert "is empty" in post(api).json()["detail"]
        assert "salt_api_jobs_store_up" not in api.process.metrics.exposition()[0]
    assert events(lines) == ["job.store.unusable"]


@pytest.mark.slow
def test_a_database_that_is_away_at_the_start_is_used_once_it_is_there_and_its_open_jobs_are_followed(
    tmp_path: Path, program: Callable[[str, str], str]
) -> None:
    from tests.postgres_server import PostgresServer  # noqa: PLC0415 - psycopg takes a while to import

    with PostgresServer(Path(program("initdb", "postgresql")).resolve().parent) as server:
        (tmp_path / "password").write_text(server.password)
        ours = {"SIDECAR_JOBS_STORE": server.new_database(), "SIDECAR_JOBS_STORE_PASSWORD_FILE": str(tmp_path / "password")}
        with started(tmp_path, **ours) as before:
            gateway_of(before).master.silent = {"minion-2"}
            jid = post(before, "").json()["jid"]
        server.end()
        with started(tmp_path, **ours) as api:
            assert problem(answer := post(api)) == (503, "StorageUnavailable")
            assert "Connection refused" in answer.json()["detail"]
            server.start()
            opens(api)
            for _ in until(PATIENCE_SECONDS):
                gateway_of(api).hub.deliver(returned(jid, "minion-2"))
                if (answer := get(api, f"/{jid}")).json()["status"] == "succeeded":
                    break

            assert answer.json()["status"] == "succeeded"
