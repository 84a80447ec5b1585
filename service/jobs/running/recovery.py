"""What a process before this one has left behind: jobs that are not over, and those whose end a late return may still correct."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from service.jobs.job_request import policy_of
from service.jobs.running.account import Part, Why
from service.jobs.running.opened import OpenJob, Terms
from service.jobs.running.rolling import Rolling
from service.jobs.running.watched_jobs import WatchedJobs
from service.jobs.running.waves import Waves
from service.jobs.stores.store import JobRecord, Store


class Recovery:
    """Makes jobs of stored ones. boot: tells one run of the machine from another. now: Unix time."""

    def __init__(self, store: Store, terms: Terms, waves: Waves, boot: str, *, monotonic: Callable[[], float], now: Callable[[], float]) -> None:
        self._store, self._terms, self._waves, self._boot = store, terms, waves, boot
        self._monotonic, self._now = monotonic, now

    def left_behind(self, watched: WatchedJobs) -> list[OpenJob]:
        """Return the jobs that nobody follows, the oldest first. Raises StorageUnavailable."""
        unfinished = [self.again(record) for record in self._store.unfinished() if watched.get(record.jid) is None]
        over = [self._over(record) for record in self._store.correctable(self._now() - self._terms.revise_seconds)]
        return [*unfinished, *(job for job in over if job.may_be_revised)]

    def ends_at(self, record: JobRecord) -> float:
        """Return a stored deadline on our clock: the same one, unless the machine was started anew; then as far off as the time of day says."""
        if record.boot == self._boot:
            return record.ends_at
        return self._monotonic() + min(max(0.0, record.deadline - self._now()), record.deadline - record.since)

    def again(self, record: JobRecord) -> OpenJob:
        """Return a job that is not over."""
        job = OpenJob(record, policy_of(record.request), self.ends_at(record), interrupted=True, recovering=True)
        if (record.status == "running" and not job.is_sequence) or record.waves:
            self._resume(job)
        return job

    def _over(self, record: JobRecord) -> OpenJob:
        """Return a job that is over, and was reported."""
        since = min(max(0.0, self._now() - (record.finished or 0.0)), self._terms.revise_seconds)
        job = OpenJob(record, policy_of(record.request), self.ends_at(record), closed_at=self._monotonic() - since, told=(record.status, record.cause))
        job.over.set()
        self._resume(job)
        return job

    def _resume(self, job: OpenJob) -> None:
        now = self._monotonic()
        job.account = self._terms.account(job.record, now)
        parts = self._store.parts(job.record.jid, bodies=False)
        job.account.resume({minion: Part(part.status, part.reason, cast("Why | None", part.why)) for minion, part in parts.items()})
        job.account.strays = job.record.strays
        job.account.cut(now)
        if job.record.waves:
            self._waves.resume(job, Rolling.of(job.record, parts), job.account)
