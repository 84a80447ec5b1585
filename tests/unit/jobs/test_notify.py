"""Notices of jobs that are over: none is lost, or sent without end."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from service.demo.embedded import PATIENCE_SECONDS, until
from service.errors import InvalidConfiguration
from service.jobs.notify.notifier import PAUSES_SECONDS, TRIES, Notifier
from service.jobs.stores.sqlite_store import SqliteStore
from service.jobs.stores.store import Change, JobRecord, PartRecord
from tests.unit.jobs.kept import JID, job
from tests.unit.jobs.process import TOKEN, Sidecar

URL = "https://ci.example.org/hooks/1"


def soon() -> Iterator[object]:
    return until(PATIENCE_SECONDS, sleep=lambda _seconds: time.sleep(0.001))


class Post:
    """Stands for the network. reasons: why the next tries fail."""

    def __init__(self, *reasons: str | Exception | None) -> None:
        self.reasons = list(reasons)
        self.sent: list[tuple[str, bytes]] = []

    def send(self, url: str, body: bytes) -> str | None:
        self.sent.append((url, body))
        reason = self.reasons.pop(0) if self.reasons else None
        if isinstance(reason, Exception):
            raise reason
        return reason


class Told:
    """Keeps what is reported."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, int, str | None]] = []
        self.crashes: list[str] = []

    def job_notified(self, jid: str, to: str, tries: int) -> None:
        self.lines.append((to, tries, None))

    def job_not_notified(self, jid: str, to: str, tries: int, reason: str, *, given_up: bool) -> None:
        self.lines.append((to, tries, f"{reason}{', given up' if given_up else ''}"))

    def handler_crashed(self, consumer: str) -> None:
        self.crashes.append(consumer)


class Bench:
    """A notifier over a store, with a clock that a test moves."""

    def __init__(self, folder: Path, send: Callable[[str, bytes], str | None], *, allowed: bool = True) -> None:
        self.now, self.told = 0.0, Told()
        self.store = SqliteStore(folder / "jobs.db", on_commit=lambda _seconds: None, monotonic=time.monotonic)
        self.notifier = Notifier(self.store, send, lambda _url: allowed, self.told, monotonic=lambda: self.now, tick_seconds=0.002)

    def until(self, lines: int) -> None:
        for _ in soon():
            if len(self.told.lines) == lines:
                return
        raise AssertionError(self.told.lines)

    def until_empty(self) -> None:
        for _ in soon():
            if not self.store.notices(10):
                return
        raise AssertionError(self.store.notices(10))

    def stop(self) -> None:
        self.notifier.stop()
        self.store.close()


def over(parent: str | None = None) -> JobRecord:
    return job(request={"notify": URL}, status="failed", finished=1002.0, parent=parent)


def test_a_notice_tells_what_a_job_came_to_once(tmp_path: Path) -> None:
    post = Post()
    bench = Bench(tmp_path, post.send)
    bench.store.save([Change(over(parent="7"), {"a": PartRecord("ok"), "b": PartRecord("failed")}, notice=True)])
    bench.notifier.start()
    bench.until_empty()
    bench.stop()

    ((url, body),) = post.sent
    told = json.loads(body)
    assert (url, bench.told.lines) == (URL, [("ci.example.org", 1, None)])
    assert (told["id"], told["event"], told["jid"], told["parent"], told["owner"]) == (f"{JID}.over", "job.over", JID, "7", "pam:ci")
    assert (told["status"], told["exit_code"], told["counts"], told["finished"]) == ("failed", 1, {"ok": 1, "failed": 1}, "1970-01-01T00:16:42.000Z")


def test_it_is_tried_five_times_with_growing_pauses_and_given_up(tmp_path: Path) -> None:
    post = Post("answered 500", InvalidConfiguration([]), KeyError("a bug"), "x", "y")
    bench = Bench(tmp_path, post.send)
    bench.store.save([Change(over(), {}, notice=True)])
    bench.notifier.start()
    for number, pause in enumerate(PAUSES_SECONDS, 1):
        bench.until(number)
        bench.now += pause
    bench.until(TRIES)
    bench.until_empty()
    bench.stop()

    assert [*PAUSES_SECONDS] == sorted(PAUSES_SECONDS)
    assert len({body for _, body in post.sent}) == 1
    assert [(tries, reason) for _, tries, reason in bench.told.lines] == [(1, "answered 500"), (2, ""), (3, "crashed"), (4, "x"), (5, "y, given up")]
    assert bench.told.crashes == ["notify"]


def test_a_restart_loses_none(tmp_path: Path) -> None:
    first_post = Post("away")
    first = Bench(tmp_path, first_post.send)
    first.store.save([Change(over(), {}, notice=True)])
    first.notifier.start()
    first.until(1)
    first.stop()
    second_post = Post()
    second = Bench(tmp_path, second_post.send)
    second.notifier.start()
    second.until_empty()
    second.stop()

    assert [url for url, _ in second_post.sent] == [URL]


def test_what_is_allowed_no_longer_is_not_sent(tmp_path: Path) -> None:
    post = Post()
    bench = Bench(tmp_path, post.send, allowed=False)
    bench.store.save([Change(over(), {}, notice=True)])
    bench.notifier.start()
    bench.until(1)
    bench.stop()

    assert post.sent == []
    assert "allows it no longer" in str(bench.told.lines)


@pytest.mark.costly
def test_one_that_is_slow_does_not_hold_up_the_others(tmp_path: Path) -> None:
    free = threading.Event()

    def send(_url: str, body: bytes) -> None:
        if json.loads(body)["jid"] == JID:
            free.wait(PATIENCE_SECONDS)

    bench = Bench(tmp_path, send)
    bench.store.save([Change(over(), {}, notice=True)])
    bench.store.save([Change(job(f"{number:020}", request={"notify": URL}, status="failed", finished=2000.0), {}, notice=True) for number in range(20)])
    bench.notifier.start()
    bench.until(20)
    free.set()
    bench.until_empty()
    bench.stop()


@pytest.mark.parametrize(("asked", "restarts"), [(True, False), (True, True), (False, False)])
def test_the_end_of_a_job_is_to_be_told_with_it_and_no_revision_is(tmp_path: Path, *, asked: bool, restarts: bool) -> None:
    sidecar = Sidecar(tmp_path)
    sidecar.begin("a", "b", request={"notify": URL} if asked else {}, deadline=1010.0, ends_at=1010.0)
    sidecar.returns("a")
    sidecar.until(lambda: sidecar.statuses()["a"] == "ok")
    assert sidecar.store.notices(10) == []
    sidecar.now = 1011.0
    sidecar.until(lambda: sidecar.status[0] == "failed")
    assert sidecar.store.notices(10) == ([JID] if asked else [])
    sidecar.store.noticed([JID])
    if restarts:
        sidecar.kill()
        sidecar = Sidecar(tmp_path, now=1012.0)
        sidecar.jobs.start()
    sidecar.until(lambda: sidecar.jobs.watched.get(JID))
    sidecar.returns("b")
    sidecar.until(lambda: sidecar.status[0] == "succeeded")
    assert sidecar.store.notices(10) == []
    sidecar.jobs.stop()
    sidecar.kill()


@pytest.mark.parametrize(("queued", "told"), [(0.0, []), (3.0, [JID])])
def test_what_is_refused_when_its_turn_has_come_is_told(tmp_path: Path, queued: float, told: list[str]) -> None:
    sidecar = Sidecar(tmp_path)
    record = job(request={"notify": URL}, queued_seconds=queued)
    sidecar.store.intend(record)
    sidecar.jobs.begin(record, TOKEN)

    assert sidecar.jobs.refused(JID).status == "refused"
    assert sidecar.store.notices(10) == told
    sidecar.jobs.stop()
    sidecar.kill()
