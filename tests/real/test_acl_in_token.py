"""A master with `keep_acl_in_token`: whoever gets in with a token, and who with a name and password, is the same as with salt-api."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from service.demo.embedded import EmbeddedSalt
from service.wiring.configuration import read_configuration
from tests.contract.conftest import LENIENT, Api, a_store, login, real_sidecar
from tests.contract.reference import Reference

pytestmark = pytest.mark.master

# Modules of one's own: one that knows groups, one that says the rights itself.
MODULES = {
    "grouped": "def auth(username, password):\n    return password == 'good'\n\n\ndef groups(username, **_kwargs):\n    return ['ops']\n",
    "ruled": "def auth(username, password):\n    return password == 'good'\n\n\ndef acl(username, **_kwargs):\n    return ['.*', '@runner', '@wheel'] if username == 'anna' else []\n",
}
EVERYTHING = [".*", "@runner", "@wheel"]
# Most are sent and not awaited: who gets in is decided before. Of `wheel_async` salt-api never says that it was refused.
LOWS: dict[str, dict[str, Any]] = {
    "local": {"client": "local_async", "tgt": "minion-1", "fun": "test.ping"},
    "several": {"client": "local_async", "tgt": "minion-1", "fun": ["test.ping", "test.echo"], "arg": [[], ["hello"]]},
    "permitted to everybody": {"client": "local_async", "tgt": "minion-1", "fun": "saltutil.find_job", "arg": ["1"]},
    "runner": {"client": "runner_async", "fun": "test.arg"},
    "wheel": {"client": "wheel", "fun": "key.list_all"},
}
# Callers with every right, or none: the eauth module, the name, and what a token and a password are good for.
NOTHING, ALL = {"permitted to everybody"}, set(LOWS)
CALLERS = [
    ("sharedsecret", "demo", NOTHING, ALL),
    ("file", "anna", NOTHING, ALL),
    ("auto", "anna", NOTHING, ALL),
    ("auto", "bert", NOTHING, NOTHING),
    ("grouped", "anna", NOTHING, ALL),
    ("ruled", "anna", ALL, ALL),
    ("ruled", "bert", NOTHING, NOTHING),
]
# A module of one's own may change rights in ways that the sidecar does not know (docs/eauth.md, "Several functions in one low").
NOT_OURS = {("grouped", "anna", "several")}


@pytest.fixture(scope="module")
def salt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedSalt]:
    folder = tmp_path_factory.mktemp("acl")
    modules = folder / "auth"
    modules.mkdir()
    for name, source in MODULES.items():
        (modules / f"{name}.py").write_text(source)
    options = {
        "keep_acl_in_token": True,
        "auth_dirs": [str(modules)],
        "external_auth": {"auto": {"anna": EVERYTHING}, "grouped": {"ops%": EVERYTHING}, "ruled": {"nobody": ["test.ping"]}},
    }
    with EmbeddedSalt(folder / "salt", minions=1, threads=True, users={"anna": EVERYTHING}, master=options) as embedded:
        yield embedded


@pytest.fixture(scope="module")
def api(salt: EmbeddedSalt, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with real_sidecar(salt, read_configuration({"SALT_MASTER_CONFIG": str(salt.master_config), **LENIENT, **a_store(tmp_path_factory.mktemp("jobs"))})) as made:
        yield made


@pytest.fixture(scope="module")
def reference(salt: EmbeddedSalt) -> Iterator[Reference]:
    with Reference(salt.master_config) as client:
        yield client


def credentials_of(salt: EmbeddedSalt, eauth: str, name: str) -> dict[str, str]:
    known = {"sharedsecret": salt.credentials, "file": salt.credentials_of("anna")}
    return known.get(eauth, {"eauth": eauth, "username": name, "password": "good"})


@pytest.mark.parametrize(("eauth", "name", "by_token", "by_password"), CALLERS)
def test_a_token_and_a_password_are_good_for_what_they_are_good_for_at_salt_api(
    api: Api, salt: EmbeddedSalt, reference: Reference, eauth: str, name: str, by_token: set[str], by_password: set[str]
) -> None:
    password = credentials_of(salt, eauth, name)
    token = {"token": login(api, password)}
    for credentials, good in ((token, by_token), (password, by_password)):
        theirs = {low for low, fields in LOWS.items() if reference.run({**fields, **credentials})[0] == "value"}
        answers = {low: api.caller.post({**fields, **credentials}, "/run") for low, fields in LOWS.items()}
        ours = {low for low, answer in answers.items() if answer.status == 200}

        assert theirs == good
        assert ours == good - {low for low in good if (eauth, name, low) in NOT_OURS and credentials is password}
        assert {answers[low].status for low in LOWS if low not in ours} <= {401}


@pytest.mark.parametrize(("eauth", "name", "good"), [("sharedsecret", "demo", False), ("grouped", "anna", False), ("ruled", "anna", True)])
def test_a_session_that_the_master_gives_no_right_reads_what_needs_none(api: Api, salt: EmbeddedSalt, eauth: str, name: str, good: bool) -> None:
    token = login(api, credentials_of(salt, eauth, name))

    for path in ("/jobs", "/keys"):
        assert api.caller.get(path, x_auth_token=token).status == (200 if good else 401), path
    for path in ("/stats", "/v1/jobs"):
        assert api.caller.get(path, x_auth_token=token).status == 200, path
    asked = api.caller.post({"tgt": "minion-1", "fun": "test.ping"}, "/v1/jobs", x_auth_token=token)
    assert (asked.status, asked.json().get("error")) == ((202, None) if good else (403, "Forbidden"))
