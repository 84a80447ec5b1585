"""local_batch: the job on a few minions at a time, as salt/cli/batch.py does it."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections import Counter, deque
from collections.abc import Iterable
from typing import Any

from service.clients import Client
from service.errors import Fault, Unauthenticated
from service.events.hub import Waiter
from service.gateway.clients.gathering import Ask, Gathering, GivenUp, Over, Returned
from service.gateway.clients.local import Jobs, Request, as_full_return
from service.gateway.clients.publish import Job
from service.gateway.clients.result import REFUSED, LowResult, failed, outcome_of
from service.gateway.clients.verdict import why_failed
from service.gateway.low import Low
from service.gateway.low_fields import DEFAULT_BATCH

_BATCH_FIELDS = frozenset({"batch", "batch_wait", "failhard", "raw"})


def batch_size(spec: str | int, minions: int) -> int:
    """Return how many minions run at one time; a percentage rounds down but never to none."""
    text = str(spec)
    if not text.endswith("%"):
        return max(1, int(text))
    share = float(text[:-1]) / 100 * minions
    return max(1, math.ceil(share) if share < 1 else int(share))


@dataclasses.dataclass(frozen=True)
class Present:
    """Who of a target is there. answered: a ping, in their order; silent: have not; no_key: a list names them, and the master does not know them."""

    answered: list[str]
    silent: list[str]
    no_key: list[str]


class Batches:
    """Runs the local_batch client."""

    def __init__(self, jobs: Jobs, *, failhard: bool) -> None:
        """failhard: the master configuration's default."""
        self._jobs = jobs
        self._failhard = failhard

    def run(self, low: Low, request: Request) -> LowResult:
        """
        Run a job in batches. Value: a list, one {minion: return} for each return, in their order; with `raw` the event, {tag, data}.

        Raises, with the jid, what the master refuses in mid-batch, also the question whether a silent minion still runs the job.
        Minions that do not answer a ping are left out, as upstream does. A minion that falls silent later gives {minion: {}},
        with `raw` {data: {id, return: {}, retcode: 0}}. Source: salt/cli/batch.py, Batch.run.
        """
        fields = {name: value for name, value in low.fields.items() if name not in _BATCH_FIELDS}
        minions = self.present(dataclasses.replace(low, fields=fields), request).answered
        if not minions:
            return LowResult([], "no_match")
        with self._jobs.hub.listen() as waiter:
            run = _BatchRun(self._jobs, dataclasses.replace(low, fields=fields), request, waiter)
            run.failhard = low.fields.get("failhard", self._failhard)
            run.raw = low.fields.get("raw", False)
            run.wait_seconds = float(low.fields.get("batch_wait", 0))
            run.size = batch_size(low.fields.get("batch", DEFAULT_BATCH), len(minions))
            with request.timeline.stage("gather"), contextlib.ExitStack() as run.account:
                return run.through(minions)

    def present(self, low: Low, request: Request) -> Present:
        """Ping whom a low is for, as its caller; nobody is there where nobody matches. Raises what the ping of a `local` raises."""
        pinging = {name: value for name, value in low.fields.items() if name not in {"kwarg", "ret", "jid"}} | {"arg": []}
        found = Present([], [], [])
        for step in self._jobs.follow(dataclasses.replace(low, client=Client.LOCAL, fun="test.ping", fields=pinging), request):
            if isinstance(step, Over):
                unknown = step.group.unknown - step.group.returns.keys()
                found = Present(list(step.group.returns), sorted(step.group.missing - unknown), sorted(unknown))
        return found


class _BatchRun:
    """One batch under way. All its publishes share one jid."""

    failhard = False
    raw = False
    wait_seconds = 0.0
    size = 1
    account: contextlib.ExitStack  # closed when the batch is over

    def __init__(self, jobs: Jobs, low: Low, request: Request, waiter: Waiter) -> None:
        self._jobs = jobs
        self._low = low
        self._request = request
        self._waiter = waiter
        self._jid = ""  # known when the first publish is acknowledged
        self._active: dict[Gathering, list[str]] = {}  # each with the minions it was published to
        self._gatherer = jobs.gatherer(waiter, self._active, low, request)
        self._resting: list[float] = []  # ends of the `batch_wait` of minions that returned
        self._results: list[dict[str, Any]] = []
        self._returned = 0
        self._reasons: Counter[str] = Counter()  # why returns failed
        self._failed = False  # a failure ended the batch

    def through(self, minions: list[str]) -> LowResult:
        """Run on all minions, batch by batch; when the wait ends early, those that are left count as silent."""
        pending = deque(minions)
        over = False
        while (pending or self._active) and not over and not self._failed:
            self._publish_next(pending)
            self._turn()
            over = self._gatherer.over()
        if not self._failed:
            self._book(self._gatherer.hear())
            for gathering, batch in self._active.items():
                self._give_up(batch, gathering)
            self._results += map(self._silent, pending)
        failures, missing = self._reasons.total(), len(minions) - self._returned
        outcome = outcome_of(len(minions), self._returned, failures)
        return LowResult(self._results, outcome, self._jid or None, len(minions), self._returned, failures, missing, self._reasons)

    def _publish_next(self, pending: deque[str]) -> None:
        """Publish to as many minions as have room."""
        now = self._jobs.now()
        self._resting = [end for end in self._resting if end > now]
        room = self.size - sum(len(gathering.pending) for gathering in self._active) - len(self._resting)
        batch = [pending.popleft() for _ in range(min(max(room, 0), len(pending)))]
        if not batch:
            return
        with self._jobs.hub.keep_early():
            job = self._publish(batch)
            if job is not None and not self._jid:
                self._jid = job.jid
                self._waiter.watch(job.jid)
                self.account.enter_context(self._jobs.waiting_for(job.jid, self._request))
        # The master may know fewer of them by now: the others are not waited for, but they are in the answer.
        gathering = self._jobs.gathering(self._low.fields, job or Job(self._jid, [], []), closed=True)
        self._active[gathering] = batch

    def _publish(self, batch: list[str]) -> Job | None:
        jid = self._jid or self._low.fields.get("jid", "")
        low = dataclasses.replace(self._low, fields={**self._low.fields, "tgt": batch, "tgt_type": "list", "jid": jid})
        try:
            return self._jobs.publish(low, self._request)
        except Fault as fault:
            if self._jid:
                fault.details["jid"] = self._jid
            raise

    def _turn(self) -> None:
        """
        Take what waits already. If nothing does, settle the groups that are done, and take the next event.

        On a busy machine the time of a group can be over before we get to its returns.
        """
        if self._waiter.waiting:
            self._book(self._gatherer.hear())
            return
        for step in self._gatherer.settle():
            if isinstance(step, Ask):
                self._jobs.ask(step, self._jid, self._low, self._gatherer)
            else:
                if step.why is REFUSED and step.group.missing:
                    # `{}` would say that the minions are silent.
                    raise Unauthenticated(REFUSED[1], jid=self._jid)
                self._give_up(self._active.pop(step.group), step.group)
        self._book([self._gatherer.wait(self._resting)])

    def _give_up(self, batch: list[str], gathering: Gathering) -> None:
        self._results += map(self._silent, sorted(set(batch) - gathering.returns.keys()))

    def _silent(self, minion: str) -> dict[str, Any]:
        return {"data": {"id": minion, "return": {}, "retcode": 0}} if self.raw else {minion: {}}

    def _shown(self, step: Returned) -> dict[str, Any]:
        return {"tag": f"salt/job/{self._jid}/ret/{step.minion}", "data": step.data} if self.raw else {step.minion: as_full_return(step.data)["ret"]}

    def _book(self, steps: Iterable[Returned | GivenUp | None]) -> None:
        """Keep the returns, up to a failure that ends the batch."""
        for step in steps:
            if isinstance(step, Returned):
                self._request.timeline.returned()
                self._returned += 1
                self._reasons.update(filter(None, [why_failed(self._low.fun, step.data, step.data["return"])]))
                self._failed = self.failhard and failed(step.data)
                self._resting += [self._jobs.now() + self.wait_seconds] if self.wait_seconds else []
                self._results.append(self._shown(step))
            if self._failed:
                return
