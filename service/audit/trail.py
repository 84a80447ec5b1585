"""The trail: writes a record of each act before it is done, and another when its request is over."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from service.audit.hashing import HmacKey, key_of
from service.audit.records import DENIED, Act, Entry, decision_of, is_malformed, new_id, outcome_of, part, render
from service.audit.refusals import Refusals
from service.audit.rules import METADATA, NAMES, NONE, Rules, Subject
from service.audit.sinks import FileSink, LineSink, Sink
from service.audit.writer import Delivery, Writer
from service.errors import AuditUnavailable, ConfigFault
from service.secrets.secret_file import SecretFile
from service.settings.audit_settings import AuditRule, AuditSettings

RETRY_AFTER_SECONDS = 5.0
_ACCOUNT = ("jid", "login_reused", "minions_expected", "minions_returned", "minions_failed", "minions_missing", "outcome", "duration_s")


class AuditReport(Protocol):
    """Hears of records that were not written, and of requests that were refused for their sake. Called from any thread."""

    def audit_failed(self, sink: str, error: str, count: int, mode: str) -> None:
        """A sink did not take *count* records."""

    def audit_rejected(self) -> None:
        """A request was refused because no sink took its record."""

    def secret_unreadable(self, fault: ConfigFault) -> None:
        """The key's file cannot be read any more."""


class Account(Protocol):
    """What is known of a request before it is done; see http/request_info.py."""

    @property
    def request_id(self) -> str: ...
    @property
    def trace_id(self) -> str | None: ...
    @property
    def address(self) -> str: ...
    @property
    def route(self) -> str: ...
    @property
    def audited(self) -> list[Any]: ...


class Closed(Account, Protocol):
    """What is known of a request when its answer is closed. lows: the accounts of those that were begun."""

    @property
    def method(self) -> str: ...
    @property
    def status(self) -> int: ...
    @property
    def error(self) -> str | None: ...
    @property
    def error_type(self) -> str | None: ...
    @property
    def crashed(self) -> bool: ...
    @property
    def lows(self) -> list[dict[str, Any]]: ...
    @property
    def who(self) -> dict[str, str]: ...
    @property
    def claimed(self) -> dict[str, str]: ...


@dataclasses.dataclass(frozen=True)
class _Policy:
    """What SIGHUP can change."""

    strict: bool
    rules: Rules
    key_file: SecretFile[HmacKey] | None

    def key(self) -> HmacKey | None:
        return self.key_file.value() if self.key_file else None


class Audit:
    """The audit trail; without sinks it does nothing. Called from request threads."""

    def __init__(self, settings: AuditSettings, report: AuditReport, on_written: Callable[[int], None], write_line: Callable[[bytes], bool]) -> None:
        """
        Read the key and make a writer for each sink.

        on_written(count): records are in at least one sink. write_line: writes a line to standard output before it returns, False if it could not.
        Raises InvalidConfiguration for a bad key file.
        """
        self._report = report
        self._on_written = on_written
        self._wait_seconds = settings.write_seconds
        self._policy = self._policy_of(settings.mode, settings.rules, settings.hmac_key_file if settings.sinks else None)
        self._refusals = Refusals(settings.refused_per_minute)
        self._writers = [self._writer(settings, _sink(settings, name, write_line)) for name in dict.fromkeys(settings.sinks)]

    @property
    def enabled(self) -> bool:
        """Whether there is a trail at all."""
        return bool(self._writers)

    def adjust(self, mode: str, rules: Sequence[AuditRule], hmac_key_file: Path | None) -> None:
        """Take what can change in a running process, and open the files again. Raises as the constructor."""
        self._policy = self._policy_of(mode, rules, hmac_key_file if self.enabled else None)
        for writer in self._writers:
            writer.reopen()

    def begin(self, account: Account, acts: Sequence[Act]) -> list[Entry]:
        """
        Record what is about to be done, before any of it is; return an entry for each act, to which more can be added.

        Raises AuditUnavailable in strict mode when no sink takes the records in time.
        """
        if not self._writers:
            return []
        policy = self._policy
        entries = [self._entry(account, act, policy) for act in acts]
        account.audited.extend(entries)
        records = [render("request_received", entry.common) for entry in entries if entry.level > NONE]
        if records and not self._put(records, awaited=policy.strict):
            self._report.audit_rejected()
            raise AuditUnavailable(
                "the request was not run: no audit record of it could be written (audit.mode strict)", retry_after_seconds=RETRY_AFTER_SECONDS
            )
        return entries

    def returned(self, account: Account, index: int, value: object) -> None:
        """Hear what one of a request's lows gave; only its HMACs are kept, and only if the level asks for them."""
        runs = [entry for entry in account.audited if entry.action == "run"]
        if index < len(runs):
            runs[index].returned(value)

    def completed(self, request: Closed, seconds: float) -> None:
        """Record how a request ended, and one that was refused before anything began. seconds: its whole duration."""
        if not self._writers:
            return
        records = self._held_back()
        if request.audited:
            # A login may come before the lows.
            lows = iter(request.lows)
            of_lows = [next(lows, {"outcome": "not_run"}) if entry.action == "run" else {} for entry in request.audited]
            records += [record for entry, low in zip(request.audited, of_lows, strict=True) if (record := _completion(entry, low, request, seconds))]
        elif request.status in DENIED or (is_malformed(request.status) and self._refusals.admit(request.address)):
            records.append(_refusal(request))
        if records:
            self._put(records, awaited=False)

    def note(self, stage: str, fields: Mapping[str, Any] | None = None) -> None:
        """Record something that no request asks for: `start`, `reload`, `stop` of the process, or what *fields* give as `action`."""
        if self._writers:
            self._put([*self._held_back(at_once=True), render(stage, part({"action": "process", **(fields or {})}))], awaited=False)

    def check(self) -> tuple[bool, str]:
        """Say whether requests can be recorded, and the reason; only strict mode makes it matter."""
        if not self._writers:
            return True, "off"
        failing = [writer.name for writer in self._writers if writer.failing]
        works = len(failing) < len(self._writers)
        reason = f"not writing: {', '.join(failing)}" if failing else "writing"
        return works or not self._policy.strict, reason

    def close(self, timeout: float) -> None:
        """Write what is queued and end the threads, each within *timeout* seconds."""
        for writer in self._writers:
            writer.close(timeout)

    def _held_back(self, *, at_once: bool = False) -> list[bytes]:
        """Return the record of how many refusals got none, if there were any and their minute is over, or *at_once*."""
        addresses = self._refusals.settle(at_once=at_once)
        return [render("suppressed", part({"action": "refused", "count": sum(addresses.values()), "addresses": addresses}))] if addresses else []

    def _policy_of(self, mode: str, rules: Sequence[AuditRule], path: Path | None) -> _Policy:
        policy = _Policy(mode == "strict", Rules(rules), SecretFile(path, "audit.hmac_key_file", key_of, self._report.secret_unreadable) if path else None)
        policy.key()
        return policy

    def _entry(self, account: Account, act: Act, policy: _Policy) -> Entry:
        subject = Subject(act.client or "", act.functions, act.user or "", act.groups, account.route)
        level = policy.rules.level(subject)
        return Entry(level, _of_request(account), act, policy.key())

    def _failed(self, sink: str, error: str, count: int) -> None:
        self._report.audit_failed(sink, error, count, "strict" if self._policy.strict else "best_effort")

    def _put(self, records: list[bytes], *, awaited: bool) -> bool:
        delivery = Delivery(records, len(self._writers), awaited=awaited)
        for writer in self._writers:
            writer.put(delivery)
        return not awaited or delivery.wait(self._wait_seconds)

    def _writer(self, settings: AuditSettings, sink: Sink) -> Writer:
        syncs = settings.fsync_seconds if sink.name == "file" and settings.fsync == "interval" else None
        return Writer(
            sink,
            lambda lost: render("resumed", part({"action": "process", "lost": lost})),
            on_written=self._on_written,
            on_failed=self._failed,
            queue_records=settings.queue_records,
            write_seconds=settings.write_seconds,
            sync_seconds=syncs,
        )


def _sink(settings: AuditSettings, name: str, write_line: Callable[[bytes], bool]) -> Sink:
    if name == "file" and settings.file is not None:
        return FileSink(settings.file, chained=settings.chain, fsync=settings.fsync == "always")
    return LineSink(write_line)


def _of_request(account: Account) -> dict[str, Any]:
    return {"request_id": account.request_id, "trace_id": account.trace_id, "client.address": account.address, "http.route": account.route}


def _completion(entry: Entry, low: Mapping[str, Any], request: Closed, seconds: float) -> bytes | None:
    """Return the last record of an act; None where its level wants none and nobody was denied. low: the account of what was run."""
    known: dict[str, Any] = {}
    if entry.action == "run":
        known = {name: low.get(name) for name in _ACCOUNT}
    else:
        known = {"outcome": "ok" if entry.done else outcome_of(request.status), "duration_s": round(seconds, 6)}
    decision = decision_of(known["outcome"], request.status, jid=bool(known.get("jid")))
    if entry.level == NONE and decision != "deny":
        return None
    refused = known["outcome"] not in {"ok", "partial", "failed", "no_match"}
    known |= {"decision": decision, "status_code": request.status, "returns": entry.returns}
    if refused:
        known |= {"reason": request.error, "error": request.error_type}
    crashed = request.crashed and known["outcome"] == "error"
    return render("panic" if crashed else "response_complete", entry.common, part(known))


def _refusal(request: Closed) -> bytes:
    """Return the only record of a request that got nowhere."""
    known = {"user.name": request.who.get("user.name"), "eauth": request.who.get("auth.eauth")}
    who = known if request.who else request.claimed
    outcome = "invalid" if is_malformed(request.status) else "denied"
    fields = {"audit_id": new_id(), "audit_level": NAMES[METADATA], "action": "refused", **who, "outcome": outcome, "decision": "deny"}
    why = {"reason": request.error, "error": request.error_type, "http.request.method": request.method[:16], "status_code": request.status}
    return render("response_complete", part({**_of_request(request), **fields, **why}))
