"""Jobs of `/v1` whose bus is cut, whose master restarts or whose minion dies meanwhile: what is said of them is true."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from service.demo.embedded import EmbeddedSalt
from tests.real.callers import frozen, master_pids
from tests.real.conftest import MakeSidecar, kill_master
from tests.real.jobs.pipeline import USERS, Pipeline
from tests.real.relay import Relay
from tests.real.sidecar import Answer

pytestmark = [pytest.mark.master, pytest.mark.slow]


@pytest.fixture(scope="module")
def piped() -> Iterator[EmbeddedSalt]:
    """Start a master and two minions with the accounts of a pipeline, to be ill-treated."""
    with tempfile.TemporaryDirectory() as folder, EmbeddedSalt(Path(folder), threads=True, users=USERS) as salt:
        yield salt


@pytest.fixture
def relay(piped: EmbeddedSalt) -> Iterator[Relay]:
    with tempfile.TemporaryDirectory() as folder, Relay(piped, Path(folder)) as made:
        yield made


def begun(pipeline: Pipeline, gate: Path, **asked: Any) -> str:
    """Start a job that lasts until the gate is there; return its id when it runs on both minions."""
    held = f"while [ ! -e {gate} ]; do sleep 0.2; done; echo over >> {gate}"
    jid: str = pipeline.post(**pipeline.marking(held), **asked).json()["jid"]
    pipeline.sidecar.wait(lambda: pipeline.runs == 2, "begun on both")
    return jid


def over_on(gate: Path, minions: int) -> bool:
    return len(gate.read_text().splitlines()) == minions


@pytest.mark.parametrize(("recovers", "status", "exit_code"), [(True, "succeeded", 0), (False, "unknown", 6)])
def test_what_was_said_while_the_bus_was_cut_is_looked_up_or_unknown(
    piped: EmbeddedSalt, relay: Relay, make_sidecar: MakeSidecar, tmp_path: Path, recovers: bool, status: str, exit_code: int
) -> None:
    pipeline = Pipeline(piped, make_sidecar, tmp_path, recovers=recovers, master_config=relay.master_config)
    gate = tmp_path / "gate"
    jid = begun(pipeline, gate, timeout=1)
    relay.cut()
    pipeline.sidecar.wait_for_line("bus.disconnected")
    gate.touch()
    pipeline.sidecar.wait(lambda: over_on(gate, 2), "over on both")
    pipeline.sidecar.wait(lambda: all(minion in returned(piped, jid) for minion in piped.minions), "returned")
    relay.mend()
    job = pipeline.end_of(jid)

    assert (job["status"], job["exit_code"], pipeline.runs) == (status, exit_code, 2)
    assert {part.get("source", part.get("why")) for part in job["minions"].values()} == {"job_cache" if recovers else "bus_interrupted"}


def returned(salt: EmbeddedSalt, jid: str) -> set[str]:
    """Return whose returns the master has in its job cache."""
    jobs = [path.parent for path in salt.master_config.parent.parent.rglob("jid") if path.read_text() == jid]
    return {path.parent.name for job in jobs for path in job.rglob("return.p")}


def test_what_another_publishes_under_a_jobs_jid_is_no_part_of_it(piped: EmbeddedSalt, make_sidecar: MakeSidecar, tmp_path: Path) -> None:
    pipeline = Pipeline(piped, make_sidecar, tmp_path)
    gate = tmp_path / "gate"
    held = f"while [ ! -e {gate} ]; do sleep 0.2; done"
    jid = pipeline.post(tgt="minion-1", **pipeline.marking(held)).json()["jid"]
    pipeline.sidecar.wait(lambda: pipeline.runs == 1, "begun")
    low = {**piped.credentials_of("pinger"), "client": "local_async", "tgt": "*", "fun": "test.ping", "jid": jid}
    assert pipeline.sidecar.post(low).status == 409
    # One that has heard nothing of the job, as any other program that talks to the master.
    with make_sidecar(piped.master_config, JOBS_STORE="") as unknowing:
        assert unknowing.post(low).value["jid"] == jid
        pipeline.sidecar.wait(lambda: "minion-2" in returned(piped, jid), "returned")
    gate.touch()
    job = pipeline.end_of(jid)

    assert (job["status"], job["counts"], list(job["minions"])) == ("succeeded", {"ok": 1}, ["minion-1"])
    assert (job["minions"]["minion-1"]["size"], pipeline.runs) == (2, 1)  # What a command without output returns, and not `true`.


def test_who_follows_goes_on_where_the_kill_cut_the_stream(piped: EmbeddedSalt, make_sidecar: MakeSidecar, tmp_path: Path) -> None:
    pipeline = Pipeline(piped, make_sidecar, tmp_path)
    gates = f"case $(tr '\\0' ' ' < /proc/$PPID/cmdline) in *minion-1*) ;; *) while [ ! -e {tmp_path}/gate ]; do sleep 0.1; done;; esac"
    jid = pipeline.post(**pipeline.marking(gates)).json()["jid"]
    with pipeline.following(jid) as first:
        heard = [next(first), next(first)]
        pipeline.sidecar.kill()
        assert list(first) == []
    pipeline.again()
    (tmp_path / "gate").touch()
    with pipeline.following(jid, heard[-1]["seq"]) as rest:
        heard += list(rest)

    assert [one["seq"] for one in heard] == list(range(1, len(heard) + 1))
    assert [one["event"] for one in heard] == ["status", "minion", "minion", "status"]
    assert ({one["minion"] for one in heard[1:3]}, heard[-1]["status"]) == ({"minion-1", "minion-2"}, "succeeded")


@pytest.mark.parametrize(("recovers", "status"), [(True, "succeeded"), (False, "unknown")])
def test_what_a_runner_came_to_while_the_sidecar_was_away_is_looked_up_or_unknown(
    piped: EmbeddedSalt, make_sidecar: MakeSidecar, tmp_path: Path, recovers: bool, status: str
) -> None:
    pipeline = Pipeline(piped, make_sidecar, tmp_path, recovers=recovers)
    kept = runs_kept(piped)
    jid = pipeline.send({"client": "runner", "fun": "test.sleep", "arg": [3], "deadline": 30}).json()["jid"]
    pipeline.sidecar.kill()
    pipeline.sidecar.wait(lambda: runs_kept(piped) > kept, "over")
    pipeline.again()
    job = pipeline.end_of(jid)

    assert job["status"] == status
    part = job["minions"]["master"]
    assert (part.get("source"), part.get("unverified"), part.get("why")) == (("job_cache", True, None) if recovers else (None, None, "no_right_to_look"))


def runs_kept(salt: EmbeddedSalt) -> int:
    """Return of how many runs of the runner test.sleep the master has the return in its job cache."""
    return sum(b"runner.test.sleep" in path.read_bytes() for path in salt.master_config.parent.parent.rglob("return.p"))


def test_a_publish_that_the_master_lost_in_its_restart_is_published_again_under_the_same_jid(
    piped: EmbeddedSalt, make_sidecar: MakeSidecar, tmp_path: Path
) -> None:
    pipeline = Pipeline(piped, make_sidecar, tmp_path)
    answers: list[Answer] = []
    caller = threading.Thread(target=lambda: answers.append(pipeline.post(key="k", **pipeline.marking())))
    with frozen(master_pids(piped)):
        caller.start()
        pipeline.sidecar.wait(lambda: pipeline.get("?limit=1").json()["jobs"] != [], "about to be published")
        kill_master(piped)
    caller.join()
    piped.start_master()
    pipeline.sidecar.wait_ready()
    again = [pipeline.post("?wait=60", key="k", **pipeline.marking()).json() for _ in range(2)]

    assert (answers[0].status, answers[0].json()["status"]) == (202, "in_doubt")
    assert [(job["jid"], job["status"]) for job in again] == [(answers[0].json()["jid"], "succeeded")] * 2
    assert pipeline.runs == 2


def test_a_job_outlives_the_restart_of_its_master(piped: EmbeddedSalt, make_sidecar: MakeSidecar, tmp_path: Path) -> None:
    pipeline = Pipeline(piped, make_sidecar, tmp_path)
    gate = tmp_path / "gate"
    jid = begun(pipeline, gate)
    piped.stop_master()
    piped.start_master()
    pipeline.sidecar.wait_ready()
    gate.touch()
    job = pipeline.end_of(jid)

    assert (job["status"], job["counts"], pipeline.runs) == ("succeeded", {"ok": 2}, 2)


def test_a_job_that_died_with_its_minion_is_missing_when_the_minion_is_back(piped: EmbeddedSalt, make_sidecar: MakeSidecar, tmp_path: Path) -> None:
    pipeline = Pipeline(piped, make_sidecar, tmp_path)
    gate = tmp_path / "gate"
    jid = begun(pipeline, gate, timeout=1)
    piped.stop_minion("minion-2")
    piped.start_minion("minion-2")
    gate.touch()
    job = pipeline.end_of(jid)

    assert (job["status"], job["cause"], job["exit_code"]) == ("failed", "missing", 3)
    assert {minion: part["status"] for minion, part in job["minions"].items()} == {"minion-1": "ok", "minion-2": "lost"}
