"""`/v1/session`, `/v1/capabilities` and `/v1/minions` on either master. What shape their answers have, `declared_answers.py` sees to."""

from __future__ import annotations

import datetime as dt
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import salt.payload

from service import __version__
from service.clients import CLIENTS
from service.events.payload import Payload
from tests.contract import conftest
from tests.contract.conftest import Api, fake_api, login
from tests.fakes import FakeGateway


def get(api: Api, path: str, user: dict[str, str] | None = None) -> Any:
    answer = api.caller.get(f"/v1/{path}", x_auth_token=login(api, user or api.demo))
    assert (answer.status, answer.headers["cache-control"]) == (200, "no-store"), answer.body
    return answer.json()


def test_a_caller_learns_who_they_are_what_they_may_do_and_how_long(api: Api) -> None:
    token = login(api, api.pinger)
    answer = api.caller.get("/v1/session", x_auth_token=token)
    session = answer.json()

    assert (answer.status, answer.headers["cache-control"]) == (200, "no-store")
    assert (session["user"], session["eauth"], session["sees_everything"], session["offline"]) == (api.pinger["username"], api.pinger["eauth"], False, False)
    assert session["perms"] == ["test.ping"]
    left = dt.datetime.fromisoformat(session["expires"].replace("Z", "+00:00")).timestamp() - time.time()
    assert abs(left - session["expires_in"]) < 5
    assert session["start"] < session["expires"]
    assert token.encode() not in answer.body


def test_who_may_do_everything_sees_everything(api: Api) -> None:
    assert get(api, "session")["sees_everything"]


def test_a_session_that_never_ends_and_one_without_rights_are_shown(tmp_path: Path) -> None:
    api = fake_api(tmp_path, external_auth="external_auth: {sharedsecret: {other: ['.*']}}\n")
    assert isinstance(api.process.gateway, FakeGateway)
    token: str = api.process.gateway.runner.tokens.mk_token(api.pinger)["token"]
    api.process.gateway.master.tokens[token]["expire"] = 1e15

    session = api.caller.get("/v1/session", x_auth_token=token).json()

    assert (session["expires"], session["perms"]) == ("9999-12-31T23:59:59.000Z", [])


def test_capabilities_say_what_the_configuration_lets_us_do(api: Api) -> None:
    found = get(api, "capabilities", api.pinger)

    assert found["versions"]["sidecar"] == __version__
    assert found["clients"] == list(CLIENTS)
    assert "local" in found["job_clients"]
    assert found["limits"]["lows_per_request"] == 100
    assert found["features"] == {"jobs": True, "recovery": False, "page": False}


def test_capabilities_leave_out_what_is_switched_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conftest, "MASTER_CONFIG", conftest.MASTER_CONFIG.replace(", ".join(CLIENTS), "runner"))
    api = fake_api(tmp_path, SIDECAR_LIMITS_LOWS_PER_REQUEST="7", SIDECAR_JOBS_STORE="")

    found = get(api, "capabilities")

    assert (found["clients"], found["job_clients"], found["features"]["jobs"], found["limits"]["lows_per_request"]) == (["runner"], [], False, 7)


def test_minions_with_accepted_keys_are_listed(api: Api) -> None:
    assert get(api, "minions") == {"minions": ["minion-1", "minion-2"]}
    assert get(api, "minions?match=*-2") == {"minions": ["minion-2"]}
    assert get(api, "minions?match=nobody") == {"minions": []}


def test_minions_are_listed_page_by_page(api: Api) -> None:
    first = get(api, "minions?limit=1&seen=1")

    assert (first["minions"], [*first["seen"]], first["next"]) == (["minion-1"], ["minion-1"], "minion-1")
    assert get(api, f"minions?limit=1&after={first['next']}") == {"minions": ["minion-2"], "next": None}
    assert get(api, "minions?after=minion-1") == {"minions": ["minion-2"]}


@pytest.mark.parametrize("limit", ["0", "-1", "many", "1001", "1e2", "²"])
def test_a_limit_that_is_no_number_is_refused(api: Api, limit: str) -> None:
    answer = api.caller.get(f"/v1/minions?limit={quote(limit)}", x_auth_token=login(api, api.demo))

    assert (answer.status, "limit" in answer.json()["detail"]) == (400, True)


def test_of_minions_it_is_said_when_they_were_heard_of(tmp_path: Path) -> None:
    api = fake_api(tmp_path)
    fleet = api.process.follower.fleet
    fleet.heard("minion-1", highstate=False)
    fleet.present(Payload(bytes(salt.payload.dumps({"present": ["minion-1", 5]}))))
    seen = get(api, "minions?seen=1")["seen"]

    assert (seen["minion-1"]["last_highstate"], seen["minion-1"]["connected"]) == ("failure", True)
    assert seen["minion-1"]["last_seen"].endswith("Z")
    assert seen["minion-2"] == {"last_seen": None, "last_highstate": None, "connected": False}


def test_minions_are_shown_to_who_may_list_keys(api: Api) -> None:
    answer = api.caller.get("/v1/minions", x_auth_token=login(api, api.pinger))

    assert (answer.status, answer.json()["error"], "minion-1" in answer.json()["detail"]) == (403, "Forbidden", False)


def test_a_master_that_cannot_list_its_keys_is_no_empty_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    api = fake_api(tmp_path)
    assert isinstance(api.process.gateway, FakeGateway)
    token = login(api, api.demo)
    monkeypatch.setattr(api.process.gateway.master, "minions", "Exception occurred in wheel key.list_all")

    answer = api.caller.get("/v1/minions", x_auth_token=token)

    assert (answer.status, answer.json()["error"]) == (500, "MasterRefused")
