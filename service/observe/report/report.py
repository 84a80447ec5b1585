"""Turns what the gateway and the listeners report into metrics and log lines."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any, Protocol

from structlog.typing import FilteringBoundLogger

from service.errors import ConfigFault, Fault, MasterRefused, MasterTimeout, MasterUnreachable
from service.observe.metrics.metrics import Metrics

# Pause between two lines about something that may happen thousands of times a second.
QUIET_SECONDS = 60.0
# An event bus that is later than this is worth a line.
LAG_SECONDS = 5.0


class Seldom:
    """Lets through the first of a kind at once, and then one in QUIET_SECONDS with the count of those since. Kinds are few: names in the code."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._since: dict[str, tuple[float, int]] = {}  # when told, and how many since; guarded by _lock

    def count(self, kind: str) -> int:
        """Return how many to tell of now, this one included; 0: keep quiet."""
        now = self._monotonic()
        with self._lock:
            told, untold = self._since.get(kind, (-QUIET_SECONDS, 0))
            due = now - told >= QUIET_SECONDS
            self._since[kind] = (now, 0) if due else (told, untold + 1)
        return untold + 1 if due else 0


class Verdict(Protocol):
    """What came of credentials; see auth/guard.py."""

    @property
    def eauth(self) -> str: ...
    @property
    def user(self) -> str: ...
    @property
    def result(self) -> str: ...
    @property
    def wait_seconds(self) -> float | None: ...
    @property
    def asked(self) -> Mapping[str, Any]: ...


class Report:
    """Hears of everything between us and the master, from any thread."""

    def __init__(self, metrics: Metrics, log: FilteringBoundLogger, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._metrics = metrics
        self._log = log
        self._monotonic = monotonic
        self._started = monotonic()
        self._seldom = Seldom(monotonic)
        self._lock = threading.Lock()
        self._told_local = False  # guarded by _lock
        self._audit_rejected = 0  # since the last line; guarded by _lock
        self._unanswered: dict[str, int] = {}  # requests to the master in a row, by cmd; guarded by _lock
        # Set by the wiring, before anything happens:
        self.on_change: Callable[[], object] = lambda: None
        self.queue_depth: Callable[[], int] = lambda: 0
        self.open_jobs: Callable[[], int] = lambda: 0
        # The bus thread's alone:
        self._lost_at: float | None = None
        self._down_at: float | None = None
        self._probe_seconds = 0.0
        self._wanting = {"bus", "master"}  # what was not well yet since the start

    def rpc(self, cmd: str, seconds: float, fault: Fault | None) -> None:
        """One request to the master is over."""
        self._metrics.rpc(cmd, seconds)
        if fault is None:
            if cmd in self._unanswered:
                self._answered(cmd)
            return
        reason = {MasterTimeout: "timeout", MasterUnreachable: "refused", MasterRefused: "protocol"}.get(type(fault), "other")
        self._metrics.rpc_failed(cmd, reason)
        with self._lock:
            attempt = self._unanswered[cmd] = self._unanswered.get(cmd, 0) + 1
        self._log.warning("salt.rpc.failed", cmd=cmd, reason=reason, attempt=attempt, duration_s=round(seconds, 6), message=fault.reason)

    def _answered(self, cmd: str) -> None:
        with self._lock:
            self._unanswered.pop(cmd, None)

    def event(self, kind: str, size: int) -> None:
        """One event came over the bus; size in bytes."""
        self._metrics.bus_event(kind, size)

    def lag(self, seconds: float) -> None:
        """An event was *seconds* old when it came."""
        self._metrics.bus_lag(seconds)
        if seconds > LAG_SECONDS and self._seldom.count("bus.lagging"):
            self._log.warning("bus.lagging", lag_s=round(seconds, 3), queue_depth=self.queue_depth())

    def undecodable(self, tag: str, size: int) -> None:
        """An event could not be decoded; size in bytes."""
        if count := self._seldom.count("bus.decode.failed"):
            self._log.warning("bus.decode.failed", bytes=size, tag_prefix=tag[:64], count=count)

    def verdict(self, verdict: Verdict) -> None:
        """The master, or the brakes, judged credentials."""
        who = {"user.name": verdict.user[:256], "auth.eauth": verdict.eauth[:64], **verdict.asked}
        if verdict.result == "success":
            self._log.info("auth.success", **who, result=verdict.result)
        elif verdict.result == "forbidden":
            self._log.warning("authz.denied", **who)
        elif verdict.result != "throttled":
            self._log.warning("auth.failure", **who, result=verdict.result)
        elif count := self._seldom.count("auth.throttled"):
            until = datetime.now(timezone.utc) + timedelta(seconds=verdict.wait_seconds or 0)
            self._log.warning("auth.failure", **who, result=verdict.result, throttled_until=until.isoformat(timespec="seconds"), count=count)

    def traces(self, result: str, count: int, reason: str) -> None:
        """*count* spans were `exported`, `failed` or `dropped`."""
        self._metrics.trace_spans(result, count)
        if result != "exported" and self._seldom.count(f"tracing.{result}"):
            self._log.warning("tracing.failed", result=result, count=count, message=reason)

    def rejected(self, reason: str, limit: float | None = None) -> None:
        """A request was refused before it reached Salt. limit: what it was over."""
        self._metrics.http_rejected(reason)
        if count := self._seldom.count(f"http.{reason}"):
            self._log.warning("http.request.rejected", reason=reason, limit=limit, count=count)

    def stream_opened(self, request_id: str, fields: Mapping[str, Any]) -> None:
        """An event stream begins."""
        self._metrics.http_streaming()
        self._log.info("stream.opened", request_id=request_id, **fields)

    def stream_lag(self, seconds: float) -> None:
        """Events were *seconds* old when their stream's connection had them."""
        self._metrics.stream_lag(seconds)

    def stream_closed(self, request_id: str, reason: str, sent: int, dropped: int, seconds: float) -> None:
        """An event stream is over."""
        self._metrics.stream_closed(reason)
        self._log.info("stream.closed", request_id=request_id, reason=reason, sent=sent, dropped=dropped, duration_s=round(seconds, 3))

    def unreadable(self, tag: str, size: int) -> None:
        """An event of a job or a minion could not be decoded."""
        self._metrics.bus_undecodable()
        self.undecodable(tag, size)

    def job_published(self, jid: str, fun: str, minions: int, missing: int, seconds: float) -> None:
        """The master took a job of ours."""
        self._log.info("salt.job.published", jid=jid, **{"salt.fun": fun[:200]}, minions_expected=minions, missing=missing, publish_s=round(seconds, 6))

    def handler_crashed(self, consumer: str) -> None:
        """Who takes events met a bug; call it inside the `except`."""
        self._metrics.bus_handler_failed(consumer)
        self._log.error("crash", exc_info=True)

    def dropped(self, consumer: str = "jobs") -> None:
        """An event had to be dropped, because nobody took the ones before it."""
        self._metrics.bus_dropped(consumer)
        if count := self._seldom.count(f"dropped.{consumer}"):
            self._log.warning("bus.event.dropped", consumer=consumer, count=count)

    def audit_failed(self, sink: str, error: str, count: int, mode: str) -> None:
        """A sink did not take *count* audit records."""
        self._metrics.audit_failed(count)
        if not (failures := self._seldom.count(f"audit.{sink}")):
            return
        with self._lock:
            rejected, self._audit_rejected = self._audit_rejected, 0
        self._log.error("audit.write.failed", sink=sink, mode=mode, count=failures, rejected=rejected, **{"error.type": error})

    def audit_rejected(self) -> None:
        """A request was refused because no sink took its audit record."""
        self._metrics.audit_rejected()
        with self._lock:
            self._audit_rejected += 1

    def secret_unreadable(self, fault: ConfigFault) -> None:
        """A secret's file cannot be read, or holds none; what was read last stays in force."""
        self._log.warning("secret.unreadable", where=fault.where, problem=fault.problem, fix=fault.fix)

    def bus(self, connected: bool, reason: str, cause: str) -> None:
        """The bus connection changed. cause: of a loss, `eof`, `error` or `stale`."""
        self.on_change()
        if connected:
            self._metrics.bus_connected()
            self._log.info("bus.connected", down_s=self._since(self._lost_at))
            self._well("bus")
            return
        self._lost_at = self._monotonic()
        self._metrics.bus_lost(cause)
        self._log.warning("bus.disconnected", reason=reason, open_jobs_tainted=self.open_jobs())

    def master(self, up: bool, reason: str, failures: int) -> None:
        """The master went up or down. failures: pings in a row that were not answered."""
        self.on_change()
        if up:
            self._log.info("master.up", probe_s=round(self._probe_seconds, 6), down_s=self._since(self._down_at))
            self._well("master")
            return
        self._down_at = self._monotonic()
        self._metrics.master_probed(None)
        self._log.error("master.down", reason=reason, failures=failures)

    def _since(self, moment: float | None) -> float | None:
        return None if moment is None else round(self._monotonic() - moment, 3)

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
            self._log.info("app.ready", checks=["bus", "master"], start_s=self._since(self._started))
        self._wanting.discard(what)

    def probe(self, seconds: float) -> None:
        """The master answered a ping."""
        self._probe_seconds = seconds
        self._metrics.master_probed(seconds)
