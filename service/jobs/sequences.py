"""Jobs one after the other under one key: each step is a job of its own, and the sequence is what they come to."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Iterator, Mapping
from typing import Any

from service.auth.identity import Session
from service.errors import Fault, Forbidden, GroupBusy, KeyReused, MasterTimeout, MasterUnreachable, Overloaded, StorageUnavailable, Unauthenticated
from service.http.request_info import RequestInfo
from service.jobs import JobStatus
from service.jobs.cancelling import KeyTaken, has_key_of
from service.jobs.job_request import SequenceRequest
from service.jobs.names import owner_of, owns, step_key
from service.jobs.outcome import OPEN, Conclusion, conclude_steps
from service.jobs.running.followed_sequences import Steps, steps_of
from service.jobs.running.opened import Begin
from service.jobs.stores.store import JobRecord
from service.jobs.submission import Call, Submissions

# Each that is under way has a thread, which sleeps while its step runs.
MOST_SEQUENCES = 50
# Longest sleep between two looks at a step that is under way, or between two tries to begin one.
LOOK_SECONDS = 2.0


@dataclasses.dataclass(frozen=True)
class SequenceCall:
    """One call of a caller: the steps that it asks for, who they are, and its account."""

    request: SequenceRequest
    session: Session
    info: RequestInfo


def submit(jobs: Submissions, asked: SequenceCall, key: str | None) -> tuple[JobRecord, bool]:
    """
    Store a sequence and begin it, or return the one that the key was used for; say which. Each step is checked first.

    Raises what Submissions.submit does; `field` has the place of what is wrong.
    """
    owner = owner_of(asked.session.identity)
    known = jobs.store.keyed(owner, key) if key is not None else None
    if known is None:
        _check(jobs, asked)
        begun = {"status": "running", "expected": len(asked.request.steps), "concurrency_group": asked.request.group}
        record = jobs.new_record(asked.request, asked.session.identity, key, asked.request.fingerprint, **begun)
        first = jobs.running.sequences.begin(record)
        if first is None:
            _start(jobs, record, asked)
            return jobs.store.job(record.jid) or record, False
        if not has_key_of(first, record):
            return _behind(jobs, first, record, asked)
        known = first
    return _again(jobs, known, asked), True


def _behind(jobs: Submissions, first: JobRecord, record: JobRecord, asked: SequenceCall) -> tuple[JobRecord, bool]:
    """Do what a sequence wants done while another job of its group goes first."""

    def queue() -> JobRecord:
        jobs.running.queue.check_room(record.concurrency_group or "")
        taken = jobs.running.sequences.begin(dataclasses.replace(record, status="queued"), _when_free(jobs, asked))
        if taken is not None:
            raise KeyTaken(taken)
        return jobs.running.queue.enter(record.jid)

    try:
        return jobs.cancelling.behind(first, record, asked.session, asked.info, queue), False
    except KeyTaken as taken:
        return _again(jobs, taken.job, asked), True


def _when_free(jobs: Submissions, asked: SequenceCall) -> Begin:
    """Return what begins the first step of a queued sequence when its turn has come."""
    return lambda record: _start(jobs, record, asked)


def _check(jobs: Submissions, asked: SequenceCall) -> None:
    """Raise what a step would be refused for, before any is stored."""
    jobs.check_notice(asked.request)
    jobs.running.check_room()
    if jobs.running.sequences.under_way >= MOST_SEQUENCES:
        raise Overloaded(f"{MOST_SEQUENCES} sequences are under way", retry_after_seconds=5)
    for number, step in enumerate(asked.request.steps):
        with _placing(f"steps/{number}/"):
            jobs.check(Call(step, asked.session, asked.info))


@contextlib.contextmanager
def _placing(place: str) -> Iterator[None]:
    """Say of a field that is wrong where it is."""
    try:
        yield
    except Fault as fault:
        if "field" in fault.details:
            fault.details["field"] = place + fault.details["field"]
        raise


def _again(jobs: Submissions, known: JobRecord, asked: SequenceCall) -> JobRecord:
    """Answer a request whose key was used, and let a sequence go on that needs its owner."""
    if known.fingerprint != asked.request.fingerprint or not owns(asked.session.identity, known.owner, known.token):
        raise KeyReused("the Idempotency-Key was used for another request, or with another token", jid=known.jid)
    if known.status == "queued":
        return jobs.running.queue.adopt(known, asked.session.credentials, _when_free(jobs, asked))
    if known.needs_owner and jobs.running.sequences.adopt(known):
        _drive(jobs, known, asked)
    return jobs.store.job(known.jid) or known


def _start(jobs: Submissions, record: JobRecord, asked: SequenceCall) -> None:
    """Tell those who follow a sequence that it is under way, and begin its steps."""
    jobs.running.sequences.update(record.jid, lambda _job: {})
    _drive(jobs, record, asked)


def _drive(jobs: Submissions, record: JobRecord, asked: SequenceCall) -> None:
    threading.Thread(target=_Driver(jobs, record, asked).run, name="sequence", daemon=True).start()


class _Driver:
    """Begins the steps of one sequence, on a thread of its own, with its owner's token in memory only."""

    def __init__(self, jobs: Submissions, record: JobRecord, asked: SequenceCall) -> None:
        self._jobs, self._record, self._asked = jobs, record, asked
        self._begun: set[int] = set()
        self._doubted: set[int] = set()  # those that were begun again since nobody knew whether they had been
        self._told: dict[int, tuple[str, str | None]] = {}

    def run(self) -> None:
        """Go on until there is an end, the token is dead, or the process stops."""
        change: Mapping[str, Any] | None = None
        try:
            while change is None and not self._jobs.running.watched.is_ending:
                change = self._look()
        except Exception:
            # A bug, which the hook for threads logs: the owner's next request goes on where this one was.
            change = {"needs_owner": True}
            raise
        finally:
            if change:
                self._store(change)

    def _store(self, change: Mapping[str, Any]) -> None:
        if change.get("needs_owner") and self._record.concurrency_group is not None and not self._told:
            # Nothing of it has begun: others of its group go first until its owner is back.
            with contextlib.suppress(Fault):
                self._jobs.running.queue.put_back(self._record.jid, None)
            return
        if change.get("needs_owner") and self._record.key is None:
            # Nobody can ask for it again.
            change = {"status": "cancelled", "cause": "not_run"}
        with contextlib.suppress(Fault):
            self._jobs.running.sequences.update(self._record.jid, lambda _job: change)

    def _look(self) -> Mapping[str, Any] | None:
        """Do what is next; return what has changed of the sequence when there is nothing more to do here."""
        try:
            sequence = self._jobs.store.job(self._record.jid)
            return {} if sequence is None or sequence.status not in OPEN else self._go_on(sequence)
        except StorageUnavailable:
            self._jobs.pause(LOOK_SECONDS)
            return None

    def _go_on(self, sequence: JobRecord) -> Mapping[str, Any] | None:
        steps = steps_of(self._jobs.store, sequence)
        self._tell(steps)
        gives_up: JobStatus | None = "cancelled" if sequence.cancelled else "timed_out" if self._jobs.is_overdue(sequence) else None
        ends = [None if step is None else Conclusion(step.status, step.cause) for step in steps]
        end = conclude_steps(ends, stops=self._asked.request.stop_on == "failure", gives_up=gives_up)
        if end is not None:
            return {"status": end.status, "cause": end.cause}
        number = next(number for number, step in enumerate(steps) if step is None or step.status in OPEN)
        step = steps[number]
        is_doubtful = step is not None and step.status == "in_doubt" and number not in self._doubted
        if step is None or (gives_up is None and (is_doubtful or number not in self._begun)):
            self._doubted.update([number] if is_doubtful else [])
            return self._begin_step(number)
        self._jobs.wait(step.jid, self._asked.session, LOOK_SECONDS)
        return None

    def _begin_step(self, number: int) -> Mapping[str, Any] | None:
        """Begin a step, or find out what became of it; None if there is more to do then."""
        call = Call(self._asked.request.steps[number], self._asked.session, self._asked.info, parent=self._record.jid)
        try:
            step = self._jobs.submit_later(call, step_key(self._record.jid, number))
        except Fault as fault:
            return self._after(fault)
        self._begun.add(number)
        sequence = self._jobs.store.job(self._record.jid)
        if sequence is not None and sequence.cancelled:
            # Who cancelled it may have come before there was a step to be cancelled.
            with contextlib.suppress(Fault):
                self._jobs.cancelling.cancel(self._jobs.store.job(step.jid) or step, self._asked.session, self._asked.info)
        return None

    def _after(self, fault: Fault) -> Mapping[str, Any] | None:
        """Say what to do after a step could not be begun: nothing of it was published."""
        is_passing = fault.retry_after == "always" or isinstance(fault, MasterTimeout | MasterUnreachable)
        if is_passing and not isinstance(fault, GroupBusy):
            self._jobs.pause(LOOK_SECONDS)
            return None
        if isinstance(fault, Unauthenticated) and not isinstance(fault, Forbidden):
            return {"needs_owner": True}
        return {"status": "failed", "cause": "refused"}

    def _tell(self, steps: Steps) -> None:
        """Tell those who follow the sequence what is new of its steps."""
        for number, step in enumerate(steps):
            if step is not None and self._told.get(number) != (step.status, step.cause):
                self._told[number] = (step.status, step.cause)
                self._jobs.running.sequences.tell(self._record.jid, number, step)
