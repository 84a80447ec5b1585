"""A pipeline's password in the master's file is changed while everything runs: docs/eauth.md."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from service.demo.embedded import EmbeddedSalt
from service.demo.embedded_config import write_private
from tests.contract.conftest import Api, login

PING = {"client": "local", "tgt": "minion-1", "fun": "test.ping"}
NEW = "a new one, with = and %"


@pytest.fixture
def users(salt_master: EmbeddedSalt) -> Iterator[Path]:
    """The master's file of users, put back afterwards: others have their passwords from it."""
    path = Path(salt_master.master_config).parent / "users"
    before = path.read_text()
    yield path
    write_private(path, before)


@pytest.mark.master
def test_a_password_is_changed_while_everything_runs(real_api: Api, users: Path) -> None:
    old = real_api.pinger
    new = {**old, "password": NEW}
    token = login(real_api, old)
    inline = [real_api.caller.post([{**who, **PING}]).status for who in (old, new)]

    write_private(users, users.read_text().replace(f"{old['username']}:{old['password']}", f"{old['username']}:{NEW}"))

    assert inline == [200, 401]
    assert [real_api.caller.post([{**who, **PING}]).status for who in (old, new)] == [401, 200]
    assert [real_api.caller.post(who, "/login").status for who in (old, new)] == [401, 200]
    assert real_api.caller.post(PING, x_auth_token=token).status == 200, "a token that was made with the old one lives as long as it would have"
    assert real_api.caller.request("POST", "/logout", x_auth_token=token).status == 200
    assert real_api.caller.post(PING, x_auth_token=token).status == 401
