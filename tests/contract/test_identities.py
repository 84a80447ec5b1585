"""Id tokens over the whole application: exchanged at `/v1/token`, as bearers on `/v1`, refused with a reason, counted, audited, and never shown."""

from __future__ import annotations

import dataclasses
import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from structlog.testing import capture_logs

from service.ci.program import main as salt_ci
from service.wiring.configuration import read_configuration
from tests.caller import Caller, Response
from tests.contract.conftest import MASTER_CONFIG, Api, Listens, a_store, fake_api, read_once
from tests.contract.test_v1_jobs import gateway_of, problem
from tests.fakes import FakeMaster
from tests.issuing import AUDIENCE, URL, KeyServer, SigningKey, github, gitlab, jwks, plain
from tests.unit.identities.assertions import MasterSide
from tests.unit.identities.test_id_tokens import ATTACKS, KEY, RSA

EXCHANGE = {
    "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
    "subject_token_type": "urn:ietf:params:oauth:token-type:id_token",
}
NOBODYS = "a key that nobody has"
RIGHTS = "external_auth: {sharedsecret: {demo: ['.*', '@runner', '@wheel', '@jobs']}, sidecar: {pinger: [test.ping]}}\n"
RULES = [
    {"issuer": "github", "claims": {"repository": ["octo-org/app"], "ref": ["refs/heads/main"]}, "account": "pinger"},
    {"issuer": "github", "claims": {"repository": ["octo-org/new"]}, "account": "without-rights"},
]


@dataclasses.dataclass
class World:
    """The application, the master's module, and a real server of keys."""

    api: Api
    side: MasterSide
    server: KeyServer
    folder: Path
    stopped: bool = False

    @property
    def master(self) -> FakeMaster:
        return gateway_of(self.api).master

    def exchange(self, token: str, **changes: str) -> Response:
        return self.api.caller.post({**EXCHANGE, "subject_token": token, **changes}, "/v1/token")

    def bearer(self, token: str, path: str = "/v1/session") -> Response:
        return self.api.caller.get(path, authorization=f"Bearer {token}")

    def records(self) -> list[dict[str, Any]]:
        """End the process and return what the audit trail has."""
        self.stop()
        return [json.loads(line) for line in (self.folder / "audit.jsonl").read_text().splitlines()]

    def stop(self) -> None:
        """End the process, once."""
        if not self.stopped:
            self.api.process.stop()
        self.stopped = True

    def attempts(self, result: str) -> float:
        return self.api.process.metrics.value("salt_api_auth_attempts_total", eauth="id_token", result=result) or 0.0


def world(folder: Path, side: MasterSide, server: KeyServer, **changes: str) -> World:
    """Make the application; its master has the module."""
    issuers = {"github": {"url": URL, "audiences": [AUDIENCE], "jwks_url": server.url}}
    ours = {
        "SIDECAR_IDENTITIES_KEY_FILE": str(side.key_file),
        "SIDECAR_IDENTITIES_ISSUERS": json.dumps(issuers),
        "SIDECAR_IDENTITIES_RULES": json.dumps(RULES),
        "SIDECAR_AUDIT_SINKS": "file",
        "SIDECAR_AUDIT_FILE": str(folder / "audit.jsonl"),
        "SIDECAR_AUDIT_WRITE_SECONDS": "30",
        "SIDECAR_AUDIT_RULES": '[{"level": "metadata"}]',
        **changes,
    }
    api = fake_api(folder, master=json.dumps(side.opts)[1:-1] + "\n", external_auth=RIGHTS, **a_store(folder), **ours)
    made = World(api, side, server, folder)
    made.master.takes = lambda account, assertion: side.lets_in(assertion, account)
    return made


@pytest.fixture(scope="module")
def server() -> Iterator[KeyServer]:
    with KeyServer(plain(jwks(KEY, RSA))) as running:
        yield running


@pytest.fixture(scope="module")
def side(tmp_path_factory: pytest.TempPathFactory) -> MasterSide:
    return MasterSide(tmp_path_factory.mktemp("key"))


@pytest.fixture
def here(tmp_path: Path, side: MasterSide, server: KeyServer) -> Iterator[World]:
    made = world(tmp_path, side, server)
    yield made
    made.stop()


@pytest.mark.costly
def test_an_id_token_is_exchanged_for_a_token_of_its_account(here: World) -> None:
    answer = here.exchange(KEY.sign(github()))
    given = answer.json()

    assert (answer.status, answer.headers["cache-control"]) == (200, "no-store")
    assert given.keys() == {"access_token", "issued_token_type", "token_type", "expires_in"}
    assert (given["token_type"], given["issued_token_type"]) == ("Bearer", "urn:ietf:params:oauth:token-type:access_token")
    assert 43_000 < given["expires_in"] <= 43_200
    shown = here.bearer(given["access_token"]).json()
    assert (shown["user"], shown["eauth"], shown["perms"]) == ("pinger", "sidecar", ["test.ping"])
    assert here.api.caller.post({"client": "local", "tgt": "*", "fun": "test.ping", "token": given["access_token"]}).status == 200
    assert here.api.caller.post({"client": "local", "tgt": "*", "fun": "test.echo", "arg": ["x"], "token": given["access_token"]}).status == 401
    assert here.attempts("success") == 1


@pytest.mark.costly
def test_it_may_be_sent_as_a_form_and_each_exchange_gives_a_token_of_its_own(here: World) -> None:
    fields = {**EXCHANGE, "subject_token": RSA.sign(github()), "requested_token_type": "urn:ietf:params:oauth:token-type:access_token"}
    answers = [here.api.caller.request("POST", "/v1/token", urlencode(fields).encode(), content_type="application/x-www-form-urlencoded") for _ in range(2)]

    assert [answer.status for answer in answers] == [200, 200]
    assert len({answer.json()["access_token"] for answer in answers}) == 2


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"grant_type": "password"}, "grant_type"),
        ({"subject_token_type": "urn:ietf:params:oauth:token-type:saml2"}, "subject_token_type"),
        ({"requested_token_type": "urn:ietf:params:oauth:token-type:refresh_token"}, "requested_token_type"),
        ({"grant_type": "client_credentials"}, "subject_token_type"),
        ({"audience": "other"}, "audience"),
        ({"actor_token": "CANARY"}, "actor_token"),
        ({"subject_token": ""}, "subject_token"),
        ({"subject_token": ["CANARY"]}, "subject_token"),
        ({"grant_type": ["urn:ietf:params:oauth:grant-type:token-exchange"]}, "grant_type"),
    ],
)
@pytest.mark.slow
def test_what_is_no_exchange_of_ours_is_a_bad_request_that_names_the_field(here: World, changes: dict[str, Any], field: str) -> None:
    answer = here.exchange("CANARY", **changes)

    assert problem(answer) == (400, "BadRequest")
    assert answer.json()["field"] == field
    assert b"CANARY" not in answer.body
    assert here.server.asked == []
    assert here.api.caller.post([EXCHANGE], "/v1/token").status == 400


@pytest.mark.costly
def test_with_a_scope_the_token_is_good_for_that_alone(here: World) -> None:
    fields = {**EXCHANGE, "subject_token": KEY.sign(github()), "scope": "local:test.ping@minion-1 runner:jobs.active", "expires_in": "60", "max_uses": "1"}
    answer = here.api.caller.request("POST", "/v1/token", urlencode(fields).encode(), content_type="application/x-www-form-urlencoded")
    given = answer.json()

    assert (answer.status, given["scope"]) == (200, "local:test.ping@minion-1 runner:jobs.active")
    assert 50 <= given["expires_in"] <= 60
    token, low = given["access_token"], {"client": "local", "fun": "test.ping"}
    assert token.startswith("saltscope_")
    assert [here.api.caller.post({**low, "tgt": tgt}, x_auth_token=token).status for tgt in ("*", "minion-1", "minion-1")] == [401, 200, 401]


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"scope": "everything"}, "/scope/0"),
        ({"scope": ""}, "/scope"),
        ({"max_uses": "1"}, "/scope"),
        ({"scope": "local:test.ping", "expires_in": "soon"}, "/expires_in"),
        ({"scope": "local:test.ping", "max_uses": 0}, "/max_uses"),
        ({"scope": {"local": "test.ping"}}, "/scope"),
    ],
)
def test_a_scope_that_says_nothing_is_pointed_at_before_the_id_token_is_looked_at(here: World, changes: dict[str, Any], pointer: str) -> None:
    answer = here.exchange("CANARY", **changes)

    assert problem(answer) == (422, "Unprocessable")
    assert answer.json()["errors"][0]["pointer"] == pointer


@pytest.fixture(autouse=True)
def _well_again(server: KeyServer) -> None:
    """All tests share the server, and some change what it answers."""
    server.asked.clear()
    server.answer = plain(jwks(KEY, RSA))


@pytest.mark.costly
def test_a_bearer_logs_in_once_and_its_job_is_its_accounts(here: World) -> None:
    token = KEY.sign(github())
    headers = {"authorization": f"Bearer {token}", "content_type": "application/json"}
    job = here.api.caller.request("POST", "/v1/jobs?wait=30", b'{"tgt": "*", "fun": "test.ping"}', **headers)

    assert (job.json()["owner"], job.json()["status"]) == ("sidecar:pinger", "succeeded")
    assert [here.bearer(token).status for _ in range(5)] == [200] * 5
    assert here.bearer(token, f"/v1/jobs/{job.json()['jid']}").json()["exit_code"] == 0
    assert here.api.caller.request("POST", "/v1/jobs", b'{"tgt": "*", "fun": "test.echo", "arg": ["x"]}', **headers).status == 403
    assert (len(here.master.tokens), here.server.asked, here.attempts("success")) == (1, ["/jwks"], 1)
    received = [record for record in here.records() if record["stage"] == "response_complete"]
    assert [(record["action"], record["outcome"], record.get("identity.repository")) for record in received[:2]] == [
        ("token", "ok", "octo-org/app"),
        ("run", "ok", None),
    ]
    assert (received[0]["identity.issuer"], received[0]["identity.sub"], received[0]["identity.run_id"]) == ("github", github()["sub"], "1001")


@pytest.mark.costly
def test_a_bearer_counts_on_v1_alone(here: World) -> None:
    token = KEY.sign(github())

    assert [here.bearer(token, path).status for path in ("/jobs", "/minions", "/stats", "/events", "/keys")] == [401] * 5
    assert here.api.caller.post([{"client": "local", "tgt": "*", "fun": "test.ping"}], authorization=f"Bearer {token}").status == 401
    assert here.api.caller.get("/v1/session", authorization=f"Bearer {token}", x_auth_token="ab" * 32).status == 401
    assert here.server.asked == []
    assert here.api.caller.get("/v1/session", x_auth_token=token).json()["user"] == "pinger"


@pytest.mark.slow
def test_salt_ci_runs_and_follows_a_job_with_an_id_token_and_no_password(
    here: World, listens: Listens, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    for name, value in {"SALT_API_URL": listens(here.api), "SALT_TOKEN": KEY.sign(github())}.items():
        monkeypatch.setenv(name, value)
    ended = []
    for call in (["run", "*", "test.ping"], ["run", "*", "test.echo", "x"]):
        with pytest.raises(SystemExit) as caught:
            salt_ci(call)
        ended.append(caught.value.code)
    signal.signal(signal.SIGTERM, before)

    assert (ended[0], "succeeded: 2 ok" in capsys.readouterr().out) == (0, True)
    assert ended[1] not in {0, None}
    assert len(here.master.tokens) == 1


@pytest.mark.costly
def test_a_salt_token_that_died_is_replaced_at_the_next_use(here: World) -> None:
    token = KEY.sign(github())
    assert here.bearer(token).status == 200
    (salt_token,) = here.master.tokens
    assert here.api.caller.post({}, "/logout", x_auth_token=salt_token).status == 200

    assert [here.bearer(token).status for _ in range(2)] == [401, 200]
    assert len(here.master.tokens) == 2


@pytest.mark.costly
def test_each_attack_is_refused_counted_and_recorded_with_its_reason(here: World) -> None:
    with capture_logs() as lines:
        for attack, (why, forged) in {**ATTACKS, "no rule": ("rule", lambda: KEY.sign(github(ref="refs/heads/x")))}.items():
            token = forged()
            answer = here.exchange(token)
            # The keys were fetched just before: of one that came since nobody can say yet that it is nobody's.
            told = (503, None) if attack == NOBODYS else (401, why)
            # An empty one is no exchange, and a header cannot have all characters.
            assert (answer.status, answer.json().get("why")) == (told if token else (400, None)), attack
            if token.isascii() and token.count(".") == 2:
                assert here.bearer(token).json().get("why") == told[1], attack
    reasons = {why for why, _ in ATTACKS.values()} | {"rule", "KeysUnavailable"}

    assert here.master.tokens == {}
    assert len(here.server.asked) == 1
    assert {line["why"] for line in lines if line["event"] == "identity.refused"} == reasons
    denied = [record for record in here.records() if record.get("error") == "IdentityRefused"]
    assert len(denied) == here.attempts("bad_credentials") > len(ATTACKS)
    assert {record["decision"] for record in denied} == {"deny"}
    # Of whom nothing is proven the records say nothing; of the others who they are.
    assert {record.get("identity.sub") for record in denied} == {None, github()["sub"]}


def test_a_key_that_the_issuer_does_not_have_is_refused_once_it_was_asked(here: World) -> None:
    assert here.exchange(KEY.sign(github(), kid="key-2")).json()["why"] == "key"


@pytest.mark.costly
def test_an_account_that_the_master_gives_no_rights_gets_no_token(here: World) -> None:
    answer = here.exchange(KEY.sign(github(repository="octo-org/new")))

    assert (problem(answer), here.attempts("forbidden")) == ((403, "Forbidden"), 1)
    assert "without-rights" in answer.json()["detail"]


@pytest.mark.costly
def test_keys_that_rotate_in_mid_flight_are_followed(here: World) -> None:
    assert here.bearer(KEY.sign(github())).status == 200
    new = SigningKey("key-2")
    here.server.answer = plain(jwks(KEY, new))

    # The keys were fetched a moment ago: who has the new one waits for a minute at most, and is told how long.
    answer = here.exchange(new.sign(github()))
    assert (problem(answer), 0 < int(answer.headers["retry-after"]) <= 60) == ((503, "KeysUnavailable"), True)
    (here.folder / "later").mkdir()
    again = world(here.folder / "later", here.side, here.server)
    assert again.exchange(new.sign(github())).status == 200
    again.stop()


def test_an_issuer_that_is_away_is_a_503_that_says_when_to_come_back(here: World) -> None:
    here.server.answer = plain(b"", 302, Location="https://evil.example.org/")

    with capture_logs() as lines:
        answers = [here.exchange(KEY.sign(github())) for _ in range(3)]
    assert [problem(answer) for answer in answers] == [(503, "KeysUnavailable")] * 3
    # Less what the question itself took.
    assert 1 <= int(answers[0].headers["retry-after"]) <= 60
    assert here.server.asked == ["/jwks"]
    (line,) = [line for line in lines if line["event"] == "identity.keys.unavailable"]
    assert (line["issuer"], "answered 302" in line["message"]) == ("github", True)


@pytest.mark.costly
def test_a_key_that_the_master_does_not_know_is_a_503_and_no_crash(tmp_path: Path, server: KeyServer) -> None:
    here = world(tmp_path, MasterSide(tmp_path), server)
    assert here.exchange(KEY.sign(github())).status == 200
    (tmp_path / "other").mkdir()
    MasterSide(tmp_path / "other").key_file.replace(here.side.key_file)

    assert problem(here.exchange(KEY.sign(github()))) == (503, "SecretUnavailable")
    assert (here.attempts("error"), here.attempts("bad_credentials")) == (1, 0)
    here.stop()


@pytest.mark.costly
def test_refused_id_tokens_do_not_shut_out_the_good_ones_of_their_address(tmp_path: Path, side: MasterSide, server: KeyServer) -> None:
    here = world(tmp_path, side, server, SIDECAR_LIMITS_AUTH_FAILURES_BURST="5")
    forged = SigningKey("key-1").sign(github())

    assert [here.exchange(forged).status for _ in range(7)] == [401] * 7
    assert here.exchange(KEY.sign(github())).status == 200
    here.stop()


@pytest.mark.costly
def test_no_token_no_assertion_and_no_key_is_shown(here: World) -> None:
    good, bad = KEY.sign(github()), KEY.sign(github(exp=1))
    with capture_logs() as lines:
        bodies = [here.exchange(token).body.decode() for token in (good, bad)] + [here.bearer(bad).body.decode()]
        here.side.opts["sidecar_assertion"], kept = {}, here.side.opts["sidecar_assertion"]
        bodies.append(here.exchange(KEY.sign(github())).body.decode())
        here.side.opts["sidecar_assertion"] = kept
    assertions = [str(load["password"]) for load in here.master.loads if load["cmd"] == "mk_token"]
    texts = f"{lines} {bodies} {Caller(here.api.process.ops).get('/metrics').body.decode()} {here.records()}"

    assert len(assertions) == 2
    secrets = [part for token in (good, bad, *assertions) for part in token.split(".")[1:]]
    assert not [secret for secret in secrets if secret[:40] in texts or secret[-40:] in texts]
    assert here.side.key_file.read_text().splitlines()[1] not in texts


def test_where_no_issuer_is_set_every_id_token_is_refused(tmp_path: Path) -> None:
    api = fake_api(tmp_path)
    answer = api.caller.post({**EXCHANGE, "subject_token": KEY.sign(gitlab())}, "/v1/token")

    assert (problem(answer), answer.json()["why"]) == ((401, "IdentityRefused"), "issuer")
    assert api.caller.get("/v1/session", authorization=f"Bearer {KEY.sign(github())}").json()["error"] == "Unauthenticated"
    api.process.stop()


GOOD_ISSUER = {"url": URL, "audiences": [AUDIENCE], "jwks_url": URL}


@pytest.mark.parametrize(
    ("issuers", "rules", "said"),
    [
        ({"a": {**GOOD_ISSUER, "url": "http://idp.example.org"}}, RULES, "url"),
        ({"a": {**GOOD_ISSUER, "jwks_url": "http://idp.example.org/jwks"}}, RULES, "jwks_url"),
        ({"a": {**GOOD_ISSUER, "audiences": []}}, RULES, "audiences"),
        ({"a": {"url": URL, "audiences": ["x"]}}, RULES, "either jwks_url or jwks_file"),
        ({"a": {**GOOD_ISSUER, "jwks_file": "/x"}}, RULES, "either jwks_url or jwks_file"),
        ({"a": {**GOOD_ISSUER, "algorithms": ["HS256"]}}, RULES, "algorithms"),
        ({"github": GOOD_ISSUER}, [], "there is no rule"),
        ({"gitlab": GOOD_ISSUER}, RULES, "none of identities.issuers"),
        ({"github": GOOD_ISSUER, "again": GOOD_ISSUER}, RULES, "two have the url"),
        ({"github": {"url": URL, "audiences": ["x"], "jwks_file": "/nonexistent"}}, RULES, "identities.issuers.github.jwks_file"),
        ({"github": GOOD_ISSUER}, [{**RULES[0], "claims": {}}], "claims"),
        ({"github": GOOD_ISSUER}, [{**RULES[0], "claims": {"repository": []}}], "claims"),
        ({"github": GOOD_ISSUER}, [{**RULES[0], "claims": {"sub": ["repo:octo-org/*"]}}], "wildcard in `sub` alone"),
        ({"github": GOOD_ISSUER}, [{**RULES[0], "account": ""}], "account"),
        ({"github": GOOD_ISSUER}, [{**RULES[0], "fun": ["x"]}], "fun"),
    ],
)
def test_issuers_and_rules_that_would_let_in_more_or_nobody_are_faults(
    tmp_path: Path, side: MasterSide, issuers: dict[str, Any], rules: list[Any], said: str
) -> None:
    (tmp_path / "master").write_text(MASTER_CONFIG + RIGHTS + json.dumps(side.opts)[1:-1])
    ours = {"SIDECAR_IDENTITIES_ISSUERS": json.dumps(issuers), "SIDECAR_IDENTITIES_RULES": json.dumps(rules), "SIDECAR_IDENTITIES_KEY_FILE": str(side.key_file)}

    with pytest.raises(Exception, match=said):
        read_configuration({"SALT_MASTER_CONFIG": str(tmp_path / "master"), **ours}, read=read_once)
