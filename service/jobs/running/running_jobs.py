"""The jobs that are not over: one thread hears of their minions, has the silent asked, and stores what it learned before anybody is told."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future
from typing import Any, Literal

from service.batcher import Batcher
from service.errors import NoSuchJob, Overloaded, StorageUnavailable
from service.events.event import Event
from service.jobs.job_request import policy_of
from service.jobs.outcome import STARTING
from service.jobs.running.account import MASTER, Heard, JobAccount
from service.jobs.running.followed_sequences import FollowedSequences
from service.jobs.running.inquiries import Cached, Credentials, Inquiries, Question
from service.jobs.running.lending import Lending
from service.jobs.running.opened import Begin, JobsReport, Keeping, OpenJob, Terms
from service.jobs.running.queueing import GroupQueue
from service.jobs.running.recovery import Handover, Recovery
from service.jobs.running.state_events import StateEvents
from service.jobs.running.stops import Stops
from service.jobs.running.watched_jobs import WatchedJobs
from service.jobs.running.waves import Waves
from service.jobs.stores.store import JobRecord, Store, answered, answering

QUEUE_EVENTS = 20_000
QUEUE_BYTES = 128 * 1024 * 1024
TICK_SECONDS, PRUNE_SECONDS = 1.0, 60.0
PACE_SECONDS = 0.1  # minions return one by one, and each group that is stored costs a transaction; no request is held back
LOOK_UP_PAUSE_SECONDS = 30.0


class RunningJobs:
    """
    Follows jobs. `take` and `cut` run on the bus thread and only queue; the other methods may be called from any thread.

    now is Unix time; boot: tells one run of the machine from another. bus_open: events arrive; without, nobody is asked. own: as of Waves.
    """

    def __init__(
        self,
        store: Store,
        inquiries: Inquiries,
        terms: Terms,
        keeping: Keeping,
        report: JobsReport,
        *,
        new_jid: Callable[[], str],
        boot: str,
        bus_open: Callable[[], bool],
        own: Callable[[str, str], None],
        monotonic: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
        tick_seconds: float = TICK_SECONDS,
        pace_seconds: float = PACE_SECONDS,
    ) -> None:
        self._store, self._inquiries, self._terms, self._keeping, self._report = store, inquiries, terms, keeping, report
        self._new_jid, self._bus_open = new_jid, bus_open
        self._monotonic, self._now, self._tick_seconds, self._pace_seconds = monotonic, now, tick_seconds, pace_seconds
        self._touched: set[str] = set()  # the thread's, like all that is inside a job
        self.watched, self._states = WatchedJobs(), StateEvents(report, self._touched)
        self.waves = Waves(
            inquiries, self.watched, report, terms, self._touched, do=self._do, tell=self._tell, look=self._look_up, own=own, monotonic=monotonic
        )
        self._recovery = Recovery(store, terms, self.waves, boot, monotonic=monotonic, now=now)
        self._handover = Handover(store, self.watched, report, can_look_up=lambda: inquiries.can_look_up, bus_open=bus_open, monotonic=monotonic)
        self.lending = Lending(
            store, inquiries, self.watched, self.waves, self._recovery, touched=self._touched, do=self._do, look=self._look_up, monotonic=monotonic
        )
        self.stops = Stops(store, inquiries, self.watched, self.waves, new_jid=new_jid, monotonic=monotonic)
        again = self._recovery.again
        self.queue = GroupQueue(store, self.watched, report, self._do, self._restate, left_open=again, bus_open=bus_open, monotonic=monotonic, now=now)
        self.sequences = FollowedSequences(store, self.watched, self._do, self._restate, left_open=again, now=now)
        self._answers: list[tuple[Future[JobRecord], OpenJob]] = []
        self._next_step, self._next_prune, self._next_save, self._missed = 0.0, 0.0, 0.0, False  # missed: events did not fit into the queue
        self._batcher: Batcher[Event | Callable[[], None]] = Batcher(
            "jobs",
            self._handle_batch,
            limit_items=QUEUE_EVENTS,
            limit_bytes=QUEUE_BYTES,
            idle_seconds=lambda: min(tick_seconds, pace_seconds or tick_seconds) if self._touched else tick_seconds,
            pace_seconds=pace_seconds,
            on_crash=lambda _batch: report.handler_crashed("jobs"),
            at_end=lambda: self._save(self._monotonic(), is_end=True),
        )

    # The bus thread.

    def take(self, event: Event) -> None:
        """Take an event if it is about one of our jobs."""
        if self.watched.wants(event) and self._states.fits(event, self._batcher) and not self._batcher.put(event, size=event.size):
            self._missed = True

    def cut(self) -> None:
        """The bus was cut."""
        self._batcher.put(self._cut, items=0)

    # Any thread.

    def start(self) -> None:
        """Follow the jobs that were left open."""
        self._store.on_news(lambda: self._tell(self._recover))
        self._tell(self._recover)

    def stop(self, timeout: float = 2.0) -> None:
        """Store what is known, and end the threads."""
        self._inquiries.stop()
        self.queue.stop()
        self._batcher.stop(timeout)

    def begin(self, record: JobRecord, credentials: Credentials, when_free: Begin | None = None) -> None:
        """Watch the jid of a job that a request is about to publish or to queue (when_free), with credentials that are kept in memory only."""
        job = OpenJob(record, policy_of(record.request), record.ends_at, dict(credentials), interrupted=not self._bus_open())
        job.publishing, job.begin = when_free is None, when_free
        self.watched.add(job)

    def check_room(self) -> None:
        """Raise Overloaded when no further job can be followed."""
        if self.watched.count >= self._terms.most <= self.watched.open_jobs:
            raise Overloaded(f"{self._terms.most} jobs are under way (jobs.open)", retry_after_seconds=5)

    def claim(self, record: JobRecord, credentials: Credentials) -> bool:
        """Take in hand a job that may have to be published again; False while another request does, here or on another sidecar."""
        return self._store.claim(record.jid) and self.watched.claim(self._recovery.again(record), credentials)

    def published(self, jid: str, minions: Collection[str], no_key: Collection[str] = ()) -> JobRecord:
        """The master has taken the job."""

        def take(job: OpenJob) -> None:
            job.publishing = False
            if job.record.status in STARTING:
                self._open(job, minions, no_key)

        return self._do(jid, take)

    def started(self, jid: str, master_jid: str) -> JobRecord:
        """The master has taken a runner, under an id of its own."""

        def open_account(job: OpenJob) -> None:
            self._open_run(job, dataclasses.replace(job.record, master_jid=master_jid))
            for event in self.watched.runs_as(job, master_jid):
                self._booked(job, MASTER, job.take_run(event, self._now()))

        return self._do(jid, open_account)

    def ran(self, jid: str, data: Mapping[str, Any]) -> JobRecord:
        """The master has run a wheel function, which it does before it answers."""

        def open_account(job: OpenJob) -> None:
            self._open_run(job, dataclasses.replace(job.record, master_jid=str(data.get("jid", ""))))
            self._booked(job, MASTER, job.book(MASTER, {name: value for name, value in data.items() if name != "fun"}, None, "bus", self._now()))

        return self._do(jid, open_account)

    def found(self, jid: str, found: Cached) -> JobRecord:
        """The master has the job after all, and perhaps returns of it."""

        def take(job: OpenJob) -> None:
            job.publishing = False
            self._looked_up(job, found)

        return self._do(jid, take)

    def in_doubt(self, jid: str) -> JobRecord:
        """Nobody can say whether the master took the job."""
        return self._do(jid, lambda job: self._restate(job, status="in_doubt"))

    def refused(self, jid: str) -> JobRecord:
        """The job was certainly not published: its key can be used again."""
        return self._do(jid, lambda job: self._restate(job, status="refused", key=None, finished=self._now()))

    def no_match(self, jid: str) -> JobRecord:
        """No minion matched: the master took the job, and made nothing of it."""
        return self._do(jid, lambda job: self._restate(job, status="no_match", finished=self._now()))

    def cancel(self, jid: str, stopping: str, credentials: Credentials) -> None:
        """A request is about to ask the minions, under the jid *stopping*, to end a job; what goes on after a while is killed in its name."""
        self._do(jid, lambda job: self.stops.begin(job, stopping, credentials))

    def _do(self, jid: str, what: Callable[[OpenJob], None]) -> JobRecord:
        """Let the thread do something with a job; return it when that is stored, or cannot be for now."""
        done: Future[JobRecord] = Future()

        def doing() -> None:
            if (job := self.watched.get(jid)) is None:
                done.set_exception(NoSuchJob("the job is followed no longer"))
                return
            with answering(done):
                what(job)
            self._touched.add(jid)
            self._answers.append((done, job))

        if not self._batcher.put(doing, items=0, urgent=True):
            raise StorageUnavailable("the process is stopping", retry_after_seconds=1)
        return answered(done, f"job {jid}")

    # The thread.

    def _handle_batch(self, items: list[Event | Callable[[], None]]) -> None:
        for item in items:
            self._guarded(item)
        if self._missed:
            self._missed = False
            self._cut()
        now = self._monotonic()
        stepping = not items or now >= self._next_step
        if stepping:
            self._next_step = now + self._tick_seconds
            for job in self.watched.all():
                self.waves.step(job, now)
                self._step(job, now)
                self.lending.step(job)
            self.stops.kill_due(now)
            self._guarded(lambda: self._handover.step(now, self._touched))
        if self._save(now) or stepping:
            self.queue.advance()
        self._prune(now)
        answers, self._answers = self._answers, []
        for done, job in answers:
            done.set_result(job.record)

    def _open(self, job: OpenJob, minions: Collection[str], no_key: Collection[str]) -> None:
        """Open the account of a job that the master has taken, with what was heard of it before."""
        if job.rolling is not None:
            self.waves.taken(job, minions)
            return
        job.account = self._terms.account(job.record, self._monotonic())
        job.account.expect(minions, no_key)
        job.record = dataclasses.replace(job.record, status="running", expected=len(minions))
        early, job.early = job.early, []
        for event in early:
            self._handle_event(event)

    def _open_run(self, job: OpenJob, record: JobRecord) -> None:
        job.publishing = False
        job.account = self._terms.account(record, self._monotonic())
        job.account.expect([MASTER])
        job.record = dataclasses.replace(record, status="running", expected=1)

    def _guarded(self, item: Event | Callable[[], None]) -> None:
        """Handle one item; a bug must not cost what others have asked for."""
        try:
            self._handle_event(item) if isinstance(item, Event) else item()
        except StorageUnavailable as fault:
            self._report.jobs_not_stored(fault.reason)
        except Exception:
            self._report.handler_crashed("jobs")

    def _handle_event(self, event: Event) -> None:
        if (found := self.watched.find(event)) is None:
            return
        job, bearing = found
        if bearing == "answer":
            job.take_answer(event, self._monotonic())
        elif bearing == "run":
            self._booked(job, MASTER, job.take_run(event, self._now()))
        elif bearing == "state":
            self._states.take(job, event, self._now())
        elif job.account is None:
            job.keep(event)
        else:
            self._booked(job, event.minion, job.take_return(event, self._now()))

    def _booked(self, job: OpenJob, minion: str, heard: Heard | None) -> None:
        if heard == "foreign":
            self._report.job_foreign_return(job.record.jid, minion)
        if heard in {"foreign", "counted", "revised"}:
            self._touched.add(job.record.jid)

    def _step(self, job: OpenJob, now: float) -> None:
        """Do what is due for a job: look up, ask, give up, or forget it."""
        if job.is_over:
            if job.record.jid not in self._touched and (not job.may_be_revised or now >= (job.closed_at or now) + self._terms.revise_seconds):
                self.watched.drop(job)
        elif job.looking:
            return
        elif self._inquiries.can_look_up and self._bus_open() and job.is_to_be_looked_up(now, LOOK_UP_PAUSE_SECONDS):
            self._look_up(job, now)
        elif job.record.status == "queued":
            self.queue.step(job, now)
        elif job.is_sequence:
            self.sequences.step(job, now)
        elif job.record.status in STARTING or job.account is None:
            if now >= job.ends_at and not job.publishing:
                self._restate(job, status="unknown", finished=self._now())
        else:
            self._step_running(job, job.account, now)

    def _step_running(self, job: OpenJob, account: JobAccount, now: float) -> None:
        account.lose(account.seem_lost(), job.missed)
        account.cancel_stopped(now)
        account.give_up_unheard(now, job.missed)
        if now >= job.kill_at and account.awaited:
            job.kill_at = math.inf
            self._ask(job, "saltutil.kill_job", account.awaited)
        if now >= job.ends_at:
            account.overdue(job.missed, "credentials" if job.refused else None)
            job.expired = True
        elif self._bus_open() and (asking := account.to_ask(now)):
            account.asked(now)
            self._ask(job, "saltutil.find_job", asking)
        if account.changed or account.is_done(now) or now >= job.ends_at:
            self._touched.add(job.record.jid)

    def _ask(self, job: OpenJob, fun: Literal["saltutil.find_job", "saltutil.kill_job"], minions: list[str]) -> None:
        question = Question(fun, minions, self._new_jid())
        self.watched.answers(job, question.jid, is_order=fun == "saltutil.kill_job")

        def asked(permitted: bool) -> None:
            job.refused = not permitted

        self._inquiries.ask(question, job.record.jid, job.credentials, asked)

    def _look_up(self, job: OpenJob, now: float) -> None:
        job.looking, job.looked_at = True, now
        self._inquiries.look_up(job.cached_as or job.record.jid, job.credentials, lambda found: self._tell(lambda: self._looked_up(job, found)))

    def _looked_up(self, job: OpenJob, found: Cached | None) -> None:
        job.looking = False
        self._touched.add(job.record.jid)
        self.waves.looked_up(job, found)
        if found is None:
            return
        job.permitted = True
        if job.on_master:
            self._booked(job, MASTER, job.book_run(found, self._now()))
            return
        job.answered = True
        if job.record.status in STARTING and found.known and not job.publishing:  # asked for before we were away, and taken by the master
            self._open(job, found.minions, ())
        job.looked_up = found.complete
        for minion, data in found.returns.items():
            self._booked(job, minion, job.book(minion, data, None, "job_cache", self._now()))

    def _cut(self) -> None:
        for job in self.watched.all():
            job.cut(self._monotonic())

    def _recover(self) -> None:
        """Follow again what the process before us has left behind, or another sidecar of the same store."""
        jobs = [] if self._handover.is_away else self._recovery.left_behind(self.watched)
        for job in jobs:
            self.watched.add(job)
            if job.record.status == "queued":
                self.queue.recover(job)
            elif job.is_sequence and not job.is_over:
                self.sequences.recover(job)
        if count := sum(not job.is_over for job in jobs):
            self._report.jobs_recovered(count)
        self._touched.update(self.stops.hear())

    def _save(self, now: float, *, is_end: bool = False) -> bool:
        """Store what has changed, of all jobs or in between of those that a request waits for, and wake who waits for a job's end. Say whether a group may be free now."""
        is_time = is_end or now >= self._next_save
        self._touched -= {jid for jid in self._touched if self.watched.get(jid) is None}
        due = {*self._touched} if is_time else {job.record.jid for _, job in self._answers}
        jobs = [job for jid in due if (job := self.watched.get(jid)) is not None]
        if not jobs:
            return False
        for job in jobs:
            self.waves.step(job, now)
            job.settle(now, self._now())
        try:
            jobs += self.sequences.revised_by(jobs)
            lost = self._store.save([job.take_changes(self._now()) for job in jobs])
        except StorageUnavailable as fault:
            self._report.jobs_not_stored(fault.reason)
            return False
        self._touched -= due
        self._next_save = now + self._pace_seconds if is_time else self._next_save
        for job in jobs:
            self.watched.drop(job) if job.record.jid in lost else job.stored(self._report)
            self.waves.stored(job)
        return any(job.is_over and job.record.concurrency_group for job in jobs)

    def _prune(self, now: float) -> None:
        if now >= self._next_prune:
            self._next_prune = now + PRUNE_SECONDS
            with contextlib.suppress(StorageUnavailable):
                self._store.prune(self._now() - self._keeping.seconds, self._keeping.most_bytes)
                self._recover()

    def _tell(self, what: Callable[[], None]) -> None:
        self._batcher.put(what, items=0)

    def _restate(self, job: OpenJob, **changes: Any) -> None:
        job.publishing = False
        job.record = dataclasses.replace(job.record, **changes)
        self._touched.add(job.record.jid)
