"""Synchronous jobs: publish, gather the returns, ask about the silent, answer as LocalClient.cmd does."""

from __future__ import annotations

import contextlib
import dataclasses
import random
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from service.clients import Client
from service.errors import Fault, Forbidden
from service.events.event import Event
from service.events.hub import Hub, Interruption, Waiter
from service.gateway.clients.gathering import Gathering, Step
from service.gateway.clients.publish import Job, Publisher, Target, extra_of
from service.gateway.clients.result import OVERDUE, SILENT, UNHEARD, LowResult, failed, no_return, outcome_of
from service.gateway.low import Low
from service.gateway.low_fields import DEFAULT_SUBSET
from service.gateway.master.options import MasterOptions
from service.observe.trace.timeline import Trail

# Pause between two looks of a waiting thread at whether a lost bus is back.
LOOK_UP_SECONDS = 1.0
# A thread that wakes this much too late was not the only one: the whole process stood still, and the bus thread has yet to read what came meanwhile.
OVERSLEPT_SECONDS = 0.5
# How long a job waits for a lost bus to come back before it answers what it has.
BUS_GRACE_SECONDS = 5.0


@dataclasses.dataclass(frozen=True)
class Request:
    """
    What a low needs to know about the request it belongs to.

    request_id: travels in the job's metadata when `metadata` is set.
    deadline: latest end of the wait, on the monotonic clock.
    accepted: called once the master has accepted the credentials.
    trail: where the time goes, and the trace that Salt may continue.
    """

    request_id: str
    deadline: float
    metadata: bool = True
    accepted: Callable[[], None] = lambda: None
    trail: Trail = dataclasses.field(default_factory=Trail)

    def job_metadata(self) -> dict[str, str]:
        """Return what joins the job, its returns and the job cache to this request, and to its trace."""
        if not (self.metadata and self.request_id):
            return {}
        context = self.trail.context
        return {"request_id": self.request_id, **({"traceparent": context.traceparent} if context else {})}


class Jobs:
    """Runs the local clients. Called from request threads; keeps no state between requests."""

    def __init__(
        self,
        publisher: Publisher,
        hub: Hub,
        options: MasterOptions,
        *,
        master_up: Callable[[], bool],
        monotonic: Callable[[], float] = time.monotonic,
        shuffle: Callable[[list[str]], None] = random.shuffle,
    ) -> None:
        self._publisher = publisher
        self.hub = hub
        self._options = options
        self._master_up = master_up
        self._monotonic = monotonic
        self._shuffle = shuffle

    def start(self, low: Low, request: Request) -> LowResult:
        """Publish and do not wait: `local_async`. Value: {"jid", "minions"}, or {} when nobody matched."""
        job = self.publish(low, request)
        if job is None:
            return LowResult({}, "no_match")
        return LowResult({"jid": job.jid, "minions": job.minions}, "ok", job.jid, expected=len(job.minions))

    def run(self, low: Low, request: Request) -> LowResult:
        """Publish and wait: `local`. Value: {minion: return}, {} when nobody matched."""
        with self.hub.listen() as waiter:
            with self.hub.keep_early():
                job = self.publish(low, request)
                if job is None:
                    return LowResult({}, "no_match")
                waiter.watch(job.jid)
            gathering = self.gathering(low.fields, job)
            with request.trail.stage("gather"), self.waiting_for(job.jid, request):
                Gatherer(self, job.jid, extra_of(low.fields), request, waiter).gather(gathering)
        return self._result(low, job, gathering, waiter, request)

    def run_on_subset(self, low: Low, request: Request) -> LowResult:
        """
        Run on a few random minions that have the function: `local_subset`.

        Source: LocalClient.cmd_subset, whose two jobs we run.
        """
        fields = {name: value for name, value in low.fields.items() if name not in {"sub", "subset", "progress", "cli"}}
        asking = {name: value for name, value in fields.items() if name not in {"kwarg", "ret", "jid"}} | {"arg": [], "full_return": False}
        offered = self.run(dataclasses.replace(low, client=Client.LOCAL, fun="sys.list_functions", fields=asking), request)
        wanted = {low.fun} if isinstance(low.fun, str) else set(low.fun)
        able = [minion for minion, functions in offered.value.items() if isinstance(functions, (list, dict)) and wanted <= set(functions)]
        self._shuffle(able)
        size = low.fields.get("sub", low.fields.get("subset", DEFAULT_SUBSET))
        chosen = {**fields, "tgt": able[:size], "tgt_type": "list"}
        return self.run(dataclasses.replace(low, client=Client.LOCAL, fields=chosen), request) if able else LowResult({}, "no_match")

    def publish(self, low: Low, request: Request) -> Job | None:
        """Publish what a low asks for, on the account of its request; None when nobody matched."""
        with request.trail.stage("publish"):
            return self._publisher.publish_low(low, metadata=request.job_metadata(), accepted=request.accepted, trace=request.trail.carrier())

    @contextlib.contextmanager
    def waiting_for(self, jid: str, request: Request) -> Iterator[None]:
        """Wait for a job inside the block: whose return has not come by its end is missing."""
        self._publisher.ledger.waits(jid, request.deadline - self._monotonic())
        try:
            yield
        finally:
            self._publisher.ledger.ended(jid)

    def gathering(self, fields: Mapping[str, Any], job: Job) -> Gathering:
        """Start the account of a job's minions."""
        return Gathering(
            job.minions,
            now=self._monotonic(),
            timeout=fields.get("timeout", self._options.timeout),
            ask_timeout=fields.get("gather_job_timeout", self._options.gather_job_timeout),
            syndic_wait=self._options.syndic_wait if self._options.order_masters else None,
        )

    def ask_who_runs(self, jid: str, minions: list[str], credentials: Mapping[str, Any]) -> str | None:
        """Ask minions whether they run a job; return the jid of the question, None when nobody was asked."""
        try:
            job = self._publisher.publish(Target(minions, "list"), "saltutil.find_job", [jid], credentials)
        except Fault:
            # A token that died meanwhile, a master that went down: the returns we have are worth more than the question.
            return None
        return job.jid if job else None

    def now(self) -> float:
        """Return the time of our clock."""
        return self._monotonic()

    def bus_is_lost(self, since: float) -> bool:
        """Say whether the bus, lost at *since*, is not worth waiting for any longer."""
        return not self.hub.is_open and (not self._master_up() or self._monotonic() - since > BUS_GRACE_SECONDS)

    def _result(self, low: Low, job: Job, gathering: Gathering, waiter: Waiter, request: Request) -> LowResult:
        gathering.unknown.update(job.unknown)
        why = UNHEARD if waiter.interrupted else OVERDUE if self._monotonic() >= request.deadline else SILENT
        absent = {minion: no_return(job.jid, *why) for minion in sorted(gathering.missing)}
        full = {**{minion: as_full_return(data) for minion, data in gathering.returns.items()}, **absent}
        value: dict[str, Any] = full if low.fields.get("full_return") else {minion: data["ret"] for minion, data in full.items()}
        # Minions that could not even answer the question; LocalClient.cmd says False for them.
        value.update({minion: False for minion in job.minions if minion not in value})
        failures = sum(failed(data) for data in gathering.returns.values())
        outcome = outcome_of(len(value), len(gathering.returns), failures)
        return LowResult(value, outcome, job.jid, len(value), len(gathering.returns), failures, len(value) - len(gathering.returns))


class Gatherer:
    """One thread's wait for one job id."""

    def __init__(self, jobs: Jobs, jid: str, extra: Mapping[str, Any], request: Request, waiter: Waiter) -> None:
        """extra: the credentials the silent are asked with."""
        self._jobs = jobs
        self.jid = jid
        self._extra = extra
        self._request = request
        self._waiter = waiter
        self._questions: set[str] = set()
        self._bus_lost_at: float | None = None

    def gather(self, gathering: Gathering) -> None:
        """Wait until the gathering is done, the deadline passed or the bus is lost for good."""
        while True:
            self._take_waiting(gathering)
            if self.over():
                return
            step = gathering.step(now=self._jobs.now())
            if step is Step.DONE:
                return
            if step is Step.ASK:
                self.ask(gathering)
            # Before the silent are asked nothing is decided by a single return: the last one may wake us for all. Then answers count one by one.
            self._waiter.wake_at(1 if self._questions else len(gathering.pending))
            self.take(gathering, until=gathering.wake_at(now=self._jobs.now()))

    def _take_waiting(self, gathering: Gathering) -> None:
        """Book what waits already; what comes meanwhile is for the next time."""
        for _ in range(self._waiter.waiting):
            self.take(gathering, until=self._jobs.now())

    def over(self) -> bool:
        """Say whether waiting has lost its sense."""
        if self._jobs.now() >= self._request.deadline:
            return True
        return self._bus_lost_at is not None and self._jobs.bus_is_lost(self._bus_lost_at)

    def ask(self, gathering: Gathering) -> None:
        """Ask the silent minions whether they still run the job."""
        with self._jobs.hub.keep_early():
            question = self._jobs.ask_who_runs(self.jid, sorted(gathering.pending), self._extra)
            if question is not None:
                self._waiter.watch(question)
                self._questions.add(question)
        gathering.asked(now=self._jobs.now())

    def take(self, gathering: Gathering, *, until: float) -> str | None:
        """Wait for the next event and book it; return the minion that returned by it, if one did."""
        now = self._jobs.now()
        pause = min(max(min(until, self._request.deadline) - now, 0.0), LOOK_UP_SECONDS)
        item = self._waiter.next(pause)
        if item is None and self._jobs.now() > now + pause + OVERSLEPT_SECONDS:
            item = self._waiter.next(LOOK_UP_SECONDS)
        if item is None:
            self._hear_again(gathering)
            return None
        if isinstance(item, Interruption):
            self._bus_lost_at = self._jobs.now()
            return None
        return self._book(item, gathering)

    def _hear_again(self, gathering: Gathering) -> None:
        """After an interruption, ask at once who still runs the job: the others may have returned unheard."""
        if self._bus_lost_at is not None and self._jobs.hub.is_open:
            self._bus_lost_at = None
            gathering.ask_soon(now=self._jobs.now())

    def _book(self, event: Event, gathering: Gathering) -> str | None:
        if event.jid in self._questions:
            self._book_answer(event, gathering)
            return None
        data = self._waiter.decode(event)
        if "error" in data:
            raise Forbidden("Authorization error occurred.")
        if "minions" in data:
            # Salt looks into `syndic_dir`; we have only the tag, `syndic/ID/...`, so a syndic that is down counts as a silent minion.
            gathering.syndics.update(event.tag.split("/")[1:2] if event.tag.startswith("syndic/") else ())
            gathering.expect(data["minions"], data.get("missing") or (), now=self._jobs.now())
            return None
        minion = data.get("resource_id") or data.get("id")
        if "/ret/" not in event.tag or "return" not in data or not isinstance(minion, str):
            return None
        if not gathering.returned(minion, data):
            return None
        self._request.trail.returned()
        return minion

    def _book_answer(self, event: Event, gathering: Gathering) -> None:
        """Take a minion's answer to `saltutil.find_job`: {} when it does not run the job."""
        data = self._waiter.decode(event)
        minion = data.get("id")
        if "/ret/" not in event.tag or not isinstance(minion, str):
            return
        if data.get("retcode", 0):
            gathering.give_up_on(minion)
        elif isinstance(data.get("return"), dict) and data["return"]:
            gathering.runs(minion, now=self._jobs.now())


def as_full_return(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `full_return` shows of a minion's return, in LocalClient's order."""
    return {"ret": data["return"], **{name: data[name] for name in ("out", "retcode", "jid") if name in data}}
