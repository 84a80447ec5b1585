"""The policy over the whole application: every URL that runs lows asks it, before the master is asked, and what it refuses is counted, logged and recorded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from service.clients import CLIENTS
from service.errors import MasterUnreachable
from service.http.app import PROBLEM
from service.routes import API
from tests.caller import Caller, Response
from tests.contract.conftest import LENIENT, Api, a_store, fake_api
from tests.fakes import FakeGateway, FakeMaster

CANARY = "CANARY"
REFUSE_ALL = json.dumps([{"action": "refuse"}])
RUNS = {"publish", "runner", "wheel"}
PING = {"client": "local", "tgt": "minion-1", "fun": "test.ping"}
# A GET of /events never ends; a logout removes the token, which is no low of its caller's.
DOORS = [
    (method, route.template.format(mid="minion-1", jid="20260101000000000000", tid="0123456789abcdef"))
    for route in API
    for method in route.access
    if (method, route.template) != ("GET", "/events") and route.template != "/logout"
]


def master_of(api: Api) -> FakeMaster:
    assert isinstance(api.process.gateway, FakeGateway)
    return api.process.gateway.master


def refused(answer: Response) -> bool:
    """Say whether the policy refused, in the shape that clients of rest_cherrypy know, or in that of `/v1`."""
    is_problem = answer.headers["content-type"] == PROBLEM
    body = answer.json() if answer.status == (403 if is_problem else 401) else {}
    said = body.get("detail" if is_problem else "return", "")
    return bool(body) and body["error"] == "Forbidden" and said.startswith(f"{'' if is_problem else '401: '}the policy of this sidecar refuses")


def token_of(api: Api, credentials: dict[str, str], *groups: str) -> str:
    """Have the master make a token; it says that its user is in these groups."""
    token: str = master_of(api).send({"cmd": "mk_token", **credentials})["token"]
    master_of(api).tokens[token]["groups"] = list(groups)
    return token


def knock(api: Api, method: str, url: str, *, inline: bool) -> tuple[Response, set[str]]:
    """Send what runs something at a URL that runs anything; return the answer and what the master was asked to run."""
    credentials = api.demo if inline else {}
    headers = {} if inline else {"x_auth_token": token_of(api, api.demo)}
    # /v1 takes no field that it does not know.
    asked = PING if url.startswith("/v1/") else {**PING, **credentials, "mid": "new"}
    body = json.dumps(asked).encode() if method == "POST" else b""
    before = len(master_of(api).loads)
    answer = api.caller.request(method, url, body, content_type="application/json", **headers)
    return answer, {load["cmd"] for load in master_of(api).loads[before:]} & RUNS


@pytest.mark.parametrize("inline", [False, True], ids=["in a session", "with a password"])
@pytest.mark.slow
def test_every_url_that_runs_something_asks_the_policy(request: pytest.FixtureRequest, tmp_path: Path, *, inline: bool) -> None:
    folder = tmp_path / "closed"
    folder.mkdir()
    opened, closed = fake_api(tmp_path, **a_store(tmp_path)), fake_api(folder, **a_store(folder), SIDECAR_POLICY_RULES=REFUSE_ALL)
    running = set()
    request.addfinalizer(opened.process.stop)
    request.addfinalizer(closed.process.stop)
    for method, url in DOORS:
        free, ran = knock(opened, method, url, inline=inline)
        answer, ran_all_the_same = knock(closed, method, url, inline=inline)

        assert not ran_all_the_same, (method, url)
        assert refused(answer) is bool(ran), (method, url, free.body, answer.body)
        if ran:
            running.add(f"{method} {url.split('/')[1]}")

    in_a_session = {"POST ", "POST minions", "GET minions", "GET jobs", "GET keys", "GET v1", "POST v1"}
    assert running == ({"POST ", "POST run", "POST keys"} if inline else in_a_session)


def low_of(client: str, fun: str = "") -> dict[str, Any]:
    if client.startswith("local") or client == "ssh":
        return {"client": client, "tgt": "*", "fun": fun or "test.arg", "arg": [CANARY], "kwarg": {"name": CANARY}}
    return {"client": client, "fun": fun or ("test.arg" if client.startswith("runner") else "key.finger"), "match": CANARY}


@pytest.mark.slow
@pytest.mark.parametrize("client", CLIENTS)
def test_a_refusal_comes_before_the_master_and_leaks_nothing(client: str, tmp_path: Path) -> None:
    audit = {"SIDECAR_AUDIT_SINKS": "file", "SIDECAR_AUDIT_FILE": str(tmp_path / "audit.jsonl"), "SIDECAR_AUDIT_WRITE_SECONDS": "30"}
    api = fake_api(tmp_path, SIDECAR_POLICY_RULES=json.dumps([{"action": "refuse", "users": ["demo"], "clients": [client.partition("_")[0]]}]), **audit)
    with capture_logs() as lines:
        answer = api.caller.post([{**api.demo, **low_of(client), "password": f"{CANARY}-password"}])
    api.process.stop()
    (record,) = (json.loads(line) for line in (tmp_path / "audit.jsonl").read_text().splitlines() if '"response_complete"' in line)
    (said,) = (line for line in lines if line["event"] == "policy.refused")

    assert refused(answer)
    assert master_of(api).loads == []
    assert api.process.metrics.value("salt_api_policy_refusals_total", client=client) == 1
    assert api.process.metrics.value("salt_api_client_requests_total", client=client, outcome="authz_error") == 1
    assert (record["decision"], record["error"], record["status_code"], record["salt.client"]) == ("deny", "Forbidden", 401, client)
    assert (said["rule"], said["salt.client"], said["salt.fun"]) == ("policy.rules.0", client, low_of(client)["fun"])
    assert (said["user.name"], said["auth.eauth"]) == ("demo", "sharedsecret")
    assert CANARY not in f"{answer.body.decode()} {lines} {record} {Caller(api.process.ops).get('/metrics').body.decode()}"


def test_nothing_of_a_request_runs_when_one_of_its_lows_is_refused(tmp_path: Path) -> None:
    api = fake_api(tmp_path, SIDECAR_POLICY_RULES=json.dumps([{"action": "refuse", "functions": ["test.echo", "cmd.*"]}]))

    assert refused(api.caller.post([{**api.demo, **PING}, {**api.demo, **PING, "fun": "test.echo", "arg": ["x"]}]))
    assert refused(api.run(client="local", tgt="*", fun=["test.ping", "test.echo"], arg=[[], ["x"]]))
    assert refused(api.run(**PING, module_executors=["direct_call"]))  # as cmd.run, below
    assert master_of(api).loads == []
    assert api.run(**PING).status == 200


@pytest.mark.parametrize("client", ["wheel", "wheel_async"])
@pytest.mark.parametrize("fun", ["file_roots.write", "pillar_roots.write", "config.apply", "config.update_config", "FILE_ROOTS.write"])
@pytest.mark.slow
def test_the_masters_files_are_not_written(client: str, fun: str, tmp_path: Path) -> None:
    api = fake_api(tmp_path)
    session = {"x_auth_token": token_of(api, api.demo)}
    lows = [low_of(client, fun), {**low_of(client, fun), **api.demo}, {**low_of(client, fun), "token": session["x_auth_token"]}]

    assert [refused(api.caller.post(low, path, **headers)) for low, path, headers in zip(lows, ("/", "/run", "/run"), (session, {}, {}), strict=True)] == [
        True
    ] * 3
    assert not RUNS & {load["cmd"] for load in master_of(api).loads}
    (tmp_path / "switched").mkdir()
    assert fake_api(tmp_path / "switched", SIDECAR_POLICY_REFUSE_MASTER_WRITES="false").run(**low_of(client, fun)).status == 200


class TestWhoCalls:
    """A token's user and groups are what the master says; a name and password say their name, and no groups."""

    def api(self, folder: Path, rule: dict[str, Any]) -> Api:
        return fake_api(folder, SIDECAR_POLICY_RULES=json.dumps([rule, {"action": "refuse"}] if rule["action"] == "allow" else [rule]))

    @pytest.mark.parametrize("path", ["/", "/run"])
    @pytest.mark.parametrize(
        ("rule", "demo", "pinger"),
        [
            ({"action": "refuse", "users": ["demo"]}, False, True),
            ({"action": "allow", "users": ["demo"]}, True, False),
            ({"action": "refuse", "groups": ["ops"]}, False, True),
            ({"action": "allow", "groups": ["ops"]}, True, False),
            ({"action": "refuse", "eauth": ["pam"]}, True, True),
            ({"action": "allow", "eauth": ["sharedsecret"]}, True, True),
        ],
    )
    def test_by_a_token(self, path: str, rule: dict[str, Any], tmp_path: Path, *, demo: bool, pinger: bool) -> None:
        api = self.api(tmp_path, rule)
        tokens = token_of(api, api.demo, "users", "ops"), token_of(api, api.pinger)
        api.caller.address = "192.0.2.2"
        answers = [api.caller.post({**PING, "token": token}, path, **({"x_auth_token": token} if path == "/" else {})) for token in tokens]

        assert [not refused(answer) for answer in answers] == [demo, pinger]

    @pytest.mark.parametrize(
        ("rule", "passes"),
        [({"action": "refuse", "groups": ["ops"]}, False), ({"action": "allow", "groups": ["*"]}, False), ({"action": "allow", "users": ["demo"]}, True)],
    )
    def test_by_a_password(self, rule: dict[str, Any], tmp_path: Path, *, passes: bool) -> None:
        api = self.api(tmp_path, rule)

        assert refused(api.run(**PING)) is not passes

    def test_credentials_beside_a_token_lend_it_no_name(self, tmp_path: Path) -> None:
        api = self.api(tmp_path, {"action": "allow", "users": ["demo"]})
        token = token_of(api, api.pinger)

        assert refused(api.caller.post({**PING, **api.demo, "token": token}, "/run"))
        assert refused(api.caller.post({**PING, **api.demo}, "/", x_auth_token=token))

    def test_of_a_module_of_somebodys_own_the_name_is_not_known(self, tmp_path: Path) -> None:
        """Which field it takes for the name, only it knows."""
        api = self.api(tmp_path, {"action": "allow", "users": ["demo"]})

        assert refused(api.run(**PING, eauth="company_directory"))

    def test_a_token_that_is_over_is_no_bodys(self, tmp_path: Path) -> None:
        api = self.api(tmp_path, {"action": "refuse", "users": ["anna"]})
        answer = api.caller.post({**PING, "token": "ab" * 32}, "/run")

        assert (answer.status, answer.json()["error"]) == (401, "Unauthenticated")

    def test_while_the_master_cannot_say_whose_a_token_is_nothing_is_decided(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        api = self.api(tmp_path, {"action": "refuse", "users": ["anna"]})
        token = token_of(api, api.demo)

        def away(_load: object, **_options: object) -> None:
            raise MasterUnreachable("away")

        monkeypatch.setattr(master_of(api), "send", away)
        assert api.caller.post({**PING, "token": token}, "/run").status == 503


@pytest.mark.costly
def test_a_name_that_could_be_taken_for_anothers_gets_no_call_and_no_token(tmp_path: Path) -> None:
    api = fake_api(tmp_path)
    names = ["dem[o]", "d*", "dem?", "demo|x", "d.mo", "(?i:DEMO)", "demo$"]
    lows = [{**api.demo, **low_of(client), "username": name} for client in CLIENTS for name in names]
    answers = [api.caller.post(low, path) for low in lows for path in ("/", "/run")]
    answers += [api.caller.post({**api.demo, "username": name}, path) for name in names for path in ("/login", "/token")]
    answers += [api.caller.post({**api.demo, "username": name, "mid": "new"}, "/keys") for name in names]

    assert {answer.status for answer in answers} == {401}
    assert master_of(api).loads == []

    token = token_of(api, api.demo)
    master_of(api).tokens[token]["name"] = "dem[o]"  # as another API beside the master may have it made
    assert api.caller.post(PING, "/", x_auth_token=token).status == 401


def test_a_reload_takes_other_rules_and_none_that_have_faults(tmp_path: Path) -> None:
    api = fake_api(tmp_path)
    environ = {"SALT_MASTER_CONFIG": str(tmp_path / "master"), **LENIENT}
    seen = []
    for rules in (REFUSE_ALL, '[{"action": "allow", "functions": ["test"]}]', "[]"):
        api.process.reloading.reload({**environ, "SIDECAR_POLICY_RULES": rules})
        seen.append(refused(api.run(**PING)))

    assert seen == [True, True, False]
