"""Jobs of `/v1` that a minion lets wait, and jobs that are cancelled, on a minion that runs each in a process of its own."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from service.demo.embedded import EmbeddedSalt
from tests.real.conftest import MakeSidecar
from tests.real.jobs.pipeline import USERS, Pipeline

pytestmark = [pytest.mark.master, pytest.mark.slow]

ACCOUNT = {**USERS, "ci": ["cmd.run", "state.single", "saltutil.*"]}


@pytest.fixture(scope="module")
def forking() -> Iterator[EmbeddedSalt]:
    """Start a master and a minion that has two processes for jobs; of one that runs jobs in threads the signal would end all."""
    with (
        tempfile.TemporaryDirectory() as folder,
        EmbeddedSalt(Path(folder), minions=1, users=ACCOUNT, minion={"process_count_max": 2}, master={"gather_job_timeout": 2}) as salt,
    ):
        yield salt


@pytest.fixture
def pipeline(forking: EmbeddedSalt, make_sidecar: MakeSidecar, tmp_path: Path) -> Iterator[Pipeline]:
    made = Pipeline(forking, make_sidecar, tmp_path)
    yield made
    (tmp_path / "gate").touch()


def held(pipeline: Pipeline) -> str:
    """Return a command that leaves a line, and ends when the gate is there."""
    return f"echo run >> {pipeline.ran}; while [ ! -e {pipeline.ran.parent}/gate ]; do sleep 0.1; done"


def state(command: str, **kwarg: Any) -> dict[str, Any]:
    return {"fun": "state.single", "arg": ["cmd.run"], "kwarg": {"name": command, **kwarg}}


def asked(salt: EmbeddedSalt, fun: str, jid: str, answers: int = 0) -> int:
    """Return how often minions were asked something about a job, and so many of them have answered, as the master's job cache has it."""
    loads = {path: path.read_bytes() for path in salt.master_config.parent.parent.rglob(".load.p")}
    about = [path for path, load in loads.items() if fun.encode() in load and jid.encode() in load]
    return sum(len([*path.parent.glob("*/return.p")]) >= answers for path in about)


def test_a_job_that_is_cancelled_is_ended_on_its_minions(pipeline: Pipeline) -> None:
    jid = pipeline.post(**pipeline.marking(f"sleep 60; echo late >> {pipeline.ran}")).json()["jid"]
    pipeline.sidecar.wait(lambda: pipeline.runs == 1, "begun")
    answer = pipeline.cancel(jid)
    job = pipeline.end_of(jid)

    assert answer.status == 202
    assert (job["status"], job["exit_code"], job["counts"]) == ("cancelled", 5, {"cancelled": 1})
    assert (pipeline.cancel(jid).status, pipeline.runs) == (200, 1)


def test_a_job_that_waits_for_another_state_is_not_lost_and_an_end_that_does_not_reach_it_is_not_claimed(forking: EmbeddedSalt, pipeline: Pipeline) -> None:
    first = pipeline.post(**state(held(pipeline))).json()["jid"]
    pipeline.sidecar.wait(lambda: pipeline.runs == 1, "begun")
    second = pipeline.post(timeout=1, **state(f"echo run >> {pipeline.ran}", queue=True)).json()["jid"]
    pipeline.sidecar.wait(lambda: asked(forking, "saltutil.find_job", second) >= 2, "asked for twice")
    waiting = pipeline.cancel(second)
    pipeline.sidecar.wait(lambda: asked(forking, "saltutil.kill_job", second, answers=1) == 1, "killed, in vain")
    assert (waiting.status, waiting.json()["status"], waiting.json()["counts"]) == (202, "running", {"waiting": 1})
    assert pipeline.runs == 1
    (pipeline.ran.parent / "gate").touch()

    assert {pipeline.end_of(jid)["status"] for jid in (first, second)} == {"succeeded"}
    assert pipeline.get(f"/{second}").json()["cancel_asked"]
    assert pipeline.runs == 2


def test_a_job_for_which_the_minion_has_no_process_yet_is_waited_for(forking: EmbeddedSalt, pipeline: Pipeline) -> None:
    jids = [pipeline.post(fun="cmd.run", arg=[held(pipeline)]).json()["jid"] for _ in range(2)]
    pipeline.sidecar.wait(lambda: pipeline.runs == 2, "begun")
    jids.append(pipeline.post(timeout=1, **pipeline.marking()).json()["jid"])
    # The questions wait for a process too.
    pipeline.sidecar.wait(lambda: asked(forking, "saltutil.find_job", jids[2]) >= 2, "asked for twice")
    assert pipeline.get(f"/{jids[2]}").json()["counts"] == {"waiting": 1}
    (pipeline.ran.parent / "gate").touch()

    assert {pipeline.end_of(jid)["status"] for jid in jids} == {"succeeded"}
    assert pipeline.runs == 3
