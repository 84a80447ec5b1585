"""From an id token (RFC 8693), or a client certificate (RFC 8705), to a Salt token: verified, given an account by a rule, logged in at the master."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from service.auth.identity import Session
from service.bounded import Bounded
from service.errors import Fault, Forbidden, IdentityRefused, InvalidConfiguration, SecretUnavailable
from service.http.addresses import HOLDERS
from service.http.request_info import RequestInfo
from service.identities.account_rules import CERTIFICATE, AccountRules, ProvenClaims
from service.identities.assertion import AssertionSigner
from service.limits import Holder, Slots
from service.secrets.digests import Digests
from service.settings.identity_settings import AccountRule

MOST_REMEMBERED = 10_000
# A Salt token is not lent any more when it is about to expire.
SPARE_SECONDS = 10.0
RETRY_AFTER_SECONDS = 60.0
# What the metric of logins says of a fault.
RESULTS = {"IdentityRefused": "bad_credentials", "Forbidden": "forbidden", "Throttled": "throttled"}
# Claims that log and audit trail name: those by which GitHub, GitLab and people's directories say who asked for what.
TOLD: Mapping[str, str] = {
    "sub": "identity.sub",
    "jti": "identity.jti",
    "repository": "identity.repository",
    "repository_id": "identity.repository_id",
    "project_path": "identity.project_path",
    "ref": "identity.ref",
    "environment": "identity.environment",
    "run_id": "identity.run_id",
    "pipeline_id": "identity.pipeline_id",
    "job_id": "identity.job_id",
    "actor": "identity.actor",
    "user_login": "identity.user_login",
    "email": "identity.email",
}
MOST_TOLD_CHARACTERS = 256


class Logins(Protocol):
    """Logs accounts in; see auth/sessions.py."""

    def login(self, credentials: object, environ: Mapping[str, Any], identity: Mapping[str, str]) -> Session:
        """Open a session. identity: who is behind it, for the audit trail."""


class IdentityReport(Protocol):
    """Hears what came of id tokens. Called from request threads."""

    def identity_proven(self, request_id: str, who: Mapping[str, str], identity: Mapping[str, str]) -> None:
        """An id token was good, and the master has let its account in. who: the session, as the log names it."""

    def identity_refused(self, result: str, why: str, reason: str) -> None:
        """An id token was not taken. result: as the metric of logins has it. why: as in IdentityRefused, or the kind of fault."""


class IdTokenExchange:
    """
    Makes id tokens, and client certificates, sessions of accounts, whose rights the master decides. Called from request threads.

    verify(token): see IdTokens. shown(environ, address): see ClientCertificates. slots: held while one is verified, as by a caller who has not authenticated.

    Nobody can guess a signature, so refusals are not counted against an address: many pipelines share one, and a bad one would shut out the others.
    """

    def __init__(
        self,
        verify: Callable[[str], ProvenClaims],
        shown: Callable[[Mapping[str, Any], str], ProvenClaims],
        rules: AccountRules,
        signer: AssertionSigner,
        logins: Logins,
        *,
        slots: Slots,
        report: IdentityReport,
        time_of_day: Callable[[], float] = time.time,
        most_remembered: int = MOST_REMEMBERED,
    ) -> None:
        self._verify = verify
        self._shown = shown
        self._rules = rules
        self._signer = signer
        self._logins = logins
        self._slots = slots
        self._report = report
        self._time_of_day = time_of_day
        self._digests = Digests()
        self._lock = threading.Lock()
        # By the digest of the id token: the Salt token, and until when it may be used for it; guarded by _lock.
        self._known: Bounded[bytes, tuple[str, float]] = Bounded(most_remembered)

    def token_of(self, id_token: str, environ: Mapping[str, Any]) -> str:
        """Return the Salt token of whoever shows an id token as the bearer; the same one until it or the id token expires. Raises as `login`."""
        digest = self._digests.of(id_token)
        with self._lock:
            token, until = self._known.get(digest, ("", 0.0))
        if self._time_of_day() < until:
            return token
        proven, session = self._log_in("id token", functools.partial(self._verify, id_token), environ)
        with self._lock:
            self._known[digest] = (session.token, min(proven.expires, session.expire - SPARE_SECONDS))
        return session.token

    def forget(self, id_token: str) -> None:
        """Log in again at the next use of an id token: its Salt token is not alive any more."""
        with self._lock:
            self._known.pop(self._digests.of(id_token), None)

    def login(self, id_token: str, environ: Mapping[str, Any]) -> Session:
        """
        Open a session of its own for whoever shows an id token.

        Raises IdentityRefused, KeysUnavailable, Throttled, Forbidden when the master lets the account do nothing, and what the master's absence raises.
        """
        return self._log_in("id token", functools.partial(self._verify, id_token), environ)[1]

    def login_by_certificate(self, environ: Mapping[str, Any]) -> Session:
        """Open a session of its own for whoever has shown a proxy their certificate. Raises as `login`."""
        return self._log_in(CERTIFICATE, functools.partial(self._shown, environ, RequestInfo.of(environ).address), environ)[1]

    def _log_in(self, what: str, prove: Callable[[], ProvenClaims], environ: Mapping[str, Any]) -> tuple[ProvenClaims, Session]:
        info = RequestInfo.of(environ)
        try:
            with self._slots.take(Holder(HOLDERS.of(info.address), what, proven=False)):
                proven = prove()
                identity = told(proven)
                info.claimed.update(identity)
                rule: AccountRule = self._rules.of(proven)
            session = self._logins.login(self._credentials(rule), environ, identity)
            if not session.identity.perms:
                raise Forbidden(f"the master lets the account {rule.account} do nothing (external_auth)")
        except Fault as fault:
            why = fault.details["why"] if isinstance(fault, IdentityRefused) else fault.kind
            self._report.identity_refused(RESULTS.get(fault.kind, "error"), why, fault.reason)
            raise
        self._report.identity_proven(info.request_id, session.log_fields, identity)
        return proven, session

    def _credentials(self, rule: AccountRule) -> dict[str, str]:
        try:
            return self._signer.credentials(rule.account, rule.groups)
        except InvalidConfiguration:
            reason = "the sidecar has no key now that the master knows (identities.key_file; `salt-sidecar check` says why)"
            raise SecretUnavailable(reason, retry_after_seconds=RETRY_AFTER_SECONDS) from None


def told(proven: ProvenClaims) -> dict[str, str]:
    """Return what log and audit trail say of who was proven."""
    claims = {field: proven.claims.get(name) for name, field in TOLD.items()}
    return {"identity.issuer": proven.issuer, **{field: str(value)[:MOST_TOLD_CHARACTERS] for field, value in claims.items() if isinstance(value, str | int)}}
