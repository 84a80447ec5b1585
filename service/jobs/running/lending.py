"""
Credentials of the owners of jobs: lent by their requests, kept in memory only.

After a restart nobody has any. Whichever sidecar of a store the owner comes to then takes the job over from the one that follows it without them.
"""

from __future__ import annotations

from collections.abc import Callable

from service.bounded import Bounded
from service.jobs.job_request import JobRequest
from service.jobs.running.inquiries import Credentials, Inquiries
from service.jobs.running.opened import OpenJob
from service.jobs.running.recovery import Recovery
from service.jobs.running.watched_jobs import WatchedJobs
from service.jobs.running.waves import Waves
from service.jobs.stores.store import JobRecord, Store

# Jobs of which we remember with what we took them over.
MOST_TAKEN = 1000


class Lending:
    """`step` runs on the thread that follows jobs, the others on any. The parameters are those of Waves."""

    def __init__(
        self,
        store: Store,
        inquiries: Inquiries,
        watched: WatchedJobs,
        waves: Waves,
        recovery: Recovery,
        *,
        touched: set[str],
        do: Callable[[str, Callable[[OpenJob], None]], object],
        look: Callable[[OpenJob, float], None],
        monotonic: Callable[[], float],
    ) -> None:
        self._store, self._inquiries, self._watched, self._waves, self._recovery = store, inquiries, watched, waves, recovery
        self._touched, self._do, self._look, self._monotonic = touched, do, look, monotonic
        self._taken_with: Bounded[str, tuple[Credentials, bool]] = Bounded(MOST_TAKEN)  # by jid; each change is one step

    def lacks_request(self, record: JobRecord) -> bool:
        """Say whether a job goes on only when somebody tells again what it runs."""
        return self._waves.lacks_request(record.jid) or (record.lacks_owner and record.waves > 0 and self._watched.get(record.jid) is None)

    def lend(self, record: JobRecord, credentials: Credentials, request: JobRequest | None = None) -> None:
        """Ask in the name of a job's owner, who is here, about a job that nobody else could ask for, and go on with its waves. request: what it runs, if that is known again."""
        job = self._watched.get(record.jid) or self._taken_over(record, credentials, request)
        if job is None or job.is_over or job.record.status == "queued":
            return
        if job.credentials is None or job.refused or self._waves.lacks(job, credentials, request):
            self._do(record.jid, lambda job: self._take(job, credentials, request))

    def step(self, job: OpenJob) -> None:
        """Have it stored when we lack a job's credentials, or no longer do."""
        if job.lacks_token != job.record.without_token:
            self._touched.add(job.record.jid)

    def _taken_over(self, record: JobRecord, credentials: Credentials, request: JobRequest | None) -> OpenJob | None:
        """Take over a job that another sidecar follows without what its owner brings; with the same only once, or two that are both refused would take turns."""
        helps, brought = record.without_token or (record.needs_owner and request is not None), (dict(credentials), request is not None)
        if record.status != "running" or not helps or self._taken_with.get(record.jid) == brought or not self._store.claim(record.jid):
            return None
        self._taken_with[record.jid] = brought
        now = self._store.job(record.jid)
        if now is not None:
            self._watched.add_missing(self._recovery.again(now))
        return self._watched.get(record.jid)

    def _take(self, job: OpenJob, credentials: Credentials, request: JobRequest | None) -> None:
        job.credentials, job.refused = dict(credentials), False
        self._waves.lend(job, request)
        if job.interrupted and not job.looked_up and job.cached_as is not None and not (job.looking and self._inquiries.can_look_up):
            self._look(job, self._monotonic())
