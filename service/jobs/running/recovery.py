"""Jobs that change hands: what a process before this one has left behind, and what another may have while our event bus is away."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import cast

from service.jobs.job_request import policy_of
from service.jobs.running.account import Part, Why
from service.jobs.running.opened import JobsReport, OpenJob, Terms
from service.jobs.running.rolling import Rolling
from service.jobs.running.watched_jobs import WatchedJobs
from service.jobs.running.waves import Waves
from service.jobs.stores.store import JobRecord, Store

# A bus that is away for so long does not come back by a mere restart of the master. Then the store is told, and asked who has taken a job, this often.
AWAY_SECONDS, OFFER_SECONDS = 30.0, 5.0


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


class Handover:
    """
    Offers our jobs to other sidecars of the store while our bus is away, and takes none up. `step` runs on the thread `jobs`.

    Only those for which nothing is left but to hear of their minions: whoever has to begin something needs what only we have in memory. And only if jobs are
    looked up whoever owns them: what minions return before another one listens is in the job cache alone. Until somebody takes a job it stays ours.
    """

    def __init__(
        self,
        store: Store,
        watched: WatchedJobs,
        report: JobsReport,
        *,
        can_look_up: Callable[[], bool],
        bus_open: Callable[[], bool],
        monotonic: Callable[[], float],
    ) -> None:
        self._store, self._watched, self._report = store, watched, report
        self._can_look_up, self._bus_open, self._monotonic = can_look_up, bus_open, monotonic
        self._open_at = self._next = monotonic()

    @property
    def is_away(self) -> bool:
        """Say whether the bus is away for longer than others should wait for us."""
        return self._monotonic() >= self._open_at + AWAY_SECONDS

    def step(self, now: float, touched: Collection[str]) -> None:
        """Offer what we follow, and follow no longer what was taken. touched: jids of jobs of which something is not stored yet. Raises StorageUnavailable."""
        if self._bus_open():
            self._open_at = now
        elif self.is_away and now >= self._next and self._can_look_up():
            self._offer({job.record.jid: job for job in self._watched.all() if self._is_only_heard_of(job) and job.record.jid not in touched}, now)

    def _offer(self, jobs: Mapping[str, OpenJob], now: float) -> None:
        if not jobs:
            return
        self._next = now + OFFER_SECONDS
        taken = self._store.offer([*jobs])
        for jid in taken:
            self._watched.drop(jobs[jid])
        if taken:
            self._report.jobs_handed_over(len(taken))

    def _is_only_heard_of(self, job: OpenJob) -> bool:
        record, sequence = job.record, self._watched.get(job.record.parent or "")
        is_step = sequence is not None and sequence.is_sequence and not sequence.is_over
        begins = job.publishing or job.is_sequence or is_step or job.rolling is not None or record.cancelled
        return record.status == "running" and not job.on_master and not begins
