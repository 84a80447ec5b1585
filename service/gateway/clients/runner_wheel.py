"""Runners and wheels: functions that run on the master itself."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any, cast

from service.errors import JobTimeout, MasterRefused, MasterTimeout, MasterUnreachable, UnknownFunction
from service.events.event import Event
from service.events.hub import Hub, Interruption, Waiter
from service.gateway.clients.gathering import LOOK_UP_SECONDS, bus_given_up
from service.gateway.clients.local import Request
from service.gateway.clients.publish import Sender, raise_error_of
from service.gateway.clients.result import LowResult
from service.gateway.clients.signatures import Signatures, runner_arguments
from service.gateway.clients.verdict import why_failed
from service.gateway.low import CREDENTIAL_FIELDS, Low
from service.gateway.master.options import MasterOptions

# What the master itself reads of a runner load; the function never sees it. Source: salt/runner.py, _reformat_low.
_ENVELOPE = frozenset({*CREDENTIAL_FIELDS, "user", "key", "timeout", "full_return"})
# Fields of a wheel load that are not the function's. Source: salt/client/mixins.py, CLIENT_INTERNAL_KEYWORDS.
_WHEEL_FIELDS = frozenset({"eauth", "username", "password", "token", "arg", "kwarg", "print_event"})
# What the master itself says beside the fields of a wheel load, and fails on when it is there twice. Source: salt/master.py, wheel.
_MASTERS = frozenset({"cmd", "full_return"})
# If the master has not announced the runner by then, assume that it lacks the function.
RUNNER_START_SECONDS = 10.0
# A wheel runs inside the master's answer. Longest wait of an asynchronous caller for a refusal; then it gets its jid.
WHEEL_ASYNC_SECONDS = 5.0


@dataclasses.dataclass
class RunnerJob:
    """
    A runner under way.

    known: our own Salt has the function. started: the master announced the run.
    start_by: by then the master announces a function that it has, on the monotonic clock.
    """

    fun: str
    jid: str
    known: bool
    start_by: float
    started: bool = False

    def check_started(self, now: float) -> None:
        """
        Raise UnknownFunction when neither we nor, it seems, the master has the function.

        The master says nothing at all then: the process it forks for a runner dies before it can fire an event
        (salt/client/mixins.py, `low`: `proc_fn` is not set yet). Upstream looks in its own process before it asks.
        """
        if not (self.known or self.started) and now >= self.start_by:
            raise self.unknown()

    def unknown(self) -> UnknownFunction:
        """Return the fault, in Salt's words (salt/utils/lazy.py, verify_fun)."""
        return UnknownFunction(f"'{self.fun}' is not available.", field="fun", jid=self.jid)


class MasterFunctions:
    """Runs the runner and wheel clients. Called from request threads; keeps no state between requests."""

    def __init__(
        self,
        channels: Sender,
        hub: Hub,
        options: MasterOptions,
        *,
        runners: Signatures,
        wheels: Signatures,
        new_jid: Callable[[], str],
        master_up: Callable[[], bool],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._channels = channels
        self._hub = hub
        self._options = options
        self._runners = runners
        self._wheels = wheels
        self._new_jid = new_jid
        self._master_up = master_up
        self._monotonic = monotonic

    def runner(self, low: Low, request: Request) -> LowResult:
        """
        Run a runner function and wait for it. Value: what it returned, or with `full_return` {"tag", "data"}.

        Raises JobTimeout with the jid, UnknownFunction, and what the master refuses.
        """
        limit = low.fields.get("timeout", self._options.runner_timeout)
        until = min(self._monotonic() + limit, request.deadline)
        with self._hub.listen() as waiter:
            with self._hub.keep_early():
                reply = self._start_runner(low, request)
                waiter.watch(reply["jid"])
            known = self._runners.of(str(low.fun)) is not None
            job = RunnerJob(str(low.fun), reply["jid"], known, self._monotonic() + RUNNER_START_SECONDS)
            with request.timeline.stage("gather"):
                tag, data = self._wait(waiter, job, until)
            request.timeline.returned()
        if not (job.known or job.started) and data.get("success") is False:
            raise job.unknown()  # 3006 and 3007 do fire a return then, with a traceback in it
        value = {"tag": tag, "data": data} if low.fields.get("full_return") else data["return"]
        return _result(low, value, data, job.jid)

    def runner_async(self, low: Low, request: Request) -> LowResult:
        """Start a runner function. Value: {"tag", "jid"}."""
        job = self._start_runner(low, request)
        return LowResult(job, "ok", job["jid"])

    def wheel(self, low: Low, request: Request) -> LowResult:
        """Run a wheel function. Value: {"tag", "data"}, as the master answers."""
        reply = self._send_wheel(low, request, None)
        data = reply["data"]
        return _result(low, reply, data, data.get("jid"))

    def wheel_async(self, low: Low, request: Request) -> LowResult:
        """
        Start a wheel function. Value: {"tag", "jid"}.

        The master runs a wheel before it answers, so a refusal is heard first (upstream's API hands out a jid to
        anybody), and the jid is the master's own; only for a slow function we make one up, as upstream always does.
        """
        try:
            reply = self._send_wheel(low, request, WHEEL_ASYNC_SECONDS)
        except MasterTimeout:
            jid = self._new_jid()
            return LowResult({"tag": f"salt/wheel/{jid}", "jid": jid}, "ok", jid)
        jid = str(reply["data"].get("jid") or reply["tag"].rpartition("/")[2])
        return LowResult({"tag": reply["tag"], "jid": jid}, "ok", jid)

    def _start_runner(self, low: Low, request: Request) -> dict[str, str]:
        fields = {name: value for name, value in low.fields.items() if name not in _ENVELOPE}
        positional, keywords = runner_arguments(fields, self._runners.of(str(low.fun)))
        load = {"cmd": "runner", "fun": low.fun, "kwarg": {"kwarg": keywords, "arg": positional}, **low.credentials, **request.timeline.carrier()}
        with request.timeline.stage("publish"):
            reply = self._channels.send(load)
        raise_error_of(reply)
        request.accepted()
        if not (isinstance(reply, dict) and all(isinstance(reply.get(name), str) for name in ("jid", "tag"))):
            raise MasterRefused("the master's answer to the runner call is not one we know")
        return cast("dict[str, str]", reply)

    def _send_wheel(self, low: Low, request: Request, timeout: float | None) -> dict[str, Any]:
        """Send a wheel call; a field that the function does not take would make it fail in the master."""
        signature = self._wheels.of(str(low.fun))
        fields = {
            name: value
            for name, value in low.fields.items()
            if name not in _MASTERS and (name in _WHEEL_FIELDS or signature is None or signature.accepts(name))
        }
        # No trace context: the master gives a wheel function every field of the load, and it would refuse this one.
        with request.timeline.stage("publish"):
            reply = self._channels.send({**fields, "fun": low.fun, "cmd": "wheel"}, timeout=timeout, slow=True)
        raise_error_of(reply)
        request.accepted()
        if not (isinstance(reply, dict) and isinstance(reply.get("data"), dict) and isinstance(reply.get("tag"), str)):
            raise MasterRefused("the master's answer to the wheel call is not one we know")
        return reply

    def _wait(self, waiter: Waiter, job: RunnerJob, until: float) -> tuple[str, dict[str, Any]]:
        """Wait for a runner's return; return its tag and its data."""
        bus_lost_at: float | None = None
        while (left := until - self._monotonic()) > 0:
            item = waiter.next(min(left, LOOK_UP_SECONDS))
            if isinstance(item, Event):
                job.started |= item.kind == "run_new"
                if item.kind == "run_ret" and (data := waiter.believed(item)) is not None:
                    return item.tag, data
            elif isinstance(item, Interruption):
                bus_lost_at = self._monotonic()
            elif bus_lost_at is not None and bus_given_up(self._hub, self._master_up, self._monotonic() - bus_lost_at):
                raise MasterUnreachable(f"the event bus was lost; the outcome of runner job {job.jid} is unknown", jid=job.jid)
            job.check_started(self._monotonic())
        # Salt's own words, as RunnerClient.cmd_sync raises them.
        raise JobTimeout(f"RunnerClient job '{job.jid}' timed out", jid=job.jid)


def _result(low: Low, value: object, data: dict[str, Any], jid: str | None) -> LowResult:
    """Sum up what a function of the master's did."""
    reason = why_failed(low.fun, data, data.get("return"), low.client.kind)
    return LowResult(value, "failed" if reason else "ok", jid, reasons={reason: 1} if reason else {})
