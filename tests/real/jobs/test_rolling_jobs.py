"""Jobs in waves beside a real master: who runs when, and how often, is counted on the minions, whatever becomes of the sidecar meanwhile."""

from __future__ import annotations

import contextlib
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from service.demo.embedded import EmbeddedSalt
from tests.real.conftest import MakeSidecar
from tests.real.jobs.pipeline import USERS, Pipeline

pytestmark = [pytest.mark.master, pytest.mark.slow]


@pytest.fixture(scope="module")
def three() -> Iterator[EmbeddedSalt]:
    """Start a master and three minions with the accounts of a pipeline."""
    with tempfile.TemporaryDirectory() as folder, EmbeddedSalt(Path(folder), threads=True, minions=3, users=USERS) as salt:
        yield salt


@pytest.fixture
def pipeline(three: EmbeddedSalt, make_sidecar: MakeSidecar, tmp_path: Path) -> Pipeline:
    return Pipeline(three, make_sidecar, tmp_path)


def on_first(then: str, otherwise: str = "true") -> str:
    """Return a command that does something on the first minion, and something else on the others."""
    return f"case $(tr '\\0' ' ' < /proc/$PPID/cmdline) in *minion-1*) {then};; *) {otherwise};; esac"


def test_a_canary_that_fails_spares_the_others(pipeline: Pipeline) -> None:
    answer = pipeline.post("?wait=60&fail=1", **pipeline.marking(on_first("exit 3")), batch=[1, "100%"], stop_after_failures=1)
    job = answer.json()

    assert (answer.status, job["status"], job["cause"], job["exit_code"]) == (422, "failed", "stopped", 1)
    assert {minion: part["status"] for minion, part in job["minions"].items()} == {"minion-1": "failed", "minion-2": "not_run", "minion-3": "not_run"}
    assert pipeline.runs == 1


def test_all_have_their_turn_under_one_jid(pipeline: Pipeline, tmp_path: Path) -> None:
    alone = f"[ ! -e {tmp_path}/busy ] && touch {tmp_path}/busy && sleep 0.5 && rm {tmp_path}/busy"
    job = pipeline.post("?wait=60", **pipeline.marking(alone), batch=1, batch_wait=0.2, min_success="100%").json()

    assert (job["status"], job["counts"], job["foreign_returns"], [part["wave"] for part in job["minions"].values()]) == ("succeeded", {"ok": 3}, 0, [1, 2, 3])
    assert pipeline.runs == 3


def test_who_is_away_has_no_turn_and_is_missing(three: EmbeddedSalt, pipeline: Pipeline) -> None:
    three.stop_minion("minion-1")
    try:
        job = pipeline.post("?wait=60", **pipeline.marking(), batch=1, stop_after_failures=1, timeout=2).json()
        assert (job["status"], job["cause"], job["counts"]) == ("failed", "missing", {"no_return": 1, "ok": 2})
        assert pipeline.runs == 2
    finally:
        three.start_minion("minion-1")


def test_a_job_whose_sidecar_is_killed_goes_on_when_its_owner_looks_at_it(pipeline: Pipeline, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    jid = pipeline.post(**pipeline.marking(f"while [ ! -e {gate} ]; do sleep 0.2; done"), batch=[1, 2]).json()["jid"]
    pipeline.sidecar.wait(lambda: pipeline.runs == 1, "the first wave")
    pipeline.sidecar.kill()
    pipeline.again()
    gate.touch()
    told = pipeline.get(f"/{jid}/events", accept="text/plain").body.decode()

    assert "job: wave 2 of 2, 2 minions" in told
    assert pipeline.end_of(jid)["counts"] == {"ok": 3}
    assert pipeline.runs == 3


def test_one_whose_arguments_look_secret_waits_for_its_owner_between_two_waves(pipeline: Pipeline, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    asked: dict[str, Any] = {**pipeline.marking(f"while [ ! -e {gate} ]; do sleep 0.2; done"), "kwarg": {"env": {"PASSWORD": "hunter2"}}, "batch": [1, 2]}
    jid = pipeline.post(key="k", **asked).json()["jid"]
    pipeline.sidecar.wait(lambda: pipeline.runs == 1, "the first wave")
    pipeline.sidecar.kill()
    pipeline.again()
    gate.touch()
    pipeline.sidecar.wait(lambda: pipeline.get(f"/{jid}").json().get("needs_owner") is True, "waiting")
    assert pipeline.get(f"/{jid}").json()["status"] == "running"
    assert pipeline.runs == 1
    job = pipeline.post("?wait=60", key="k", **asked).json()

    assert (job["jid"], job["status"], job["counts"]) == (jid, "succeeded", {"ok": 3})
    assert pipeline.runs == 3


@pytest.mark.parametrize("milliseconds", [0, 10, 30, 100, 300])
def test_a_sidecar_that_is_killed_while_it_publishes_a_wave_runs_nobody_twice(pipeline: Pipeline, tmp_path: Path, milliseconds: int) -> None:
    over = tmp_path / "over"
    asked: dict[str, Any] = {**pipeline.marking(f"touch {over}"), "batch": 1, "batch_wait": 0}

    def call() -> None:
        with contextlib.suppress(OSError):
            pipeline.post("?wait=5", key="k", **asked)

    caller = threading.Thread(target=call)
    caller.start()
    pipeline.sidecar.wait(over.exists, "the first wave")
    time.sleep(milliseconds / 1000)
    pipeline.sidecar.kill()
    caller.join()
    pipeline.again()
    jid = pipeline.post(key="k", **asked).json()["jid"]
    job = pipeline.end_of(jid)

    assert (job["status"], job["counts"]) == ("succeeded", {"ok": 3})
    assert pipeline.runs == 3


def test_a_job_that_is_cancelled_between_two_waves_goes_no_further(pipeline: Pipeline) -> None:
    jid = pipeline.post(**pipeline.marking(), batch=1, batch_wait=60).json()["jid"]
    pipeline.sidecar.wait(lambda: pipeline.get(f"/{jid}").json()["counts"].get("ok") == 1, "the first wave")
    answer = pipeline.cancel(jid)
    job = answer.json()

    assert (job["status"], job["exit_code"], job["counts"]) == ("cancelled", 5, {"ok": 1, "not_run": 2})
    assert pipeline.runs == 1
