"""Credentials go in and never come out: not in an answer, a log line, a metric, or what Salt prints."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from service.api.v1.v1_token import FIELDS, GRANT
from service.demo.embedded import EmbeddedSalt
from service.identities.assertion import MODULE
from service.routes import API_TEMPLATES
from tests.collector import Collector
from tests.issuing import SigningKey, github, jwks
from tests.real.conftest import MakeSidecar, kill_master
from tests.real.sidecar import Answer, Sidecar, ask
from tests.unit.identities.assertions import MasterSide, encoded

pytestmark = [pytest.mark.master, pytest.mark.slow]

CANARY = "CANARY"
ISSUED = SigningKey("key-1")
CALLS: list[dict[str, Any]] = [
    {"client": "local", "tgt": "minion-1", "fun": "test.ping"},
    {"client": "local", "tgt": "*", "fun": ["test.ping", "demo.raises"], "arg": [[], []]},
    {"client": "local_async", "tgt": "minion-1", "fun": "test.ping"},
    {"client": "local_subset", "tgt": "*", "fun": "test.ping", "sub": 1},
    {"client": "local_batch", "tgt": "*", "fun": "test.ping", "batch": "1"},
    {"client": "runner", "fun": "test.arg"},
    {"client": "runner", "fun": "test.raise_exception", "kwarg": {"name": "ValueError"}},
    {"client": "runner_async", "fun": "test.arg"},
    {"client": "wheel", "fun": "key.list_all"},
    {"client": "wheel", "fun": "key.finger", "match": "minion-1"},
    {"client": "wheel_async", "fun": "key.list_all"},
    {"client": "wheel", "fun": "file_roots.write", "path": "x"},
    {"client": "ssh", "tgt": "*", "fun": "test.ping"},
    {"client": "nope", "tgt": "*", "fun": "test.ping"},
    {"client": "local", "tgt": "*", "fun": "no such"},
    {"client": "local", "fun": "test.ping"},
]


class Aviary:
    """Makes canaries, and finds those that have flown."""

    def __init__(self, sidecar: Sidecar, collector: Collector, side: MasterSide) -> None:
        self._sidecar = sidecar
        self._collector = collector
        self._numbers = itertools.count(1)
        self.answers: list[Answer] = []
        # Parts of id tokens, which are encoded, and of the key by which assertions are made, as are all of these.
        self._secrets = [encoded(b'{"alg": "EdDSA"')[:19], side.key_file.read_text().splitlines()[1][-40:]]

    def canary(self) -> str:
        return f"{CANARY}-{next(self._numbers)}-secret"

    def send(self, low: dict[str, Any], path: str = "/", **headers: str) -> None:
        """Post a low and keep the answer; the query and headers that are no session of ours carry credentials too."""
        given = {"Authorization": f"Bearer {self.canary()}", "Cookie": f"session_id={self.canary()}", **headers}
        body = json.dumps([low]).encode()
        query = f"?password={self.canary()}&token={self.canary()}"
        self.answers.append(ask(self._sidecar.api_port, "POST", path + query, body, {"Content-Type": "application/json", **given}))

    def visit(self, path: str) -> None:
        """Ask for a URL in a session that is none."""
        headers = {"X-Auth-Token": self.canary(), "Cookie": f"session_id={self.canary()}"}
        self.answers.append(ask(self._sidecar.api_port, "GET", f"{path}?token={self.canary()}&salt_token={self.canary()}", b"", headers))

    def exchange(self, **changes: object) -> None:
        """Exchange an id token and use it as a bearer. Neither its claims, of which none is told, nor its signature is anybody's business."""
        token = ISSUED.sign(github(**{"iss": "https://idp.example.org", "aud": "salt", "secret": self.canary(), **changes}))
        self._secrets += [part[-40:] for part in token.split(".")[1:]]
        fields = {"grant_type": GRANT, "subject_token_type": FIELDS["subject_token_type"][0], "subject_token": token}
        self.answers.append(ask(self._sidecar.api_port, "POST", "/v1/token", json.dumps(fields).encode(), {"Content-Type": "application/json"}))
        for headers in ({"Authorization": f"Bearer {token}"}, {"X-Auth-Token": token}):
            self.answers += [ask(self._sidecar.api_port, "GET", path, b"", headers) for path in ("/v1/session", "/v1/jobs", "/jobs", "/stats")]

    def send_raw(self, body: bytes) -> None:
        self.answers.append(ask(self._sidecar.api_port, "POST", "/", body, {"Content-Type": "application/json"}))

    def flown(self) -> list[str]:
        """Return every line that left the process with a canary in it."""
        texts = [f"{answer.status} {answer.headers} {answer.body.decode('utf-8', 'replace')}" for answer in self.answers]
        texts += (self._sidecar.folder / "stdout").read_text().splitlines() + self._sidecar.stderr().splitlines()
        texts += self._sidecar.ops("/metrics").body.decode().splitlines() + self._sidecar.ops("/readyz").body.decode().splitlines()
        texts += (self._sidecar.folder / "audit.log").read_text().splitlines() + self._collector.texts
        return [text for text in texts if any(secret in text for secret in (CANARY, *self._secrets))]


@pytest.fixture
def side(tmp_path: Path) -> MasterSide:
    return MasterSide(tmp_path)


@pytest.fixture
def salt(tmp_path: Path, side: MasterSide) -> Iterator[EmbeddedSalt]:
    """A master whose good password is a canary too, and which takes what the sidecar signs."""
    options = {"external_auth": {"sidecar": {"demo": ["test.ping"]}}, "auth_dirs": [str(MODULE.parent)], **side.opts}
    with EmbeddedSalt(tmp_path / "salt", threads=True, master={"sharedsecret": f"{CANARY}-good-secret", **options}) as embedded:
        yield embedded


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as listening:
        yield listening


@pytest.fixture
def sidecar(salt: EmbeddedSalt, side: MasterSide, collector: Collector, make_sidecar: MakeSidecar, tmp_path: Path) -> Sidecar:
    """Every channel is open: debug lines with targets, traces of all requests, an audit trail that records arguments and returns, and id tokens of an issuer."""
    issuer = {"url": "https://idp.example.org", "audiences": ["salt"], "jwks_file": str(tmp_path / "jwks.json")}
    (tmp_path / "jwks.json").write_bytes(jwks(ISSUED))
    rule = {"issuer": "idp", "claims": {"repository": ["octo-org/app"]}, "account": "demo"}
    identities = {"IDENTITIES_KEY_FILE": side.key_file, "IDENTITIES_ISSUERS": json.dumps({"idp": issuer}), "IDENTITIES_RULES": json.dumps([rule])}
    generous = {"LIMITS_AUTH_FAILURES_BURST": 1000, "LIMITS_AUTH_CONCURRENCY": 10}
    (tmp_path / "hmac").write_text("k" * 64)
    made = make_sidecar(
        salt.master_config, LOG_LEVEL="debug", LOG_INCLUDE_TARGET="true", TRACING_ENDPOINT=collector.url, AUDIT_SINKS="file", AUDIT_HMAC_KEY_FILE=tmp_path / "hmac",
        AUDIT_RULES=json.dumps([{"level": "request_response"}]), AUDIT_FILE=tmp_path / "sidecar-0" / "audit.log", **generous, **identities,
    )  # fmt: skip
    return made.__enter__()


def credentials(aviary: Aviary) -> list[dict[str, Any]]:
    """Return every kind of credentials: the right ones, and wrong ones of every shape."""
    right = {"eauth": "sharedsecret", "username": "demo", "password": f"{CANARY}-good-secret"}
    return [
        right,
        {**right, "password": aviary.canary()},
        {**right, "password": {"nested": aviary.canary()}},
        {"eauth": "sharedsecret", "username": "demo", "sharedsecret": f"{CANARY}-good-secret"},
        {"eauth": "sharedsecret", "username": "demo", "sharedsecret": aviary.canary()},
        {"eauth": "file", "username": "pinger", "password": aviary.canary()},
        {"eauth": "pam", "username": "demo", "password": aviary.canary(), "api_key": aviary.canary()},
        {"eauth": "no such eauth", "username": "demo", "password": aviary.canary()},
        {"token": aviary.canary()},
        {"token": "ab" * 32, "password": aviary.canary()},
        {"token": [aviary.canary()]},
        {"password": aviary.canary()},
    ]


def try_everything(aviary: Aviary) -> None:
    calls = list(CALLS)
    # A password that a function is given travels to the minion, and is nobody else's business.
    for client, fun in (("local_async", "test.ping"), ("runner_async", "test.arg"), ("wheel", "key.list_all")):
        kwarg = {"password": aviary.canary(), "api_token": aviary.canary(), "secret": aviary.canary()}
        calls.append({"client": client, "tgt": "minion-1", "fun": fun, "kwarg": kwarg, "arg": [f"password={aviary.canary()}"]})
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(aviary.send, [{**call, **creds} for creds in credentials(aviary) for call in calls]))
        list(threads.map(aviary.visit, [url for url in API_TEMPLATES if "{" not in url]))
    for creds in credentials(aviary)[1:]:
        for path in ("/login", "/token", "/run", "/minions", "/keys", "/hook/a"):
            aviary.send({**CALLS[0], **creds}, path, **{"X-Auth-Token": aviary.canary()})
    right = {"eauth": "sharedsecret", "username": "demo", "password": f"{CANARY}-good-secret"}
    for wrong in ({"tgt": {"password": aviary.canary()}}, {"timeout": aviary.canary()}, {"kwarg": aviary.canary()}, {"key": aviary.canary()}):
        aviary.send({"client": "local", "tgt": "minion-1", "fun": "test.ping", **right, **wrong})
    aviary.send({"client": "local", "tgt": "minion-1", "fun": "test.ping", **right}, **{"X-Request-ID": f"no id: {aviary.canary()}"})
    for changes in ({}, {"exp": 1}, {"aud": aviary.canary()}, {"repository": "octo-org/other"}, {"iss": aviary.canary()}):
        aviary.exchange(**changes)
    aviary.send_raw(f'[{{"password": "{aviary.canary()}", '.encode())
    aviary.send_raw(f'"{aviary.canary()}"'.encode())
    aviary.send_raw(f'[{{"client": "local", "password": "{aviary.canary()}", "tgt": NaN}}]'.encode())


def test_no_credential_leaves_the_process(salt: EmbeddedSalt, sidecar: Sidecar, collector: Collector, side: MasterSide) -> None:
    aviary = Aviary(sidecar, collector, side)
    try_everything(aviary)
    assert {answer.status for answer in aviary.answers if b"access_token" in answer.body} == {200}
    kill_master(salt)
    sidecar.wait_not_ready()
    try_everything(aviary)
    salt.start_master()
    sidecar.wait_ready()
    for creds in credentials(aviary)[:2]:
        aviary.send({**CALLS[0], **creds})
    sidecar.wait(lambda: len(collector.spans) > 1000, "traced")
    flown = aviary.flown()
    aviary.send(CALLS[0], **{"X-Request-ID": f"{CANARY}-seen"})
    assert sidecar.stop() == 0

    assert flown == []
    # All is written now. We would have found one: a request id is no secret, so this one is in its answer and in the log.
    (line,) = [line for line in (sidecar.folder / "stdout").read_text().splitlines() if CANARY in line]
    assert json.loads(line)["request_id"] == f"{CANARY}-seen"
    audited = (sidecar.folder / "audit.log").read_text().splitlines()
    assert [json.loads(line)["request_id"] for line in audited if CANARY in line] == [f"{CANARY}-seen"]
    assert f"{CANARY}-seen" in aviary.answers[-1].body.decode()
    assert CANARY not in sidecar.stderr()
    assert {200, 400, 401, 503} <= {answer.status for answer in aviary.answers} <= {200, 400, 401, 404, 405, 429, 500, 501, 503, 504}
