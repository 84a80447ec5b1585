"""Follows every job on the bus from its announcement to its last return, for the metrics; a state machine without threads or clocks."""

from __future__ import annotations

import dataclasses
import heapq
from collections.abc import Mapping
from typing import Any, Literal, Protocol

from service.bounded import Bounded
from service.events.checked import Odd
from service.events.payload import Payload, text_of
from service.fleet.returns import States, label_of, names_of, states_of
from service.gateway.clients.verdict import judges_value, runs_states, why_failed

Origin = Literal["api", "other"]
# Longest wait, while publishes of ours are under way, for a job on the bus to turn out to be ours.
HOLD_SECONDS = 10.0
MOST_NAMED_MISSING = 10
# Salt's own question about a job; its answers are nobody's work.
QUESTION = "saltutil.find_job"


@dataclasses.dataclass(frozen=True)
class Limits:
    """
    How much of each the tracker holds at one time; then the oldest goes.

    minions: over all open jobs together. late: minions that may still return, over all closed jobs together.
    windows: ends of windows, those included that count no longer.
    """

    jobs: int = 2000
    minions: int = 500_000
    closed: int = 10_000
    late: int = 100_000
    windows: int = 5000
    runners: int = 2000


LIMITS = Limits()


@dataclasses.dataclass(frozen=True)
class Summary:
    """A job that is over, for the log. missing: how many, and some of their ids. seconds: from its announcement to its end."""

    jid: str
    fun: str
    origin: Origin
    returned: int
    failed: int
    missing: int
    missing_sample: list[str]
    seconds: float
    tainted: bool


class JobObserver(Protocol):
    """Hears what happens to jobs, on the thread that follows the bus. `fun` may be any text."""

    def started(self, fun: str, origin: Origin) -> None:
        """A job was announced."""

    def targeted(self, fun: str, minions: int, unknown: int) -> None:
        """A job was sent to *minions*; the master named *unknown* more without an accepted key."""

    def returned(self, fun: str, success: bool, origin: str) -> None:
        """A minion returned."""

    def latency(self, kind: str, seconds: float) -> None:
        """A return came *seconds* after its job's announcement."""

    def states(self, states: States) -> None:
        """A return had states in it."""

    def flush(self) -> None:
        """All that has gathered was handled: what was only counted can be shown."""

    def late(self) -> None:
        """A return came after its job's window."""

    def missing(self, fun: str, count: int) -> None:
        """A job's window closed and *count* minions had not returned."""

    def completed(self, outcome: str, seconds: float) -> None:
        """A job is over."""

    def summed_up(self, summary: Summary) -> None:
        """A job is over: what the log says of it."""

    def evicted(self, reason: str) -> None:
        """A job is followed no longer, because there were too many."""

    def runner_started(self, fun: str) -> None:
        """A runner was announced."""

    def runner_ended(self, fun: str, success: bool, seconds: float | None) -> None:
        """A runner returned; seconds: None if its start was not heard."""


class TrackedJob:
    """One job. Times are seconds of the monotonic clock."""

    __slots__ = ("awaited", "fun", "jid", "last", "origin", "returned", "started", "tainted", "until", "wrong")

    def __init__(self, jid: str, fun: object, started: float, until: float) -> None:
        self.jid = jid
        self.fun = label_of(fun)
        self.started = self.last = started
        self.until = until
        self.awaited: dict[str, float] = {}  # since when
        self.returned: set[str] = set()
        self.wrong = 0
        self.tainted = False
        self.origin: Origin | None = None  # not known yet

    @property
    def minions(self) -> int:
        """Return how many ids it holds."""
        return len(self.awaited) + len(self.returned)


@dataclasses.dataclass(slots=True)
class ClosedJob:
    """What is kept of a job that is over. missing: minions that may still return; None: no longer known."""

    fun: str
    missing: set[str] | None


class JobTracker:
    """
    All jobs under way. For one thread; `now` is the monotonic clock.

    window, state_window: seconds to wait for returns when nobody here does. syndics: minions of which the master knows nothing may return, so that
    a job is over only at the end of its window.
    """

    def __init__(self, observer: JobObserver, *, window: float, state_window: float, syndics: bool = False, limits: Limits = LIMITS) -> None:
        self._observer = observer
        self._window = window
        self._state_window = state_window
        self._syndics = syndics
        self._limits = limits
        self._open: dict[str, TrackedJob] = {}
        self._minions = 0  # held by open jobs
        self._windows: list[tuple[float, str]] = []  # a heap; an entry is stale if its job says otherwise
        self._closed: Bounded[str, ClosedJob] = Bounded(limits.closed, self._not_late)
        self._late = 0  # ids held by closed jobs
        self._nobody: set[str] = set()  # who is missing of nearly all closed jobs, which share it; stays empty
        self._held: dict[str, tuple[TrackedJob, float, Summary | None]] = {}  # jobs of unknown origin, and when they were announced
        self._claimed: Bounded[str, None] = Bounded(limits.jobs)  # ours, not announced yet
        self._waited_for: dict[str, float] = {}  # by a request of ours, and until when
        self._runners: Bounded[str, tuple[str, float]] = Bounded(limits.runners)

    # What the bus says.

    def announced(self, jid: str, event: Payload, now: float, *, publishing: bool) -> None:
        """Take `salt/job/JID/new`. publishing: publishes of ours are under way, so it may be ours."""
        fun = event.fields.get("fun")
        if QUESTION in names_of(fun):
            self._claimed.pop(jid, None)
            return
        job = self._open.get(jid)
        if job is None:
            job = self._open[jid] = TrackedJob(jid, fun, now, now + (self._state_window if runs_states(fun) else self._window))
            if jid in self._closed:
                # A further group of a batch.
                self._not_late(jid, self._closed.pop(jid))
                job.origin = "other"
            else:
                self._attribute(job, now, publishing=publishing)
        minions: list[str] = event.fields.get("minions", [])
        self._expect(job, minions, now)
        self._observer.targeted(job.fun, len(minions), len(event.fields.get("missing", ())))
        self._set_window(job, self._waited_for.get(jid, job.until))
        self._make_room()

    def returned(self, jid: str, minion: str, event: Payload, now: float) -> bool:
        """Take `salt/job/JID/ret/ID`; return whether it went well. Raises Undecodable, and Odd if the job was not sent to the minion."""
        fun = event.fields.get("fun")
        kind = "state" if runs_states(fun) else "exec"
        value = event.later("return") if judges_value(fun) else None
        states = states_of(value) if kind == "state" else None
        success = why_failed(fun, event.fields, value) is None
        if QUESTION not in names_of(fun) and self._book(jid, minion, event.fields, success=success, kind=kind, now=now) and states is not None:
            self._observer.states(states)
        return success

    def cut(self) -> None:
        """The bus was cut: returns may have been missed."""
        for job in self._open.values():
            job.tainted = True

    def runner_announced(self, jid: str, event: Payload, now: float) -> None:
        """Take `salt/run/JID/new`."""
        fun = text_of(event.fields, "fun").removeprefix("runner.")
        self._observer.runner_started(fun)
        self._runners[jid] = (fun, now)

    def runner_returned(self, jid: str, event: Payload, now: float) -> None:
        """Take `salt/run/JID/ret`."""
        fun, started = self._runners.pop(jid, ("", None))
        self._observer.runner_ended(fun, event.fields.get("success") is not False, None if started is None else now - started)

    # What we do ourselves.

    def claimed(self, jid: str) -> None:
        """A publish of ours was acknowledged."""
        if jid in self._held:
            self._settle(jid, "api")
        elif jid not in self._open and jid not in self._closed:
            self._claimed[jid] = None

    def waited_for(self, jid: str, until: float) -> None:
        """A request of ours waits for the job: its window is that request's."""
        self._waited_for[jid] = until
        if jid in self._open:
            self._set_window(self._open[jid], until)

    def ended(self, jid: str, now: float) -> None:
        """Our request has stopped waiting: minions that have not returned are missing."""
        self._waited_for.pop(jid, None)
        if jid in self._open:
            self._close(self._open[jid], now)

    def tick(self, now: float, *, quiet_at: float | None) -> None:
        """
        Close the windows that are over, settle whose jobs those are that nobody claimed, and let the observer show what it counted.

        quiet_at: nothing of ours was being published then, and everything that was before has been claimed.
        """
        for jid, (_, at, _) in list(self._held.items()):
            if at + HOLD_SECONDS <= now or (quiet_at is not None and at < quiet_at):
                self._settle(jid, "other")
        while self._windows and self._windows[0][0] <= now:
            until, jid = heapq.heappop(self._windows)
            job = self._open.get(jid)
            if job is not None and job.until <= until:
                self._waited_for.pop(jid, None)
                self._close(job, now)
        self._observer.flush()

    def under_way(self) -> tuple[int, int]:
        """Return how many jobs await a return, and how many returns are awaited. Any thread may ask: the copy is made in one step."""
        awaited = [len(job.awaited) for job in tuple(self._open.values()) if job.awaited]
        return len(awaited), sum(awaited)

    def held(self) -> Limits:
        """Return how much of each it holds."""
        return Limits(len(self._open), self._minions, len(self._closed), self._late, len(self._windows), len(self._runners))

    # How it is done.

    def _attribute(self, job: TrackedJob, now: float, *, publishing: bool) -> None:
        """Find out whose job it is; the master announces ours before it acknowledges them."""
        if job.jid in self._claimed:
            del self._claimed[job.jid]
            self._start(job, "api")
        elif publishing:
            self._held[job.jid] = (job, now, None)
        else:
            self._start(job, "other")

    def _start(self, job: TrackedJob, origin: Origin) -> None:
        job.origin = origin
        self._observer.started(job.fun, origin)

    def _settle(self, jid: str, origin: Origin) -> None:
        job, _, summary = self._held.pop(jid)
        self._start(job, origin)
        if summary is not None:
            self._observer.summed_up(dataclasses.replace(summary, origin=origin))

    def _expect(self, job: TrackedJob, minions: list[str], now: float) -> None:
        before = job.minions
        for minion in minions:
            job.returned.discard(minion)
            job.awaited[minion] = now
        self._minions += job.minions - before

    def _set_window(self, job: TrackedJob, until: float) -> None:
        job.until = until
        heapq.heappush(self._windows, (until, job.jid))
        if len(self._windows) > self._limits.windows:
            self._windows = [(job.until, job.jid) for job in self._open.values()]
            heapq.heapify(self._windows)

    def _book(self, jid: str, minion: str, fields: Mapping[str, Any], *, success: bool, kind: str, now: float) -> bool:
        """Count a return once; say whether it counted."""
        job = self._open.get(jid)
        if job is not None:
            return self._book_open(job, minion, success=success, kind=kind, now=now)
        closed = self._closed.get(jid)
        if closed is None:
            scheduled = "schedule" in fields
            self._observer.returned(label_of(fields.get("fun")) if scheduled else "", success, "scheduled" if scheduled else "unsolicited")
            return True
        if closed.missing is not None:
            if minion not in closed.missing:
                return False
            closed.missing.discard(minion)
            self._late -= 1
            self._observer.late()
        self._observer.returned(closed.fun, success, "published")
        return True

    def _book_open(self, job: TrackedJob, minion: str, *, success: bool, kind: str, now: float) -> bool:
        if minion in job.returned:
            return False
        since = job.awaited.pop(minion, None)
        if since is None and not self._syndics:
            raise Odd("unexpected")
        job.returned.add(minion)
        self._minions += since is None
        job.wrong += not success
        job.last = now
        self._observer.returned(job.fun, success, "published")
        self._observer.latency(kind, now - (job.started if since is None else since))
        if not (job.awaited or self._syndics or job.jid in self._waited_for):
            self._close(job, now)
        return True

    def _close(self, job: TrackedJob, now: float) -> None:
        self._forget(job, set(job.awaited))
        missing = len(job.awaited)
        seconds = (now if missing else job.last) - job.started
        if not missing:
            self._observer.completed("complete", seconds)
        elif not job.tainted:
            self._observer.missing(job.fun, missing)
            self._observer.completed("incomplete", seconds)
        sample = sorted(job.awaited)[:MOST_NAMED_MISSING]
        summary = Summary(job.jid, job.fun, job.origin or "other", len(job.returned), job.wrong, missing, sample, seconds, job.tainted)
        if job.jid in self._held:
            self._held[job.jid] = (*self._held[job.jid][:2], summary)
        else:
            self._observer.summed_up(summary)

    def _make_room(self) -> None:
        most = self._limits
        while len(self._open) > most.jobs or (self._minions > most.minions and len(self._open) > 1):
            reason = "capacity" if len(self._open) > most.jobs else "memory"
            self._forget(next(iter(self._open.values())), None)
            self._observer.evicted(reason)

    def _forget(self, job: TrackedJob, missing: set[str] | None) -> None:
        del self._open[job.jid]
        self._minions -= job.minions
        if missing is not None and self._late + len(missing) > self._limits.late:
            missing = None
        self._closed[job.jid] = ClosedJob(job.fun, self._nobody if missing == self._nobody else missing)
        self._late += len(missing or ())

    def _not_late(self, _jid: str, job: ClosedJob) -> None:
        """A closed job was forgotten: nobody can return late to it."""
        self._late -= len(job.missing or ())
