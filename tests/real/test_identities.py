"""Identities under a real master: its eauth module lets accounts in that the sidecar signs for, with the rights of `external_auth`, and nobody else."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from service.api.v1.v1_token import FIELDS, GRANT
from service.cli import main
from service.cli.check import find_faults
from service.demo.embedded import EmbeddedSalt
from service.wiring.configuration import read_configuration
from tests.caller import Response
from tests.contract.conftest import LENIENT, Api, a_store, real_sidecar
from tests.issuing import AUDIENCE, URL, KeyServer, SigningKey, github, jwks, plain
from tests.unit.identities.assertions import MasterSide

pytestmark = [pytest.mark.master, pytest.mark.slow]

RIGHTS: dict[str, list[Any]] = {"ci:group/app": [{"minion-1": ["test.ping"]}], "deployers%": ["test.arg"], "checked": ["test.ping"]}


@pytest.fixture(scope="module")
def master(tmp_path_factory: pytest.TempPathFactory) -> MasterSide:
    return MasterSide(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def salt(master: MasterSide, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedSalt]:
    folder = tmp_path_factory.mktemp("identities")
    assert main(["install-eauth", str(folder / "auth")]) == 0
    options = {"external_auth": {"sidecar": RIGHTS}, "auth_dirs": [str(folder / "auth")], **copy.deepcopy(master.opts)}
    with EmbeddedSalt(folder / "salt", threads=True, master={"gather_job_timeout": 30, **options}) as embedded:
        yield embedded


def environ(salt: EmbeddedSalt, master: MasterSide, account: str) -> dict[str, str]:
    ours = {"SIDECAR_IDENTITIES_KEY_FILE": str(master.key_file), "SIDECAR_IDENTITIES_TEST_ACCOUNT": account}
    return {"SALT_MASTER_CONFIG": str(salt.master_config), **LENIENT, **ours, "SIDECAR_API_PORT": "0", "SIDECAR_OPS_PORT": "0"}


@pytest.fixture(scope="module")
def api(salt: EmbeddedSalt, master: MasterSide) -> Iterator[Api]:
    with real_sidecar(salt, read_configuration(environ(salt, master, "checked"))) as made:
        yield made


def login(api: Api, password: str, account: str = "ci:group/app") -> int:
    return api.caller.post({"eauth": "sidecar", "username": account, "password": password}, "/login").status


def ran(api: Api, token: str, **low: Any) -> int:
    return api.caller.post({"client": "local", "tgt": "minion-1", **low}, x_auth_token=token).status


def test_an_account_may_do_what_the_master_says_and_no_more(api: Api, master: MasterSide) -> None:
    credentials = {"eauth": "sidecar", "username": "ci:group/app"}
    alone, grouped = (
        api.caller.post({**credentials, "password": master.forged(groups=groups)}, "/login").json()["return"][0]["token"] for groups in ([], ["deployers"])
    )

    assert [ran(api, token, fun="test.ping") for token in (alone, grouped)] == [200, 200]
    assert [ran(api, token, fun="test.arg", arg=["x"]) for token in (alone, grouped)] == [401, 200]
    assert [ran(api, token, fun="test.ping", tgt="minion-2") for token in (alone, grouped)] == [401, 401]


def test_a_pipeline_with_an_id_token_may_do_what_its_account_may(salt: EmbeddedSalt, master: MasterSide, tmp_path: Path) -> None:
    """The token has GitHub's shape, its keys come over HTTP, and there is no password anywhere."""
    key = SigningKey("key-1")
    with KeyServer(plain(jwks(key))) as server:
        issuers = {"github": {"url": URL, "audiences": [AUDIENCE], "jwks_url": server.url}}
        rule = {"issuer": "github", "claims": {"repository_id": ["74"], "ref": ["refs/heads/main"]}, "account": "ci:group/app"}
        ours = {"SIDECAR_IDENTITIES_ISSUERS": json.dumps(issuers), "SIDECAR_IDENTITIES_RULES": json.dumps([rule]), **a_store(tmp_path)}
        with real_sidecar(salt, read_configuration({**environ(salt, master, "checked"), **ours})) as api:
            ping = {"tgt": "minion-1", "fun": "test.ping"}

            def job(token: str, **asked: Any) -> Response:
                return api.caller.post({**ping, **asked}, "/v1/jobs?wait=60&fail=1", authorization=f"Bearer {token}")

            done = job(key.sign(github()))
            assert (done.status, done.json()["owner"], done.json()["exit_code"]) == (200, "sidecar:ci:group/app", 0)
            assert [job(key.sign(github()), **other).status for other in ({"tgt": "*"}, {"fun": "test.arg"})] == [403, 403]
            refused = [key.sign(github(ref="refs/heads/other")), SigningKey("key-1").sign(github()), key.sign(github(exp=1)), key.sign(github(aud="x"))]
            assert [job(token).json()["why"] for token in refused] == ["rule", "signature", "expired", "audience"]

            fields = {"grant_type": GRANT, "subject_token_type": FIELDS["subject_token_type"][0], "subject_token": key.sign(github())}
            token = api.caller.post(fields, "/v1/token").json()["access_token"]
            assert (ran(api, token, fun="test.ping"), ran(api, token, fun="test.arg")) == (200, 401)


def test_the_real_master_refuses_what_the_sidecar_did_not_sign_for_it_now(api: Api, master: MasterSide, tmp_path: Path) -> None:
    other = MasterSide(tmp_path)

    assert login(api, master.forged()) == 200
    refused = [other.forged(), master.forged({"kid": "key-9"}), master.forged({"alg": "none"}), master.forged(aud="other"), master.forged(exp=1, iat=0), "x"]
    assert [login(api, password) for password in refused] == [401] * len(refused)
    assert login(api, master.forged(), "checked") == 401


@pytest.mark.parametrize(("account", "told"), [("checked", []), ("nobody", [True])])
def test_check_logs_the_test_account_in(salt: EmbeddedSalt, master: MasterSide, account: str, told: list[bool]) -> None:
    faults, _ = find_faults(environ(salt, master, account))

    assert ["lets it do nothing" in str(fault) for fault in faults] == told


def test_check_says_that_a_master_has_no_module(salt_master: EmbeddedSalt, master: MasterSide, tmp_path: Path) -> None:
    """The configuration is there, and the master was not started with it."""
    text = salt_master.master_config.read_text()
    (tmp_path / "master").write_text(f"{text}\nsidecar_assertion: {master.opts['sidecar_assertion']}\n")
    faults, _ = find_faults({**environ(salt_master, master, "checked"), "SALT_MASTER_CONFIG": str(tmp_path / "master")})

    (fault,) = faults
    assert "the master refuses to log checked in" in str(fault)
