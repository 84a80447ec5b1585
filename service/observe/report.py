"""Turns what the gateway and the listeners report into metrics and log lines."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from structlog.typing import FilteringBoundLogger

from service.errors import Fault, MasterTimeout, MasterUnreachable
from service.observe.metrics import Metrics

# Lines about things that may happen thousands of times a second come once in so long.
QUIET_SECONDS = 60.0


class Report:
    """Hears of everything between us and the master, from any thread."""

    def __init__(self, metrics: Metrics, log: FilteringBoundLogger, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._metrics = metrics
        self._log = log
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._dropped = 0  # since the last line; guarded by _lock
        self._told_at = -QUIET_SECONDS  # guarded by _lock
        self._told_local = False  # guarded by _lock
        # The bus thread's alone:
        self._lost_at: float | None = None
        self._wanting = {"bus", "master"}  # what was not well yet since the start

    def rpc(self, cmd: str, seconds: float, fault: Fault | None) -> None:
        """One request to the master is over."""
        self._metrics.rpc(cmd, seconds)
        if fault is not None:
            reason = {MasterTimeout: "timeout", MasterUnreachable: "refused"}.get(type(fault), "other")
            self._metrics.rpc_failed(cmd, reason)
            self._log.warning("salt.rpc.failed", cmd=cmd, reason=reason, duration_s=round(seconds, 6), message=fault.reason)

    def event(self, kind: str, size: int) -> None:
        """One event came over the bus; size in bytes."""
        self._metrics.bus_event(kind, size)

    def lag(self, seconds: float) -> None:
        """An event was so old when it came."""
        self._metrics.bus_lag(seconds)

    def stream_opened(self, request_id: str, fields: Mapping[str, Any]) -> None:
        """An event stream begins."""
        self._metrics.http_streaming()
        self._log.info("stream.opened", request_id=request_id, **fields)

    def stream_lag(self, seconds: float) -> None:
        """Events were so old when their stream's connection had them."""
        self._metrics.stream_lag(seconds)

    def stream_closed(self, request_id: str, reason: str, sent: int, dropped: int, seconds: float) -> None:
        """An event stream is over."""
        self._metrics.stream_closed(reason)
        self._log.info("stream.closed", request_id=request_id, reason=reason, sent=sent, dropped=dropped, duration_s=round(seconds, 3))

    def stream_crashed(self) -> None:
        """The fan-out met a bug; call it inside the `except`."""
        self._log.error("crash", exc_info=True)

    def dropped(self, consumer: str = "jobs") -> None:
        """An event had to be dropped, because nobody took the ones before it."""
        self._metrics.bus_dropped(consumer)
        with self._lock:
            self._dropped += 1
            if self._monotonic() - self._told_at < QUIET_SECONDS:
                return
            self._told_at = self._monotonic()
            count, self._dropped = self._dropped, 0
        self._log.warning("bus.event.dropped", consumer=consumer, count=count)

    def bus(self, connected: bool, reason: str) -> None:
        """The bus connection changed."""
        if connected:
            self._metrics.bus_connected()
            down = None if self._lost_at is None else round(self._monotonic() - self._lost_at, 3)
            self._log.info("bus.connected", down_s=down)
            self._well("bus")
            return
        self._lost_at = self._monotonic()
        self._metrics.bus_lost("eof")
        self._log.warning("bus.disconnected", reason=reason)

    def master(self, up: bool, reason: str) -> None:
        """The master went up or down."""
        if up:
            self._log.info("master.up")
            self._well("master")
            return
        self._metrics.master_probed(None)
        self._log.error("master.down", reason=reason)

    def revoked(self, who: Mapping[str, str], how: str) -> None:
        """A token was revoked; how: `file`, `runner` or `here`. Says once that the last reaches no further than this process."""
        self._log.info("auth.token.revoked", **who, by=how)
        with self._lock:
            told, self._told_local = self._told_local, self._told_local or how == "here"
        if how == "here" and not told:
            self._log.warning("auth.revocation.local", message="the master's token store cannot be reached from here, nor may this user run auth.del_token")

    def _well(self, what: str) -> None:
        """Say once that everything we need was there."""
        if self._wanting == {what}:
            self._log.info("app.ready")
        self._wanting.discard(what)

    def probe(self, seconds: float) -> None:
        """The master answered a ping."""
        self._metrics.master_probed(seconds)
