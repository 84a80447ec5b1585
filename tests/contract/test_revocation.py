"""How far a logout reaches when we do not share the master's disk; what the log says of sessions; what a master in trouble does to them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

import pytest
from salt.auth import LoadAuth
from structlog.testing import capture_logs

from service.api.jobs import shown
from service.errors import MasterTimeout, MasterUnreachable
from tests.contract.conftest import Api, fake_api, real_sidecar
from tests.fakes import FakeGateway

PING = {"client": "local", "tgt": "minion-1", "fun": "test.ping"}


def login(api: Api, credentials: dict[str, str]) -> str:
    token: str = api.caller.post(credentials, "/login").json()["return"][0]["token"]
    return token


@pytest.fixture
def lines() -> Iterator[list[MutableMapping[str, Any]]]:
    """Collect what is logged."""
    with capture_logs() as found:
        yield found


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.master)])
def api(request: pytest.FixtureRequest, tmp_path: Path, lines: object) -> Iterator[Api]:
    """A sidecar for each test: what it explains once, it has not explained yet."""
    assert lines == []
    if request.param == "fake":
        yield fake_api(tmp_path)
        return
    with real_sidecar(request.getfixturevalue("salt_master"), request.getfixturevalue("real_configuration")) as real:
        yield real


@pytest.fixture
def _no_disk(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the sidecar not see the disk that its master keeps tokens on."""
    unlink, folder = os.unlink, Path(api.master["token_dir"])

    def blind(path: str, **options: Any) -> None:
        if Path(path).parent == folder:
            raise FileNotFoundError(path)
        unlink(path, **options)

    monkeypatch.setattr(os, "unlink", blind)


def known_to_the_master(api: Api, token: str) -> bool:
    gateway = api.process.gateway
    return token in gateway.master.tokens if isinstance(gateway, FakeGateway) else bool(LoadAuth(dict(api.master)).get_tok(token))


@pytest.mark.usefixtures("_no_disk")
def test_a_user_with_the_right_makes_the_master_forget_the_token(api: Api) -> None:
    token = login(api, api.demo)

    assert api.caller.request("POST", "/logout", x_auth_token=token).status == 200
    assert not known_to_the_master(api, token)


@pytest.mark.usefixtures("_no_disk")
def test_a_user_without_the_right_is_at_least_refused_here(api: Api) -> None:
    token = login(api, api.pinger)

    assert api.caller.request("POST", "/logout", x_auth_token=token).status == 200
    assert known_to_the_master(api, token)
    assert api.caller.post(PING, x_auth_token=token).status == 401
    assert api.caller.post({**PING, "token": token}, "/run").status == 401


def test_the_log_knows_the_session_and_never_the_token(api: Api, lines: list[MutableMapping[str, Any]]) -> None:
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


@pytest.mark.usefixtures("_no_disk")
def test_a_revocation_that_reaches_no_further_is_explained_once(api: Api, lines: list[MutableMapping[str, Any]]) -> None:
    for _ in range(2):
        api.caller.request("POST", "/logout", x_auth_token=login(api, api.pinger))

    assert [line["by"] for line in lines if line["event"] == "auth.token.revoked"] == ["here", "here"]
    assert [line["log_level"] for line in lines if line["event"] == "auth.revocation.local"] == ["warning"]


@pytest.mark.parametrize(("fault", "status"), [(MasterUnreachable("the master is down"), 503), (MasterTimeout("the master is slow"), 504)])
@pytest.mark.parametrize("path", ["/", "/minions", "/logout"])
def test_a_master_that_cannot_check_a_session_ends_none(api: Api, monkeypatch: pytest.MonkeyPatch, fault: Exception, status: int, path: str) -> None:
    token = api.process.gateway.runner.tokens.mk_token(api.demo)["token"]

    def get_token(_token: str, _timeout: float | None) -> None:
        raise fault

    with monkeypatch.context() as patch:
        patch.setattr(api.process.gateway.runner.tokens, "get_token", get_token)
        answer = api.caller.post(PING, path, x_auth_token=token)

    assert answer.status == status
    assert api.caller.post(PING, x_auth_token=token).status == 200


@pytest.mark.costly
@pytest.mark.parametrize("fault", [MasterUnreachable("the master is down"), MasterTimeout("the master is slow")])
def test_what_needs_no_master_works_without_it_for_a_token_that_was_good_lately(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Exception) -> None:
    api = fake_api(tmp_path, SIDECAR_SESSION_CACHE_SECONDS="0")
    token = login(api, api.demo)

    def send(*_load: object, **_options: object) -> None:
        raise fault

    with monkeypatch.context() as patch:
        patch.setattr(api.process.gateway.master, "send", send)  # type: ignore[attr-defined]  # of the fake
        without = [api.caller.request("GET", path, x_auth_token=token).status for path in ("/stats", "/", "/login")]
        needs = [api.caller.request("GET", path, x_auth_token=token).status for path in ("/minions", "/jobs", "/keys", "/events")]
        logout = api.caller.request("POST", "/logout", x_auth_token=token).status
        after = [api.caller.request("GET", path, x_auth_token=token).status for path in ("/stats", "/logout")]
    known = known_to_the_master(api, token)
    api.process.gateway.runner.tokens.settle()

    assert (without, set(needs), logout, set(after)) == ([200] * 3, {503, 504} & {fault.status}, 200, {401})  # type: ignore[attr-defined]
    assert (known, known_to_the_master(api, token)) == (True, False)


def test_a_sentence_in_place_of_a_job_is_its_error() -> None:
    assert shown("Exception occurred in runner", "1") == {"info": [{"jid": "1", "Error": "Exception occurred in runner"}], "return": [{}]}
    assert shown({"Result": None}, "1") == {"info": [{"Result": None}], "return": [{}]}
    assert shown({"Result": {"a": {"return": 1}, "b": 2, "c": {}}}, "1")["return"] == [{"a": 1, "b": 2, "c": None}]
