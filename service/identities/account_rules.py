"""Rules: which account, and which groups, the claims of an id token get; the first one that fits decides."""

from __future__ import annotations

import dataclasses
import fnmatch
import importlib.metadata
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from service.errors import ConfigFault, IdentityRefused
from service.settings.identity_settings import AccountRule, IdentitySettings

# What rules call whoever signed a client certificate: the proxy decides which authorities count.
CERTIFICATE = "certificate"


@dataclasses.dataclass(frozen=True)
class ProvenClaims:
    """What an id token, or a client certificate, has proven. issuer: its name in the settings. expires: when it is no proof any more, in seconds since 1970."""

    issuer: str
    claims: Mapping[str, Any]
    expires: float


class AccountRules:
    """Reads claims; keeps nothing."""

    def __init__(self, rules: Sequence[AccountRule]) -> None:
        self._rules = rules

    def of(self, proven: ProvenClaims) -> AccountRule:
        """Return the rule that decides. Raises IdentityRefused where none fits."""
        for rule in self._rules:
            if _decides(rule, proven):
                return rule
        raise IdentityRefused("no rule of identities.rules fits these claims", why="rule")


def _decides(rule: AccountRule, proven: ProvenClaims) -> bool:
    return rule.issuer == proven.issuer and all(_fits(proven.claims.get(name), globs) for name, globs in rule.claims.items())


def _fits(claim: object, globs: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(text, glob) for text in _texts(claim) for glob in globs)


def _texts(claim: object) -> Iterator[str]:
    """Yield what globs are compared with: text, truth and whole numbers as JSON writes them, of a list each; nothing else fits any glob."""
    for one in claim if isinstance(claim, list) else [claim]:
        if isinstance(one, bool):
            yield "true" if one else "false"
        elif isinstance(one, str | int):
            yield str(one)


def identity_faults(ours: IdentitySettings) -> list[ConfigFault]:
    """Return what is wrong with issuers and rules that are each well-formed."""
    return list(_faults(ours))


def _faults(ours: IdentitySettings) -> Iterator[ConfigFault]:
    for number, rule in enumerate(ours.rules):
        if rule.issuer == CERTIFICATE and ours.proxy_secret_file is None:
            yield ConfigFault(f"identities.rules.{number}.issuer", "no proxy is believed about certificates", "set identities.proxy_secret_file")
        elif rule.issuer not in {*ours.issuers, CERTIFICATE}:
            yield ConfigFault(f"identities.rules.{number}.issuer", f"`{rule.issuer[:64]}` is none of identities.issuers", "name one of them")
    urls = [issuer.url for issuer in ours.issuers.values()]
    for url in {url for url in urls if urls.count(url) > 1}:
        yield ConfigFault("identities.issuers", f"two have the url {url}", "put them into one, with all their audiences")
    if CERTIFICATE in ours.issuers:
        yield ConfigFault("identities.issuers", f"`{CERTIFICATE}` is what rules call client certificates", "give the issuer another name")
    sources = [name for name, value in (("identities.issuers", ours.issuers), ("identities.proxy_secret_file", ours.proxy_secret_file)) if value]
    if sources and not ours.rules:
        yield ConfigFault("identities.rules", "there is no rule, so everybody is refused", f"add one, or remove {' and '.join(sources)}")
    if sources and ours.key_file is None:
        yield ConfigFault("identities.key_file", "no key is set by which the master would take an account", "make one with `salt-sidecar identity-key`")
    if ours.issuers and not _is_installed("PyJWT"):
        yield ConfigFault("identities.issuers", "PyJWT is not installed, so no id token can be read", "install salt-sidecar[oidc]")


def _is_installed(package: str) -> bool:
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
