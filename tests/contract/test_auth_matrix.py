"""Nobody gets in: every client, every GET and every other door, with every kind of credentials that must not do, is a 401 and never a result."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import salt.payload

from service.clients import CLIENTS
from service.gateway.gateway import Gateway
from service.http.app import PROBLEM
from service.route_rows import Needs, Route
from service.routes import API
from tests.caller import Response
from tests.contract.conftest import Api, a_store, fake_api
from tests.fakes import FakeGateway

Low = dict[str, Any]
Carry = Callable[[str], dict[str, str]]

# What pinger must not do, by client; all of it works as demo.
LOWS: dict[str, Low] = {
    **{client: {"client": client, "tgt": "*", "fun": "test.echo", "arg": ["STOLEN"]} for client in CLIENTS if client.startswith("local")},
    **{client: {"client": client, "fun": "test.arg", "arg": ["STOLEN"]} for client in CLIENTS if client.startswith("runner")},
    **{client: {"client": client, "fun": "key.list_all"} for client in CLIENTS if client.startswith("wheel")},
    "ssh": {"client": "ssh", "tgt": "*", "fun": "test.echo", "arg": ["STOLEN"]},
}
CARRIERS: dict[str, Carry] = {
    "header": lambda token: {"x_auth_token": token},
    "bearer": lambda token: {"authorization": f"Bearer {token}"},
    "cookie": lambda token: {"cookie": f"session_id={token}"},
}


def doors(route: Route[Any]) -> Iterator[tuple[str, str, Needs]]:
    """Return method, URL and what a caller must show, for each method of a route; what answers GET answers HEAD."""
    url = route.template.format(mid="minion-1", jid="20260101000000000000", tid="0123456789abcdef")
    for method, needs in route.access.items():
        yield method, url, needs
        if method == "GET":
            yield "HEAD", url, needs


DOORS = [door for route in API for door in doors(route)]
GUARDED = [url for method, url, needs in DOORS if method == "GET" and needs is not Needs.NOTHING]
ANY_SESSION = frozenset({Needs.SESSION, Needs.WHOLE_SESSION, Needs.HEADER_SESSION, Needs.URL_SESSION, Needs.STATS_SESSION})
FOR_ANY_SESSION = frozenset(url for method, url, needs in DOORS if method == "GET" and needs in ANY_SESSION)
# Whatever the URL, enough to get past all but the credentials.
STRANGER = {**LOWS["local"], "username": "demo", "password": "wrong", "eauth": "sharedsecret", "mid": "stolen"}
JUNK = {
    "unknown": "0123456789abcdef" * 4,
    "short": "abc123",
    "word": "junk",
    "path": "../../../etc/passwd",
    "absolute": "/etc/passwd",
    "encoded": "..%2f..%2fetc%2fpasswd",
    "long": "a" * 5000,
    "binary": "\xff\xfe",
    "json": '{"token": 1}',
    "true": "true",
}


def dead_token(api: Api) -> str:
    """Make a token that no session was asked of yet, then let its time be over."""
    gateway = api.process.gateway
    token: str = gateway.runner.tokens.mk_token(api.demo)["token"]
    if isinstance(gateway, FakeGateway):
        gateway.master.tokens[token]["expire"] = 1.0
        return token
    assert isinstance(gateway, Gateway)
    (path,) = Path(api.master["token_dir"]).glob(f"{token}*")
    path.write_bytes(salt.payload.dumps({**salt.payload.loads(path.read_bytes()), "expire": 1.0}))
    return token


def session_of(api: Api, credentials: dict[str, str]) -> str:
    token: str = api.caller.post(credentials, "/login").json()["return"][0]["token"]
    return token


def assert_nothing_given(answer: Response, what: object = "") -> None:
    assert answer.status == 401, (what, answer.body)
    body = answer.json()
    is_problem = answer.headers["content-type"] == PROBLEM
    assert is_problem or body["return"].startswith("401: "), what
    assert set(body) <= {*(("type", "title", "detail") if is_problem else ("return",)), "status", "error", "request_id", "field", "jid"}, what
    assert b"STOLEN" not in answer.body, what


@pytest.fixture(scope="module", params=["fake", pytest.param("reuse", marks=pytest.mark.slow), pytest.param("real", marks=pytest.mark.master)])
def api(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """One application for the whole matrix, also one that has logins to use again. At the end, where we can see it: its master was asked to do nothing but say no."""
    if request.param == "real":
        yield request.getfixturevalue("real_api")
        return
    folder = tmp_path_factory.mktemp("matrix")
    reuse = {"SIDECAR_LIMITS_AUTH_REUSE_SECONDS": "60"} if request.param == "reuse" else {}
    made = fake_api(folder, **a_store(folder), **reuse)
    for _ in range(2 * bool(reuse)):
        for credentials in (made.demo, made.pinger):
            assert made.caller.post({**credentials, "client": "local", "tgt": "*", "fun": "test.ping"}).status == 200
    yield made
    gateway = made.process.gateway
    assert isinstance(gateway, FakeGateway)
    # local_batch pings its minions first, which pinger may do.
    assert {load["fun"] for load in gateway.master.published.values()} <= {"test.ping"}
    assert gateway.master.keys == {"minion-1", "minion-2"}
    made.process.stop()


@pytest.mark.parametrize("client", CLIENTS)
class TestInline:
    def refused(self, api: Api, body: object, what: object = "") -> None:
        for path in ("/", "/run"):
            assert_nothing_given(api.caller.post(body, path), (path, what))

    def test_no_credentials(self, api: Api, client: str) -> None:
        for nothing in ({}, {"token": ""}, {"eauth": ""}, {"eauth": "", "username": "", "password": ""}):
            self.refused(api, {**LOWS[client], **nothing}, nothing)

    def test_a_junk_token(self, api: Api, client: str) -> None:
        for name, token in JUNK.items():
            self.refused(api, {**LOWS[client], "token": token}, name)
            self.refused(api, {**api.demo, **LOWS[client], "token": token}, name)

    def test_an_expired_token(self, api: Api, client: str) -> None:
        self.refused(api, {**LOWS[client], "token": dead_token(api)})

    def test_a_wrong_password(self, api: Api, client: str) -> None:
        self.refused(api, {**api.demo, **LOWS[client], "password": "wrong"})

    def test_an_eauth_that_is_not_configured(self, api: Api, client: str) -> None:
        self.refused(api, {**api.demo, **LOWS[client], "eauth": "auto"})

    def test_the_right_user_without_the_right(self, api: Api, client: str) -> None:
        self.refused(api, {**api.pinger, **LOWS[client]})
        self.refused(api, {**LOWS[client], "token": session_of(api, api.pinger)})

    def test_nothing_is_run_before_a_low_without_credentials(self, api: Api, client: str) -> None:
        self.refused(api, [{**api.demo, **LOWS["local"]}, LOWS[client]])


@pytest.mark.parametrize("client", CLIENTS)
class TestInASession:
    def refused(self, api: Api, body: object, token: str, what: object = "") -> None:
        for name, carry in CARRIERS.items():
            for path in ("/", "/run"):
                assert_nothing_given(api.caller.post(body, path, **carry(token)), (path, name, what))

    def test_a_junk_token(self, api: Api, client: str) -> None:
        for name, token in JUNK.items():
            self.refused(api, LOWS[client], token, name)

    def test_an_expired_token(self, api: Api, client: str) -> None:
        self.refused(api, LOWS[client], dead_token(api))

    def test_the_right_user_without_the_right(self, api: Api, client: str) -> None:
        token = session_of(api, api.pinger)

        self.refused(api, LOWS[client], token)
        # Not at /run, which takes the credentials of the low and no session.
        for carry in CARRIERS.values():
            assert_nothing_given(api.caller.post({**api.demo, **LOWS[client]}, "/", **carry(token)))

    def test_a_session_that_was_ended(self, api: Api, client: str) -> None:
        token = session_of(api, api.demo)
        api.caller.request("POST", "/logout", x_auth_token=token)

        self.refused(api, LOWS[client], token)


@pytest.mark.parametrize("path", GUARDED)
class TestEveryGet:
    def refused(self, api: Api, path: str, token: str, what: object = "") -> None:
        for name, carry in CARRIERS.items():
            assert_nothing_given(api.caller.get(path, **carry(token)), (name, what))

    def test_no_credentials(self, api: Api, path: str) -> None:
        assert_nothing_given(api.caller.get(path))

    def test_credentials_that_only_run_takes(self, api: Api, path: str) -> None:
        body = json.dumps(api.demo).encode()

        assert_nothing_given(api.caller.request("GET", path, body, content_type="application/json"))
        assert_nothing_given(api.caller.get(path, authorization="Basic ZGVtbzp3cm9uZw=="))

    def test_a_junk_token(self, api: Api, path: str) -> None:
        for name, token in JUNK.items():
            self.refused(api, path, token, name)

    def test_an_expired_token(self, api: Api, path: str) -> None:
        self.refused(api, path, dead_token(api))

    def test_a_user_without_the_right(self, api: Api, path: str) -> None:
        if path.startswith("/v1/") and path not in FOR_ANY_SESSION:
            answers = [api.caller.get(path, **carry(session_of(api, api.pinger))) for carry in CARRIERS.values()]
            assert {(answer.status, answer.json()["error"]) for answer in answers} == {(403, "Forbidden")}
        elif path not in FOR_ANY_SESSION:
            self.refused(api, path, session_of(api, api.pinger))


@pytest.mark.parametrize(("method", "path", "needs"), DOORS)
def test_a_stranger_gets_only_what_needs_nothing(api: Api, method: str, path: str, needs: Needs) -> None:
    body = b"" if method in {"GET", "HEAD"} else json.dumps(STRANGER).encode()
    answer = api.caller.request(method, path, body, content_type="application/json")

    assert (answer.status == 401) == (needs is not Needs.NOTHING), answer.body
    assert b"STOLEN" not in answer.body


# As HEAD, for a GET of /events never ends.
@pytest.mark.parametrize(("method", "path", "needs"), [door for door in DOORS if door[0] != "GET" and door[2] in {*ANY_SESSION, Needs.RIGHT}])
def test_a_session_alone_does_only_where_the_table_says_so(api: Api, method: str, path: str, needs: Needs) -> None:
    token = session_of(api, api.pinger)
    asked = {name: STRANGER[name] for name in ("tgt", "fun", "arg")} if path.startswith("/v1/") else STRANGER
    body = json.dumps(asked).encode() if method == "POST" else b""
    answer = api.caller.request(method, path, body, content_type="application/json", x_auth_token=token)

    assert (answer.status in {401, 403}) == (needs is Needs.RIGHT), answer.body


@pytest.mark.parametrize("path", ["/minions", "/logout", "/keys"])
def test_a_junk_token_opens_no_other_post(api: Api, path: str) -> None:
    for name, token in JUNK.items():
        body = {"mid": "stolen", "token": token} if path == "/keys" else {"tgt": "*", "fun": "test.ping"}
        assert_nothing_given(api.caller.post(body, path, x_auth_token=token), name)


def test_every_get_is_in_the_matrix() -> None:
    assert {"/minions", "/minions/minion-1", "/jobs", "/jobs/20260101000000000000", "/keys", "/keys/minion-1", "/stats"} <= set(GUARDED)
