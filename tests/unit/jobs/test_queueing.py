"""Jobs of one group: one at a time, in the order in which they were asked for, whatever becomes of those before them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.auth.identity import Identity, Session
from service.errors import Forbidden, GroupBusy, Overloaded, Unauthenticated
from service.jobs.running.queueing import MOST_QUEUED
from service.jobs.stores.sqlite_store import SqliteStore
from service.jobs.stores.store import Change, JobRecord
from tests.unit.jobs.kept import job
from tests.unit.jobs.test_submission import SESSION, Desk

WhenBusy = Literal["refuse", "queue", "cancel_running"]
OTHER = Session(Identity("other", "pam", (), [], sees_everything=False), SESSION.token, "digest", 0.0, 9e9)


def grouped(desk: Desk, key: str | None = None, when_busy: WhenBusy = "queue", **fields: Any) -> tuple[str, str, bool]:
    desk.sidecar.now += 0.125  # The clock tells who came first.
    return desk.submit(key, concurrency={"group": "production", "when_busy": when_busy}, **fields)


def record_of(desk: Desk, jid: str) -> JobRecord:
    record = desk.sidecar.store.job(jid)
    assert record is not None
    return record


def becomes(desk: Desk, jid: str, status: str, cause: str | None = None) -> JobRecord:
    desk.sidecar.until(lambda: (record_of(desk, jid).status, record_of(desk, jid).cause) == (status, cause))
    return record_of(desk, jid)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.close()
    assert (made.sidecar.report.crashes, made.sidecar.report.not_stored) == (0, [])


@pytest.mark.costly
def test_a_queued_job_is_published_when_the_one_before_it_is_over(desk: Desk) -> None:
    (first, running, _), (second, queued, _), (third, *_) = (grouped(desk) for _ in range(3))
    assert (running, queued, desk.executed) == ("running", "queued", [first])
    desk.sidecar.now += 2
    desk.sidecar.returns("a", jid=first)
    becomes(desk, second, "running")
    assert (desk.executed, record_of(desk, second).queued_seconds) == ([first, second], 2.125)
    desk.sidecar.returns("a", jid=second)
    becomes(desk, third, "running")

    told = [(one.kind, one.body["status"]) for one in desk.sidecar.store.happenings(second, 0, 100)]
    assert told == [("status", "queued"), ("status", "running"), ("minion", "ok"), ("status", "succeeded")]
    assert ("queued", 2.125) in desk.sidecar.report.left
    # Of the request that was answered long ago, and of the publish; each from a thread of its own.
    desk.sidecar.until(lambda: len(desk.begun) == 2)
    assert {(info.status, info.request_id) for info in desk.begun} == {(202, info.request_id) for info in desk.infos[1:3]}


def test_another_group_does_not_wait(desk: Desk) -> None:
    grouped(desk)

    assert desk.submit(None, concurrency={"group": "staging"})[1] == "running"
    assert desk.submit(None)[1] == "running"


@pytest.mark.costly
def test_who_wants_no_queue_is_refused_and_may_use_the_key_again(desk: Desk) -> None:
    first, *_ = grouped(desk)
    with pytest.raises(GroupBusy) as caught:
        grouped(desk, "k", "refuse")
    assert caught.value.details == {"jid": first}
    desk.session = OTHER
    with pytest.raises(GroupBusy) as caught:
        grouped(desk, "k", "refuse")
    assert caught.value.details == {}
    desk.session = SESSION
    desk.sidecar.returns("a", jid=first)
    becomes(desk, first, "succeeded")

    assert grouped(desk, "k", "refuse")[1:] == ("running", False)


def test_the_same_key_gets_the_queued_job(desk: Desk) -> None:
    grouped(desk)
    second, *_ = grouped(desk, "k")

    assert grouped(desk, "k") == (second, "queued", True)
    assert len(desk.executed) == 1


@pytest.mark.costly
def test_a_queued_job_that_is_cancelled_runs_nothing(desk: Desk) -> None:
    first, *_ = grouped(desk)
    second, *_ = grouped(desk, "k")
    cancelled = desk.desk.cancelling.cancel(record_of(desk, second), SESSION, desk.infos[-1])
    desk.sidecar.returns("a", jid=first)
    becomes(desk, first, "succeeded")

    assert (cancelled.status, cancelled.cause, cancelled.cancelled) == ("cancelled", "not_run", True)
    assert grouped(desk, "k") == (second, "cancelled", True)
    assert desk.executed == [first]


@pytest.mark.costly
def test_one_whose_deadline_passes_in_the_queue_runs_nothing(desk: Desk) -> None:
    first, *_ = grouped(desk)
    second, *_ = grouped(desk, deadline=3)
    desk.sidecar.now += 4
    becomes(desk, second, "timed_out", "not_run")

    assert desk.executed == [first]


@pytest.mark.costly
def test_the_running_one_is_cancelled_by_its_owner_only(desk: Desk) -> None:
    first, *_ = grouped(desk)
    desk.session = OTHER
    with pytest.raises(GroupBusy):
        grouped(desk, "k", "cancel_running")
    desk.session = SESSION
    second, queued, _ = grouped(desk, "k", "cancel_running")

    assert (queued, desk.terminated, record_of(desk, first).cancelled) == ("queued", [first], True)
    desk.sidecar.returns("a", jid=first)
    becomes(desk, second, "running")


@pytest.mark.costly
def test_where_the_running_one_cannot_be_cancelled_nothing_is_queued(desk: Desk) -> None:
    first, *_ = grouped(desk)
    desk.cancelling = Forbidden("no saltutil")
    with pytest.raises(Forbidden):
        grouped(desk, "k", "cancel_running")
    desk.cancelling = None
    desk.sidecar.returns("a", jid=first)
    becomes(desk, first, "succeeded")

    assert grouped(desk, "k")[1:] == ("running", False)


@pytest.mark.costly
@pytest.mark.parametrize("fault", [Unauthenticated("dead"), Forbidden("no more")])
def test_a_token_that_dies_in_the_queue_is_asked_for_again(desk: Desk, fault: Exception) -> None:
    first, *_ = grouped(desk)
    second, *_ = grouped(desk, "k")
    third, *_ = grouped(desk)
    desk.publishes = [fault]
    desk.sidecar.returns("a", jid=first)
    # It lets others go first meanwhile.
    becomes(desk, third, "running")
    waiting = record_of(desk, second)
    assert (waiting.status, waiting.needs_owner, waiting.queued_seconds) == ("queued", True, 0)
    assert grouped(desk, "k") == (second, "queued", True)
    assert not record_of(desk, second).needs_owner
    desk.sidecar.returns("a", jid=third)
    becomes(desk, second, "running")

    assert desk.executed == [first, third, second]


@pytest.mark.costly
def test_one_without_a_key_cannot_be_asked_for_again(desk: Desk) -> None:
    first, *_ = grouped(desk)
    second, *_ = grouped(desk)
    desk.publishes = [Unauthenticated("dead")]
    desk.sidecar.returns("a", jid=first)

    becomes(desk, second, "cancelled", "not_run")


@pytest.mark.costly
def test_what_is_refused_for_now_is_tried_again(desk: Desk) -> None:
    first, *_ = grouped(desk)
    second, *_ = grouped(desk)
    desk.publishes = [Overloaded("full", retry_after_seconds=1)]
    desk.sidecar.returns("a", jid=first)

    becomes(desk, second, "running")


@pytest.mark.costly
def test_after_a_kill_a_queued_job_waits_for_the_same_request(tmp_path: Path) -> None:
    first_desk = Desk(tmp_path)
    first, *_ = grouped(first_desk)
    second, *_ = grouped(first_desk, "k")
    third, *_ = grouped(first_desk)
    desk = first_desk.crash(tmp_path)
    becomes(desk, third, "cancelled", "not_run")
    desk.sidecar.until(lambda: record_of(desk, second).needs_owner)
    desk.sidecar.returns("a", jid=first)
    becomes(desk, first, "succeeded")
    assert record_of(desk, second).status == "queued"
    assert grouped(desk, "k")[0] == second
    becomes(desk, second, "running")

    assert desk.executed == [second]
    desk.close()


def test_a_process_that_stops_begins_none(desk: Desk) -> None:
    first, *_ = grouped(desk)
    second, *_ = grouped(desk)
    desk.sidecar.jobs.queue.stop()
    desk.sidecar.returns("a", jid=first)
    becomes(desk, first, "succeeded")
    desk.sidecar.jobs.queue.advance()

    assert record_of(desk, second).status == "queued"


@pytest.mark.costly
def test_so_many_jobs_of_a_group_wait_and_no_more(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk.sidecar.jobs, "check_room", lambda: None)
    grouped(desk)
    for number in range(MOST_QUEUED):
        record = job(f"{number:020}", status="queued", concurrency_group="production")
        desk.sidecar.jobs.begin(record, SESSION.credentials, lambda _record: None)

    with pytest.raises(Overloaded, match="are queued"):
        grouped(desk)


Act = Callable[[SqliteStore, list[JobRecord]], None]


@pytest.mark.slow
@given(acts=st.lists(st.sampled_from(["asks", "asks", "ends", "leaves", "lacks its owner", "looks"]), max_size=20), picks=st.randoms(use_true_random=False))
def test_whatever_happens_one_is_under_way_and_nobody_is_overtaken(acts: list[str], picks: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    store = SqliteStore(tmp_path_factory.mktemp("jobs") / "jobs.db", on_commit=lambda _seconds: None, monotonic=lambda: 0.0)
    for number, act in enumerate(acts, 1):
        jobs = [record for record in store.unfinished() if record.concurrency_group]
        queued = [record for record in jobs if record.status == "queued"]
        under_way = [record for record in jobs if record.status != "queued"]
        ready = [record for record in queued if not record.needs_owner]
        assert len(under_way) <= 1
        if act == "asks":
            record = job(f"{number:020}", since=1000.0 + number, concurrency_group="g")
            first = store.intend(record)
            assert first == (under_way[0] if under_way else ready[0] if ready else None)
            if first is not None:
                store.intend(dataclasses.replace(record, status="queued"))
        elif act == "ends" and under_way:
            store.save([Change(dataclasses.replace(under_way[0], status="failed", finished=5000.0), {})])
        elif act == "leaves" and queued:
            store.save([Change(dataclasses.replace(picks.choice(queued), status="cancelled", finished=5000.0), {})])
        elif act == "lacks its owner" and queued:
            store.save([Change(dataclasses.replace(picks.choice(queued), needs_owner=True), {})])
        elif act == "looks" and queued:
            one = picks.choice(queued)
            assert store.advance(dataclasses.replace(one, status="publishing")) == (not under_way and all(other.since >= one.since for other in ready))
    store.close()
