"""
Eauth module `sidecar` for the salt-master: a login counts if its password is what the sidecar has just signed for this very account and this master.

`salt-sidecar install-eauth DIR` writes this file; docs/identities.md says what the master's configuration needs beside it.
"""

from __future__ import annotations

import base64
import json
import logging
import time
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

log = logging.getLogger(__name__)
__opts__: dict[str, Any]  # the master's configuration; from Salt's loader
# The longest life of an assertion, and how far the clocks may be apart.
MOST_SECONDS = 60
CLOCK_SECONDS = 30


def _decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def _claims(username: str, assertion: str) -> dict[str, Any]:
    """Return what the assertion says. Raises ValueError for one that is not good, and other exceptions for what is none."""
    settings, now = __opts__["sidecar_assertion"], time.time()  # noqa: F821 - ruff takes a bare annotation for no definition
    head, body, signature = assertion.split(".")
    header = json.loads(_decoded(head))
    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(settings["keys"][header["kid"]]))
    key.verify(_decoded(signature), f"{head}.{body}".encode())
    claims: dict[str, Any] = json.loads(_decoded(body))
    if header["alg"] != "EdDSA" or claims["aud"] != settings["audience"] or claims["sub"] != username:
        raise ValueError("it is for another account or master")
    if not claims["iat"] - CLOCK_SECONDS <= now < claims["exp"] <= claims["iat"] + MOST_SECONDS:
        raise ValueError("it is not valid now")
    return claims


def auth(username: str, password: str, **_kwargs: Any) -> bool:
    """Say whether the assertion in the place of a password is good."""
    try:
        _claims(username, password)
    except Exception as exc:
        log.warning("An assertion for %r was refused: %s", str(username)[:64], type(exc).__name__ if not isinstance(exc, ValueError) else exc)
        return False
    return True


def groups(username: str, password: str = "", **_kwargs: Any) -> list[str]:
    """Return the groups that the assertion names; `NAME%` below `external_auth: sidecar:` gives them rights."""
    try:
        return [str(group) for group in _claims(username, password)["groups"]]
    except Exception:
        return []
