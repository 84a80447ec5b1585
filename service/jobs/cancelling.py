"""Ends jobs: because somebody who may asks for it, or to make way for another one of their concurrency group."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from service.auth.identity import Identity, Session
from service.clients import Client
from service.errors import Conflict, Fault, GroupBusy
from service.gateway.low import Low
from service.http.request_info import RequestInfo
from service.jobs.names import owns
from service.jobs.outcome import OPEN, STARTING
from service.jobs.rollout import RunLow
from service.jobs.running.followed_sequences import steps_of
from service.jobs.running.running_jobs import RunningJobs
from service.jobs.running.stops import awaited_of
from service.jobs.stores.store import JobRecord, Store

# Who is refused since another job of the group is not over should not ask again before this.
BUSY_SECONDS = 10.0
Ready = Callable[[list[Low]], None]


class Run(Protocol):
    """The one way to the gateway; see Commands.run."""

    def __call__(self, body: object, info: RequestInfo, *, proof: Session, client: Client, ready: Ready, run_low: RunLow | None = None) -> list[Any]: ...


class KeyTaken(Exception):
    """The key was used meanwhile, by another request, for this job."""

    def __init__(self, job: JobRecord) -> None:
        super().__init__()
        self.job = job


def has_key_of(found: JobRecord, job: JobRecord) -> bool:
    """Say whether the one that is in a job's way has its key; otherwise it is one of its group."""
    return job.key is not None and (found.owner, found.key) == (job.owner, job.key)


class Cancelling:
    """Called from request threads. reads_all(identity): they may read everybody's jobs."""

    def __init__(self, run: Run, store: Store, running: RunningJobs, new_jid: Callable[[], str], reads_all: Callable[[Identity], bool]) -> None:
        self._run, self._store, self._running, self._new_jid, self._reads_all = run, store, running, new_jid, reads_all

    def cancel(self, record: JobRecord, session: Session, info: RequestInfo) -> JobRecord:
        """
        Have the minions of a job end it, as the caller, whichever sidecar follows it; of a sequence the step that is under way, and no other is begun.
        One that is over, or was cancelled before, is as it is.

        Raises what Commands.run raises, and Conflict while nobody knows whether it was published.
        """
        is_here = self._running.watched.get(record.jid) is not None
        if record.status == "queued" and is_here:
            record = self._running.queue.withdraw(record.jid, status="cancelled", cause="not_run", cancelled=True)
        elif record.status == "queued":
            self._running.stops.ask_elsewhere(record.jid, self._new_jid(), session.credentials)
            return self._store.job(record.jid) or record
        if record.request["client"] == "steps":
            return self._cancel_steps(record, session, info)
        if record.status in STARTING:
            raise Conflict("the job is being published; come back", jid=record.jid)
        minions = self._running.watched.awaited(record.jid) if is_here else awaited_of(record, self._store.parts(record.jid, bodies=False))
        if record.status not in OPEN or record.cancelled or not (minions or record.wave < record.waves):
            return record
        if record.request["client"] != "local":
            raise Conflict("what runs on the master cannot be cancelled", jid=record.jid)
        stopping = self._new_jid()
        low = {"tgt": minions, "tgt_type": "list", "fun": "saltutil.term_job", "arg": [record.jid], "jid": stopping}

        def ready(_lows: list[Low]) -> None:
            begin = self._running.cancel if is_here else self._running.stops.ask_elsewhere
            begin(record.jid, stopping, session.credentials)

        if minions:
            self._run([low], info, proof=session, client=Client.LOCAL_ASYNC, ready=ready)
        else:  # Between two waves nobody runs it.
            ready([])
        return self._store.job(record.jid) or record

    def _cancel_steps(self, record: JobRecord, session: Session, info: RequestInfo) -> JobRecord:
        if record.status not in OPEN:
            return record
        if self._running.watched.get(record.jid) is None:
            self._running.stops.ask_elsewhere(record.jid, self._new_jid(), session.credentials)
        else:
            record = self._running.sequences.update(record.jid, lambda _job: {"cancelled": True})
        for step in steps_of(self._store, record):
            if step is not None and step.status in OPEN:
                self.cancel(step, session, info)
        return self._store.job(record.jid) or record

    def behind(self, first: JobRecord, intent: JobRecord, session: Session, info: RequestInfo, queue: Callable[[], JobRecord]) -> JobRecord:
        """
        Do what a request wants done while another job of its group goes first. intent: what would have been stored. queue(): stores it as queued.

        Raises GroupBusy, what *queue* raises, and what cancelling the other one raises; then nothing is queued.
        """
        when_busy = intent.request["concurrency"]["when_busy"]
        is_cancelling = when_busy == "cancel_running" and first.status != "queued"
        is_theirs = owns(session.identity, first.owner, first.token)
        if when_busy == "refuse" or (is_cancelling and not is_theirs):
            may_see = is_theirs or self._reads_all(session.identity)
            reason = f"another job of the group {first.concurrency_group} is not over"
            raise GroupBusy(reason, retry_after_seconds=BUSY_SECONDS, jid=first.jid if may_see else None)
        queued = queue()
        if is_cancelling:
            try:
                self.cancel(self._store.job(first.jid) or first, session, info)
            except Fault:
                queued = self._running.queue.withdraw(queued.jid, status="refused", key=None)
                if queued.status == "refused":
                    raise
        return queued
