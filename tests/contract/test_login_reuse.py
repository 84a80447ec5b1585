"""limits.auth_reuse_seconds: whoever is let in and whoever is not is the same as without it, and nothing of the tokens is to be seen."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from service.clients import CLIENTS
from service.demo.embedded import PATIENCE_SECONDS, EmbeddedSalt, until
from service.wiring.configuration import read_configuration
from tests.caller import Caller
from tests.contract.conftest import LENIENT, Api, fake_api, real_sidecar, requests_of
from tests.contract.test_auth_matrix import LOWS
from tests.fakes import FakeGateway

PING = {"client": "local", "tgt": "minion-1", "fun": "test.ping"}
REUSE = {"SIDECAR_LIMITS_AUTH_REUSE_SECONDS": "60"}
# What two runs of the same low never have in common.
OWN = re.compile(r"\b\d{20}\b|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32}|\"_stamp\": ?\"[^\"]*\"")


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.master)])
def api(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Api]:
    """A sidecar with the setting, over each master in turn."""
    audit = {
        "SIDECAR_AUDIT_SINKS": "file",
        "SIDECAR_AUDIT_FILE": str(tmp_path / "audit.jsonl"),
        "SIDECAR_AUDIT_WRITE_SECONDS": "30",
        "SIDECAR_AUDIT_RULES": "[{level: metadata}]",
    }
    if request.param == "fake":
        made = fake_api(tmp_path, **REUSE, **audit)
        yield made
        made.process.stop()
        return
    salt: EmbeddedSalt = request.getfixturevalue("salt_master")
    with real_sidecar(salt, read_configuration({"SALT_MASTER_CONFIG": str(salt.master_config), **LENIENT, **REUSE, **audit})) as real:
        yield real


@pytest.fixture
def plain(api: Api, request: pytest.FixtureRequest, tmp_path: Path) -> Api:
    """The same without the setting."""
    if isinstance(api.process.gateway, FakeGateway):
        folder = tmp_path / "plain"
        folder.mkdir()
        return fake_api(folder)
    real: Api = request.getfixturevalue("real_api")
    return real


def tokens_of(api: Api) -> set[str]:
    """Return the tokens that the master has."""
    gateway = api.process.gateway
    if isinstance(gateway, FakeGateway):
        return set(gateway.master.tokens)
    return {path.name.removesuffix(".p") for path in Path(api.master["token_dir"]).iterdir()}


def used(api: Api, result: str) -> float:
    return api.process.metrics.value("salt_api_auth_reuse_total", result=result) or 0.0


def warm(api: Api, credentials: dict[str, str]) -> str:
    """Run what becomes a token; return it."""
    before = tokens_of(api)
    for _ in range(2):
        assert api.caller.post({**credentials, **PING}).status == 200
    (token,) = tokens_of(api) - before
    return token


def answer_of(api: Api, low: dict[str, Any]) -> tuple[int, str]:
    """Return the status of an answer, and its body without what is its own, and without the order in which minions returned."""
    answer = api.caller.post(low)
    body = answer.json()
    if isinstance(body["return"], list):
        body["return"].sort(key=repr)
    return answer.status, OWN.sub("ID", json.dumps(body, sort_keys=True))


@pytest.mark.costly
@pytest.mark.parametrize("client", CLIENTS)
def test_every_answer_is_the_same_with_it_and_without(api: Api, plain: Api, client: str) -> None:
    """The right, a wrong and no right, a wrong password before and after the right one, a module that is not there."""
    allowed = {"client": client, "tgt": "minion-1", "fun": "test.ping"} if client.startswith("local") else None
    who: list[tuple[dict[str, str], dict[str, Any] | None]] = [
        (api.demo, LOWS[client]),
        (api.pinger, LOWS[client]),
        (api.pinger, allowed),
        ({**api.demo, "password": "wrong"}, LOWS[client]),
        ({**api.demo, "eauth": "auto"}, LOWS[client]),
        ({**api.demo, "username": "nobody"}, LOWS[client]),
    ]
    warm(api, api.demo)
    warm(api, api.pinger)
    for credentials, low in who:
        if low is not None:
            first, again, expected = (answer_of(one, {**credentials, **low}) for one in (api, api, plain))

            assert first == again == expected, (credentials["username"], low)
    assert used(api, "hit") > 0


@pytest.mark.costly
def test_a_name_and_password_are_judged_by_the_master_and_then_for_a_while_by_nobody(api: Api) -> None:
    token = warm(api, api.demo)
    with capture_logs() as lines:
        assert api.caller.post([{**api.demo, **PING}] * 3).status == 200

    assert (used(api, "first"), used(api, "miss"), used(api, "hit")) == (1, 1, 3)
    assert token in tokens_of(api)
    (line,) = requests_of(lines)
    assert (line["user.name"], line["auth.eauth"]) == (api.demo["username"], api.demo["eauth"])
    assert [low["login_reused"] for low in line["salt.lows"]] == [True] * 3


def test_a_login_is_never_reused_for_a_session(api: Api) -> None:
    kept = warm(api, api.demo)
    made = {api.caller.post(api.demo, path).json()["return"][0]["token"] for path in ("/login", "/login")}

    assert len(made - {kept}) == 2


@pytest.mark.costly
def test_nobody_sees_the_token_or_the_password(api: Api, tmp_path: Path) -> None:
    token = warm(api, api.demo)
    with capture_logs() as lines:
        answers = [api.caller.post({**api.demo, **low}) for low in (PING, *LOWS.values(), {**PING, "fun": "no.such"}, {**PING, "tgt": 1})]
        answers.append(api.caller.post({**api.demo, **PING, "password": "wrong"}))
    assert used(api, "hit") > len(LOWS)
    api.process.stop()
    audit = (tmp_path / "audit.jsonl").read_text()
    written = {
        "headers": repr([answer.headers for answer in answers]),
        "bodies": repr([answer.body for answer in answers]),
        "log": json.dumps(lines, default=str),
        "audit": audit,
        "metrics": Caller(api.process.ops).get("/metrics").body.decode(),
    }

    for what, text in written.items():
        assert token not in text, what
        assert api.demo["password"] not in text, what
    records = [record for record in map(json.loads, audit.splitlines()) if record.get("login_reused")]
    assert records
    assert {(record["user.name"], record["eauth"], record["stage"]) for record in records} == {(api.demo["username"], api.demo["eauth"], "response_complete")}


@pytest.mark.costly
def test_a_token_that_the_master_forgot_costs_one_more_login_and_no_answer(api: Api) -> None:
    token = warm(api, api.demo)
    api.process.gateway.runner.tokens.discard(token)
    if isinstance(gateway := api.process.gateway, FakeGateway):
        del gateway.master.tokens[token]
    statuses = [api.caller.post({**api.demo, **PING}).status for _ in range(3)]

    assert statuses == [200] * 3
    assert (used(api, "refused"), used(api, "miss")) == (1, 2)


def test_failed_logins_are_slowed_down_as_ever(tmp_path: Path) -> None:
    api = fake_api(tmp_path, **REUSE | {"SIDECAR_LIMITS_AUTH_FAILURES_BURST": "2"})
    warm(api, api.demo)
    wrong = [api.caller.post({**api.demo, **PING, "password": str(guess)}).status for guess in range(4)]

    assert wrong == [401, 401, 429, 429]
    assert api.caller.post({**api.demo, **PING}).status == 200
    api.process.stop()


@pytest.mark.costly
def test_a_reload_makes_everybody_log_in_anew(tmp_path: Path) -> None:
    api = fake_api(tmp_path, **REUSE)
    warm(api, api.demo)
    api.process.reloading.reload({"SALT_MASTER_CONFIG": str(tmp_path / "master"), **LENIENT, **REUSE})
    api.caller.post({**api.demo, **PING})
    assert used(api, "miss") == 2
    api.process.reloading.reload({"SALT_MASTER_CONFIG": str(tmp_path / "master"), **LENIENT})
    api.caller.post({**api.demo, **PING})

    assert (used(api, "miss"), used(api, "hit")) == (2, 0)
    api.process.stop()


def test_the_master_keeps_no_token_of_a_sidecar_that_has_stopped(api: Api) -> None:
    token = warm(api, api.demo)
    api.process.stop()

    if isinstance(api.process.gateway, FakeGateway):
        assert api.process.metrics.value("salt_api_auth_reuse_ended_total", copy="left") == 1
    else:
        assert token not in tokens_of(api)
        assert api.process.metrics.value("salt_api_auth_reuse_ended_total", copy="removed") == 1


# What a directory or PAM takes for a password, and a line for each that it was asked for.
SLOW_MODULE = '''"""Takes the password `right`, after 0.3 s."""
import time

def auth(username, password):
    with open({path!r}, "a") as asked:
        asked.write(username + "\\n")
    time.sleep(0.3)
    return password == "right"
'''


@pytest.fixture(scope="module")
def slow_salt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[EmbeddedSalt, Path]]:
    """A master whose eauth module `slow` takes 0.3 s, and the file in which that says whom it was asked for."""
    folder = tmp_path_factory.mktemp("slow")
    asked = folder / "asked"
    (folder / "ext" / "auth").mkdir(parents=True)
    (folder / "ext" / "auth" / "slow.py").write_text(SLOW_MODULE.format(path=str(asked)))
    options = {"module_dirs": [str(folder / "ext")], "external_auth": {"slow": {"robot": [".*", "@wheel", "@runner"]}}, "token_expire_user_override": True}
    with EmbeddedSalt(folder / "salt", minions=1, threads=True, master=options) as salt:
        yield salt, asked


@pytest.mark.master
@pytest.mark.slow
def test_a_slow_module_is_asked_twice_however_many_lows_there_are(slow_salt: tuple[EmbeddedSalt, Path]) -> None:
    salt, asked = slow_salt
    robot = {"eauth": "slow", "username": "robot", "password": "right"}
    lows = [{**robot, **low} for low in (PING, {"client": "wheel", "fun": "key.list_all"}, {"client": "runner", "fun": "test.arg", "arg": ["a"]})]
    with real_sidecar(salt, read_configuration({"SALT_MASTER_CONFIG": str(salt.master_config), **LENIENT, **REUSE})) as api:
        answers = [api.caller.post(lows) for _ in range(4)]
        lifetimes = [data["expire"] - data["start"] for data in map(api.process.gateway.runner.tokens.get_token, tokens_of(api)) if data]

    assert [answer.status for answer in answers] == [200] * 4, answers
    assert asked.read_text().split() == ["robot"] * 2
    assert [round(lifetime) for lifetime in lifetimes] == [60 + 7200 + 60], "the user may choose how long the token lives"
    for _ in until(PATIENCE_SECONDS):
        if not tokens_of(api):
            break
    assert not tokens_of(api)
