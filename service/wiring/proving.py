"""Builds what proves who calls without a password: id tokens and client certificates, as far as the settings ask for them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from service.auth.guard import Guard
from service.auth.sessions import Sessions
from service.errors import IdentityRefused
from service.identities.account_rules import AccountRules, ProvenClaims
from service.identities.assertion import AssertionSigner
from service.identities.exchange import IdTokenExchange
from service.limits import Slots
from service.observe.report.report import Report
from service.outgoing.look_ups import LookUps
from service.secrets.reading import first_line
from service.secrets.secret_file import ROTATION_SECONDS, SecretFile
from service.settings.identity_settings import IdentitySettings
from service.wiring.configuration import Configuration


def make_exchange(configuration: Configuration, sessions: Sessions, guard: Guard, quick_calls: Slots, report: Report) -> IdTokenExchange | None:
    """Make what turns id tokens and client certificates into sessions; None when none is taken."""
    ours = configuration.settings.identities
    if ours.key_file is None or not (ours.issuers or ours.proxy_secret_file):
        return None
    signer, rules = AssertionSigner(ours.key_file, configuration.master.raw), AccountRules(ours.rules)
    verify, shown = make_verify(ours, report), make_shown(ours, guard, report)
    return IdTokenExchange(verify, shown, rules, signer, sessions, slots=quick_calls, report=report)


def make_verify(ours: IdentitySettings, report: Report) -> Callable[[str], ProvenClaims]:
    """Make what verifies id tokens."""
    if not ours.issuers:
        return _refusing("no id token is taken here (identities.issuers)", "issuer")
    from service.identities.id_tokens import IdTokens  # noqa: PLC0415 - needs PyJWT: only for those who take id tokens
    from service.identities.issuer_keys import fetched  # noqa: PLC0415

    look_ups = LookUps()
    fetch = functools.partial(fetched, look_up=look_ups.addresses)
    return IdTokens(ours.issuers, fetch=fetch, on_failure=report.issuer_keys_unavailable, on_fault=report.secret_unreadable).verify


def make_shown(ours: IdentitySettings, guard: Guard, report: Report) -> Callable[[Mapping[str, Any], str], ProvenClaims]:
    """Make what reads client certificates."""
    if ours.proxy_secret_file is None:
        return _refusing("no certificate is taken here (identities.proxy_secret_file)", "proxy")
    from service.identities.certificates import ClientCertificates  # noqa: PLC0415 - reads X.509: only for those who take certificates

    secret = SecretFile(ours.proxy_secret_file, "identities.proxy_secret_file", first_line, report.secret_unreadable, keep_seconds=ROTATION_SECONDS)
    return ClientCertificates(ours.certificate_header, secret, judging=guard.judging).shown


def _refusing(reason: str, why: str) -> Callable[..., NoReturn]:
    def refuse(*_shown: Any) -> NoReturn:
        raise IdentityRefused(reason, why=why)

    return refuse
