"""Client certificates over the whole application: exchanged at `/v1/token` for a token of the account that a rule gives, and believed of nobody but the proxy."""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.errors import InvalidConfiguration
from service.wiring.configuration import read_configuration
from tests.caller import Response
from tests.certificates import Authority
from tests.contract.conftest import MASTER_CONFIG, Api, a_store, fake_api, read_once
from tests.contract.test_identities import RIGHTS
from tests.contract.test_v1_jobs import gateway_of, problem
from tests.unit.identities.assertions import MasterSide

SECRET = "CANARY-of-the-proxy"
DEPLOY, STRANGER = Authority().sign("deploy"), Authority().sign("stranger")
RULES = [{"issuer": "certificate", "claims": {"common_name": ["deploy"], "organizational_unit": ["ci"]}, "account": "pinger"}]


@pytest.fixture(scope="module")
def side(tmp_path_factory: pytest.TempPathFactory) -> MasterSide:
    return MasterSide(tmp_path_factory.mktemp("master"))


@pytest.fixture
def settings(side: MasterSide, tmp_path: Path) -> dict[str, str]:
    secret = tmp_path / "proxy-secret"
    secret.write_text(SECRET)
    secret.chmod(0o600)
    return {
        "SIDECAR_IDENTITIES_KEY_FILE": str(side.key_file),
        "SIDECAR_IDENTITIES_PROXY_SECRET_FILE": str(secret),
        "SIDECAR_IDENTITIES_RULES": json.dumps(RULES),
    }


@pytest.fixture
def api(side: MasterSide, settings: dict[str, str], tmp_path: Path) -> Iterator[Api]:
    made = fake_api(tmp_path, master=json.dumps(side.opts)[1:-1] + "\n", external_auth=RIGHTS, **a_store(tmp_path), **settings)
    gateway_of(made).master.takes = lambda account, assertion: side.lets_in(assertion, account)
    yield made
    made.process.stop()


def asked(api: Api, pem: str, secret: str = SECRET, **headers: str) -> Response:
    shown = {"x_client_cert": urllib.parse.quote(pem), "x_proxy_secret": secret, **headers}
    return api.caller.post({"grant_type": "client_credentials"}, "/v1/token", **{name: value for name, value in shown.items() if value})


def test_a_certificate_becomes_a_token_of_its_account(api: Api) -> None:
    answer = asked(api, DEPLOY.pem)

    assert answer.status == 200, answer.body
    session = api.caller.get("/v1/session", x_auth_token=answer.json()["access_token"]).json()
    assert (session["user"], session["eauth"], session["perms"]) == ("pinger", "sidecar", ["test.ping"])


@pytest.mark.parametrize(
    ("pem", "secret", "said"), [(STRANGER.pem, SECRET, "rule"), (DEPLOY.pem, "", "proxy"), (DEPLOY.pem, "guessed", "proxy"), ("", SECRET, "certificate")]
)
def test_everybody_else_is_refused(api: Api, pem: str, secret: str, said: str) -> None:
    answer = asked(api, pem, secret)

    assert problem(answer) == (401, "IdentityRefused")
    assert said in answer.json()["detail"]
    assert SECRET.encode() not in answer.body


def test_who_guesses_the_proxys_secret_is_slowed_down_at_its_address(side: MasterSide, settings: dict[str, str], tmp_path: Path) -> None:
    few = {**settings, "SIDECAR_LIMITS_AUTH_FAILURES_BURST": "5"}
    api = fake_api(tmp_path, master=json.dumps(side.opts)[1:-1] + "\n", external_auth=RIGHTS, **a_store(tmp_path), **few)

    assert [asked(api, DEPLOY.pem, f"guess {number}").status for number in range(7)] == [401] * 5 + [429] * 2
    api.process.stop()


def test_a_certificate_alone_opens_nothing_else(api: Api) -> None:
    shown = {"x_client_cert": urllib.parse.quote(DEPLOY.pem), "x_proxy_secret": SECRET}

    assert [api.caller.get(path, **shown).status for path in ("/v1/session", "/v1/jobs", "/minions")] == [401] * 3
    assert api.caller.post({"client": "local", "tgt": "*", "fun": "test.ping"}, **shown).status == 401


@pytest.mark.costly
def test_the_proxys_secret_is_changed_while_everything_runs(api: Api, settings: dict[str, str]) -> None:
    path = Path(settings["SIDECAR_IDENTITIES_PROXY_SECRET_FILE"])
    path.with_suffix(".new").write_text("another")
    path.with_suffix(".new").chmod(0o600)
    path.with_suffix(".new").replace(path)

    assert [asked(api, DEPLOY.pem, secret).status for secret in (SECRET, "another")] == [401, 200]


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"SIDECAR_IDENTITIES_PROXY_SECRET_FILE": ""}, "identities.rules.0.issuer"),
        ({"SIDECAR_IDENTITIES_RULES": "[]"}, "identities.rules"),
        ({"SIDECAR_IDENTITIES_KEY_FILE": ""}, "identities.key_file"),
        ({"SIDECAR_IDENTITIES_PROXY_SECRET_FILE": "/nonexistent/secret"}, "identities.proxy_secret_file"),
        ({"SIDECAR_IDENTITIES_CERTIFICATE_HEADER": "no header"}, "SIDECAR_IDENTITIES_CERTIFICATE_HEADER"),
    ],
)
def test_settings_that_could_let_nobody_in_are_said_at_the_start(
    settings: dict[str, str], side: MasterSide, tmp_path: Path, change: dict[str, str], where: str
) -> None:
    path = tmp_path / "master"
    path.write_text(MASTER_CONFIG + RIGHTS + json.dumps(side.opts)[1:-1] + "\n")
    environ = {"SALT_MASTER_CONFIG": str(path), **settings, **change}

    with pytest.raises(InvalidConfiguration) as refused:
        read_configuration({name: value for name, value in environ.items() if value}, read=read_once)
    assert where in {fault.where for fault in refused.value.faults}
