"""Id tokens (OpenID Connect): what one proves, once everything about it has been looked at."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import jwt
from jwt import exceptions

from service.errors import ConfigFault, IdentityRefused
from service.identities.account_rules import ProvenClaims
from service.identities.issuer_keys import ALGORITHMS, FetchedKeys, FileKeys, IssuerKeys
from service.settings.identity_settings import Issuer

MOST_CHARACTERS = 16 * 1024
MOST_KID_CHARACTERS = 256
# How far an issuer's clock may be from ours.
CLOCK_SECONDS = 60
_TIMES = ("exp", "iat", "nbf")
_WHY: Mapping[type[Exception], tuple[str, str]] = {
    exceptions.InvalidSignatureError: ("signature", "its signature is not its issuer's"),
    exceptions.ExpiredSignatureError: ("expired", "it has expired"),
    exceptions.ImmatureSignatureError: ("not_yet_valid", "it is not valid yet"),
    exceptions.InvalidAudienceError: ("audience", "it is for somebody else (identities.issuers, audiences)"),
    exceptions.MissingRequiredClaimError: ("claims", "it lacks one of the claims iss, sub, aud, exp and iat"),
    exceptions.DecodeError: ("malformed", "it is no JWT"),
    exceptions.InvalidAlgorithmError: ("algorithm", "its key is for another algorithm"),
}


class IdTokens:
    """
    Verifies id tokens of the issuers that the settings name. Called from request threads; keeps their keys only.

    fetch(url): returns a document, see `fetched`. on_failure(issuer, reason): hears of keys that could not be fetched. on_fault: of a file of keys that cannot be read.
    """

    def __init__(
        self,
        issuers: Mapping[str, Issuer],
        *,
        on_failure: Callable[[str, str], None],
        on_fault: Callable[[ConfigFault], object],
        fetch: Callable[[str], bytes],
    ) -> None:
        def keys(name: str, issuer: Issuer) -> IssuerKeys:
            if issuer.jwks_url is None:
                return file_keys(name, issuer, on_fault)
            url = issuer.jwks_url
            return FetchedKeys(lambda: fetch(url), lambda reason: on_failure(name, reason))

        self._issuers = {issuer.url: (name, issuer, keys(name, issuer)) for name, issuer in issuers.items()}

    def verify(self, token: str) -> ProvenClaims:
        """Return what a token proves. Raises IdentityRefused, with the reason, and KeysUnavailable."""
        header, claims = _read(token)
        name, issuer, keys = self._issuer_of(claims)
        proven = _verified(token, keys.key(_kid(header)), issuer)
        return ProvenClaims(name, proven, proven["exp"] + CLOCK_SECONDS)

    def _issuer_of(self, claims: Mapping[str, Any]) -> tuple[str, Issuer, IssuerKeys]:
        url = claims.get("iss")
        if not isinstance(url, str) or url not in self._issuers:
            raise _refused("issuer", "its issuer is none of identities.issuers")
        return self._issuers[url]


def file_keys(name: str, issuer: Issuer, on_fault: Callable[[ConfigFault], object] = lambda _fault: None) -> FileKeys:
    """Return the keys of an issuer with `jwks_file`."""
    if issuer.jwks_file is None:
        raise ValueError("the issuer has no jwks_file")
    return FileKeys(issuer.jwks_file, f"identities.issuers.{name}.jwks_file", on_fault)


def _read(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the header and the claims, of which nothing is proven yet; each is JSON that has one meaning."""
    if len(token) > MOST_CHARACTERS:
        raise _refused("too_large", f"it has more than {MOST_CHARACTERS} characters")
    parts = token.split(".")
    if len(parts) != 3:
        raise _refused("malformed", "it is no JWT")
    header, claims = (_object(part) for part in parts[:2])
    if header.get("alg") not in ALGORITHMS:
        raise _refused("algorithm", f"it is signed with none of {', '.join(ALGORITHMS)}")
    if "crit" in header or "b64" in header:
        raise _refused("malformed", "it asks for extensions")
    # The library takes a time in a text for one, and stumbles over one that is infinite.
    if not all(type(claims[name]) in {int, float} and math.isfinite(claims[name]) for name in _TIMES if name in claims):
        raise _refused("claims", "its claims have wrong types")
    return header, claims


def _object(part: str) -> dict[str, Any]:
    try:
        text = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise _refused("malformed", "it is no JWT") from None
    if not isinstance(value, dict):
        raise _refused("malformed", "it is no JWT")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found


def _no_number(name: str) -> None:
    raise ValueError(name)


def _kid(header: Mapping[str, Any]) -> str:
    kid = header.get("kid")
    if not isinstance(kid, str) or not 0 < len(kid) <= MOST_KID_CHARACTERS:
        raise _refused("key", "it names no key")
    return kid


def _verified(token: str, key: jwt.PyJWK, issuer: Issuer) -> dict[str, Any]:
    try:
        claims = jwt.decode(
            token,
            key,
            algorithms=list(ALGORITHMS),
            audience=issuer.audiences,
            issuer=issuer.url,
            leeway=CLOCK_SECONDS,
            options={"require": ["iss", "sub", "aud", "exp", "iat"]},
        )
    except exceptions.PyJWTError as exc:
        raise _refused(*_WHY.get(type(exc), ("claims", "its claims have wrong types"))) from None
    return claims


def _refused(why: str, what: str) -> IdentityRefused:
    return IdentityRefused(f"the id token is refused: {what}", why=why)
