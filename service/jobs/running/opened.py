"""One job that is not over, or whose end may still be corrected, while the thread `jobs` follows it."""

from __future__ import annotations

import dataclasses
import math
import threading
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from service.events.checked import Odd, checked
from service.events.event import Event
from service.http.media import encode, written
from service.jobs import JobStatus
from service.jobs.job_request import digest_of
from service.jobs.outcome import OPEN, REVISABLE, STARTING, Cause, SuccessPolicy, codes_of, conclude
from service.jobs.running.account import MASTER, Heard, JobAccount, Source, Waits, Why
from service.jobs.running.findings import TRIMMED, StatesReport, findings
from service.jobs.running.inquiries import Cached, Credentials
from service.jobs.running.rolling import Rolling, WavesReport
from service.jobs.stores.store import BODY_LIMIT_BYTES, Change, Happening, HappeningKind, JobRecord, PartRecord

# Those whose return would still be news when their job is over.
LATE = REVISABLE | {"waiting", "running"}
# Of returns that come before the master's answer to the publish.
EARLY_BYTES = 64 * 1024 * 1024
# Of a return's arguments as a text, in characters.
KEPT_ARGUMENTS = 4096
# Of one job, two for each of ten thousand minions and some more; after that only its status is told.
MOST_HAPPENINGS = 25_000


class JobsReport(WavesReport, StatesReport, Protocol):
    """Hears what happens to jobs of `/v1`. Called from the thread `jobs`."""

    def job_over(self, record: JobRecord, seconds: float, *, revised: bool) -> None:
        """A job has come to something. seconds: since it was asked for."""

    def job_left(self, status: JobStatus, seconds: float) -> None:
        """A job is no longer in a status, after this long."""

    def job_foreign_return(self, jid: str, minion: str) -> None:
        """A return of another function came under a job's jid."""

    def jobs_recovered(self, count: int) -> None:
        """Jobs that were not over are followed again, after a start."""

    def jobs_handed_over(self, count: int) -> None:
        """Our bus was away, and another sidecar has taken so many of our jobs."""

    def jobs_not_stored(self, reason: str) -> None:
        """What was learned of jobs could not be stored; it is tried again."""

    def handler_crashed(self, consumer: str) -> None:
        """A bug; called inside the `except`."""


@dataclasses.dataclass(frozen=True)
class Keeping:
    """How long jobs that are over are kept, and how much room all may take."""

    seconds: float
    most_bytes: int


@dataclasses.dataclass(frozen=True)
class Terms:
    """
    How jobs are followed. most: jobs that are not over. patience: without a `timeout` of the request's own.

    syndic_seconds: on a master of masters, until lower ones have named their minions. revise_seconds: how long a late return corrects a job that is over.
    """

    most: int
    patience: Waits
    syndic_seconds: float | None
    revise_seconds: float

    def account(self, record: JobRecord, now: float) -> JobAccount:
        """Open the account of a job."""
        asked = record.request
        first = asked["timeout"] if asked["timeout"] is not None else self.patience.first
        return JobAccount(
            asked["fun"],
            record.arguments,
            dataclasses.replace(self.patience, first=first),
            now=now,
            fail_on_false=asked["fail_on_false"],
            queues=asked["queues"],
            kind=asked["client"],
            open_until=None if self.syndic_seconds is None or asked.get("batch") else now + first + self.syndic_seconds,
        )


# Publishes a queued job, as it is stored now.
Begin = Callable[[JobRecord], object]


@dataclasses.dataclass
class OpenJob:
    """
    A job under way.

    account: None until the master has taken it; what comes before waits in `early`. credentials: its owner's, lent by a request; never stored.
    ends_at: its deadline, on the monotonic clock. refused: nobody's credentials let us ask the minions. looking: its look-up is under way.
    looked_at: when the job cache was last asked; permitted: somebody's credentials let us; answered: it has told all that it has; looked_up: and that is who has returned. questions, orders: jids of the last ones that were asked about it, and of those to end it. rolling: its waves, if it has any.
    interrupted: events may have been missed. publishing: a request of this process is at it. begin: of a queued job, with what its function gets and its owner's token, in memory only; None if that needs them again. recovering: it was begun by a process before this one. expired: its deadline has passed, and all is known that can be. entered: its status and since when (Unix time), None if that was in a process before this one; left: those it had before, with the seconds, until they are reported. noted: the last end or state that was noted for followers; noted_wave: the last wave that was, and whether the next one needs its owner; unstored: what they have to be told; happened: the number of the last one; told_up_to: of the last that is stored, whose change `news` tells. digested: the last return's arguments as a text, and their digest. kill_at: when what was asked to stop, and has not, is killed. states_told: the numbers of the states that were told of each minion. told: the end that was reported last. over: set when its end is stored.
    """

    record: JobRecord
    policy: SuccessPolicy
    ends_at: float
    credentials: Credentials | None = dataclasses.field(default=None, repr=False)
    account: JobAccount | None = None
    early: list[Event] = dataclasses.field(default_factory=list)
    early_bytes: int = 0
    interrupted: bool = False
    heard: dict[str, PartRecord] = dataclasses.field(default_factory=dict)  # with returns, until they are stored
    refused: bool = False
    looking: bool = False
    looked_at: float = -math.inf
    permitted: bool = False
    answered: bool = False
    looked_up: bool = False
    questions: list[str] = dataclasses.field(default_factory=list)
    orders: list[str] = dataclasses.field(default_factory=list)
    publishing: bool = False
    begin: Begin | None = dataclasses.field(default=None, repr=False)
    recovering: bool = False
    expired: bool = False
    closed_at: float | None = None
    kill_at: float = math.inf
    rolling: Rolling | None = None
    noted_wave: tuple[int, bool] = (0, False)
    entered: tuple[JobStatus, float] | None = None
    left: list[tuple[JobStatus, float]] = dataclasses.field(default_factory=list)
    noted: tuple[str, str | None] | None = None
    unstored: list[Happening] = dataclasses.field(default_factory=list)
    told_up_to: int = 0
    happened: int = 0
    digested: tuple[str, str] = ("", "")
    states_told: dict[str, set[int]] = dataclasses.field(default_factory=dict)
    news: threading.Condition = dataclasses.field(default_factory=threading.Condition)
    told: tuple[str, str | None] | None = None
    over: threading.Event = dataclasses.field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        """Go on where a process before this one has ended."""
        self.happened = self.record.happened
        if self.record.happened:
            self.noted, self.told_up_to = (self.record.status, self.record.cause), self.record.happened
            self.noted_wave = (self.record.wave, False)
        else:
            self.entered = (self.record.status, self.record.since)

    @property
    def on_master(self) -> bool:
        """Say whether it runs on the master itself."""
        return bool(self.record.request["client"] != "local")

    @property
    def is_sequence(self) -> bool:
        """Say whether it is a sequence of other jobs."""
        return bool(self.record.request["client"] == "steps")

    @property
    def cached_as(self) -> str | None:
        """Return the jid that the job cache has it under, if we know it."""
        return self.record.master_jid if self.on_master else self.record.jid

    @property
    def is_over(self) -> bool:
        """Say whether it has come to something."""
        return self.record.status not in OPEN

    @property
    def lacks_token(self) -> bool:
        """Say whether it runs, and we have nothing of its owner's that the master takes."""
        return self.record.status == "running" and not self.is_sequence and (self.credentials is None or self.refused)

    @property
    def may_be_revised(self) -> bool:
        """Say whether a late return can change what it came to."""
        return self.account is not None and any(part.status in LATE for part in self.account.parts.values())

    def is_to_be_looked_up(self, now: float, look_up_pause: float) -> bool:
        """Say whether the job cache may know more than we: something may have been missed, or somebody is about to be given up."""
        account = self.account
        if self.cached_as is None or self.record.status == "queued":
            return False
        if account is not None and now >= self.ends_at > self.looked_at and account.awaited:
            return True
        if account is not None and account.denied_at > self.looked_at and account.seem_lost():
            return True
        return self.interrupted and not self.answered and self.looked_at < now - look_up_pause

    @property
    def missed(self) -> Why | None:
        """Return why a return may have been missed, or never be sent, None if none can have been."""
        if self.rolling is not None and self.rolling.is_unclear:
            return "in_doubt"
        if not self.interrupted or self.looked_up:
            return None
        if self.answered:
            return "job_cache_off"
        return "no_right_to_look" if self.recovering and not self.permitted else "bus_interrupted"

    def cut(self, now: float) -> None:
        """Events may have been missed. now: of the monotonic clock."""
        self.interrupted, self.answered, self.looked_up = True, False, False
        if self.account is not None:
            self.account.cut(now)

    def keep(self, event: Event) -> None:
        """Keep an event until the account is opened."""
        if self.early_bytes + event.size > EARLY_BYTES:
            self.interrupted = True
        else:
            self.early.append(event)
            self.early_bytes += event.size

    def take_return(self, event: Event, at: float) -> Heard | None:
        """Take a return; None if it cannot be believed. at: Unix time."""
        try:
            data = checked(event, event.data())
        except Odd:
            return None
        told = data.get("fun_args")
        return self.book(event.minion, data, None if told is None or TRIMMED in event.raw else self._digest_of(told), "bus", at)

    def _digest_of(self, told: object) -> str:
        """Return the digest of a return's arguments: nearly always those of the one before it, which need not be worked out again."""
        try:
            shown = repr(told)
        except RecursionError:
            return digest_of(told)
        if len(shown) > KEPT_ARGUMENTS:
            return digest_of(told)
        if shown != self.digested[0]:
            self.digested = (shown, digest_of(told))
        return self.digested[1]

    def book(self, minion: str, data: Mapping[str, Any], arguments: str | None, source: Source, at: float) -> Heard:
        """Take what a minion has returned, and keep what is to be stored of it; parameters as of JobAccount.returned."""
        account = self.account
        heard = account.returned(minion, data, arguments, source) if account else "stranger"
        if account is not None and heard in {"counted", "revised"}:
            part, value = account.parts[minion], data.get("return")
            body = written(value, encode)
            kept = body if len(body) <= BODY_LIMIT_BYTES else None
            self.heard[minion] = PartRecord(part.status, part.reason, None, source, data.get("retcode"), findings(value, body), at, len(body), kept)
        return heard

    def take_run(self, event: Event, at: float) -> Heard | None:
        """Take what the master says of its own run: that it begins, or what came of it."""
        try:
            data = checked(event, event.data())
        except Odd:
            return None
        if event.origin[0] == "run_ret":
            # Its id is the master's answer to our own call; the names of function and arguments are others there.
            return self.book(MASTER, {name: value for name, value in data.items() if name != "fun"}, None, "bus", at)
        if self.account is not None:
            self.account.runs(MASTER)
        return None

    def book_run(self, found: Cached, at: float) -> Heard | None:
        """Take what the job cache has of the master's own run: nothing until that is over."""
        for data in found.returns.values():
            said = data.get("return")
            if isinstance(said, Mapping) and "return" in said:
                return self.book(MASTER, {name: value for name, value in said.items() if name != "fun"}, None, "job_cache", at)
        return None

    def take_answer(self, event: Event, now: float) -> None:
        """Take a minion's answer to the question whether it runs the job, or to the order to end it. now: of the monotonic clock."""
        account = self.account
        try:
            data = checked(event, event.data())
        except Odd:
            return
        if account is None or data.get("retcode"):
            return
        said = data["return"]
        if isinstance(said, dict) and said:
            account.runs(event.minion)
        elif isinstance(said, dict):
            account.idles(event.minion, now)
        elif isinstance(said, str) and said.startswith("Signal "):
            account.stopped(event.minion, now)

    def settle(self, now: float, time_of_day: float) -> None:
        """Work out what the job has come to, if that can be said; it may be a correction."""
        account, before = self.account, self.record
        if account is not None and before.status not in STARTING and (self.is_over or self.expired or account.is_done(now)):
            end = conclude(self.policy, account.counts, account.left_out)
            self.closed_at = now if self.closed_at is None else self.closed_at
            self.record = dataclasses.replace(before, status=end.status, cause=end.cause, finished=before.finished or time_of_day)

    def take_changes(self, at: float) -> Change:
        """Return what has to be stored, under the next revision. at: Unix time."""
        account = self.account
        parts: dict[str, PartRecord] = {}
        if account is not None:
            for minion in account.changed:
                part = account.parts[minion]
                known = self.heard.get(minion) or PartRecord(part.status, part.reason, part.why, part.source)
                parts[minion] = known if self.rolling is None else dataclasses.replace(known, wave=self.rolling.number_of.get(minion))
        self._note(parts, at)
        strays = account.strays if account is not None else self.record.strays
        changes: Mapping[str, Any] = {"strays": strays, "happened": self.happened, "without_token": self.lacks_token}
        self.record = dataclasses.replace(self.record, **changes, revision=self.record.revision + 1)
        return Change(self.record, parts, tuple(self.unstored), notice=self._is_to_be_told, durable=self.record.wave > self.record.taken)

    @property
    def _is_to_be_told(self) -> bool:
        """Whether it is over now, was not before, and somebody wants to know. What is refused at once, the answer to its request has told."""
        record = self.record
        was_answered = record.status != "refused" or record.queued_seconds > 0
        return self.is_over and self.told is None and was_answered and record.request.get("notify") is not None

    def _note(self, parts: Mapping[str, PartRecord], at: float) -> None:
        """Note what there is to tell those who follow the job: that it runs before its minions, the next wave and what it came to after them."""
        if not self.is_over:
            self._note_status(at)
        self._note_waves(self.record.taken, at)
        for minion, part in parts.items():
            if part.status != "waiting":
                self._note_some("minion", {"status": part.status, "reason": part.reason, "why": part.why, **part.flags}, at, minion)
        self._note_waves(self.record.wave, at)
        self._note_status(at)

    def _note_waves(self, begun: int, at: float) -> None:
        """Note which waves have begun, and that the next one waits for the job's owner."""
        rolling, (noted, needed_owner) = self.rolling, self.noted_wave
        if rolling is None or self.record.status in STARTING:
            return
        for wave in range(noted + 1, begun + 1):
            self._note_some("wave", {"wave": wave, "of": self.record.waves, "minions": len(rolling.waves[wave - 1])}, at)
        if self.record.needs_owner and not needed_owner:
            self._note_some("wave", {"wave": self.record.wave + 1, "of": self.record.waves, "needs_owner": True}, at)
        self.noted_wave = (max(begun, noted), self.record.needs_owner)

    def _note_status(self, at: float) -> None:
        record = self.record
        if (record.status, record.cause) != self.noted:
            self.noted = (record.status, record.cause)
            if self.entered is not None and self.entered[0] in OPEN and self.entered[0] != record.status:
                self.left.append((self.entered[0], max(0.0, at - self.entered[1])))
            self.entered = (record.status, at)
            self._happened("status", {**said(record.status, record.cause), "expected": record.expected}, at)

    def note_step(self, told: Mapping[str, Any], at: float) -> None:
        """Note what there is to tell of a step of a sequence."""
        self._note_status(at)
        self._happened("step", told, at)

    def note_state(self, minion: str, told: Mapping[str, Any], at: float) -> None:
        """Note that a minion has said how a state of its own has ended."""
        self._note_status(at)
        self._note_waves(self.record.wave, at)
        self._happened("state", told, at, minion)

    def _note_some(self, kind: HappeningKind, body: Mapping[str, Any], at: float, minion: str | None = None) -> None:
        """Note what is not told any more when there was too much of it."""
        if self.happened < MOST_HAPPENINGS:
            self._happened(kind, body, at, minion)
            if self.happened == MOST_HAPPENINGS:
                self._happened("gap", {}, at)

    def _happened(self, kind: HappeningKind, body: Mapping[str, Any], at: float, minion: str | None = None) -> None:
        self.happened += 1
        said = {name: value for name, value in body.items() if value is not None}
        self.unstored.append(Happening(self.happened, kind, at, said, minion))

    def stored(self, report: JobsReport) -> None:
        """Forget what is in the store now, and tell of an end that is news."""
        self.heard.clear()
        self.unstored.clear()
        for status, seconds in self.left:
            report.job_left(status, seconds)
        self.left.clear()
        with self.news:
            self.told_up_to = self.record.happened
            self.news.notify_all()
        if self.account is not None:
            self.account.changed.clear()
        record = self.record
        if not self.is_over:
            return
        if record.status != "refused" and (record.status, record.cause) != self.told:
            report.job_over(record, max(0.0, (record.finished or record.since) - record.since), revised=self.told is not None)
            self.told = (record.status, record.cause)
        self.over.set()


def said(status: JobStatus, cause: Cause | None) -> dict[str, Any]:
    """Return what those who follow a job are told of its status."""
    codes = codes_of(status, cause)
    return {"status": status, "cause": cause, "exit_code": codes and codes[0]}
