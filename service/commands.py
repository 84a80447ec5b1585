"""Runs a lowstate for a caller: slots, guard, gateway, and the figures of every low."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Protocol

from service.audit.records import Act
from service.audit.trail import Audit
from service.auth.call_policy import CallPolicy, KnownCaller, PolicyCall
from service.auth.guard import Guard, ShownCredentials
from service.auth.identity import Identity, Proof, Scope
from service.clients import Client
from service.errors import Fault, Overloaded, Throttled, Unauthenticated
from service.gateway.clients.local import Request, nobody_keeps
from service.gateway.clients.result import LowResult
from service.gateway.low import CREDENTIAL_FIELDS, Low, parse_lowstate
from service.gateway.master.options import EAUTH_MODULES
from service.http.request_info import RequestInfo
from service.limits import Holder, Slots
from service.observe.redact import redact_text

# Says that the caller, until then a stranger, is this user; None for who is none.
Welcome = Callable[[str], None] | None
RunLow = Callable[[Low, Request], LowResult]
# Lets a low's credentials through to the master inside a block, which yields what to call when it has accepted them.
Admitted = Callable[[], contextlib.AbstractContextManager[Callable[[], None]]]
Admissions = Sequence[tuple[Low, Admitted]]
# The hash of a longer target is not remembered for the next request.
REMEMBERED_CHARACTERS = 256


class LowRunner(Protocol):
    """The gateway, or a fake of it."""

    def run(self, low: Low, request: Request) -> LowResult:
        """Run one low."""

    def check_rights(self, low: Low, admitted: Admitted) -> None:
        """Raise Forbidden if the low does several things and not each of them is permitted. admitted: lets its credentials through to the master."""


class ClientMetrics(Protocol):
    """What we tell the metrics."""

    def client_started(self, client: str) -> None:
        """A low begins."""

    def client_finished(self, client: str, outcome: str, seconds: float) -> None:
        """A low ended."""

    def client_refused(self, client: str, outcome: str) -> None:
        """A low was refused before it began."""


@dataclasses.dataclass(frozen=True)
class Policy:
    """The reloadable limits of a request."""

    lows_per_request: int
    deadline_seconds: float
    metadata: bool
    include_target: bool = False


class Commands:
    """
    The one way from a request to the gateway. Called from request threads.

    A caller that hangs up is not noticed: one that only closed its sending side looks the same, and waits for its answer.

    may_call(credentials, address): raises Unauthenticated for users who may not call from there.
    holder_of(shown, address): whose share of the slots a call with them counts to.
    audit: hears of every low before any of its request runs. rules: what may be asked of the master at all.
    whose(credentials, address): for both, who is behind a token, None without one; raises Unauthenticated for a dead one, and what the master's absence raises.
    """

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
        holder_of: Callable[[ShownCredentials, str], Holder],
        may_call: Callable[[Mapping[str, Any], str], None] = lambda _credentials, _address: None,
        audit: Audit | None = None,
        rules: CallPolicy | None = None,
        whose: Callable[[Mapping[str, Any], str], Identity | None] = lambda _credentials, _address: None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._gateway = gateway
        self._guard = guard
        self._metrics = metrics
        self.policy = policy
        self.enabled_clients = enabled_clients
        self.sync_jobs = sync_jobs
        self.quick_calls = quick_calls
        self._holder_of = holder_of
        self._may_call = may_call
        self._audit = audit if audit is not None and audit.enabled else None
        self._rules = rules
        self._whose = whose
        self._monotonic = monotonic
        self._is_kept: Callable[[str], bool] = nobody_keeps

    def adjust(self, **limits: Any) -> None:
        """Take new limits, all fields of Policy, in a running process."""
        self.policy = Policy(**limits)

    def keep_jids(self, is_kept: Callable[[str], bool]) -> None:
        """Refuse lows that name the jid of a stored job. is_kept: says whether one is."""
        self._is_kept = is_kept

    def run(
        self,
        body: object,
        info: RequestInfo,
        *,
        proof: Proof | None = None,
        client: Client | None = None,
        ready: Callable[[list[Low]], None] | None = None,
        run_low: RunLow | None = None,
    ) -> list[Any]:
        """
        Check a whole lowstate, then run its lows in order; return their values.

        proof: of who calls, a session for example; its credentials take the place of those in the lows, as in rest_cherrypy.
        client: takes the place of the lows' own client, in a session.
        ready(lows): called when all is checked, right before the first low runs; of who has it, a low may name the jid of a stored job.
        run_low: takes the gateway's place, and waits for minions.
        Raises a Fault. When a low fails at run time the fault's details carry `completed`, the values of the earlier
        lows, and `jids`, the jids of everything that was started.
        """
        lows = self._parse(_completed(body, proof, client), info)
        if self._audit is not None:
            self._record(self._audit, lows, info, proof)
        if proof is None:
            with info.timeline.stage("auth"):
                for low in lows:
                    self._may_call(low.credentials, info.address)
        if self._rules is not None and any(map(self._rules.concerns, lows)):
            self._judge(self._rules, lows, info, proof)
        scope = None if proof is None else proof.scope
        if scope is not None:
            self._judge(scope, lows, info, proof)
        slots = self.sync_jobs if run_low is not None or any(low.client.slot == "sync_jobs" for low in lows) else self.quick_calls
        shown = [self._guard.shown(low.proof) for low in lows]
        slot = slots.take(self._holder(shown, info, proof))
        with _CountedSlot(slot, functools.partial(self._count_refused, lows)) as welcome:
            admissions = [(low, functools.partial(self._admitted, low, one, info, welcome)) for low, one in zip(lows, shown, strict=True)]
            if any(low.is_compound for low in lows):
                self._check_rights(admissions, info)
            if ready is not None:
                ready(lows)
            if scope is not None:
                scope.use()
            if ready is None:
                return self._run_all(admissions, info, self._gateway.run)
            run = run_low or self._gateway.run
            return self._run_all(admissions, info, lambda low, request: run(low, dataclasses.replace(request, is_kept=nobody_keeps)))

    def _holder(self, shown: list[ShownCredentials], info: RequestInfo, proof: Proof | None) -> Holder:
        """Return whose share of the slots a request counts to: that of the first of its lows' users who are proven, if there is one."""
        if proof is not None:
            return proof.identity.holder_at(info.address)
        holders = [self._holder_of(one, info.address) for one in shown]
        return next((holder for holder in holders if holder.proven), holders[0])

    def _judge(self, rules: CallPolicy | Scope, lows: list[Low], info: RequestInfo, proof: Proof | None) -> None:
        """Refuse the whole lowstate, before any of it runs or takes a slot, for a low that the policy refuses, or the scope of a token."""
        with self._refusing(lows, info):
            for low in lows:
                call = PolicyCall.of(low, info.address, functools.partial(self._caller, low, info, proof))
                rules.check(call, {**_claimed(low.credentials), **_asked(low, info)})

    def _caller(self, low: Low, info: RequestInfo, proof: Proof | None) -> KnownCaller:
        """Return who asks. Of a name and password the master has said nothing, so their groups are not known; nor is the name that a module of somebody's own reads."""
        identity = proof.identity if proof else self._whose(low.credentials, info.address)
        if identity is not None:
            return KnownCaller(identity.user, identity.eauth, identity.groups)
        eauth = low.credentials.get("eauth")
        return KnownCaller(low.credentials.get("username") if eauth in EAUTH_MODULES else None, eauth, None)

    def _check_rights(self, admissions: Admissions, info: RequestInfo) -> None:
        """Refuse the whole lowstate, before any of it runs, for a low that does more than its caller may."""
        with self._refusing([low for low, _ in admissions], info):
            for low, admitted in admissions:
                self._gateway.check_rights(low, admitted)

    @contextlib.contextmanager
    def _refusing(self, lows: list[Low], info: RequestInfo) -> Iterator[None]:
        """Count all lows of a request that is refused inside the block."""
        try:
            with info.timeline.stage("auth"):
                yield
        except Fault as fault:
            self._count_refused(lows, fault)
            raise

    def _record(self, audit: Audit, lows: list[Low], info: RequestInfo, proof: Proof | None) -> None:
        """Have recorded what is asked for. Raises AuditUnavailable, and Unauthenticated for a dead token: the master need not be asked of it again."""
        with info.timeline.stage("auth"):
            owners = [proof.identity if proof else self._owner(low, info) for low in lows]
        try:
            audit.begin(info, [_act(low, owner if isinstance(owner, Identity) else None) for low, owner in zip(lows, owners, strict=True)])
            for owner in owners:
                if isinstance(owner, str):
                    raise Unauthenticated(owner)
        except Fault as fault:
            self._count_refused(lows, fault)
            raise

    def _owner(self, low: Low, info: RequestInfo) -> Identity | str | None:
        """Return who is behind a low's token, None if nobody can say now, or why that is refused: a fault that is kept would keep the whole request."""
        try:
            return self._whose(low.credentials, info.address)
        except Unauthenticated as fault:
            return fault.reason
        except Fault:
            return None

    def _count_refused(self, lows: list[Low], fault: Fault) -> None:
        """Count lows that were never begun, for want of a slot or of a record: to their caller they failed, and the alert on failures reads these figures."""
        for low in lows:
            self._metrics.client_refused(low.client, fault.outcome)

    def _parse(self, body: object, info: RequestInfo) -> list[Low]:
        try:
            return parse_lowstate(body, enabled=self.enabled_clients, most=self.policy.lows_per_request)
        except Fault as fault:
            self._metrics.client_refused("invalid", fault.outcome)
            info.claimed.update(_named(body))
            raise

    def _run_all(self, admissions: Admissions, info: RequestInfo, run_low: RunLow) -> list[Any]:
        values: list[Any] = []
        deadline = self._monotonic() + self.policy.deadline_seconds
        for index, (low, admitted) in enumerate(admissions):
            try:
                result = self._run_one(low, admitted, info, deadline, run_low)
            except Fault as fault:
                if values or len(admissions) > 1:
                    fault.details["completed"] = values
                    fault.details["jids"] = [entry["jid"] for entry in info.lows if entry.get("jid")]
                raise
            if self._audit is not None:
                self._audit.returned(info, index, result.value)
            # rest_cherrypy gives the returns of a batch one element each.
            values += result.value if low.client is Client.LOCAL_BATCH else [result.value]
        return values

    def _run_one(self, low: Low, admitted: Admitted, info: RequestInfo, deadline: float, run_low: RunLow) -> LowResult:
        # A runner's `tgt_type` is an argument like any other: nobody has checked it, and arguments are not logged.
        tgt_type = low.fields["tgt_type"] if low.is_targeted else None
        entry: dict[str, Any] = {"client": str(low.client), "fun": low.function_names[:200], "tgt_type": tgt_type}
        if tgt_type is not None:
            entry |= _target(low.fields["tgt"], in_full=self.policy.include_target)
        info.lows.append(entry)
        started = self._monotonic()
        outcome = "error"
        self._metrics.client_started(low.client)
        try:
            result = self._through_guard(low, admitted, info, deadline, run_low)
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

    def _through_guard(self, low: Low, admitted: Admitted, info: RequestInfo, deadline: float, run_low: RunLow) -> LowResult:
        with info.timeline.entering("auth", admitted()) as accepted:

            def known() -> None:
                info.who.update(_claimed(low.credentials))
                accepted()

            reused = functools.partial(info.lows[-1].update, login_reused=True)
            request = Request(info.request_id, deadline, self.policy.metadata, accepted=known, reused=reused, timeline=info.timeline, is_kept=self._is_kept)
            return run_low(low, request)

    def _admitted(self, low: Low, shown: ShownCredentials, info: RequestInfo, welcome: Welcome) -> contextlib.AbstractContextManager[Callable[[], None]]:
        """Let a low's credentials through to the master inside the block; yields what to call when it has accepted them."""

        def no_stranger() -> None:
            if welcome is not None:
                welcome(self._holder_of(shown, info.address).user)

        return self._guard.admit(shown, info.address, _asked(low, info), on_accepted=no_stranger)


class _CountedSlot:
    """A `with` block for a slot. on_refused(fault): told of what who gets none is answered with."""

    def __init__(self, slot: contextlib.AbstractContextManager[Welcome], on_refused: Callable[[Fault], None]) -> None:
        self._slot = slot
        self._on_refused = on_refused

    def __enter__(self) -> Welcome:
        try:
            return self._slot.__enter__()
        except (Overloaded, Throttled) as fault:
            self._on_refused(fault)
            raise

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None) -> bool | None:
        return self._slot.__exit__(kind, exc, traceback)


def _completed(body: object, proof: Proof | None, client: Client | None) -> object:
    """Return the lowstate of a session with what the session says put into its lows; what is no low stays, to be refused."""
    lows = [body] if isinstance(body, dict) else body
    if proof is None or not isinstance(lows, list):
        return body
    ours = {**proof.credentials} if client is None else {**proof.credentials, "client": client}
    return [{**{name: value for name, value in low.items() if name not in CREDENTIAL_FIELDS}, **ours} if isinstance(low, dict) else low for low in lows]


def _act(low: Low, identity: Identity | None) -> Act:
    """Return what the audit trail is told of a low; credentials stay out."""
    fields = {name: value for name, value in low.fields.items() if name not in CREDENTIAL_FIELDS and value not in ({}, [], "")}
    targeted = low.is_targeted
    return Act(
        "run",
        user=identity.user if identity else low.fields.get("username"),
        eauth=identity.eauth if identity else low.fields.get("eauth"),
        groups=identity.groups if identity else (),
        client=low.client,
        functions=(low.fun,) if isinstance(low.fun, str) else tuple(low.fun),
        tgt=fields.pop("tgt", None) if targeted else None,
        tgt_type=fields.pop("tgt_type", None) if targeted else None,
        fields=fields,
    )


def _named(body: object) -> dict[str, str]:
    """Return whom the first low of a lowstate that was refused names, for the audit trail; nobody has asked whether it is so."""
    low = body[0] if isinstance(body, list) and body else body
    names = {"user.name": low.get("username"), "eauth": low.get("eauth")} if isinstance(low, dict) else {}
    return {field: name[:256] for field, name in names.items() if isinstance(name, str)}


def _asked(low: Low, info: RequestInfo) -> dict[str, Any]:
    """Return what the log line of a verdict says that credentials were used for."""
    return {**info.who, "salt.client": low.client, "salt.fun": low.function_names[:200]}


def _claimed(credentials: Mapping[str, Any]) -> dict[str, str]:
    """Return what the log line says of credentials inside a low; a token's user is known from its session only."""
    if "token" in credentials:
        return {}
    return {"user.name": str(credentials.get("username", ""))[:256], "auth.eauth": str(credentials["eauth"])[:64]}


def _target(tgt: str | list[str], *, in_full: bool) -> dict[str, str]:
    """Return what the log line says of a target. The hash is the same in every process; a name can be guessed from it, not read."""
    text = tgt if isinstance(tgt, str) else ",".join(tgt)
    hashed = _hash(text) if len(text) <= REMEMBERED_CHARACTERS else _hash.__wrapped__(text)
    return {"tgt_hash": hashed, "tgt": redact_text(text[:256])} if in_full else {"tgt_hash": hashed}


@functools.lru_cache(maxsize=256)
def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


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
    if result.reasons:
        account["failed_reasons"] = dict(result.reasons)
    return account
