"""Scoped tokens on either master: what they are good for, and that they are good for nothing else."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from service.route_rows import Needs
from service.routes import API
from service.tokens.scoped_tokens import MOST_TOKENS
from tests.caller import Response
from tests.contract.conftest import Api, a_store, fake_api, login
from tests.contract.test_auth_matrix import doors

PING = {"client": "local", "tgt": "minion-1", "fun": "test.ping"}
SCOPE = ["local:test.ping@minion-1", "local:test.echo@minion-1"]


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[Api]:
    """The application of one test, over a fake master."""
    made = fake_api(tmp_path, **a_store(tmp_path))
    yield made
    made.process.stop()


@dataclasses.dataclass
class Scoped:
    """A user's session, and a scoped token that was made from it."""

    api: Api
    session: str
    token: str
    id: str

    def run(self, **low: Any) -> Response:
        """Run a low with the token."""
        return self.api.caller.post({**PING, **low}, x_auth_token=self.token)

    def job(self, key: str = "", token: str = "", **asked: Any) -> Response:
        """Start a job and wait for it."""
        headers = {"x_auth_token": token or self.token, **({"idempotency_key": key} if key else {})}
        return self.api.caller.post({"tgt": "minion-1", "fun": "test.ping", **asked}, "/v1/jobs?wait=30", **headers)

    def revoke(self) -> Response:
        return self.api.caller.request("DELETE", f"/v1/tokens/{self.id}", x_auth_token=self.session)


def made(api: Api, **asked: Any) -> Scoped:
    session = login(api, api.demo)
    answer = api.caller.post({"scope": SCOPE, **asked}, "/v1/tokens", x_auth_token=session)
    assert answer.status == 201, answer.body
    assert answer.headers["cache-control"] == "no-store"
    return Scoped(api, session, answer.json()["token"], answer.json()["id"])


def test_a_token_runs_what_its_scope_names_and_nothing_else(api: Api) -> None:
    scoped = made(api)

    assert scoped.run().json()["return"] == [{"minion-1": True}]
    assert api.caller.post(PING, authorization=f"Bearer {scoped.token}").status == 200
    refused: list[dict[str, Any]] = [
        {"tgt": "*"},
        {"tgt": "minion-2"},
        {"tgt": "minion-*"},
        {"tgt": "minion-1 or minion-2", "tgt_type": "compound"},
        {"fun": "test.arg"},
        {"fun": ["test.ping", "test.arg"], "arg": [[], []]},
        {"module_executors": ["sudo"]},
        {"client": "runner", "fun": "jobs.active", "tgt": None},
        {"client": "wheel", "fun": "key.list_all", "tgt": None},
    ]
    answers = [scoped.run(**low) for low in refused]
    assert [answer.status for answer in answers] == [401] * len(refused)
    assert all("scope" in answer.json()["return"] for answer in answers[:-2])


def test_a_token_in_a_cookie_or_in_a_low_counts_for_nothing(api: Api) -> None:
    scoped = made(api)

    assert api.caller.post(PING, cookie=f"session_id={scoped.token}").status == 401
    assert api.caller.post({**PING, "token": scoped.token}, "/run").status == 401


# What a token is for, of whatever scope: itself, and its own jobs.
FOR_TOKENS = {"/logout", "/v1/jobs", "/v1/session", "/v1/capabilities"}
DOORS = [(method, url) for route in API for method, url, needs in doors(route) if needs not in {Needs.NOTHING, Needs.BODY} and method != "HEAD"]


@pytest.mark.parametrize(("method", "url"), [door for door in DOORS if door[1] not in FOR_TOKENS or door == ("POST", "/v1/jobs")])
@pytest.mark.slow
def test_every_other_door_is_shut(api: Api, method: str, url: str) -> None:
    scoped = made(api, scope=["local:no.such@nobody"])
    low = {"tgt": "*", "fun": "test.ping", **({} if url.startswith("/v1") else {"client": "local"})}
    answer = api.caller.post(low, url, x_auth_token=scoped.token) if method == "POST" else api.caller.request(method, url, x_auth_token=scoped.token)

    # A job that is not the token's is not there for it.
    assert answer.status in ({404} if "/v1/jobs/" in url else {401, 403}), answer.body
    scoped.revoke()


def test_a_token_sees_the_jobs_that_it_started_and_its_user_sees_all(api: Api) -> None:
    scoped, other = made(api), made(api)
    of_user = scoped.job(token=scoped.session, tgt="*").json()["jid"]
    job = scoped.job(fun="test.echo", arg=["hi"])
    jid = job.json()["jid"]

    assert (job.status, job.json()["status"]) == (200, "succeeded")
    see = functools.partial(api.caller.get, x_auth_token=scoped.token)
    assert [one["jid"] for one in see("/v1/jobs").json()["jobs"]] == [jid]
    assert [see(f"/v1/jobs/{one}").status for one in (jid, of_user)] == [200, 404]
    assert see(f"/v1/jobs/{of_user}/events").status == 404
    assert api.caller.get(f"/v1/jobs/{jid}", x_auth_token=other.token).status == 404
    theirs = [one["jid"] for one in api.caller.get("/v1/jobs", x_auth_token=scoped.session).json()["jobs"]]
    assert {jid, of_user} <= {*theirs}
    assert see("/v1/jobs?owner=*").status == 403


def test_a_key_belongs_to_the_token_that_used_it(api: Api) -> None:
    scoped, other = made(api, max_uses=1), made(api)
    first, again = (scoped.job(f"key of {scoped.id}".replace(" ", "-")) for _ in range(2))

    assert first.json()["jid"] == again.json()["jid"]
    assert again.status == 200, "the same request again is no further use"
    assert scoped.job().status == 403
    assert scoped.job(f"key-of-{scoped.id}", other.token).status == 422
    assert scoped.job(f"key-of-{scoped.id}", scoped.session).json()["jid"] == first.json()["jid"]


def test_uses_are_counted_and_listed(api: Api) -> None:
    scoped = made(api, max_uses=2)

    assert [scoped.run().status for _ in range(3)] == [200, 200, 401]
    assert scoped.run(tgt="*").status == 401
    listed = api.caller.get("/v1/tokens", x_auth_token=scoped.session).json()["tokens"]
    (one,) = [token for token in listed if token["id"] == scoped.id]
    assert (one["scope"], one["uses"], one["max_uses"], one["last_used"] is None) == (SCOPE, 2, 2, False)
    assert scoped.token not in str(listed)


def test_a_token_says_what_it_is_and_makes_no_others(api: Api) -> None:
    scoped = made(api)
    shown = api.caller.get("/v1/session", x_auth_token=scoped.token).json()

    assert (shown["user"], shown["token"], shown["scope"], shown["sees_everything"]) == ("demo", scoped.id, SCOPE, False)
    whole = api.caller.get("/v1/session", x_auth_token=scoped.session).json()
    assert (whole["token"], whole["scope"]) == (None, None)
    assert api.caller.post({"scope": ["local:*"]}, "/v1/tokens", x_auth_token=scoped.token).status == 403
    assert api.caller.get("/v1/tokens", x_auth_token=scoped.token).status == 403
    assert api.caller.request("DELETE", f"/v1/tokens/{scoped.id}", x_auth_token=scoped.token).status == 403


def test_a_revoked_token_is_dead_at_once(api: Api) -> None:
    scoped = made(api)

    assert scoped.run().status == 200
    assert (scoped.revoke().status, scoped.revoke().status) == (204, 404)
    assert scoped.run().status == 401
    assert api.caller.post(PING, x_auth_token=scoped.session).status == 200


def test_a_token_ends_itself_and_not_its_session_which_ends_it_too(api: Api) -> None:
    one, two = made(api), made(api)

    assert api.caller.request("POST", "/logout", x_auth_token=one.token).status == 200
    assert one.run().status == 401
    assert api.caller.post(PING, x_auth_token=one.session).status == 200
    assert api.caller.request("POST", "/logout", x_auth_token=two.session).status == 200
    assert two.run().status == 401


def test_nobody_ends_anothers_token(api: Api) -> None:
    scoped = made(api)

    assert api.caller.request("DELETE", f"/v1/tokens/{scoped.id}", x_auth_token=login(api, api.pinger)).status == 404
    assert scoped.run().status == 200


def test_a_right_that_the_master_does_not_give_is_not_in_a_scope_either(api: Api) -> None:
    session = login(api, api.pinger)
    token = api.caller.post({"scope": ["local:*"]}, "/v1/tokens", x_auth_token=session).json()["token"]

    assert api.caller.post({**PING, "fun": "test.ping"}, x_auth_token=token).status == 200
    assert api.caller.post({**PING, "fun": "test.echo", "arg": ["x"]}, x_auth_token=token).status == 401


def test_a_token_lives_no_longer_than_it_was_made_for_nor_than_its_session(fake: Api) -> None:
    short, long = made(fake, expires_in=60), made(fake, expires_in=1e9)
    listed = {one["id"]: one["expires"] for one in fake.caller.get("/v1/tokens", x_auth_token=short.session).json()["tokens"]}
    session = fake.caller.get("/v1/session", x_auth_token=long.session).json()

    assert listed[short.id] < listed[long.id] <= session["expires"]


@pytest.mark.costly
def test_neither_the_token_nor_the_salt_token_behind_it_is_on_the_disk(fake: Api, tmp_path: Path) -> None:
    scoped = made(fake)
    scoped.run()
    kept = b"".join(path.read_bytes() for path in tmp_path.iterdir() if path.name.startswith("jobs.db"))

    assert scoped.id.encode() in kept
    for secret in (scoped.token, scoped.token.removeprefix("saltscope_"), scoped.session):
        assert secret.encode() not in kept


@pytest.mark.costly
def test_an_owner_has_a_bounded_number(fake: Api) -> None:
    session = login(fake, fake.demo)
    answers = [fake.caller.post({"scope": SCOPE}, "/v1/tokens", x_auth_token=session).status for _ in range(MOST_TOKENS + 1)]

    assert answers == [201] * MOST_TOKENS + [409]


def test_without_a_store_there_are_none(tmp_path: Path) -> None:
    api = fake_api(tmp_path, SIDECAR_JOBS_STORE="")
    session = login(api, api.demo)

    assert api.caller.post({"scope": SCOPE}, "/v1/tokens", x_auth_token=session).status == 503
    assert api.caller.post(PING, x_auth_token=f"saltscope_{'a' * 43}").status == 503
    assert api.caller.post(PING, x_auth_token=session).status == 200


@pytest.mark.costly
@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/scope"),
        ({"scope": []}, "/scope"),
        ({"scope": "local:test.ping"}, "/scope"),
        ({"scope": ["shell:test.ping"]}, "/scope/0"),
        ({"scope": ["local:test.ping"] * 51}, "/scope"),
        ({"scope": SCOPE, "expires_in": 0}, "/expires_in"),
        ({"scope": SCOPE, "max_uses": 0}, "/max_uses"),
        ({"scope": SCOPE, "max_uses": True}, "/max_uses"),
        ({"scope": SCOPE, "user": "root"}, "/user"),
    ],
)
def test_a_request_that_makes_no_sense_is_pointed_at(fake: Api, body: dict[str, Any], pointer: str) -> None:
    answer = fake.caller.post(body, "/v1/tokens", x_auth_token=login(fake, fake.demo))

    assert (answer.status, answer.json()["errors"][0]["pointer"]) == (422, pointer)
