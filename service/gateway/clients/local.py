"""Synchronous jobs: publish, gather the returns, ask about the silent, answer as LocalClient.cmd does."""

from __future__ import annotations

import dataclasses
import random
import time
from collections import Counter
from collections.abc import Callable, Collection, Generator, Mapping
from typing import Any

from service.blocks import Block
from service.clients import Client
from service.errors import Fault, MasterTimeout, Overloaded, Unauthenticated
from service.events.hub import Hub, Waiter
from service.gateway.clients.gathering import QUESTION, Ask, Gatherer, Gathering, GivenUp, Over, Returned
from service.gateway.clients.publish import Job, Publisher, Target, extra_of
from service.gateway.clients.result import REFUSED, UNASKED, LowResult, no_return, outcome_of
from service.gateway.clients.verdict import why_failed
from service.gateway.low import Low
from service.gateway.low_fields import DEFAULT_SUBSET
from service.gateway.master.options import MasterOptions
from service.observe.trace.timeline import Timeline


def nobody_keeps(_jid: str) -> bool:
    """Say that a jid is that of no stored job."""
    return False


@dataclasses.dataclass(frozen=True)
class Request:
    """
    What a low needs to know about the request it belongs to.

    request_id: travels in the job's metadata when `metadata` is set.
    deadline: latest end of the wait, on the monotonic clock.
    accepted: called once the master has accepted the credentials. reused: called before, when it did so by a login that an earlier request has made.
    timeline: where the time goes, and the trace that Salt may continue.
    is_kept: says whether a jid is that of a stored job; what ran under it would count as the job's, in the master's cache at least.
    """

    request_id: str
    deadline: float
    metadata: bool = True
    accepted: Callable[[], None] = lambda: None
    reused: Callable[[], None] = lambda: None
    timeline: Timeline = dataclasses.field(default_factory=Timeline)
    is_kept: Callable[[str], bool] = nobody_keeps

    def job_metadata(self) -> dict[str, str]:
        """Return what joins the job, its returns and the job cache to this request, and to its trace."""
        if not (self.metadata and self.request_id):
            return {}
        context = self.timeline.context
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
        self.now = monotonic
        self._shuffle = shuffle
        # What salt-ssh runs in the place of `state.apply`, and says that it ran, is `state.pkg`.
        self._ssh_minions = bool(options.raw.get("enable_ssh_minions"))

    def start(self, low: Low, request: Request) -> LowResult:
        """Publish and do not wait: `local_async`. Value: {"jid", "minions"}, or {} when nobody matched."""
        job = self.publish(low, request)
        if job is None:
            return LowResult({}, "no_match")
        return LowResult({"jid": job.jid, "minions": job.minions}, "ok", job.jid, expected=len(job.minions))

    def run(self, low: Low, request: Request) -> LowResult:
        """Publish and wait: `local`. Value: {minion: return}, {} when nobody matched."""
        job: Job | None = None
        over: Over | None = None
        for step in self.follow(low, request):
            if isinstance(step, Job):
                job = step
            elif isinstance(step, Over):
                over = step
        return _result(low, job, over) if job and over else LowResult({}, "no_match")

    def follow(self, low: Low, request: Request) -> Generator[Job | Returned | GivenUp | Ask | Over, None, None]:
        """
        Publish and wait: yield the job when the master has acknowledged it, each step of the wait, and Over; nothing when nobody matched.

        Who does not read it to its end must close it.
        """
        with self.hub.listen() as waiter:
            with self.hub.keep_early():
                job = self.publish(low, request)
                if job is None:
                    return
                waiter.watch(job.jid)
            gatherer = self.gatherer(waiter, [self.gathering(low.fields, job)], low, request)
            yield job
            with request.timeline.stage("gather"), self.waiting_for(job.jid, request):
                for step in gatherer.steps():
                    if isinstance(step, Ask):
                        self.ask(step, job.jid, low, gatherer)
                    elif isinstance(step, Returned):
                        request.timeline.returned()
                    yield step

    def run_on_subset(self, low: Low, request: Request) -> LowResult:
        """
        Run on a few random minions that have the function: `local_subset`.

        Source: LocalClient.cmd_subset, whose two jobs we run.
        """
        fields = {name: value for name, value in low.fields.items() if name not in {"sub", "subset", "progress", "cli"}}
        asking = {name: value for name, value in fields.items() if name not in {"kwarg", "ret", "jid"}} | {"arg": [], "full_return": False}
        offered = self.run(dataclasses.replace(low, client=Client.LOCAL, fun="sys.list_functions", fields=asking), request)
        wanted = {low.fun} if isinstance(low.fun, str) else set(low.fun)
        able = [
            minion
            for minion, functions in offered.value.items()
            if isinstance(functions, (list, dict)) and wanted.issubset(name for name in functions if isinstance(name, str))
        ]
        self._shuffle(able)
        size = low.fields.get("sub", low.fields.get("subset", DEFAULT_SUBSET))
        chosen = {**fields, "tgt": able[:size], "tgt_type": "list"}
        return self.run(dataclasses.replace(low, client=Client.LOCAL, fields=chosen), request) if able else LowResult({}, "no_match")

    def publish(self, low: Low, request: Request) -> Job | None:
        """Publish what a low asks for, on the account of its request; None when nobody matched."""
        with request.timeline.stage("publish"):
            return self._publisher.publish_low(low, metadata=request.job_metadata(), accepted=request.accepted, trace=request.timeline.carrier())

    def waiting_for(self, jid: str, request: Request) -> Block[None]:
        """Wait for a job inside the block: whose return has not come by its end is missing."""
        ledger = self._publisher.ledger
        return Block(lambda: ledger.waits(jid, request.deadline - self.now()), lambda _: ledger.ended(jid))

    def gathering(self, fields: Mapping[str, Any], job: Job, *, closed: bool = False) -> Gathering:
        """Start the account of a job's minions. closed: they are all, though others answer under the same jid."""
        return Gathering(
            job.minions,
            job.unknown,
            now=self.now(),
            timeout=fields.get("timeout", self._options.timeout),
            ask_timeout=fields.get("gather_job_timeout", self._options.gather_job_timeout),
            syndic_wait=self._options.syndic_wait if self._options.order_masters else None,
            closed=closed,
        )

    def gatherer(self, waiter: Waiter, groups: Collection[Gathering], low: Low, request: Request) -> Gatherer:
        """Wait for the minions of the groups to return what a low asks for, on the account of a request."""
        fun = None if self._ssh_minions else low.fun
        return Gatherer(waiter, groups, self.hub, fun=fun, deadline=request.deadline, master_up=self._master_up, monotonic=self.now)

    def ask(self, step: Ask, jid: str, low: Low, gatherer: Gatherer) -> None:
        """Ask minions whether they still run the job of a low."""
        with self.hub.keep_early():
            try:
                question = self._publisher.publish(Target(step.minions, "list"), QUESTION, [jid], extra_of(low.fields))
            # A token that died meanwhile, a master that went down: the returns we have are worth more than the question.
            except Unauthenticated:
                gatherer.not_asked(REFUSED)
                return
            except (MasterTimeout, Overloaded):
                gatherer.not_answered()
                return
            except Fault:
                gatherer.not_asked(UNASKED)
                return
            if question is not None:
                gatherer.asked(question.jid)


def _result(low: Low, job: Job, over: Over) -> LowResult:
    returns = over.group.returns
    absent = {minion: no_return(job.jid, *over.why) for minion in sorted(over.group.missing)}
    value: dict[str, Any]
    if low.fields.get("full_return"):
        value = {minion: as_full_return(data) for minion, data in returns.items()} | absent
    else:
        value = {minion: data["return"] for minion, data in returns.items()} | {minion: full["ret"] for minion, full in absent.items()}
    # Minions that could not even answer the question; LocalClient.cmd says False for them.
    value.update({minion: False for minion in job.minions if minion not in value})
    failed = [reason for data in returns.values() if (reason := why_failed(low.fun, data, data["return"]))]
    outcome = outcome_of(len(value), len(returns), len(failed))
    return LowResult(value, outcome, job.jid, len(value), len(returns), len(failed), len(value) - len(returns), Counter(failed) if failed else {})


def as_full_return(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `full_return` shows of a minion's return, in LocalClient's order."""
    return {"ret": data["return"], **{name: data[name] for name in ("out", "retcode", "jid") if name in data}}
