"""Sessions: /login, /logout, /token, and what a session is good for."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest

from service.wiring.configuration import read_configuration
from service.wiring.process import Process
from tests.caller import Response
from tests.contract.conftest import MASTER_CONFIG, Api, fake_api, real_sidecar
from tests.fakes import FakeGateway

PING = {"client": "local", "tgt": "minion-1", "fun": "test.ping"}
PONG = {"return": [{"minion-1": True}]}
FORM = "application/x-www-form-urlencoded"


def login(api: Api, credentials: dict[str, str] | None = None) -> str:
    answer = api.caller.post(credentials or api.demo, "/login")
    assert answer.status == 200, answer.body
    token: str = answer.json()["return"][0]["token"]
    return token


def ping(api: Api, **headers: str) -> Response:
    return api.caller.post(PING, **headers)


def cookie_of(answer: Response) -> str:
    return answer.headers["set-cookie"].partition(";")[0].partition("=")[2]


def test_login_gives_the_token_three_times(api: Api) -> None:
    answer = api.caller.post(api.demo, "/login")

    (session,) = answer.json()["return"]
    assert answer.status == 200
    assert list(session) == ["token", "expire", "start", "user", "eauth", "perms"]
    assert (session["user"], session["eauth"]) == ("demo", "sharedsecret")
    assert isinstance(session["start"], float)
    assert session["start"] < session["expire"]
    assert session["perms"] == [".*", "@jobs", "@runner", "@wheel"]
    assert session["token"] == answer.headers["x-auth-token"] == cookie_of(answer)
    assert int(session["token"], 16)


def test_the_cookie_is_for_http_alone_and_lives_as_long_as_the_token(api: Api) -> None:
    cookie = api.caller.post(api.demo, "/login").headers["set-cookie"]

    attributes = {part.strip().partition("=")[0] for part in cookie.split(";")[1:]}
    assert attributes == {"expires", "HttpOnly", "Path", "SameSite"}
    assert "Path=/;" in cookie + ";"
    assert "SameSite=Lax" in cookie


def test_get_login_says_how(api: Api) -> None:
    answer = api.caller.get("/login")

    assert (answer.status, answer.json()) == (200, {"status": None, "return": "Please log in"})
    assert answer.headers["www-authenticate"] == "Session"


@pytest.mark.parametrize("content_type", ["application/json", "text/plain;charset=UTF-8", "application/x-yaml"])
def test_login_takes_an_object_or_a_list_in_any_type(api: Api, content_type: str) -> None:
    for body in (api.demo, [api.demo]):
        answer = api.caller.request("POST", "/login", json.dumps(body).encode(), content_type=content_type)

        assert answer.status == 200
        assert answer.json()["return"][0]["user"] == "demo"


def test_login_takes_a_form(api: Api) -> None:
    answer = api.caller.request("POST", "/login", urlencode(api.demo).encode(), content_type=FORM)

    assert answer.status == 200


def test_login_passes_unknown_keys_and_ignores_an_empty_token(api: Api) -> None:
    answer = api.caller.post({**api.demo, "token_expire": "60", "otp": 1, "token": ""}, "/login", x_auth_token="")

    assert answer.status == 200


def test_login_understands_sharedsecret_for_password(api: Api) -> None:
    credentials = {"eauth": "sharedsecret", "username": "demo", "sharedsecret": api.demo["password"]}

    assert api.caller.post(credentials, "/login").status == 200


BURST = 3


@pytest.mark.parametrize("field", ["sharedsecret", "password", "otp"])
def test_a_good_login_lets_no_other_value_of_any_field_past_the_brake(tmp_path: Path, field: str) -> None:
    api = fake_api(tmp_path, SIDECAR_LIMITS_AUTH_FAILURES_BURST=str(BURST))
    good = {"eauth": "sharedsecret", "username": "demo", "sharedsecret": api.demo["password"]}
    wrong = {"eauth": "sharedsecret", "username": "demo"} if field == "password" else {**good, "sharedsecret": "wrong"}
    first = api.caller.post(good, "/login").status
    tried = [api.caller.post({**wrong, field: f"guess-{number}"}, "/login").status for number in range(15)]

    assert (first, tried) == (200, [401] * BURST + [429] * (15 - BURST))
    assert api.run(client="local", tgt="*", fun="test.ping").status == 200  # by its own name the secret is proven too


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"null", b'["x"]', b"1", b'"text"', b'{"username": 1, "password": "x", "eauth": "pam"}', b'{"username": "a", "password": {}, "eauth": "pam"}',
     b'{"username": "a", "password": "b", "eauth": "pam", "token_expire": "soon"}', b'{"username": "a", "password": "b", "eauth": "pam", "token_expire": -1}'],
)  # fmt: skip
def test_a_login_that_is_none_is_a_bad_request(api: Api, body: bytes) -> None:
    answer = api.caller.request("POST", "/login", body, content_type="application/json")

    assert answer.status == 400, answer.body


@pytest.mark.parametrize("missing", ["username", "password", "eauth"])
def test_an_incomplete_login_is_refused_without_the_master(api: Api, missing: str) -> None:
    answer = api.caller.post({name: value for name, value in api.demo.items() if name != missing}, "/login")

    assert answer.status == 401
    assert "x-auth-token" not in answer.headers


def test_a_wrong_password_is_refused_and_told_to_nobody(api: Api) -> None:
    answer = api.caller.post({**api.demo, "username": "CANARY-user", "password": "CANARY-password"}, "/login")

    assert answer.status == 401
    assert b"CANARY" not in answer.body
    assert "set-cookie" not in answer.headers


def test_perms_are_an_object_when_empty_and_the_users_own_otherwise(api: Api) -> None:
    answer = api.caller.post(api.pinger, "/login")

    assert answer.json()["return"][0]["perms"] == ["test.ping"]


def test_a_session_is_taken_from_header_cookie_or_bearer(api: Api) -> None:
    token = login(api)

    assert ping(api, x_auth_token=token).json() == PONG
    assert ping(api, cookie=f"session_id={token}").json() == PONG
    assert ping(api, authorization=f"Bearer {token}").json() == PONG


def test_the_header_wins_over_the_cookie(api: Api) -> None:
    token = login(api)

    assert ping(api, x_auth_token=token, cookie="session_id=" + "0" * 64).status == 200
    assert ping(api, x_auth_token="0" * 64, cookie=f"session_id={token}").status == 401
    assert ping(api, x_auth_token="", cookie=f"session_id={token}").status == 200


def test_a_cookie_jar_of_garbage_does_not_matter(api: Api) -> None:
    token = login(api)
    jar = f'a=b; ;;=; "x; $Version=1; session_id=; session_id="../../x"; session_id=junk; \x7f\xff=1; session_id={token}; c=' + "y" * 4000

    assert ping(api, cookie=jar).json() == PONG
    assert ping(api, cookie=jar.replace(token, "")).json()["return"] == "401: No authentication credentials given"
    assert api.caller.post({**api.demo, **PING}, cookie=jar.replace(token, "")).json() == PONG


def test_a_session_runs_as_its_user_whatever_the_low_carries(api: Api) -> None:
    token = login(api, api.pinger)
    answer = api.caller.post({**api.demo, **PING, "fun": "test.echo", "arg": ["x"]}, x_auth_token=token)

    assert answer.status == 401


def test_run_knows_no_session_but_takes_its_token_inline(api: Api) -> None:
    token = login(api)

    assert api.caller.post(PING, "/run", x_auth_token=token).status == 401
    assert api.caller.post({**PING, "token": token}, "/run").json() == PONG
    assert api.caller.post({**PING, **api.demo}, "/run", x_auth_token="0" * 64).json() == PONG


def test_logging_in_again_works_with_any_token_in_hand(api: Api) -> None:
    first = login(api)

    for held in (first, "0" * 64, "junk", ""):
        assert api.caller.post(api.demo, "/login", x_auth_token=held, cookie=f"session_id={held}").status == 200
    assert ping(api, x_auth_token=first).status == 200


@pytest.mark.parametrize("body", [b"", b"{}", b"null", b"garbage"])
def test_logout_takes_any_body_and_ends_the_session(api: Api, body: bytes) -> None:
    token = login(api)
    assert ping(api, x_auth_token=token).status == 200

    answer = api.caller.request("POST", "/logout", body, content_type="application/json", x_auth_token=token)

    assert (answer.status, answer.json()) == (200, {"return": "Your token has been cleared"})
    assert cookie_of(answer) in {"", '""'}
    assert ping(api, x_auth_token=token).status == 401
    assert api.caller.post({**PING, "token": token}, "/run").status == 401


def test_logout_by_cookie_works_for_post_only(api: Api) -> None:
    token = login(api)

    assert api.caller.get("/logout", cookie=f"session_id={token}").status == 401
    assert ping(api, x_auth_token=token).status == 200
    assert api.caller.request("POST", "/logout", cookie=f"session_id={token}").status == 200
    assert ping(api, x_auth_token=token).status == 401


def test_get_logout_works_with_the_header(api: Api) -> None:
    token = login(api)

    assert api.caller.get("/logout", x_auth_token=token).status == 200
    assert ping(api, x_auth_token=token).status == 401


def test_logout_needs_a_session(api: Api) -> None:
    assert api.caller.request("POST", "/logout").status == 401


def test_token_answers_a_bare_list(api: Api) -> None:
    answer = api.caller.post(api.demo, "/token")

    (made,) = answer.json()
    assert answer.status == 200
    assert {"token", "start", "expire", "name", "eauth"} <= set(made)
    assert api.caller.post({**PING, "token": made["token"]}, "/run").json() == PONG


def test_token_makes_one_for_each_login(api: Api) -> None:
    made = api.caller.post([api.demo, api.pinger], "/token").json()

    assert [one["name"] for one in made] == ["demo", "pinger"]


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b'["x"]', b"{}", b'{"username": "a", "password": "b"}', b"[{}]"])
def test_token_says_what_it_needs(api: Api, body: bytes) -> None:
    assert api.caller.request("POST", "/token", body, content_type="application/json").status == 400


@pytest.fixture
def other_sidecar(api: Api, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Api]:
    """Make a second process beside the same master; it knows nothing of the first."""
    first = api.process.gateway
    if isinstance(first, FakeGateway):
        (tmp_path / "master").write_text(MASTER_CONFIG)
        configuration = read_configuration({"SALT_MASTER_CONFIG": str(tmp_path / "master")})
        process = Process(configuration, connect=lambda wanted, hub, _, ledger: FakeGateway(wanted.master, hub, ledger, first.master.tokens))
        yield dataclasses.replace(api, caller=type(api.caller)(process.api), process=process)
        return
    with real_sidecar(request.getfixturevalue("salt_master"), request.getfixturevalue("real_configuration")) as other:
        yield other


@pytest.mark.costly
def test_a_session_is_good_on_another_sidecar_and_after_a_restart(api: Api, other_sidecar: Api) -> None:
    token = login(api)

    assert ping(other_sidecar, x_auth_token=token).json() == PONG


def test_a_logout_on_one_sidecar_holds_on_the_other(api: Api, other_sidecar: Api) -> None:
    token = login(api)
    api.caller.request("POST", "/logout", x_auth_token=token)

    assert ping(other_sidecar, x_auth_token=token).status == 401
    assert other_sidecar.caller.post({**PING, "token": token}, "/run").status == 401
