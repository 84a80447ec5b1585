"""Sequences that hold a concurrency group: as a whole, from their turn to their end."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.errors import GroupBusy, Unauthenticated, Unprocessable
from service.http.request_info import new_info
from service.jobs.job_request import parse_sequence
from service.jobs.running.followed_sequences import steps_of
from tests.unit.jobs.test_queueing import OTHER, WhenBusy, becomes, grouped, record_of
from tests.unit.jobs.test_sequences import STEP, begin, desk, end, goes, step_of
from tests.unit.jobs.test_submission import SESSION, Desk

__all__ = ["desk"]


def begin_grouped(desk: Desk, count: int = 2, key: str | None = "k", when_busy: WhenBusy = "queue") -> str:
    """Ask for a sequence of the group of `grouped`; return its jid."""
    desk.sidecar.now += 0.125  # The clock tells who came first.
    return begin(desk, count, key, concurrency={"group": "production", "when_busy": when_busy})[0]


def runs(desk: Desk, jid: str, count: int = 2) -> list[str]:
    """Let all steps of a sequence return, and wait for its end; return their jids."""
    steps = [goes(desk, jid, number) for number in range(count)]
    becomes(desk, jid, "succeeded")
    return steps


def test_a_sequence_holds_its_group_between_its_steps_too(desk: Desk) -> None:
    jid = begin_grouped(desk)
    waiting, status, _ = grouped(desk)
    first = goes(desk, jid, 0)
    second = step_of(desk, jid, 1)
    assert (status, record_of(desk, waiting).status, desk.executed) == ("queued", "queued", [first, second])
    goes(desk, jid, 1)
    becomes(desk, jid, "succeeded")
    becomes(desk, waiting, "running")

    assert desk.executed == [first, second, waiting]
    desk.sidecar.returns("a", jid=waiting)
    becomes(desk, waiting, "succeeded")


def test_a_queued_sequence_begins_when_its_turn_comes(desk: Desk) -> None:
    first, *_ = grouped(desk)
    jid = begin_grouped(desk)
    assert (record_of(desk, jid).status, begin_grouped(desk)) == ("queued", jid)
    desk.sidecar.now += 2
    desk.sidecar.returns("a", jid=first)
    steps = runs(desk, jid)

    assert desk.executed == [first, *steps]
    assert [one.body["status"] for one in desk.sidecar.store.happenings(jid, 0, 100) if one.kind == "status"] == ["queued", "running", "succeeded"]
    assert record_of(desk, jid).queued_seconds > 2


@pytest.mark.costly
def test_who_wants_no_queue_is_refused_and_nothing_is_stored(desk: Desk) -> None:
    first = begin_grouped(desk)
    with pytest.raises(GroupBusy) as caught:
        begin_grouped(desk, key="other", when_busy="refuse")
    with pytest.raises(GroupBusy):
        grouped(desk, None, "refuse")
    assert caught.value.details == {"jid": first}
    assert desk.sidecar.store.keyed("pam:ci", "other") is None
    runs(desk, first)

    runs(desk, begin_grouped(desk, key="other", when_busy="refuse"))


@pytest.mark.costly
def test_a_sequence_makes_way_for_another_or_for_a_job_of_its_owner(desk: Desk) -> None:
    running = begin_grouped(desk)
    step = step_of(desk, running, 0)
    desk.session = OTHER
    with pytest.raises(GroupBusy):
        grouped(desk, None, "cancel_running")
    desk.session = SESSION
    second = begin_grouped(desk, key="second", when_busy="cancel_running")
    assert (desk.terminated, record_of(desk, running).cancelled) == ([step], True)
    desk.sidecar.returns("a", jid=step)
    becomes(desk, running, "cancelled", "not_run")
    step = step_of(desk, second, 0)
    third, status, _ = grouped(desk, None, "cancel_running")
    desk.sidecar.returns("a", jid=step)

    assert (status, desk.terminated[1:]) == ("queued", [step])
    becomes(desk, second, "cancelled", "not_run")
    becomes(desk, third, "running")


def test_a_queued_sequence_that_is_cancelled_begins_nothing(desk: Desk) -> None:
    first, *_ = grouped(desk)
    jid = begin_grouped(desk)
    cancelled = desk.desk.cancelling.cancel(record_of(desk, jid), SESSION, new_info({"REQUEST_METHOD": "DELETE"}))
    desk.sidecar.returns("a", jid=first)
    becomes(desk, first, "succeeded")

    assert (cancelled.status, cancelled.cause, cancelled.cancelled) == ("cancelled", "not_run", True)
    assert (begin_grouped(desk), desk.executed) == (jid, [first])


def test_its_deadline_counts_from_the_request(desk: Desk) -> None:
    first, *_ = grouped(desk)
    queued = begin_grouped(desk, 1)
    late = begin_grouped(desk, 2, "late")
    desk.sidecar.now += 3601
    becomes(desk, queued, "timed_out", "not_run")
    becomes(desk, first, "failed", "missing")
    step = step_of(desk, late, 0)
    desk.sidecar.now += 3599.5  # That step still has time; both together have none.
    desk.sidecar.returns("a", jid=step)

    becomes(desk, late, "timed_out", "not_run")
    assert desk.executed == [first, step]


@pytest.mark.parametrize("key", ["k", None])
def test_a_token_that_is_dead_when_its_turn_comes_lets_others_go_first(desk: Desk, key: str | None) -> None:
    first, *_ = grouped(desk)
    jid = begin_grouped(desk, key=key)
    desk.publishes = [Unauthenticated("dead")]
    second, *_ = grouped(desk)
    desk.sidecar.returns("a", jid=first)
    becomes(desk, second, "running")
    if key is None:
        becomes(desk, jid, "cancelled", "not_run")
        return
    assert (record_of(desk, jid).status, record_of(desk, jid).needs_owner) == ("queued", True)
    assert begin_grouped(desk) == jid
    desk.sidecar.returns("a", jid=second)
    runs(desk, jid)


@pytest.mark.costly
def test_after_a_kill_a_queued_sequence_waits_for_the_same_request(tmp_path: Path) -> None:
    first_desk = Desk(tmp_path)
    first, *_ = grouped(first_desk)
    jid, forgotten = begin_grouped(first_desk), begin_grouped(first_desk, key=None)
    desk = first_desk.crash(tmp_path)
    becomes(desk, forgotten, "cancelled", "not_run")
    desk.sidecar.until(lambda: record_of(desk, jid).needs_owner)
    assert (begin_grouped(desk), record_of(desk, jid).needs_owner) == (jid, False)
    desk.sidecar.returns("a", jid=first)
    steps = runs(desk, jid)

    assert (first_desk.executed, desk.executed) == ([first], steps)
    end(desk)


@pytest.mark.costly
def test_one_that_was_under_way_when_its_process_died_holds_the_group_until_its_owner_is_back(tmp_path: Path) -> None:
    first_desk = Desk(tmp_path)
    jid = begin_grouped(first_desk)
    first = goes(first_desk, jid, 0)
    second = step_of(first_desk, jid, 1)
    first_desk.sidecar.jobs.watched.end_waits()
    desk = first_desk.crash(tmp_path)
    desk.sidecar.until(lambda: record_of(desk, jid).needs_owner)
    waiting, status, _ = grouped(desk)
    assert status == "queued"
    assert begin_grouped(desk) == jid
    assert [step and step.jid for step in steps_of(desk.sidecar.store, record_of(desk, jid))] == [first, second]
    goes(desk, jid, 1)
    becomes(desk, jid, "succeeded")

    becomes(desk, waiting, "running")
    assert desk.executed == [waiting]
    end(desk)


def test_a_step_cannot_wait_for_the_group_of_its_own_sequence() -> None:
    held = {"group": "production"}
    with pytest.raises(Unprocessable) as caught:
        parse_sequence({"steps": [STEP, {**STEP, "concurrency": held}], "concurrency": held})

    assert [error["pointer"] for error in caught.value.details["errors"]] == ["/steps/1/concurrency/group"]
    parse_sequence({"steps": [{**STEP, "concurrency": {"group": "db"}}], "concurrency": held})
