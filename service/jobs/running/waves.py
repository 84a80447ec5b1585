"""
Jobs whose minions have their turns in waves: when the next one begins, and when none does any more.

All waves of a job are published under its one jid, each to a list of minions; no minion is in two. That a wave begins is stored before it is published.
When the answer to that is lost, the wave's own returns or the master's job cache show whether it was taken; it is published again only if the
cache has the job without these minions, or if nobody may look and the request says so (`on_doubt`). A minion does not run a jid twice that it remembers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection

from service.errors import Fault, Forbidden, Unauthenticated
from service.gateway.clients.result import LowResult
from service.jobs import JobStatus
from service.jobs.job_request import JobRequest
from service.jobs.outcome import STARTING, LeftOut
from service.jobs.running.account import JobAccount
from service.jobs.running.inquiries import DOUBTFUL, SETTLED_SECONDS, Cached, Credentials, Inquiries
from service.jobs.running.opened import OpenJob, Terms
from service.jobs.running.rolling import Rolling, WavesReport
from service.jobs.running.watched_jobs import WatchedJobs
from service.jobs.wave_plan import Turns

# Between two tries to publish a wave that the master certainly did not take, and between two looks for one of which nobody knows.
RETRY_SECONDS = 5.0
LOOK_SECONDS = 30.0


class Waves:
    """
    Of all jobs. `plan`, `forget`, `planned`, `lacks_request` and `lacks` may be called from any thread, the others run on the thread `jobs`.

    do(jid, what): lets that thread do something with a job, and waits until it is stored. tell(what): lets it do something. touched: the jids of jobs that it stores next.
    look(job, now): has a job looked up; `looked_up` hears of it. own(jid, owner): says whose a jid is that a process before this one made.
    """

    def __init__(
        self,
        inquiries: Inquiries,
        watched: WatchedJobs,
        report: WavesReport,
        terms: Terms,
        touched: set[str],
        *,
        do: Callable[[str, Callable[[OpenJob], None]], object],
        tell: Callable[[Callable[[], None]], None],
        look: Callable[[OpenJob, float], None],
        own: Callable[[str, str], None],
        monotonic: Callable[[], float],
    ) -> None:
        self._inquiries, self._watched, self._report, self._terms = inquiries, watched, report, terms
        self._touched, self._do, self._tell, self._look, self._own = touched, do, tell, look, own
        self._monotonic = monotonic

    # Any thread.

    def plan(self, jid: str, turns: Turns, request: JobRequest) -> None:
        """Store the plan of a job; a request is about to publish its first wave."""
        self._do(jid, lambda job: self._take_plan(job, turns, request))

    def forget(self, jid: str) -> None:
        """Give up the plan of a job, whose first wave was certainly not published."""
        if self.planned(jid):
            self._do(jid, self._leave_all_out)
            self._do(jid, self._drop_plan)

    def planned(self, jid: str) -> list[str]:
        """Return the minions of the wave that a request is about to publish; nobody where no waves are planned."""
        job = self._watched.get(jid)
        return job.rolling.waves[0] if job is not None and job.rolling is not None and job.rolling.waves else []

    def lacks_request(self, jid: str) -> bool:
        """Say whether nobody knows what the next wave of a job runs."""
        job = self._watched.get(jid)
        return job is not None and job.rolling is not None and job.rolling.request is None

    def lacks(self, job: OpenJob, credentials: Credentials, request: JobRequest | None) -> bool:
        """Say whether what the owner of a job brings is needed for its next wave."""
        rolling = job.rolling
        if rolling is None:
            return False
        return (rolling.request is None and request is not None) or (job.record.needs_owner and credentials not in (job.credentials, rolling.refused_with))

    # What comes from elsewhere.

    def taken(self, job: OpenJob, minions: Collection[str]) -> None:
        """The master has taken the last wave, for these minions."""
        rolling, account = job.rolling, job.account
        status: JobStatus = "running" if job.record.status in STARTING else job.record.status
        job.record = dataclasses.replace(job.record, status=status, taken=job.record.wave)
        self._touched.add(job.record.jid)
        if rolling is None or account is None or not job.record.wave:
            return
        rolling.publishing, rolling.doubted_at, rolling.over_at = False, None, None
        wave = rolling.waves[job.record.wave - 1]
        account.expect((), [minion for minion in wave if minion not in minions and account.parts[minion].status == "waiting"])
        self._report.wave_taken(job.record.jid, job.record.wave, job.record.waves, len(wave))

    def resume(self, job: OpenJob, rolling: Rolling, account: JobAccount) -> None:
        """Go on with a job that a process before this one began; of a wave that it was publishing nobody knows."""
        job.rolling = rolling
        account.hold([minion for minion in rolling.after(job.record.wave) if account.parts[minion].status == "waiting"])
        self._own(job.record.jid, job.record.owner)
        if job.record.status == "running" and job.record.taken < job.record.wave:
            rolling.doubted_at = self._monotonic()
        # What had ended by then, that process has reported.
        list(rolling.new_ends(job.record, account))

    def lend(self, job: OpenJob, request: JobRequest | None) -> None:
        """Take what the owner of a job has brought beside a token: what it runs, perhaps."""
        if job.rolling is not None:
            job.rolling.request = job.rolling.request or request

    def _take_plan(self, job: OpenJob, turns: Turns, request: JobRequest) -> None:
        job.account, job.rolling = self._terms.account(job.record, self._monotonic()), Rolling(turns.waves, request)
        job.account.expect(turns.waves[0] if turns.waves else (), turns.no_key, turns.silent)
        job.account.hold(job.rolling.after(1))
        expected, waves = len(job.rolling.number_of) + len(turns.silent), len(turns.waves)
        job.record = dataclasses.replace(job.record, waves=waves, wave=min(1, waves), expected=expected)

    def _leave_all_out(self, job: OpenJob) -> None:
        if job.rolling is not None and job.account is not None:
            self._undo(job, job.rolling, job.account)
            job.account.leave_out("refused")

    def _drop_plan(self, job: OpenJob) -> None:
        job.account = job.rolling = None
        job.record = dataclasses.replace(job.record, waves=0, wave=0, expected=0)

    # What is due.

    def step(self, job: OpenJob, now: float) -> None:
        """Begin the next wave of a job when it is due, or none any more."""
        rolling, account = job.rolling, job.account
        if rolling is None or account is None or job.is_over or job.publishing:
            return
        if now >= job.ends_at:
            self.stop(job, "deadline")
            if job.record.status in STARTING:
                account.lose(account.awaited, "in_doubt")
        elif job.record.status == "running" and not (rolling.begun or rolling.publishing):
            self._advance(job, rolling, account, now)

    def _advance(self, job: OpenJob, rolling: Rolling, account: JobAccount, now: float) -> None:
        wave = job.record.wave
        if rolling.doubted_at is not None:
            self._clear_up(job, rolling, account, now)
        elif wave < len(rolling.waves) and account.holds_some and rolling.has_ended(wave, account):
            rolling.over_at = now if rolling.over_at is None else rolling.over_at
            if rolling.has_failed(wave, account, job.record.request["stop_after_failures"]):
                self.stop(job, "stopped_by_failures")
            elif now >= max(rolling.over_at + job.record.request["batch_wait"], rolling.retry_at):
                self._begin_if_permitted(job, rolling, account)

    def stop(self, job: OpenJob, why: LeftOut) -> None:
        """Begin no further wave of a job, nor one that was not sent to the master yet."""
        rolling, account = job.rolling, job.account
        if rolling is None or account is None or not (account.holds_some or rolling.begun):
            return
        if rolling.begun:
            self._undo(job, rolling, account)
        self._leave_out(account, "needs_owner" if why == "deadline" and job.record.needs_owner else why)
        job.record = dataclasses.replace(job.record, needs_owner=False)
        self._touched.add(job.record.jid)

    def _leave_out(self, account: JobAccount, why: LeftOut) -> None:
        self._report.minions_not_run(why, account.leave_out(why))

    def stored(self, job: OpenJob) -> None:
        """Report the waves whose end is stored now, and publish one whose beginning is."""
        rolling, account = job.rolling, job.account
        if rolling is not None and account is not None:
            for end in rolling.new_ends(job.record, account):
                self._report.wave_over(end)
        if rolling is None or not rolling.begun or self._watched.get(job.record.jid) is not job:
            return
        low, credentials, wave = rolling.low(job.record.jid, job.record.wave), job.credentials, job.record.wave
        if low is not None and credentials is not None:
            rolling.begun, rolling.publishing = False, True
            self._inquiries.publish(low, credentials, lambda answer: self._tell(lambda: self._answered(job, wave, credentials, answer)))

    def _begin_if_permitted(self, job: OpenJob, rolling: Rolling, account: JobAccount) -> None:
        needs_owner = rolling.request is None or job.credentials is None or job.credentials == rolling.refused_with
        if needs_owner != job.record.needs_owner:
            job.record = dataclasses.replace(job.record, needs_owner=needs_owner)
            self._touched.add(job.record.jid)
        if not needs_owner:
            self._begin(job, rolling, account)

    def _begin(self, job: OpenJob, rolling: Rolling, account: JobAccount) -> None:
        account.release(rolling.waves[job.record.wave], self._monotonic())
        job.record = dataclasses.replace(job.record, wave=job.record.wave + 1)
        rolling.begun = True
        self._touched.add(job.record.jid)

    def _undo(self, job: OpenJob, rolling: Rolling, account: JobAccount) -> None:
        """Take back that a wave has begun, which certainly was not published."""
        account.hold(rolling.waves[job.record.wave - 1])
        job.record = dataclasses.replace(job.record, wave=job.record.wave - 1)
        rolling.begun = rolling.publishing = False
        rolling.doubted_at, rolling.retry_at = None, 0.0
        self._touched.add(job.record.jid)

    def _answered(self, job: OpenJob, wave: int, credentials: Credentials, answer: LowResult | Fault) -> None:
        """Take the master's answer to the publish of a wave."""
        rolling, account, now = job.rolling, job.account, self._monotonic()
        if rolling is None or account is None or job.record.wave != wave or not rolling.publishing:
            return
        rolling.publishing = False
        if isinstance(answer, LowResult):
            self.taken(job, answer.value.get("minions", ()))
        elif isinstance(answer, DOUBTFUL):
            rolling.doubted_at = now
            self._report.wave_in_doubt(job.record.jid, wave)
        elif not job.is_over and not job.record.cancelled:
            self._undo(job, rolling, account)
            if isinstance(answer, Forbidden | Unauthenticated):
                rolling.refused_with = credentials
            else:
                rolling.retry_at = now + RETRY_SECONDS
        else:
            self._undo(job, rolling, account)
            self._leave_out(account, "cancelled" if job.record.cancelled else "deadline")

    def _clear_up(self, job: OpenJob, rolling: Rolling, account: JobAccount, now: float) -> None:
        """Find out whether a wave was published."""
        if rolling.was_taken(job.record.wave, account):
            self.taken(job, rolling.waves[job.record.wave - 1])
        elif now >= max((rolling.doubted_at or now) + SETTLED_SECONDS, rolling.retry_at):
            rolling.retry_at = now + LOOK_SECONDS
            self._look(job, now)

    def looked_up(self, job: OpenJob, found: Cached | None) -> None:
        """Take what the job cache says of a job, None if nobody could look: it shows whether a wave was published that nobody knows of."""
        rolling, account = job.rolling, job.account
        if rolling is None or account is None or rolling.doubted_at is None or job.is_over or job.looked_at < rolling.doubted_at + SETTLED_SECONDS:
            return
        certain = found is not None and found.known
        if found is not None and rolling.was_taken(job.record.wave, account, [*found.minions, *found.returns]):
            self.taken(job, rolling.waves[job.record.wave - 1])
        elif certain or (found is None and job.record.request["on_doubt"] == "republish"):
            self._undo(job, rolling, account)
