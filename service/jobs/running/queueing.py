"""The jobs that wait until no other job of their concurrency group is under way."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from service.errors import Fault, Overloaded, StorageUnavailable
from service.jobs.outcome import OPEN
from service.jobs.running.inquiries import Credentials
from service.jobs.running.opened import Begin, JobsReport, OpenJob
from service.jobs.running.watched_jobs import WatchedJobs
from service.jobs.stores.store import JobRecord, Store

# Jobs of one group that wait, on one sidecar.
MOST_QUEUED = 100
# A publish blocks, so it is not for the thread that hears of minions.
THREADS = 2


class GroupQueue:
    """
    Begins queued jobs when their turn comes, the one that was asked for first; the store decides, so that it is one for all sidecars of a store.

    `advance`, `recover` and `step` run on the thread that follows jobs, the others on any. now: Unix time. bus_open: events arrive.
    do(jid, what): lets that thread do something with a job, and returns it when that is stored. restate(job, ...): changes what is stored of a job. left_open: makes a job of a stored one.
    """

    def __init__(
        self,
        store: Store,
        watched: WatchedJobs,
        report: JobsReport,
        do: Callable[[str, Callable[[OpenJob], None]], JobRecord],
        restate: Callable[..., None],
        *,
        left_open: Callable[[JobRecord], OpenJob],
        bus_open: Callable[[], bool],
        monotonic: Callable[[], float],
        now: Callable[[], float],
    ) -> None:
        self._store, self._watched, self._report = store, watched, report
        self._do, self._restate, self._left_open = do, restate, left_open
        self._bus_open, self._monotonic, self._now = bus_open, monotonic, now
        self._threads = ThreadPoolExecutor(THREADS, "queue")
        self._is_stopping = False

    def stop(self) -> None:
        """Begin no more."""
        self._is_stopping = True
        self._threads.shutdown(wait=False, cancel_futures=True)

    def check_room(self, group: str) -> None:
        """Raise Overloaded when no further job of a group can wait."""
        if sum(job.record.status == "queued" and job.record.concurrency_group == group for job in self._watched.all()) >= MOST_QUEUED:
            raise Overloaded(f"{MOST_QUEUED} jobs of the group {group} are queued", retry_after_seconds=60)

    def enter(self, jid: str) -> JobRecord:
        """Tell those who follow a job, whose intent is stored, that it is queued; return it."""
        return self._do(jid, lambda _job: None)

    def adopt(self, record: JobRecord, credentials: Credentials, begin: Begin) -> JobRecord:
        """The owner of a queued job has asked for it again: where nobody else can begin it, we can now."""
        if not self._store.claim(record.jid):
            return record

        def take(job: OpenJob) -> None:
            if job.record.status == "queued" and job.begin is None:
                job.credentials, job.begin = dict(credentials), begin
                self._restate(job, needs_owner=False)

        self._watched.add_missing(self._left_open(record))
        return self._do(record.jid, take)

    def put_back(self, jid: str, begin: Begin | None) -> JobRecord:
        """A job whose turn had come was certainly not published. begin: None if that needs its owner."""
        return self._do(jid, lambda job: self._wait(job, begin))

    def withdraw(self, jid: str, **end: Any) -> JobRecord:
        """Give a job that is still queued an end; return it as it is now."""

        def leave(job: OpenJob) -> None:
            if job.record.status == "queued":
                self._end(job, **end)

        return self._do(jid, leave)

    # The thread that follows jobs.

    def recover(self, job: OpenJob) -> None:
        """Take back a job that was queued in a process before this one: with that its arguments and its owner's token are gone."""
        self._wait(job, None)

    def step(self, job: OpenJob, now: float) -> None:
        """End a queued job that was cancelled through another sidecar, or whose deadline has passed. now: of the monotonic clock."""
        if job.record.cancelled or now >= job.ends_at:
            self._end(job, status="cancelled" if job.record.cancelled else "timed_out", cause="not_run")

    def advance(self) -> None:
        """Begin the first job of each group in which nothing is under way."""
        if self._is_stopping:
            return
        queued = [job for job in self._watched.all() if job.begin is not None and job.record.status == "queued" and not job.record.cancelled]
        for job in {job.record.concurrency_group: job for job in sorted(queued, key=_place, reverse=True)}.values():
            if not self._is_busy(job.record.concurrency_group):
                self._begin(job)

    def _is_busy(self, group: str | None) -> bool:
        """Say whether a job of the group is under way here: then the store need not be asked."""
        return any(job.record.concurrency_group == group and job.record.status in OPEN - {"queued"} for job in self._watched.all())

    def _begin(self, job: OpenJob) -> None:
        waited = self._monotonic() - job.ends_at + (job.record.deadline - job.record.since)
        begun, begin = dataclasses.replace(job.record, status="running" if job.is_sequence else "publishing", queued_seconds=waited), job.begin
        try:
            if begin is None or not self._store.advance(begun):
                return
        except StorageUnavailable as fault:
            self._report.jobs_not_stored(fault.reason)
            return
        job.record, job.begin = begun, None
        job.publishing, job.recovering, job.interrupted = not job.is_sequence, False, not self._bus_open()
        self._threads.submit(self._run, begin, begun)

    def _run(self, begin: Begin, record: JobRecord) -> None:
        try:
            begin(record)
        except Fault as fault:
            self._report.jobs_not_stored(fault.reason)
        except Exception:
            self._report.handler_crashed("jobs")

    def _wait(self, job: OpenJob, begin: Begin | None) -> None:
        job.begin = begin
        self._restate(job, status="queued", queued_seconds=0.0, needs_owner=begin is None)
        if begin is None and job.record.key is None:
            # Nobody can ask for it again.
            self._end(job, status="cancelled", cause="not_run")

    def _end(self, job: OpenJob, **end: Any) -> None:
        job.begin = None
        self._restate(job, finished=self._now(), needs_owner=False, **end)


def _place(job: OpenJob) -> tuple[float, str]:
    return job.record.since, job.record.jid
