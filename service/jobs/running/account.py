"""The account of one job: what is known of each of its minions. Without clock, threads or sockets; `now` is the monotonic clock, in seconds."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Literal, cast

from service.clients import Kind
from service.gateway.clients.gathering import question_pause
from service.gateway.clients.verdict import why_failed
from service.jobs.outcome import OVER, REVISABLE, LeftOut, MinionStatus

Source = Literal["bus", "job_cache"]
# What became of a return: it counts, it corrects what was said before, it came before, it is of another function, or its minion has no part in the job.
Heard = Literal["counted", "revised", "again", "foreign", "stranger"]
# Why nothing is known of a minion, or it was not run.
Why = Literal["credentials", "bus_interrupted", "no_right_to_look", "job_cache_off", "in_doubt"] | LeftOut
# Longest wait for the return of a job that was sent a signal; one that is killed never returns (salt#36667).
STOPPED_SECONDS = 5.0
# What stands for the minions of a job that runs on the master, and how long a busy one may take to announce it.
MASTER = "master"
ANNOUNCED_SECONDS = 60.0


@dataclasses.dataclass(frozen=True)
class Waits:
    """
    How long to wait for what, in seconds.

    first: for returns, before the silent are asked. answer: for the answers, before they are asked again. lost: between two answers that the job is
    not running and the verdict that its return is lost: the minion may be sending it, up to three times.
    """

    first: float
    answer: float
    lost: float


@dataclasses.dataclass
class Part:
    """What is known of one minion. reason: of a failure. why: nothing is known, or it was not run. idle_since: when it first denied that it runs the job. stopped_at: when it said that it has stopped it."""

    status: MinionStatus = "waiting"
    reason: str | None = None
    why: Why | None = None
    source: Source | None = None
    idle_since: float | None = None
    stopped_at: float | None = None


class JobAccount:
    """
    What is known of each minion of a job.

    fun: of the job. arguments: of the job, as `digest_of` gives them. fail_on_false: a bare False is a failure too.
    kind: of a runner or wheel MASTER is the only minion, which nobody can ask. queues: the minion may let the job wait, and denies then that it runs it. open_until: on a master of masters, when lower masters have named all minions.
    """

    def __init__(
        self,
        fun: object,
        arguments: str,
        patience: Waits,
        *,
        now: float,
        fail_on_false: bool = False,
        queues: bool = False,
        open_until: float | None = None,
        kind: Kind = "local",
    ) -> None:
        self._fun = fun
        self._kind: Kind = kind
        self._arguments = arguments
        self._patience = patience
        self._fail_on_false = fail_on_false
        self._queues = queues
        self._open_until = open_until
        self._started = now
        self._ask_at = now + patience.first
        self.parts: dict[str, Part] = {}
        self._awaited = 0
        self._held: set[str] = set()  # whose turn has not come
        self._denied: set[str] = set()
        self._stopped: set[str] = set()  # who has said so
        self.denied_at = -math.inf  # when somebody last seemed lost
        self.strays = 0  # returns of another function
        self.changed: dict[str, None] = {}  # in their order, since the owner last cleared it

    def expect(self, minions: Iterable[str], no_key: Iterable[str] = (), silent: Iterable[str] = ()) -> None:
        """Await these; those without an accepted key, or that were not there when they were asked first, run nothing."""
        for minion in no_key:
            self._change(minion, Part("no_key"))
        for minion in silent:
            self._change(minion, Part("no_return"))
        for minion in minions:
            self._change(minion, Part())

    def hold(self, minions: Collection[str]) -> None:
        """Ask nothing of these until their turn comes, and take nothing of them."""
        for minion in minions:
            if minion not in self.parts:
                self._change(minion, Part())
        self._held.update(minions)

    def release(self, minions: Collection[str], now: float) -> None:
        """The turn of these has come."""
        self._held.difference_update(minions)
        self._started, self._ask_at = now, now + self._patience.first

    def leave_out(self, why: LeftOut) -> int:
        """The turn of those that are held never comes; return how many they are."""
        left, self._held = self._held, set()
        for minion in left:
            self._change(minion, Part("not_run", why=why))
        return len(left)

    @property
    def holds_some(self) -> bool:
        """Say whether the turn of some is still to come."""
        return bool(self._held)

    @property
    def left_out(self) -> LeftOut | None:
        """Why the turn of some never came; None if it did."""
        return next((cast("LeftOut", part.why) for part in self.parts.values() if part.status == "not_run"), None)

    def resume(self, parts: Mapping[str, Part]) -> None:
        """Take over what is known already."""
        self.parts.update(parts)
        self._awaited = len(self.awaited)

    @property
    def counts(self) -> Counter[MinionStatus]:
        """How many minions are in which status."""
        return Counter(part.status for part in self.parts.values())

    @property
    def awaited(self) -> list[str]:
        """Those of whom more is expected now."""
        return [minion for minion, part in self.parts.items() if part.status not in OVER and minion not in self._held]

    def awaits(self, minion: str) -> bool:
        """Say whether more is expected of a minion now."""
        part = self.parts.get(minion)
        return part is not None and part.status not in OVER and minion not in self._held

    # What is heard.

    def returned(self, minion: str, event: Mapping[str, Any], arguments: str | None, source: Source = "bus") -> Heard:
        """
        Take a return: the first one of the job's own function and arguments counts.

        event: its fields. arguments: their digest; None where they are not told, in the job cache, or were cut.
        """
        if self._open_until is not None and minion not in self.parts:
            self._change(minion, Part())
        part = self.parts.get(minion)
        if part is None or minion in self._held:
            return "stranger"
        if event.get("fun", self._fun) != self._fun or (arguments is not None and arguments != self._arguments):
            self.strays += 1
            return "foreign"
        if part.status in OVER and part.status not in REVISABLE:
            return "again"
        value = event.get("return")
        reason = why_failed(self._fun, event, value, self._kind) or ("returned_false" if self._fail_on_false and value is False else None)
        heard: Heard = "revised" if part.status in OVER else "counted"
        self._change(minion, Part("failed" if reason else "ok", reason, source=source))
        return heard

    def runs(self, minion: str) -> None:
        """Take a minion's word, or a sign of progress, that it runs the job."""
        part = self.parts.get(minion)
        if part is not None and part.status in {"waiting", "running"}:
            part.idle_since = None
            self._denied.discard(minion)
            if part.status == "waiting":
                self._change(minion, dataclasses.replace(part, status="running"))

    def idles(self, minion: str, now: float) -> None:
        """Take a minion's word that it does not run the job: it may have done, and its return may be on its way."""
        part = self.parts.get(minion)
        if part is None or part.status in OVER:
            return
        if part.idle_since is None:
            part.idle_since = now
        if now - part.idle_since >= self._patience.lost:
            self._denied.add(minion)
            self.denied_at = now

    def stopped(self, minion: str, now: float) -> None:
        """Take a minion's word that it has sent the job a signal: it returns at once, or never."""
        part = self.parts.get(minion)
        if part is not None and part.status not in OVER and part.stopped_at is None:
            part.stopped_at = now
            self._stopped.add(minion)

    def cut(self, now: float) -> None:
        """Events were missed: ask at the next step."""
        self._ask_at = min(self._ask_at, now)

    # What to do.

    def to_ask(self, now: float) -> list[str]:
        """Return whom to ask now whether they still run the job."""
        return self.awaited if now >= self._ask_at and self._kind == "local" else []

    def asked(self, now: float) -> None:
        """Note that they are being asked: the longer a job takes, the less often."""
        self._ask_at = now + question_pause(now - self._started, self._patience.answer)

    def is_done(self, now: float) -> bool:
        """Say whether nothing more is expected."""
        return not self._awaited and (self._open_until is None or now >= self._open_until)

    def seem_lost(self) -> list[str]:
        """Return who denied twice that they run the job, long enough apart for a return to come. Who may queue it never seems so, nor who has stopped it."""
        denied = ((minion, self.parts[minion]) for minion in self._denied)
        return [] if self._queues else [minion for minion, part in denied if part.status not in OVER and part.stopped_at is None]

    def lose(self, minions: Collection[str], unless: Why | None) -> None:
        """Give up minions that do not run the job and have not returned. unless: why a return of theirs may have been missed; then nothing is known."""
        for minion in minions:
            if self.parts[minion].status not in OVER:
                self._change(minion, Part("unknown", why=unless) if unless else Part("lost"))

    def give_up_unheard(self, now: float, unless: Why | None) -> None:
        """Take a runner that the master has not announced by now for one that it lacks: it says nothing then. unless: as of `lose`."""
        if self._kind != "local" and now >= self._started + ANNOUNCED_SECONDS and self.parts[MASTER].status == "waiting":
            self._change(MASTER, Part("unknown", why=unless) if unless else Part("no_return"))

    def cancel_stopped(self, now: float) -> None:
        """Await no more return of a job that was stopped long enough ago for it to come."""
        for minion in [*self._stopped]:
            since = self.parts[minion].stopped_at
            if not self.awaits(minion) or since is None:
                self._stopped.discard(minion)
            elif now - since >= STOPPED_SECONDS:
                self._change(minion, Part("cancelled"))

    def overdue(self, unless: Why | None, unasked: Why | None) -> None:
        """
        The deadline has passed: who was silent has not returned; who runs the job still does.

        unless: as of `lose`. unasked: why the silent could not be asked.
        """
        for minion in self.awaited:
            part = self.parts[minion]
            if part.idle_since is not None:
                self.lose([minion], unless)
            elif part.status == "waiting":
                why = unasked or unless
                self._change(minion, Part("unknown", why=why) if why else Part("no_return"))

    def _change(self, minion: str, part: Part) -> None:
        before = self.parts.get(minion)
        self._awaited += (part.status not in OVER) - (before is not None and before.status not in OVER)
        self.parts[minion] = part
        self.changed[minion] = None
