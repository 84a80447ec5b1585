"""Sequences that are over, and whose steps a late return corrects."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.jobs import JobStatus
from service.jobs.job_request import policy_of
from service.jobs.names import step_key
from service.jobs.outcome import OPEN, Conclusion, conclude_steps
from service.jobs.running.followed_sequences import FollowedSequences
from service.jobs.running.opened import OpenJob
from service.jobs.running.watched_jobs import WatchedJobs
from tests.unit.jobs.kept import JID, OWNER, job
from tests.unit.jobs.test_queueing import becomes
from tests.unit.jobs.test_sequences import begin, end, goes, step_of
from tests.unit.jobs.test_submission import Desk

if TYPE_CHECKING:
    from service.jobs.stores.store import JobRecord, Store

WELL = {"succeeded", "partial"}
ENDS = st.sampled_from([status for status in get_args(JobStatus) if status not in OPEN])


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    end(made)
    assert made.sidecar.report.crashes == 0


@pytest.mark.parametrize(("steps", "stop_on", "status"), [(1, "failure", "succeeded"), (2, "never", "succeeded"), (2, "failure", "failed")])
def test_a_step_that_is_corrected_corrects_its_sequence(desk: Desk, steps: int, stop_on: str, status: JobStatus) -> None:
    jid, _ = begin(desk, steps, stop_on=stop_on)
    first = step_of(desk, jid, 0)
    desk.sidecar.now += 3601
    if stop_on == "never":
        goes(desk, jid, 1)
    before = becomes(desk, jid, "failed", "missing")
    desk.sidecar.returns("a", jid=first)
    becomes(desk, first, "succeeded")
    after = becomes(desk, jid, status, None if status == "succeeded" else "missing")

    assert (after.finished, after.revision > before.revision) == (before.finished, status == "succeeded")
    assert len(desk.executed) == (2 if stop_on == "never" else 1)
    told = [one.body for one in desk.sidecar.store.happenings(jid, 0, 100)]
    assert told[-1]["status"] == status
    assert ({"step": 0, "jid": first, "status": "succeeded", "exit_code": 0} in told) is (status == "succeeded")


class Kept:
    """A store of a sequence and its steps."""

    def __init__(self, *jobs: JobRecord) -> None:
        self._jobs = jobs

    def job(self, jid: str) -> JobRecord | None:
        return next((one for one in self._jobs if one.jid == jid), None)

    def keyed(self, owner: str, key: str) -> JobRecord | None:
        assert owner == OWNER
        return next((one for one in self._jobs if one.key == key), None)


def over(record: JobRecord, told: JobStatus) -> OpenJob:
    """Return a job that was told to have come to something."""
    return OpenJob(record, policy_of(record.request), 0.0, told=(told, None))


@pytest.mark.slow
@given(ends=st.lists(st.tuples(ENDS, ENDS), min_size=1, max_size=5), more=st.integers(0, 2))
def test_a_sequence_is_what_its_steps_are_now_and_no_success_without_all_of_them(ends: list[tuple[JobStatus, JobStatus]], more: int) -> None:
    before = conclude_steps([Conclusion(was) for was, _ in ends] + [None] * more, stops=True) or Conclusion("cancelled", "not_run")
    asked: dict[str, Any] = {"client": "steps"}
    sequence = job(request=asked, status=before.status, cause=before.cause, finished=1.0, expected=len(ends) + more)
    steps = [job(str(number) * 20, parent=JID, key=step_key(JID, number), status=was, finished=1.0) for number, (was, _) in enumerate(ends)]
    store = cast("Store", Kept(sequence, *steps))
    followed = FollowedSequences(
        store, WatchedJobs(), lambda _jid, _what: sequence, lambda _job: None, left_open=lambda record: over(record, record.status), now=lambda: 2.0
    )
    corrected = [over(job(step.jid, parent=JID, key=step.key, status=now, finished=1.0), was) for step, (was, now) in zip(steps, ends, strict=True)]
    found = followed.revised_by(corrected)
    after = found[0].record.status if found else sequence.status
    bad = [now for _, now in ends if now not in WELL]

    if bad:
        assert after == bad[0]
    elif more:
        assert after == sequence.status
    else:
        assert after == ("partial" if "partial" in {now for _, now in ends} else "succeeded")
    assert not (after in WELL and more)
