"""The sequences of steps that are not over; who begins their steps is service/jobs/sequences.py."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from service.jobs.names import step_key
from service.jobs.outcome import OPEN, Conclusion, conclude_steps
from service.jobs.running.opened import Begin, OpenJob, said
from service.jobs.running.watched_jobs import WatchedJobs
from service.jobs.stores.store import JobRecord, Store

Steps = Sequence[JobRecord | None]


def steps_of(store: Store, record: JobRecord) -> Steps:
    """Return the job of each step of a sequence, None for those that were not begun; they are begun in their order."""
    steps: list[JobRecord | None] = []
    while len(steps) < record.expected and (not steps or steps[-1] is not None):
        steps.append(store.keyed(record.owner, step_key(record.jid, len(steps))))
    return [*steps, *[None] * (record.expected - len(steps))]


class FollowedSequences:
    """`recover` and `step` run on the thread that follows jobs, the others on any. The parameters are those of GroupQueue."""

    def __init__(
        self,
        store: Store,
        watched: WatchedJobs,
        do: Callable[[str, Callable[[OpenJob], None]], JobRecord],
        restate: Callable[..., None],
        *,
        left_open: Callable[[JobRecord], OpenJob],
        now: Callable[[], float],
    ) -> None:
        self._store, self._watched = store, watched
        self._do, self._restate, self._left_open, self._now = do, restate, left_open, now

    @property
    def under_way(self) -> int:
        """How many are not over."""
        return sum(job.is_sequence and not job.is_over for job in self._watched.all())

    def begin(self, record: JobRecord, when_free: Begin | None = None) -> JobRecord | None:
        """Store a new one and follow it; when_free begins one that is queued. Returns what Store.intend does; then nothing is stored."""
        job = self._left_open(record)
        job.begin = when_free
        self._watched.add(job)
        taken: JobRecord | None = record
        try:
            taken = self._store.intend(record)
        finally:
            if taken is not None:
                self._watched.drop(job)
        return taken

    def adopt(self, record: JobRecord) -> bool:
        """Let one that needs its owner go on here; say whether that is for the caller to do, and nobody else's."""
        if not self._store.claim(record.jid):
            return False
        self._watched.add_missing(self._left_open(record))
        needed: list[bool] = []

        def take(job: OpenJob) -> Mapping[str, Any]:
            needed.append(job.record.needs_owner)
            return {"needs_owner": False}

        self.update(record.jid, take)
        return needed == [True]

    def update(self, jid: str, change: Callable[[OpenJob], Mapping[str, Any]]) -> JobRecord:
        """Change what is stored of one that is not over, as *change* says when it sees it; return it."""

        def apply(job: OpenJob) -> None:
            if not job.is_over:
                self._change(job, change(job))

        return self._do(jid, apply)

    def tell(self, jid: str, number: int, step: JobRecord) -> None:
        """Tell those who follow one what has become of a step. number: from 0."""
        self._do(jid, lambda job: self._note(job, number, step))

    def recover(self, job: OpenJob) -> None:
        """Wait for the owner of one that was under way in a process before this one, if that can come back."""
        self._change(job, {"needs_owner": True} if job.record.key is not None else {"status": "cancelled", "cause": "not_run"})

    def step(self, job: OpenJob, now: float) -> None:
        """End one whose owner has not come back until its deadline, or which was cancelled meanwhile. now: of the monotonic clock."""
        if job.record.needs_owner and (job.record.cancelled or now >= job.ends_at):
            self._change(job, {"status": "cancelled" if job.record.cancelled else "timed_out", "cause": "not_run"})

    def revised_by(self, jobs: Iterable[OpenJob]) -> list[OpenJob]:
        """
        Return the sequences that are over and come to something else when what late returns have made of these jobs, their steps, is stored.

        They begin nothing any more, so one that has not begun all its steps never becomes a success. One that is under way sees its steps itself.
        """
        steps: dict[str, list[JobRecord]] = {}
        for job in jobs:
            if job.record.parent is not None and job.is_over and job.told not in {None, (job.record.status, job.record.cause)}:
                steps.setdefault(job.record.parent, []).append(job.record)
        return [sequence for jid, revised in steps.items() if (sequence := self._revised(self._store.job(jid), revised)) is not None]

    def _revised(self, record: JobRecord | None, revised: list[JobRecord]) -> OpenJob | None:
        if record is None or record.request["client"] != "steps" or record.status in OPEN:
            return None
        news = {step.jid: step for step in revised}
        steps = [step and news.get(step.jid, step) for step in steps_of(self._store, record)]
        end = conclude_steps([None if step is None else Conclusion(step.status, step.cause) for step in steps], stops=True)
        if end is None or (end.status, end.cause) == (record.status, record.cause):
            return None
        sequence = self._left_open(record)
        sequence.told = (record.status, record.cause)
        for number, step in enumerate(steps):
            if step is not None and step.jid in news:
                self._note(sequence, number, step)
        sequence.record = dataclasses.replace(record, status=end.status, cause=end.cause)
        return sequence

    def _note(self, job: OpenJob, number: int, step: JobRecord) -> None:
        job.note_step({"step": number, "jid": step.jid, **said(step.status, step.cause)}, self._now())

    def _change(self, job: OpenJob, changes: Mapping[str, Any]) -> None:
        is_end = changes.get("status", "running") not in OPEN
        self._restate(job, **changes, **({"finished": self._now(), "needs_owner": False} if is_end else {}))
