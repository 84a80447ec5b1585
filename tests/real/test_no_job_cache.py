"""A master that keeps no returns (`job_cache: False`), as docs/tuning.md advises: what callers still get, and from where."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from service.demo.embedded import EmbeddedSalt
from tests.real.conftest import MakeSidecar
from tests.real.held import Held
from tests.real.jobs.pipeline import USERS, Pipeline
from tests.real.sidecar import Sidecar

pytestmark = [pytest.mark.master, pytest.mark.slow]
# The silent are asked soon, and have time to answer on a slow machine.
HASTY = {"timeout": 1, "gather_job_timeout": 15}


@pytest.fixture(scope="module")
def forgetful() -> Iterator[EmbeddedSalt]:
    """Start a master that keeps no returns, and two minions."""
    with tempfile.TemporaryDirectory() as folder, EmbeddedSalt(Path(folder), threads=True, users=USERS, master={"job_cache": False}) as salt:
        yield salt


@pytest.fixture
def pipeline(forgetful: EmbeddedSalt, make_sidecar: MakeSidecar, tmp_path: Path) -> Pipeline:
    """Return a caller of a sidecar with a store of jobs, who may do everything."""
    return Pipeline(forgetful, make_sidecar, tmp_path, who=forgetful.credentials)


def looked_up(sidecar: Sidecar, token: str, path: str) -> Any:
    answer = sidecar.get(path, {"X-Auth-Token": token})
    assert answer.status == 200, answer.body
    return answer.json()


def test_the_jobs_of_the_master_are_known_there_without_their_returns(pipeline: Pipeline) -> None:
    answer = pipeline.sidecar.post({"client": "local", "tgt": "*", "fun": "test.ping", "token": pipeline.token, "full_return": True})
    jid = answer.value["minion-1"]["jid"]
    job = looked_up(pipeline.sidecar, pipeline.token, f"/jobs/{jid}")

    assert {minion: full["ret"] for minion, full in answer.value.items()} == {"minion-1": True, "minion-2": True}
    assert jid in looked_up(pipeline.sidecar, pipeline.token, "/jobs")["return"][0]
    assert (job["info"][0]["Function"], sorted(job["info"][0]["Minions"]), job["return"]) == ("test.ping", ["minion-1", "minion-2"], [{}])


def test_jobs_of_v1_have_their_returns_in_the_sidecars_store_also_after_a_restart(pipeline: Pipeline) -> None:
    jid = pipeline.post(fun="test.echo", arg=["kept"]).json()["jid"]
    ended = pipeline.end_of(jid)
    pipeline.sidecar.stop()
    pipeline.again()
    listed, job = pipeline.get("").json(), pipeline.get(f"/{jid}?fields=status,return,minions").json()

    assert (ended["status"], ended["counts"]) == ("succeeded", {"ok": 2})
    assert [one["jid"] for one in listed["jobs"]] == [jid]
    assert (job["status"], {minion: part["return"] for minion, part in job["minions"].items()}) == ("succeeded", {"minion-1": "kept", "minion-2": "kept"})
    assert {part["source"] for part in job["minions"].values()} == {"bus"}


def test_a_job_that_outlasts_its_timeout_is_asked_after_and_waited_for(pipeline: Pipeline, held: Held) -> None:
    low = {**held.low, **HASTY, "tgt": "*", "token": pipeline.token}
    with ThreadPoolExecutor() as pool:
        answering = pool.submit(pipeline.sidecar.post, low)
        pipeline.sidecar.wait(lambda: held.running == 2, "begun on both")
        # `saltutil.find_job` is published in a job of its own, which the master does list.
        pipeline.sidecar.wait(lambda: asked_after(pipeline), "asked")
        held.let_go()

    assert answering.result().value == {"minion-1": "let go", "minion-2": "let go"}


def asked_after(pipeline: Pipeline) -> bool:
    jobs = looked_up(pipeline.sidecar, pipeline.token, "/jobs")["return"][0]
    return any(job["Function"] == "saltutil.find_job" for job in jobs.values())


def test_a_wait_that_is_over_names_the_job_and_the_master_knows_it(pipeline: Pipeline, held: Held) -> None:
    pipeline.sidecar.stop()
    pipeline.again(JOBS_DEADLINE_SECONDS=20)
    overdue = pipeline.sidecar.post({**held.low, "tgt": "minion-1", "token": pipeline.token, "timeout": 300}).value["minion-1"]
    held.let_go()
    pipeline.sidecar.stop()
    pipeline.again()  # The runner that looks it up may need longer.
    jid = overdue.rpartition("jobs.lookup_jid ")[2]

    assert overdue.startswith("Minion did not return. [Deadline]")
    assert looked_up(pipeline.sidecar, pipeline.token, f"/jobs/{jid}")["info"][0]["Function"] == "cmd.run"


def test_a_silent_minion_is_named_and_the_others_are_there(forgetful: EmbeddedSalt, pipeline: Pipeline) -> None:
    forgetful.stop_minion("minion-2")
    try:
        answer = pipeline.sidecar.post({"client": "local", "tgt": "*", "fun": "test.ping", **HASTY, "token": pipeline.token}).value
    finally:
        forgetful.start_minion("minion-2")

    assert answer.pop("minion-1") is True
    assert answer.pop("minion-2").startswith("Minion did not return. [No response]")
    assert not answer
