"""Jobs of one concurrency group beside a real master: what ran, and when, is told by the minions themselves."""

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
# Name, seconds, and what each does then.
STEPS = (("a", 0, "true"), ("b", 6, "true"), ("c", 0, "exit 3"), ("d", 0, "true"))


@pytest.fixture(scope="module")
def salt() -> Iterator[EmbeddedSalt]:
    """Start a master and a minion; of one that runs jobs in threads the signal that ends a job would end all."""
    with tempfile.TemporaryDirectory() as folder, EmbeddedSalt(Path(folder), minions=1, users={**USERS, "ci": ["cmd.run", "saltutil.*"]}) as started:
        yield started


def test_one_runs_at_a_time_and_who_may_can_cancel_it_for_the_next(salt: EmbeddedSalt, make_sidecar: MakeSidecar, tmp_path: Path) -> None:
    pipeline = Pipeline(salt, make_sidecar, tmp_path)

    def post(name: str, seconds: int, **concurrency: Any) -> dict[str, Any]:
        command = f"echo {name} begins >> {pipeline.ran}; sleep {seconds}; echo {name} ends >> {pipeline.ran}"
        answer = pipeline.post(key=name, fun="cmd.run", arg=[command], concurrency={"group": "production", **concurrency})
        job: dict[str, Any] = answer.json()
        return job

    jobs = [post(name, 2) for name in "abc"]
    assert [job["status"] for job in jobs] == ["running", "queued", "queued"]
    assert [pipeline.end_of(job["jid"])["status"] for job in jobs] == ["succeeded"] * 3
    assert pipeline.ran.read_text().split("\n")[:-1] == [f"{name} {what}" for name in "abc" for what in ("begins", "ends")]

    endless = post("d", 600)
    pipeline.sidecar.wait(lambda: "d begins" in pipeline.ran.read_text(), "begun")
    assert post("e", 0, when_busy="refuse")["error"] == "GroupBusy"
    after = post("e", 0, when_busy="cancel_running")
    assert (after["status"], pipeline.end_of(after["jid"])["status"]) == ("queued", "succeeded")
    assert pipeline.end_of(endless["jid"])["status"] == "cancelled"
    assert pipeline.ran.read_text().split("\n")[6:-1] == ["d begins", "e begins", "e ends"]


def test_a_queued_job_of_a_sidecar_that_was_killed_runs_once_when_it_is_asked_for_again(salt: EmbeddedSalt, make_sidecar: MakeSidecar, tmp_path: Path) -> None:
    pipeline = Pipeline(salt, make_sidecar, tmp_path)
    grouped: dict[str, Any] = {"concurrency": {"group": "production"}}
    first = pipeline.post(**pipeline.marking("sleep 6"), **grouped).json()
    asked = {**pipeline.marking("true"), **grouped}
    second = pipeline.post(key="k", **asked).json()
    pipeline.sidecar.wait(lambda: pipeline.runs == 1, "begun")
    pipeline.sidecar.kill()
    pipeline.again()
    assert pipeline.end_of(first["jid"])["status"] == "succeeded"
    waiting = pipeline.get(f"/{second['jid']}").json()
    again = [pipeline.post("?wait=60", key="k", **asked).json() for _ in range(2)]

    assert (waiting["status"], waiting["needs_owner"]) == ("queued", True)
    assert [(job["jid"], job["status"]) for job in again] == [(second["jid"], "succeeded")] * 2
    assert pipeline.runs == 2


def test_steps_run_one_after_the_other_and_each_once_though_the_sidecar_is_killed(salt: EmbeddedSalt, make_sidecar: MakeSidecar, tmp_path: Path) -> None:
    pipeline = Pipeline(salt, make_sidecar, tmp_path)
    steps = [{"tgt": "*", "fun": "cmd.run", "arg": [f"echo {name} >> {pipeline.ran}; sleep {seconds}; {then}"]} for name, seconds, then in STEPS]
    begun = pipeline.send({"steps": steps}, key="k").json()
    pipeline.sidecar.wait(lambda: pipeline.runs == 2, "in the second step")
    pipeline.sidecar.kill()
    pipeline.again()
    pipeline.sidecar.wait(lambda: pipeline.get(f"/{begun['jid']}").json()["steps"][1]["status"] == "succeeded", "over without its owner")
    waiting = pipeline.get(f"/{begun['jid']}").json()
    whole = pipeline.send({"steps": steps}, "?wait=60&fail=1", key="k")

    assert (waiting["status"], waiting["needs_owner"], waiting["steps"][2]["status"]) == ("running", True, "not_begun")
    assert (whole.status, whole.json()["jid"], whole.json()["status"], whole.json()["exit_code"]) == (422, begun["jid"], "failed", 1)
    assert [step["status"] for step in whole.json()["steps"]] == ["succeeded", "succeeded", "failed", "not_begun"]
    assert pipeline.ran.read_text().split() == ["a", "b", "c"]


def test_a_late_return_corrects_a_step_and_its_sequence(salt: EmbeddedSalt, make_sidecar: MakeSidecar, tmp_path: Path) -> None:
    pipeline = Pipeline(salt, make_sidecar, tmp_path)
    step = {"tgt": "*", **pipeline.marking(f"while [ ! -e {tmp_path}/gate ]; do sleep 0.1; done"), "timeout": 1, "deadline": 3}
    jid = pipeline.send({"steps": [step]}).json()["jid"]
    before = pipeline.end_of(jid)
    (tmp_path / "gate").touch()
    pipeline.sidecar.wait(lambda: pipeline.get(f"/{jid}").json()["status"] == "succeeded", "corrected")
    after = pipeline.get(f"/{jid}?fail=1")

    assert before["exit_code"] != 0
    assert (after.status, after.json()["exit_code"], after.json()["steps"][0]["status"]) == (200, 0, "succeeded")
    assert after.json()["revision"] > before["revision"]
    assert pipeline.runs == 1
