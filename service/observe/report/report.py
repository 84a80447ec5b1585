"""Turns what happens between callers, the listeners and whoever takes events into metrics and log lines."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any, Protocol

from structlog.typing import FilteringBoundLogger

from service.errors import ConfigFault
from service.observe.metrics.domains import Oddity, StateEventEnd
from service.observe.metrics.metrics import Metrics

# Pause between two lines about something that may happen thousands of times a second.
QUIET_SECONDS = 60.0


class LogThrottle:
    """Lets through the first of a kind at once, and then one in QUIET_SECONDS with the count of those since. Kinds are few: names in the code."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._since: dict[str, tuple[float, int]] = {}  # when told, and how many since; guarded by _lock

    def count(self, kind: str) -> int:
        """Return how many to log now, this one included; 0: log nothing."""
        now = self._monotonic()
        with self._lock:
            told, untold = self._since.get(kind, (-QUIET_SECONDS, 0))
            due = now - told >= QUIET_SECONDS
            self._since[kind] = (now, 0) if due else (told, untold + 1)
        return untold + 1 if due else 0


class AuthVerdict(Protocol):
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


class FinishedRecord(Protocol):
    """A job of `/v1` that is over."""

    @property
    def jid(self) -> str: ...
    @property
    def status(self) -> str: ...
    @property
    def cause(self) -> str | None: ...
    @property
    def request(self) -> Mapping[str, Any]: ...


class Report:
    """
    Hears of callers, streams, events and audit records, from any thread.

    limits: what a request that is refused for a reason was over, by that reason, where it is one number.
    """

    def __init__(self, metrics: Metrics, log: FilteringBoundLogger, limits: Mapping[str, float], *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._metrics = metrics
        self._log = log
        self._limits = dict(limits)
        self._seldom = LogThrottle(monotonic)
        self._lock = threading.Lock()
        self._record: Callable[[str, Mapping[str, Any]], None] = lambda _stage, _fields: None
        self._told_local = False  # guarded by _lock
        self._audit_rejected = 0  # since the last line; guarded by _lock

    def record_with(self, record: Callable[[str, Mapping[str, Any]], None]) -> None:
        """Have what nobody has asked for recorded in the audit trail, under its stage."""
        self._record = record

    def undecodable(self, tag: str, size: int) -> None:
        """An event could not be decoded; size in bytes."""
        if count := self._seldom.count("bus.decode.failed"):
            self._log.warning("bus.decode.failed", bytes=size, tag_prefix=tag[:64], count=count)

    def verdict(self, verdict: AuthVerdict) -> None:
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

    def policy_refused(self, rule: str, asked: Mapping[str, Any]) -> None:
        """The policy refused a low. asked: whose, as the log names them, and what."""
        self._metrics.policy_refused(str(asked["salt.client"]))
        self._log.warning("policy.refused", rule=rule, **asked)

    def identity_proven(self, request_id: str, who: Mapping[str, str], identity: Mapping[str, str]) -> None:
        """An id token was good, and the master let its account in. who, identity: the session, and who was proven, as the log names them."""
        self._metrics.auth_attempt("id_token", "success")
        self._log.info("identity.proven", request_id=request_id, **who, **identity)

    def identity_refused(self, result: str, why: str, reason: str) -> None:
        """An id token was not taken. result: as the metric has it."""
        self._metrics.auth_attempt("id_token", result)
        if count := self._seldom.count(f"identity.{why}"):
            self._log.warning("identity.refused", why=why, message=reason, count=count)

    def issuer_keys_unavailable(self, issuer: str, reason: str) -> None:
        """The keys of an issuer could not be fetched."""
        if count := self._seldom.count(f"identity.keys.{issuer}"):
            self._log.warning("identity.keys.unavailable", issuer=issuer, message=reason, count=count)

    def traces(self, result: str, count: int, reason: str) -> None:
        """*count* spans were `exported`, `failed` or `dropped`."""
        self._metrics.trace_spans(result, count)
        if result != "exported" and self._seldom.count(f"tracing.{result}"):
            self._log.warning("tracing.failed", result=result, count=count, message=reason)

    def adjust(self, **limits: float) -> None:
        """Take new limits, by their reasons, in a running process."""
        self._limits |= limits

    def rejected(self, reason: str) -> None:
        """A request was refused before it reached Salt."""
        self._metrics.http_rejected(reason)
        if count := self._seldom.count(f"http.{reason}"):
            self._log.warning("http.request.rejected", reason=reason, limit=self._limits.get(reason), count=count)

    def stream_opened(self, request_id: str, fields: Mapping[str, Any], kind: str = "stream") -> None:
        """An event stream begins; kind: `websocket` if it is one."""
        self._metrics.http_streaming(kind)
        self._log.info("stream.opened", request_id=request_id, **fields)

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

    def job_over(self, record: FinishedRecord, seconds: float, *, revised: bool) -> None:
        """A job of `/v1` has come to something, or a late return has corrected what."""
        self._metrics.v1.job_over(record.request["client"], record.status, seconds, revised=revised)
        self._log.info("job.over", jid=record.jid, status=record.status, cause=record.cause, revised=revised, duration_s=round(seconds, 3))

    def job_left(self, status: str, seconds: float) -> None:
        """A job of `/v1` is no longer in a status, after this long."""
        self._metrics.v1.job_left(status, seconds)

    def job_foreign_return(self, jid: str, minion: str) -> None:
        """A return of another function came under the jid of a job of `/v1`: somebody uses its id."""
        self._metrics.v1.job_foreign_return()
        if count := self._seldom.count("job.foreign_return"):
            seen = {"jid": jid, "minion": minion[:256], "count": count}
            self._log.warning("job.foreign_return", **seen)
            self._record("foreign_return", {"action": "job", **seen})

    def job_state_event(self, what: StateEventEnd, odd: Oddity | None = None) -> None:
        """A minion has said something of a state of a job of `/v1`; what became of that."""
        self._metrics.v1.job_state_event(what)
        if odd is not None:
            self._metrics.bus_odd(odd)

    def wave_taken(self, jid: str, wave: int, waves: int, minions: int) -> None:
        """The master has taken a wave of a job of `/v1`."""
        self._metrics.v1.wave_begun()
        self._log.info("job.wave", jid=jid, wave=wave, waves=waves, minions=minions)

    def wave_in_doubt(self, jid: str, wave: int) -> None:
        """The master's answer to the publish of a wave was lost; it is found out whether it was taken."""
        self._log.warning("job.wave_in_doubt", jid=jid, wave=wave)

    def wave_over(self, outcome: str) -> None:
        """A wave of a job of `/v1` is over."""
        self._metrics.v1.wave_over(outcome)

    def minions_not_run(self, why: str, count: int) -> None:
        """The turn of so many minions of a job of `/v1` never comes."""
        self._metrics.v1.minions_not_run(why, count)

    def jobs_recovered(self, count: int) -> None:
        """Jobs of `/v1` that were not over are followed again."""
        self._metrics.v1.jobs_recovered(count)
        self._log.info("job.recovered", count=count)

    def jobs_handed_over(self, count: int) -> None:
        """Our bus was away, and another sidecar has taken so many of our jobs."""
        self._log.warning("job.handed_over", count=count)

    def jobs_not_stored(self, reason: str) -> None:
        """What was learned of jobs could not be stored; it is tried again."""
        self._metrics.v1.jobs_not_stored()
        if count := self._seldom.count("job.not_stored"):
            self._log.error("job.not_stored", message=reason, count=count)

    def job_notified(self, jid: str, to: str, tries: int) -> None:
        """It was told that a job of `/v1` is over."""
        self._metrics.v1.job_notice("sent")
        self._log.info("job.notified", jid=jid, to=to, tries=tries)

    def job_not_notified(self, jid: str, to: str, tries: int, reason: str, *, given_up: bool) -> None:
        """It could not be told that a job of `/v1` is over."""
        self._metrics.v1.job_notice("dropped" if given_up else "failed")
        self._log.warning("job.not_notified", jid=jid, to=to, tries=tries, message=reason, given_up=given_up)

    def store_unusable(self, fault: ConfigFault) -> None:
        """There is no store of jobs."""
        self._log.warning("job.store.unusable", where=fault.where, problem=fault.problem, fix=fault.fix)

    def store_opened(self) -> None:
        """The store of jobs can be had after all."""
        self._log.info("job.store.opened")

    def store_committed(self, seconds: float) -> None:
        """The store of jobs has written a group of changes."""
        self._metrics.v1.store_committed(seconds)

    def watch_jobs(self, by_status: Callable[[], Mapping[str, int]], size_bytes: Callable[[], float]) -> None:
        """Read how many jobs of `/v1` are open, and what their store takes, at each scrape."""
        self._metrics.v1.watch_jobs(by_status, size_bytes)

    def watch_store(self, takes_jobs: Callable[[], bool]) -> None:
        """Read whether the store of jobs takes new ones at each scrape."""
        self._metrics.v1.watch_store(takes_jobs)

    def dropped(self, consumer: str) -> None:
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

    def revoked(self, who: Mapping[str, str], how: str) -> None:
        """A token was revoked; how: `file`, `runner`, `later`, `here` or `store`. Says once that the last reaches no further than this process."""
        self._log.info("auth.token.revoked", **who, by=how)
        with self._lock:
            told, self._told_local = self._told_local, self._told_local or how == "here"
        if how == "here" and not told:
            self._log.warning("auth.revocation.local", message="the master's token store cannot be reached from here, nor may this user run auth.del_token")
