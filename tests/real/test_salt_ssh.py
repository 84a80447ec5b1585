"""`client: ssh` with a real server of ssh's and the salt-ssh of a real master: what hosts answer, what attacks come to, and what Salt's own client says."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.contract.conftest import login
from tests.contract.reference import Reference
from tests.meanwhile import eventually
from tests.real.ssh_scenes import ATTACKS, SCENES, Scene, SshStage, value_of

pytestmark = [pytest.mark.master, pytest.mark.slow]

# What both are asked, and have to say the same of. Salt's client asks for a right to the function, so who may do everything calls.
ALIKE: dict[str, dict[str, Any]] = {
    "words and numbers": {"tgt": "edge-1", "fun": "test.arg", "arg": ["a", "1", "b=c", 'it\'s "x" $HOME']},
    "keyword arguments": {"tgt": "edge-1", "fun": "test.kwarg", "kwarg": {"a": 1, "b": "x y", "c": [1, 2]}},
    "an exit code": {"tgt": "edge-1", "fun": "cmd.run", "arg": ["echo x; exit 3"]},
    "a failing state": {"tgt": "edge-1", "fun": "state.apply", "arg": ["failing"]},
    "no such state": {"tgt": "edge-1", "fun": "state.apply", "arg": ["nope"]},
    "no such function": {"tgt": "edge-1", "fun": "nope.nope"},
    "nobody": {"tgt": "nobody.invalid", "fun": "test.ping"},
    "a dead host": {"tgt": "dead", "fun": "test.ping"},
    "a refused key": {"tgt": "stranger", "fun": "test.ping"},
}
VOLATILE = {"_stamp", "jid", "duration", "start_time", "pid", "__jid__", "__pub_jid", "__pub_pid", "fun_args"}


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, program: Callable[[str, str], str]) -> Iterator[SshStage]:
    with SshStage(program("sshd", "openssh-server"), tmp_path_factory.mktemp("ssh")) as made:
        yield made


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.title)
def test_a_scene_comes_to_what_it_should(stage: SshStage, scene: Scene) -> None:
    answer = stage.play(scene)

    assert answer.status == scene.status, answer.body
    assert scene.is_right(value_of(answer)), answer.body


@pytest.mark.parametrize("scene", ATTACKS, ids=lambda scene: scene.title)
def test_an_attack_reaches_neither_the_master_nor_a_host(stage: SshStage, scene: Scene) -> None:
    logins = stage.server.logins
    answer = stage.play(scene)

    assert answer.status == scene.status, answer.body
    assert scene.is_right(value_of(answer)), answer.body
    assert not stage.trace.exists()
    assert stage.server.logins == logins


def plain(value: object) -> Any:
    """Return an answer without what differs every time."""
    if isinstance(value, dict):
        return {name: plain(part) for name, part in value.items() if name not in VOLATILE}
    if isinstance(value, list):
        return [plain(part) for part in value]
    return re.sub(r"\b20\d{18}\b|\d+\.\d+ ms|pid \d+", "", value) if isinstance(value, str) else value


@pytest.mark.parametrize("name", ALIKE)
def test_salts_own_client_says_the_same(stage: SshStage, reference: Reference, name: str) -> None:
    low = {**stage.salt.credentials, "client": "ssh", **ALIKE[name]}
    kind, theirs = reference.run(low)
    answer = stage.api.caller.post([low])

    assert (kind, answer.status) == ("value", 200), (theirs, answer.body)
    assert plain(value_of(answer)) == plain(theirs)


@pytest.fixture(scope="module")
def reference(stage: SshStage) -> Iterator[Reference]:
    with Reference(stage.salt.master_config) as made:
        yield made


def test_a_wait_that_is_too_long_says_the_jid_and_the_master_goes_on(stage: SshStage) -> None:
    hasty = stage.sidecar(SIDECAR_JOBS_DEADLINE_SECONDS="2")
    answer = stage.play(Scene("", {"tgt": "edge-1", "fun": "cmd.run", "arg": ["sleep 4; echo slept"]}), hasty)

    assert answer.status == 504, answer.body
    jid = answer.json()["jid"]
    assert re.fullmatch(r"20\d{18}", jid)
    # Waited for on behalf of the other tests too: two calls that bring Salt to a new host at once stand in each other's way.
    assert eventually(lambda: looked_up(stage, jid) != {}, 240)
    (ended,) = looked_up(stage, jid).values()
    assert ended["return"]["edge-1"]["return"] == "slept"


def looked_up(stage: SshStage, jid: str) -> Any:
    """Return what the master's job cache has of a job, {} as long as it goes on."""
    return value_of(stage.api.caller.post([{**stage.salt.credentials, "client": "runner", "fun": "jobs.lookup_jid", "kwarg": {"jid": jid}}]))


def test_a_job_of_v1_over_ssh_fails_with_its_host(stage: SshStage) -> None:
    token = login(stage.api, stage.salt.credentials)
    ended = [
        stage.api.caller.post({"client": "ssh", "tgt": tgt, "fun": "test.ping"}, "/v1/jobs?wait=60&fields=status,minions", x_auth_token=token).json()
        for tgt in ("edge-1", "*[1d]")
    ]

    assert [job["status"] for job in ended] == ["succeeded", "failed"]


def test_salts_runner_calls_what_is_not_in_the_roster_and_ours_does_not(stage: SshStage) -> None:
    ours = stage.play(Scene("", {"tgt": "127.0.0.1", "fun": "test.ping"}))
    salts = stage.api.caller.post(
        [{**stage.salt.credentials, "client": "runner", "fun": "ssh.cmd", "kwarg": {"tgt": "127.0.0.1", "fun": "test.ping", "timeout": 5}}]
    )

    assert (ours.status, value_of(ours)) == (200, {})
    assert list(value_of(salts)) == ["127.0.0.1"]


def test_without_a_roster_salt_ssh_says_so(stage: SshStage) -> None:
    roster = stage.trace.with_name("roster")
    kept = roster.read_text()
    roster.unlink()
    try:
        answer = stage.play(SCENES[0])
    finally:
        roster.write_text(kept)

    assert answer.status in {200, 500}
    assert answer.status == 500 or value_of(answer) == {}
