"""Webhooks, while the file of their secret or token is away."""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

import pytest

from service.auth.webhook import Webhooks
from service.errors import SecretUnavailable
from service.secrets.secret_file import ROTATION_SECONDS
from service.settings.settings import HookEndpoint

KEY = b"hook key CANARY"
BODY = b"{}"


@pytest.mark.parametrize("option", ["secret_file", "token_file"])
def test_a_secret_taken_away_admits_nobody_and_says_why(tmp_path: Path, option: str) -> None:
    now = [0.0]
    path = tmp_path / "key"
    path.write_bytes(KEY)
    webhooks = Webhooks({"github": HookEndpoint.model_validate({option: path})}, require_login=True, monotonic=lambda: now[0])
    signature = "sha256=" + hmac.digest(KEY, BODY, hashlib.sha256).hex()

    def check() -> None:
        webhooks.check(("github",), BODY, {"X-Hub-Signature-256": signature, "Authorization": f"Bearer {KEY.decode()}"}.get, "192.0.2.1")

    check()
    path.unlink()
    check()
    now[0] = ROTATION_SECONDS + 1

    with pytest.raises(SecretUnavailable, match=rf"^hook\.endpoints\.github\.{option}: the file holds no secret") as caught:
        check()
    assert caught.value.status == 503
    assert caught.value.retry_after_seconds == ROTATION_SECONDS
    path.write_bytes(KEY)
    check()
