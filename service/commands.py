"""Runs a lowstate for a caller: slots, guard, gateway, and the figures of every low."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any, Protocol

from service.auth.guard import Guard
from service.errors import Draining, Fault
from service.gateway.jobs import Request
from service.gateway.low import LOCAL_CLIENTS, Low, parse_lowstate
from service.gateway.result import LowResult
from service.limits import Slots


class LowRunner(Protocol):
    """The gateway, or a fake of it."""

    def run(self, low: Low, request: Request) -> LowResult:
        """Run one low."""


class ClientMetrics(Protocol):
    """What we tell the metrics."""

    def client_started(self, client: str) -> None:
        """A low begins."""

    def client_finished(self, client: str, outcome: str, seconds: float) -> None:
        """A low ended."""


@dataclasses.dataclass
class Caller:
    """
    Who asks, and the account of what was done for them.

    lows: for the log line, one entry for each low that was begun. A caller that hangs up is not noticed: one that only
    closed its sending side looks the same, and waits for its answer.
    """

    request_id: str
    address: str
    lows: list[dict[str, Any]] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class Policy:
    """The reloadable limits of a request."""

    lows_per_request: int
    deadline_seconds: float
    metadata: bool


class Commands:
    """The one way from a request to the gateway. Called from request threads."""

    def __init__(
        self,
        gateway: LowRunner,
        guard: Guard,
        metrics: ClientMetrics,
        policy: Policy,
        *,
        enabled_clients: tuple[str, ...],
        sync_jobs: Slots,
        quick_calls: Slots,
        draining: Callable[[], bool],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._gateway = gateway
        self._guard = guard
        self._metrics = metrics
        self.policy = policy
        self._enabled_clients = enabled_clients
        self._sync_jobs = sync_jobs
        self._quick_calls = quick_calls
        self._draining = draining
        self._monotonic = monotonic

    def run(self, body: object, caller: Caller) -> list[Any]:
        """
        Check a whole lowstate, then run its lows in order; return their values.

        Raises a Fault. When a low fails at run time the fault's details carry `completed`, the values of the earlier
        lows, and `jids`, the jids of everything that was started.
        """
        if self._draining():
            raise Draining("the sidecar is stopping", retry_after_seconds=1)
        lows = self._parse(body)
        slots = self._sync_jobs if any(low.waits for low in lows) else self._quick_calls
        with slots.take():
            return self._run_all(lows, caller)

    def _parse(self, body: object) -> list[Low]:
        try:
            return parse_lowstate(body, enabled=self._enabled_clients, most=self.policy.lows_per_request)
        except Fault as fault:
            self._metrics.client_started("invalid")
            self._metrics.client_finished("invalid", fault.outcome, 0.0)
            raise

    def _run_all(self, lows: list[Low], caller: Caller) -> list[Any]:
        values: list[Any] = []
        deadline = self._monotonic() + self.policy.deadline_seconds
        for low in lows:
            try:
                result = self._run_one(low, caller, deadline)
            except Fault as fault:
                if values or len(lows) > 1:
                    fault.details["completed"] = values
                    fault.details["jids"] = [entry["jid"] for entry in caller.lows if entry.get("jid")]
                raise
            # rest_cherrypy gives the returns of a batch one element each.
            values += result.value if low.client == "local_batch" else [result.value]
        return values

    def _run_one(self, low: Low, caller: Caller, deadline: float) -> LowResult:
        # A runner's `tgt_type` is an argument like any other: nobody has checked it, and arguments are not logged.
        tgt_type = low.fields["tgt_type"] if low.client in LOCAL_CLIENTS else None
        entry: dict[str, Any] = {"client": low.client, "fun": low.function_names[:200], "tgt_type": tgt_type}
        caller.lows.append(entry)
        started = self._monotonic()
        outcome = "error"
        self._metrics.client_started(low.client)
        try:
            result = self._through_guard(low, caller, deadline)
            outcome = result.outcome
            entry.update(_account(result))
        except Fault as fault:
            outcome = fault.outcome
            entry["jid"] = fault.details.get("jid")
            raise
        finally:
            seconds = self._monotonic() - started
            entry.update(outcome=outcome, duration_s=round(seconds, 6))
            self._metrics.client_finished(low.client, outcome, seconds)
        return result

    def _through_guard(self, low: Low, caller: Caller, deadline: float) -> LowResult:
        with self._guard.admit(low.credentials, caller.address) as accepted:
            request = Request(caller.request_id, deadline, metadata=self.policy.metadata, accepted=accepted)
            return self._gateway.run(low, request)


def _account(result: LowResult) -> dict[str, Any]:
    """Return what the log line says of a result."""
    account: dict[str, Any] = {"jid": result.jid}
    if result.expected:
        account |= {
            "minions_expected": result.expected,
            "minions_returned": result.returned,
            "minions_failed": result.failed,
            "minions_missing": result.missing,
        }
    return account
