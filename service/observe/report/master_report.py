"""Turns what the gateway hears of the master, and how late its events are, into metrics and log lines."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Literal

from structlog.typing import FilteringBoundLogger

from service.errors import Fault, MasterRefused, MasterTimeout, MasterUnreachable, Overloaded
from service.observe.metrics.metrics import Metrics
from service.observe.report.report import LogThrottle

# An event bus that is later than this is worth a line.
LAG_SECONDS = 5.0


class MasterReport:
    """
    Hears of the master and its event bus: `rpc` from any thread, the rest from the bus thread.

    on_change(what, well): the `bus` or the `master` was lost or came back. queue_depth(): events that wait to be handled.
    open_jobs(): jobs that await a return.
    """

    def __init__(
        self,
        metrics: Metrics,
        log: FilteringBoundLogger,
        *,
        on_change: Callable[[str, bool], object],
        queue_depth: Callable[[], int],
        open_jobs: Callable[[], int],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._metrics = metrics
        self._log = log
        self._on_change, self._queue_depth, self._open_jobs = on_change, queue_depth, open_jobs
        self._monotonic = monotonic
        self._started = monotonic()
        self._seldom = LogThrottle(monotonic)
        self._lock = threading.Lock()
        self._unanswered: dict[str, int] = {}  # requests to the master in a row, by cmd; guarded by _lock
        # The bus thread's alone:
        self._lost_at: float | None = None
        self._down_at: float | None = None
        self._busy_at: float | None = None
        self._probe_seconds = 0.0
        self._wanting = {"bus", "master"}  # what was not well yet since the start

    def rpc(self, cmd: str, seconds: float, fault: Fault | None) -> None:
        """One request to the master is over."""
        self._metrics.rpc(cmd, seconds)
        if fault is None:
            if cmd in self._unanswered:
                self._answered(cmd)
            return
        reason = {MasterTimeout: "timeout", MasterUnreachable: "refused", MasterRefused: "protocol", Overloaded: "queue_full"}.get(type(fault), "other")
        self._metrics.rpc_failed(cmd, reason)
        with self._lock:
            attempt = self._unanswered[cmd] = self._unanswered.get(cmd, 0) + 1
        self._log.warning("salt.rpc.failed", cmd=cmd, reason=reason, attempt=attempt, duration_s=round(seconds, 6), message=fault.reason)

    def lag(self, seconds: float) -> None:
        """An event was *seconds* old when it came."""
        self._metrics.bus_lag(seconds)
        if seconds > LAG_SECONDS and self._seldom.count("bus.lagging"):
            self._log.warning("bus.lagging", lag_s=round(seconds, 3), queue_depth=self._queue_depth())

    def bus(self, connected: bool, reason: str, cause: str) -> None:
        """The bus connection changed. cause: of a loss, `eof`, `error` or `stale`."""
        self._on_change("bus", connected)
        if connected:
            self._metrics.bus_connected()
            self._log.info("bus.connected", down_s=self._since(self._lost_at))
            self._well("bus")
            return
        self._lost_at = self._monotonic()
        self._metrics.bus_lost(cause)
        self._log.warning("bus.disconnected", reason=reason, open_jobs_tainted=self._open_jobs())

    def master(self, state: Literal["up", "busy", "down"], reason: str, failures: int) -> None:
        """The master is up, busy or down now. failures: pings in a row that were not answered."""
        self._metrics.master_is(state)
        if state == "busy":
            self._busy_at = self._monotonic()
            self._log.warning("master.busy", reason=reason)
            return
        self._on_change("master", state == "up")
        if state == "up":
            self._log.info("master.up", probe_s=round(self._probe_seconds, 6), down_s=self._since(self._down_at), busy_s=self._since(self._busy_at))
            self._down_at = self._busy_at = None
            self._well("master")
            return
        self._down_at = self._monotonic()
        self._log.error("master.down", reason=reason, failures=failures)

    def probe(self, seconds: float) -> None:
        """The master answered a ping."""
        self._probe_seconds = seconds
        self._metrics.master_probed(seconds)

    def _answered(self, cmd: str) -> None:
        with self._lock:
            self._unanswered.pop(cmd, None)

    def _since(self, moment: float | None) -> float | None:
        return None if moment is None else round(self._monotonic() - moment, 3)

    def _well(self, what: str) -> None:
        """Say once that everything we need was there."""
        if self._wanting == {what}:
            self._log.info("app.ready", checks=["bus", "master"], start_s=self._since(self._started))
        self._wanting.discard(what)
