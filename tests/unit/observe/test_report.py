"""The report: what is told at once, and what only once a minute."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import pytest
from structlog.testing import capture_logs

from service.errors import MasterTimeout
from service.observe.log import log
from service.observe.metrics.metrics import Metrics
from service.observe.report.master_report import MasterReport
from service.observe.report.report import LogThrottle, Report


@dataclasses.dataclass(frozen=True)
class Judged:
    eauth: str
    user: str
    result: str
    wait_seconds: float | None = None
    asked: Mapping[str, Any] = dataclasses.field(default_factory=dict)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def report(clock: Clock) -> Report:
    return Report(Metrics(environ={}), log.get(), {"queue_full": 256}, monotonic=clock)


def test_what_happens_to_the_store_of_jobs_is_counted(clock: Clock) -> None:
    metrics = Metrics(environ={})
    report = Report(metrics, log.get(), {}, monotonic=clock)
    report.jobs_recovered(3)
    report.jobs_not_stored("full")
    report.jobs_not_stored("full")
    report.job_left("in_doubt", 7.0)

    assert metrics.value("salt_api_jobs_recovered_total") == 3
    assert metrics.value("salt_api_jobs_not_stored_total") == 2
    assert metrics.value("salt_api_job_state_seconds_sum", status="in_doubt") == 7


def test_jobs_that_another_sidecar_has_taken_are_told(report: Report) -> None:
    with capture_logs() as lines:
        report.jobs_handed_over(2)

    assert lines == [{"event": "job.handed_over", "log_level": "warning", "count": 2}]


def test_waves_are_counted_with_what_they_came_to(clock: Clock) -> None:
    metrics = Metrics(environ={})
    report = Report(metrics, log.get(), {}, monotonic=clock)
    report.wave_taken("1", 1, 3, 10)
    report.wave_over("stopped")
    report.minions_not_run("stopped_by_failures", 20)

    assert metrics.value("salt_api_jobs_waves_begun_total") == 1
    assert metrics.value("salt_api_jobs_waves_ended_total", outcome="stopped") == 1
    assert metrics.value("salt_api_jobs_not_run_total", why="stopped_by_failures") == 20


class Changes(list[tuple[str, bool]]):
    def note(self, what: str, well: bool) -> None:
        self.append((what, well))


@pytest.fixture
def changes() -> Changes:
    return Changes()


@pytest.fixture
def observer(clock: Clock, changes: Changes) -> MasterReport:
    return MasterReport(Metrics(environ={}), log.get(), on_change=changes.note, queue_depth=lambda: 7, open_jobs=lambda: 3, monotonic=clock)


def told(lines: list[Any], *names: str) -> list[tuple[Any, ...]]:
    return [tuple(line.get(name) for name in ("event", *names)) for line in lines]


def test_the_first_is_told_at_once_and_then_one_a_minute_with_the_count(clock: Clock) -> None:
    seldom = LogThrottle(clock)
    counts = [seldom.count("a"), seldom.count("a"), seldom.count("b"), seldom.count("a")]
    clock.now += 60

    assert counts == [1, 0, 1, 0]
    assert (seldom.count("a"), seldom.count("a")) == (3, 0)


def test_a_late_bus_and_bad_events_are_told_once_a_minute(report: Report, observer: MasterReport) -> None:
    with capture_logs() as lines:
        for _ in range(5):
            observer.lag(4.9)
            observer.lag(6.25)
            report.undecodable("salt/job/" + "x" * 10_000, 12)
            report.dropped("stream")
            report.rejected("queue_full")

    assert told(lines, "lag_s", "queue_depth", "bytes", "consumer", "reason", "limit") == [
        ("bus.lagging", 6.25, 7, None, None, None, None),
        ("bus.decode.failed", None, None, 12, None, None, None),
        ("bus.event.dropped", None, None, None, "stream", None, None),
        ("http.request.rejected", None, None, None, None, "queue_full", 256),
    ]
    assert len(lines[1]["tag_prefix"]) == 64


def test_verdicts_on_credentials_are_told_by_their_kind(report: Report) -> None:
    with capture_logs() as lines:
        report.verdict(Judged("pam", "ann", "success"))
        report.verdict(Judged("pam", "b" * 9999, "bad_credentials"))
        report.verdict(Judged("pam", "ann", "forbidden", asked={"salt.client": "local", "salt.fun": "cmd.run"}))
        for _ in range(3):
            report.verdict(Judged("pam", "ann", "throttled", 30.0))

    assert told(lines, "log_level", "result", "salt.fun") == [
        ("auth.success", "info", "success", None),
        ("auth.failure", "warning", "bad_credentials", None),
        ("authz.denied", "warning", None, "cmd.run"),
        ("auth.failure", "warning", "throttled", None),
    ]
    assert len(lines[1]["user.name"]) == 256
    assert lines[3]["throttled_until"].endswith("+00:00")


def test_a_master_says_how_long_it_was_away_and_how_often_it_failed(observer: MasterReport, changes: Changes, clock: Clock) -> None:
    with capture_logs() as lines:
        observer.master("down", reason="refused", failures=2)
        for _ in range(2):
            observer.rpc("publish", 1.0, MasterTimeout("no answer"))
        observer.rpc("publish", 1.0, None)
        observer.rpc("publish", 1.0, MasterTimeout("no answer"))
        clock.now += 5
        observer.probe(0.002)
        observer.master("up", reason="answers", failures=0)
        observer.bus(connected=True, reason="connected", cause="")

    assert told(lines, "failures", "attempt", "probe_s", "down_s", "checks", "start_s") == [
        ("master.down", 2, None, None, None, None, None),
        ("salt.rpc.failed", None, 1, None, None, None, None),
        ("salt.rpc.failed", None, 2, None, None, None, None),
        ("salt.rpc.failed", None, 1, None, None, None, None),
        ("master.up", None, None, 0.002, 5.0, None, None),
        ("bus.connected", None, None, None, None, None, None),
        ("app.ready", None, None, None, None, ["bus", "master"], 5.0),
    ]
    assert changes == [("master", False), ("master", True), ("bus", True)]


def test_a_busy_master_is_told_from_one_that_is_down(observer: MasterReport, changes: Changes, clock: Clock) -> None:
    with capture_logs() as lines:
        observer.master("busy", reason="busy: no ping", failures=1)
        clock.now += 3
        observer.master("up", reason="answers", failures=0)
        observer.master("busy", reason="busy: no ping", failures=1)
        clock.now += 60
        observer.master("down", reason="no ping", failures=9)
        clock.now += 5
        observer.master("up", reason="answers", failures=0)

    assert told(lines, "log_level", "busy_s", "down_s") == [
        ("master.busy", "warning", None, None),
        ("master.up", "info", 3.0, None),
        ("master.busy", "warning", None, None),
        ("master.down", "error", None, None),
        ("master.up", "info", 65.0, 5.0),
    ]
    assert changes == [("master", True), ("master", False), ("master", True)]
