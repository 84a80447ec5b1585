"""Jobs one after the other: what is begun, what they come to, and who goes on after a crash."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import Conflict, Forbidden, MasterTimeout, Overloaded, Unauthenticated
from service.http.request_info import new_info
from service.jobs import JobStatus, sequences
from service.jobs.job_request import parse_sequence
from service.jobs.outcome import OPEN, Conclusion, conclude_steps
from service.jobs.running.followed_sequences import steps_of
from service.jobs.running.inquiries import Cached
from service.jobs.sequences import SequenceCall
from service.jobs.stores.store import JobRecord
from tests.unit.jobs.test_queueing import becomes, record_of
from tests.unit.jobs.test_submission import FOUND, SESSION, UNKNOWN, Desk

STEP = {"tgt": "*", "fun": "test.echo", "arg": ["a"]}


def begin(desk: Desk, count: int = 3, key: str | None = "k", **fields: Any) -> tuple[str, bool]:
    asked = SequenceCall(parse_sequence({"steps": [STEP] * count, **fields}), SESSION, new_info({"REQUEST_METHOD": "POST"}))
    record, replayed = sequences.submit(desk.desk, asked, key)
    return record.jid, replayed


def step_of(desk: Desk, jid: str, number: int) -> str:
    """Wait until a step was published; return its jid."""

    def found() -> JobRecord | None:
        return steps_of(desk.sidecar.store, record_of(desk, jid))[number]

    desk.sidecar.until(lambda: (step := found()) is not None and step.status == "running")
    step = found()
    assert step is not None
    return step.jid


def goes(desk: Desk, jid: str, number: int, retcode: int = 0) -> str:
    """Let a step return."""
    step = step_of(desk, jid, number)
    desk.sidecar.returns("a", jid=step, retcode=retcode, success=not retcode)
    return step


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    end(made)
    assert made.sidecar.report.crashes == 0


def end(desk: Desk) -> None:
    desk.sidecar.jobs.watched.end_waits()
    desk.close()


@pytest.mark.costly
def test_each_step_begins_when_the_one_before_it_is_well(desk: Desk) -> None:
    jid, _ = begin(desk)
    first = goes(desk, jid, 0)
    second = goes(desk, jid, 1)
    third = step_of(desk, jid, 2)
    assert record_of(desk, jid).status == "running"
    goes(desk, jid, 2)
    record = becomes(desk, jid, "succeeded")

    assert desk.executed == [first, second, third]
    assert {record_of(desk, one).parent for one in (first, second, third)} == {jid}
    assert record.finished is not None
    told = [(one.body["step"], one.body["status"]) for one in desk.sidecar.store.happenings(jid, 0, 100) if one.kind == "step"]
    assert [one for one in told if one[1] == "succeeded"] == [(0, "succeeded"), (1, "succeeded"), (2, "succeeded")]
    assert [one.body["status"] for one in desk.sidecar.store.happenings(jid, 0, 100) if one.kind == "status"] == ["running", "succeeded"]


@pytest.mark.costly
def test_after_a_failure_nothing_is_begun(desk: Desk) -> None:
    jid, _ = begin(desk)
    first, second = goes(desk, jid, 0), goes(desk, jid, 1, retcode=2)
    becomes(desk, jid, "failed")

    assert desk.executed == [first, second]
    assert steps_of(desk.sidecar.store, record_of(desk, jid))[2] is None


@pytest.mark.costly
def test_who_never_stops_goes_on_and_fails_all_the_same(desk: Desk) -> None:
    jid, _ = begin(desk, 2, stop_on="never")
    goes(desk, jid, 0, retcode=2)
    goes(desk, jid, 1)

    becomes(desk, jid, "failed")
    assert len(desk.executed) == 2


@pytest.mark.costly
def test_a_key_is_for_all_steps(desk: Desk) -> None:
    jid, _ = begin(desk, 1)
    goes(desk, jid, 0)
    becomes(desk, jid, "succeeded")

    assert begin(desk, 1) == (jid, True)
    assert len(desk.executed) == 1


@pytest.mark.costly
def test_a_sequence_that_is_cancelled_begins_no_other_step(desk: Desk) -> None:
    jid, _ = begin(desk)
    step = step_of(desk, jid, 0)
    # Until it has been told of, who began it may cancel it as well.
    desk.sidecar.until(lambda: "step" in [one.kind for one in desk.sidecar.store.happenings(jid, 0, 100)])
    desk.desk.cancelling.cancel(record_of(desk, jid), SESSION, new_info({"REQUEST_METHOD": "DELETE"}))
    assert desk.terminated == [step]
    desk.sidecar.returns("a", jid=step)

    becomes(desk, jid, "cancelled", "not_run")
    assert desk.executed == [step]


@pytest.mark.costly
def test_a_step_that_begins_while_the_sequence_is_cancelled_is_cancelled_too(desk: Desk) -> None:
    jid, _ = begin(desk)
    step_of(desk, jid, 0)

    def cancelled() -> None:
        with pytest.raises(Conflict):
            desk.desk.cancelling.cancel(record_of(desk, jid), SESSION, new_info({"REQUEST_METHOD": "DELETE"}))

    desk.publishes = [cancelled]
    goes(desk, jid, 0)
    second = step_of(desk, jid, 1)
    desk.sidecar.until(lambda: desk.terminated == [second])
    goes(desk, jid, 1)

    becomes(desk, jid, "cancelled", "not_run")


@pytest.mark.costly
@pytest.mark.parametrize(("cache", "executed"), [(FOUND, 0), (UNKNOWN, 1)])
def test_a_step_of_which_nothing_is_known_is_looked_up_once_more(tmp_path: Path, cache: Cached, executed: int) -> None:
    desk = Desk(tmp_path, MasterTimeout("no answer"), cache=cache)
    jid, _ = begin(desk, 1)
    goes(desk, jid, 0)
    becomes(desk, jid, "succeeded")

    assert len(desk.executed) == executed
    end(desk)


@pytest.mark.costly
def test_a_step_that_is_refused_ends_it(desk: Desk) -> None:
    jid, _ = begin(desk, 2, stop_on="never")
    step_of(desk, jid, 0)
    desk.publishes = [Forbidden("no more")]
    goes(desk, jid, 0)

    becomes(desk, jid, "failed", "refused")


@pytest.mark.costly
def test_what_is_refused_for_now_is_tried_again(desk: Desk) -> None:
    jid, _ = begin(desk, 2)
    step_of(desk, jid, 0)
    desk.publishes = [Overloaded("full", retry_after_seconds=1)]
    goes(desk, jid, 0)
    goes(desk, jid, 1)

    becomes(desk, jid, "succeeded")


@pytest.mark.costly
def test_a_token_that_dies_between_steps_is_asked_for_again(desk: Desk) -> None:
    jid, _ = begin(desk, 2)
    step_of(desk, jid, 0)
    desk.publishes = [Unauthenticated("dead")]
    first = goes(desk, jid, 0)
    desk.sidecar.until(lambda: record_of(desk, jid).needs_owner)
    assert begin(desk, 2) == (jid, True)
    second = goes(desk, jid, 1)

    assert not becomes(desk, jid, "succeeded").needs_owner
    assert desk.executed == [first, second]


def test_without_a_key_it_cannot_be_asked_for_again(desk: Desk) -> None:
    jid, _ = begin(desk, 2, key=None)
    step_of(desk, jid, 0)
    desk.publishes = [Unauthenticated("dead")]
    goes(desk, jid, 0)

    becomes(desk, jid, "cancelled", "not_run")


@pytest.mark.costly
def test_after_a_kill_it_waits_for_the_same_request_and_each_step_runs_once(tmp_path: Path) -> None:
    first_desk = Desk(tmp_path)
    jid, _ = begin(first_desk)
    first = goes(first_desk, jid, 0)
    second = step_of(first_desk, jid, 1)
    first_desk.sidecar.jobs.watched.end_waits()
    desk = first_desk.crash(tmp_path)
    desk.sidecar.until(lambda: record_of(desk, jid).needs_owner)
    assert record_of(desk, jid).status == "running"
    assert begin(desk) == (jid, True)
    goes(desk, jid, 1)
    third = goes(desk, jid, 2)
    becomes(desk, jid, "succeeded")

    assert first_desk.executed == [first, second]
    assert desk.executed == [third]
    end(desk)


@pytest.mark.costly
def test_a_step_in_doubt_is_looked_up_by_the_same_request(tmp_path: Path) -> None:
    first_desk = Desk(tmp_path, MasterTimeout("no answer"))
    jid, _ = begin(first_desk, 1)
    first_desk.sidecar.until(lambda: [step and step.status for step in steps_of(first_desk.sidecar.store, record_of(first_desk, jid))] == ["in_doubt"])
    first_desk.sidecar.jobs.watched.end_waits()
    desk = first_desk.crash(tmp_path, Cached(known=True, minions=["a"]))
    desk.sidecar.until(lambda: record_of(desk, jid).needs_owner)
    begin(desk, 1)
    goes(desk, jid, 0)

    becomes(desk, jid, "succeeded")
    assert first_desk.executed == desk.executed == []
    end(desk)


@pytest.mark.costly
def test_one_whose_owner_does_not_come_back_ends_at_its_deadline(tmp_path: Path) -> None:
    first_desk = Desk(tmp_path)
    jid, _ = begin(first_desk, 2)
    goes(first_desk, jid, 0)
    step_of(first_desk, jid, 1)
    first_desk.sidecar.jobs.watched.end_waits()
    desk = first_desk.crash(tmp_path)
    desk.sidecar.until(lambda: record_of(desk, jid).needs_owner)
    desk.sidecar.now += 2 * 3600 + 1

    becomes(desk, jid, "timed_out", "not_run")
    end(desk)


STATUSES = st.sampled_from([status for status in get_args(JobStatus) if status != "refused"])


@given(steps=st.lists(st.none() | STATUSES, min_size=1, max_size=6), stops=st.booleans(), gives_up=st.sampled_from([None, "cancelled", "timed_out"]))
def test_what_steps_come_to(steps: list[JobStatus | None], stops: bool, gives_up: JobStatus | None) -> None:
    begun = [step for step in steps if step is not None]
    ends = [None if step is None else Conclusion(step) for step in [*begun, *[None] * (len(steps) - len(begun))]]
    end = conclude_steps(ends, stops=stops, gives_up=gives_up)
    bad = [step for step in begun if step not in {"succeeded", "partial"}]

    if set(begun) & OPEN:
        assert end is None
    elif end is not None and end.status in {"succeeded", "partial"}:
        assert len(begun) == len(steps)
        assert not bad
    elif end is not None:
        assert end.status == (bad[0] if bad else gives_up)
    else:
        assert len(begun) < len(steps)
        assert gives_up is None
        assert not (bad and stops)


def test_a_sequence_that_differs_in_a_step_is_another_one() -> None:
    request = parse_sequence({"steps": [STEP, STEP]})

    assert request.fingerprint != parse_sequence({"steps": [STEP, {**STEP, "arg": ["b"]}]}).fingerprint
