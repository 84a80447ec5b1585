"""The same name in two eauth modules of a real master: two users, with jobs of their own; and a token that ends before its job."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest

from service.demo.embedded import EmbeddedSalt
from service.wiring.configuration import read_configuration
from tests.caller import Response
from tests.contract.conftest import LENIENT, Api, listening, login, real_sidecar
from tests.contract.reference import Reference
from tests.listening import Listening
from tests.real.held import Held

pytestmark = pytest.mark.master

RIGHTS = ["test.ping", "test.arg", "cmd.run"]
PING = {"client": "local", "tgt": "minion-1", "fun": "test.ping"}


@pytest.fixture(scope="module")
def salt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedSalt]:
    modules = {"sharedsecret": {"ann": RIGHTS}}
    with EmbeddedSalt(tmp_path_factory.mktemp("owners"), threads=True, users={"ann": RIGHTS}, master={"external_auth": modules}) as embedded:
        yield embedded


@pytest.fixture(scope="module")
def api(salt: EmbeddedSalt) -> Iterator[Api]:
    with real_sidecar(salt, read_configuration({"SALT_MASTER_CONFIG": str(salt.master_config), **LENIENT})) as made:
        yield made


@pytest.fixture
def users(salt: EmbeddedSalt) -> dict[str, dict[str, str]]:
    """The credentials of ann, by eauth module."""
    return {"file": salt.credentials_of("ann"), "sharedsecret": {**salt.credentials, "username": "ann"}}


def jids_until_my_own(api: Api, stream: Listening, credentials: dict[str, str]) -> set[str]:
    """Return the jids of all events up to the return of a job that the listener starts now, without that one."""
    last = api.caller.post([{**credentials, **PING, "client": "local_async"}]).json()["return"][0]["jid"]
    return {event.data["jid"] for event in stream.until(f"{last}/ret/minion-1")} - {last}


@pytest.mark.parametrize("eauth", ["file", "sharedsecret"])
def test_a_user_sees_the_jobs_of_its_own_module_and_none_of_another_api(salt: EmbeddedSalt, api: Api, users: dict[str, dict[str, str]], eauth: str) -> None:
    with listening(api, users[eauth]) as stream:
        started: dict[str, set[str]] = {}
        for name, credentials in users.items():
            for who in (credentials, {"token": login(api, credentials)}):
                answer = api.caller.post([{**who, **PING, "client": "local_async"}])
                started.setdefault(name, set()).add(answer.json()["return"][0]["jid"])
        with Reference(salt.master_config) as salts_own:
            assert salts_own.run({**users[eauth], **PING}) == ("value", {"minion-1": True})

        seen = jids_until_my_own(api, stream, users[eauth])

    # What the test before this one started may still return; a jid is the time.
    first = min(set().union(*started.values()))
    assert {jid for jid in seen if jid >= first} == started[eauth]


def test_a_users_jid_does_not_give_its_returns_to_the_namesake(api: Api, users: dict[str, dict[str, str]], held: Held) -> None:
    jid = api.caller.post([{**users["file"], **PING, **held.low, "client": "local_async"}]).json()["return"][0]["jid"]
    stolen = api.caller.post([{**users["sharedsecret"], **PING, "jid": jid}])
    held.let_go()

    assert (stolen.status, stolen.json()["error"]) == (409, "Conflict")


def test_a_token_that_ends_before_its_job_does_not_make_a_minion_silent(salt: EmbeddedSalt, api: Api, users: dict[str, dict[str, str]], held: Held) -> None:
    token = login(api, users["file"])
    answers: list[Response] = []
    low = {"token": token, **PING, **held.low, "timeout": 2, "gather_job_timeout": 2}
    caller = Thread(target=lambda: answers.append(api.caller.post([low], "/run")))
    with listening(api, users["file"]) as stream:
        caller.start()
        stream.until("/new")
    for file in Path(api.master["token_dir"]).glob(f"**/{token}*"):
        file.unlink()
    caller.join(60)
    held.let_go()

    (value,) = answers[0].json()["return"]
    assert answers[0].status == 200
    assert value["minion-1"].startswith("Minion did not return. [Refused]")
    assert "salt-run jobs.lookup_jid 2" in value["minion-1"]
