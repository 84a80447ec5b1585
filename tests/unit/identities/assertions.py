"""What signs and what is told to the master, and the master's own module with it, as Salt's loader makes it."""

from __future__ import annotations

import base64
import dataclasses
import importlib.util
import json
import time
from pathlib import Path
from types import ModuleType
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from service.identities.assertion import LIFETIME_SECONDS, MODULE, SECTION, make_key, public_text

AUDIENCE = "salt-master"
ACCOUNT = "ci:group/app"


def told(*keys: Ed25519PrivateKey, audience: str = AUDIENCE) -> dict[str, Any]:
    """Return what the master's configuration says of keys."""
    return {SECTION: {"audience": audience, "keys": {f"key-{number}": public_text(key) for number, key in enumerate(keys)}}}


def encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


@dataclasses.dataclass
class MasterSide:
    """The eauth module under a configuration of the master; key: what the sidecar signs with."""

    folder: Path

    def __post_init__(self) -> None:
        self.key_file = self.folder / "identity.pem"
        self.key = make_key(self.key_file)
        self.opts = told(self.key)
        self.module = self._loaded()

    def _loaded(self) -> ModuleType:
        spec = importlib.util.spec_from_file_location("sidecar_eauth", MODULE)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        vars(module)["__opts__"] = self.opts
        return module

    def lets_in(self, password: Any, username: str = ACCOUNT) -> bool:
        answer: bool = self.module.auth(username=username, password=password)
        return answer

    def groups(self, password: Any, username: str = ACCOUNT) -> list[str]:
        answer: list[str] = self.module.groups(username=username, password=password)
        return answer

    def forged(self, header: dict[str, Any] | None = None, key: Ed25519PrivateKey | None = None, **claims: Any) -> str:
        """Return an assertion that is good but for what is changed; None takes a claim away."""
        now = int(time.time())
        said = {"aud": AUDIENCE, "sub": ACCOUNT, "groups": ["deployers"], "iat": now, "exp": now + LIFETIME_SECONDS, **claims}
        parts = {"alg": "EdDSA", "kid": "key-0", **(header or {})}, {name: value for name, value in said.items() if value is not None}
        signed = ".".join(encoded(json.dumps(part).encode()) for part in parts)
        return f"{signed}.{encoded((key or self.key).sign(signed.encode()))}"
