"""How far a logout reaches when we do not share the master's disk; what the log says of sessions; what a master in trouble does to them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from service.api.jobs import _shown
from service.errors import MasterTimeout, MasterUnreachable
from service.gateway.clients.tokens import Tokens
from tests.contract.conftest import Api

PING = {"client": "local", "tgt": "minion-1", "fun": "test.ping"}


def login(api: Api, credentials: dict[str, str]) -> str:
    token: str = api.caller.post(credentials, "/login").json()["return"][0]["token"]
    return token


@pytest.fixture
def tokens(api: Api, monkeypatch: pytest.MonkeyPatch) -> Tokens:
    """The token calls of a sidecar that cannot see the master's disk."""
    found = api.process.gateway.tokens
    assert isinstance(found, Tokens)
    monkeypatch.setattr(found, "_folder", "/nonexistent")
    return found


def known_to_the_master(tokens: Tokens, token: str) -> bool:
    reply = tokens._channels.send({"cmd": "get_token", "token": token})
    return bool(reply)


def test_a_user_with_the_right_makes_the_master_forget_the_token(api: Api, tokens: Tokens) -> None:
    token = login(api, api.demo)

    assert api.caller.request("POST", "/logout", x_auth_token=token).status == 200
    assert not known_to_the_master(tokens, token)


def test_a_user_without_the_right_is_at_least_refused_here(api: Api, tokens: Tokens) -> None:
    token = login(api, api.pinger)

    assert api.caller.request("POST", "/logout", x_auth_token=token).status == 200
    assert known_to_the_master(tokens, token)
    assert api.caller.post(PING, x_auth_token=token).status == 401
    assert api.caller.post({**PING, "token": token}, "/run").status == 401


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, api: Api) -> Iterator[list[dict[str, Any]]]:
    """Collect what is logged."""
    found: list[dict[str, Any]] = []

    class Log:
        def __getattr__(self, level: str) -> Any:
            return lambda event, **fields: found.append({"event": event, "level": level, **fields})

    monkeypatch.setattr(api.process, "log", Log())
    monkeypatch.setattr(api.process.report, "_log", Log())
    yield found
    capsys.readouterr()


def test_the_log_knows_the_session_and_never_the_token(api: Api, lines: list[dict[str, Any]]) -> None:
    token = login(api, api.demo)
    api.caller.post(PING, x_auth_token=token)
    api.caller.post({**api.demo, **PING}, "/run")
    api.caller.post({**PING, "token": token}, "/run")
    api.caller.request("POST", "/logout", x_auth_token=token)
    api.caller.post(PING, x_auth_token=token)

    text = json.dumps(lines, default=str)
    assert token not in text
    assert api.demo["password"] not in text
    assert [line.get("user.name") for line in lines if line["event"] == "http.request"] == ["demo", "demo", "demo", None, "demo", None]
    assert len({line["auth.session"] for line in lines if "auth.session" in line}) == 1
    (revoked,) = [line for line in lines if line["event"] == "auth.token.revoked"]
    assert (revoked["user.name"], revoked["auth.eauth"]) == ("demo", "sharedsecret")
    assert revoked["by"] in {"file", "runner"}


def test_a_revocation_that_reaches_no_further_is_explained_once(api: Api, tokens: Tokens, lines: list[dict[str, Any]]) -> None:
    api.process.report._told_local = False
    for _ in range(2):
        api.caller.request("POST", "/logout", x_auth_token=login(api, api.pinger))

    assert [line["by"] for line in lines if line["event"] == "auth.token.revoked"] == ["here", "here"]
    assert [line["level"] for line in lines if line["event"] == "auth.revocation.local"] == ["warning"]


@pytest.mark.parametrize(("fault", "status"), [(MasterUnreachable("the master is down"), 503), (MasterTimeout("the master is slow"), 504)])
@pytest.mark.parametrize("path", ["/", "/minions", "/logout"])
def test_a_master_that_cannot_check_a_session_ends_none(api: Api, monkeypatch: pytest.MonkeyPatch, fault: Exception, status: int, path: str) -> None:
    token = login(api, api.demo)
    api.process.sessions._alive.clear()

    def get_token(_token: str) -> None:
        raise fault

    with monkeypatch.context() as patch:
        patch.setattr(api.process.gateway.tokens, "get_token", get_token)
        answer = api.caller.post(PING, path, x_auth_token=token)

    assert answer.status == status
    assert api.caller.post(PING, x_auth_token=token).status == 200


def test_a_sentence_in_place_of_a_job_is_its_error() -> None:
    assert _shown("Exception occurred in runner", "1") == {"info": [{"jid": "1", "Error": "Exception occurred in runner"}], "return": [{}]}
    assert _shown({"Result": None}, "1") == {"info": [{"Result": None}], "return": [{}]}
    assert _shown({"Result": {"a": {"return": 1}, "b": 2, "c": {}}}, "1")["return"] == [{"a": 1, "b": 2, "c": None}]
