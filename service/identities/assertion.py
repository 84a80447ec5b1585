"""Assertions: what the sidecar signs so that the master's eauth module `sidecar` logs an account in; the key, and what the master is told of it."""

from __future__ import annotations

import base64
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from service.errors import ConfigFault, InvalidConfiguration
from service.secrets.secret_file import SecretFile

# What Salt calls the module, in `external_auth` and in lows.
EAUTH = "sidecar"
MODULE = Path(__file__).parent / "files" / f"{EAUTH}.py"
# The section of the master's configuration that the module reads.
SECTION = "sidecar_assertion"
# The module takes none that lives longer.
LIFETIME_SECONDS = 60


class AssertionSigner:
    """
    Signs in the place of an account's password. Called from request threads.

    key_file: made by `make_key`; read again when it is replaced. master: the master's configuration, which names the key and the audience.
    """

    def __init__(self, key_file: Path, master: Mapping[str, Any], *, time_of_day: Callable[[], float] = time.time) -> None:
        self._key = SecretFile(key_file, "identities.key_file", _private_key)
        self._section = master.get(SECTION)
        self._time_of_day = time_of_day

    def credentials(self, account: str, groups: Sequence[str] = ()) -> dict[str, str]:
        """Return what the login of an account carries, good for one minute. Raises InvalidConfiguration."""
        key, now = self._key.value(), int(self._time_of_day())
        claims = {"aud": self._audience(), "sub": account, "groups": list(groups), "iat": now, "exp": now + LIFETIME_SECONDS}
        signed = ".".join(_encoded(json.dumps(part).encode()) for part in ({"alg": "EdDSA", "kid": self._key_id(key)}, claims))
        return {"eauth": EAUTH, "username": account, "password": f"{signed}.{_encoded(key.sign(signed.encode()))}"}

    def faults(self) -> list[ConfigFault]:
        """Return what keeps the master from taking what is signed here, as far as its configuration tells."""
        try:
            self.credentials("")
        except InvalidConfiguration as exc:
            return exc.faults
        return []

    def _audience(self) -> str:
        audience = self._section.get("audience") if isinstance(self._section, Mapping) else None
        if not isinstance(audience, str) or not audience:
            raise _fault(f"{SECTION}.audience", "the master is not told for whom assertions are signed", "add what `salt-sidecar identity-key` prints")
        return audience

    def _key_id(self, key: Ed25519PrivateKey) -> str:
        keys = self._section.get("keys") if isinstance(self._section, Mapping) else None
        public = public_text(key)
        found = [name for name, known in keys.items() if known == public and isinstance(name, str)] if isinstance(keys, Mapping) else []
        if not found:
            raise _fault(
                f"{SECTION}.keys", "the key of identities.key_file is not among them", "add what `salt-sidecar identity-key` prints, and restart the master"
            )
        return found[0]


def make_key(path: Path) -> Ed25519PrivateKey:
    """Make the file with the private key, which only its owner reads, or return the key of one that is there. Raises OSError, and ValueError for another file."""
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            key = Ed25519PrivateKey.generate()
            file.write(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    except FileExistsError:
        return _private_key(path.read_bytes())
    return key


def public_text(key: Ed25519PrivateKey) -> str:
    """Return the public half as the master's configuration has it: 32 bytes in base64."""
    return base64.b64encode(key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)).decode()


def _private_key(pem: bytes) -> Ed25519PrivateKey:
    try:
        key = serialization.load_pem_private_key(pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ValueError("is no private key in PEM") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError("is no key of Ed25519")
    return key


def _encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _fault(where: str, problem: str, fix: str) -> InvalidConfiguration:
    return InvalidConfiguration([ConfigFault(where, problem, fix)])
