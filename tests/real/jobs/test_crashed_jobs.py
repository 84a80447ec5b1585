"""A sidecar that dies at any point of the protocol of `/v1/jobs`, on a real master: the same request again runs the job once, and what it is told is true."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from service.demo.embedded import EmbeddedSalt
from tests.real.conftest import MakeSidecar
from tests.real.jobs.dying import POINTS
from tests.real.jobs.pipeline import USERS, Pipeline

pytestmark = [pytest.mark.master, pytest.mark.slow]

Master = Callable[[bool], EmbeddedSalt]
# Of each point: how a job ends, and how often it may have run.
WELL = ("succeeded", {1})
MISSED = ("unknown", {1})
BEGUN = {"before-intent": WELL, "stored": WELL}
LOOKED_UP: dict[str, tuple[str, set[int]]] = {**BEGUN, "before-publish": WELL, "in-flight": WELL, "taken": WELL, "returned": WELL}
NOT_KEPT = {**LOOKED_UP, "in-flight": MISSED, "taken": MISSED, "returned": MISSED}
# What was in flight the master has taken, or not.
IN_DOUBT = {**BEGUN, "before-publish": ("in_doubt", {0}), "in-flight": ("in_doubt", {0, 1}), "taken": ("in_doubt", {1}), "returned": MISSED}
REPUBLISHED = {**BEGUN, "before-publish": WELL, "in-flight": MISSED, "taken": MISSED, "returned": MISSED}


@pytest.fixture(scope="module")
def master(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Master]:
    """Start a master and a minion once for each kind of job cache that is asked for: with returns, or without."""
    made: dict[bool, EmbeddedSalt] = {}
    with contextlib.ExitStack() as held:

        def get(keeps_returns: bool) -> EmbeddedSalt:
            if keeps_returns not in made:
                folder = tmp_path_factory.mktemp("crashed")
                made[keeps_returns] = held.enter_context(
                    EmbeddedSalt(folder, minions=1, threads=True, users=USERS, master={"job_cache": keeps_returns, "gather_job_timeout": 2})
                )
            return made[keeps_returns]

        yield get


@pytest.mark.parametrize(
    ("keeps_returns", "recovers", "on_doubt", "ends"),
    [
        (True, True, "refuse", LOOKED_UP),
        (False, True, "refuse", NOT_KEPT),
        (True, False, "refuse", IN_DOUBT),
        (False, False, "republish", REPUBLISHED),
    ],
    ids=["looked up", "returns not kept", "no right to look", "published again"],
)
def test_wherever_its_sidecar_dies_a_job_runs_once(
    master: Master,
    make_sidecar: MakeSidecar,
    tmp_path: Path,
    keeps_returns: bool,
    recovers: bool,
    on_doubt: str,
    ends: dict[str, tuple[str, set[int]]],
) -> None:
    mined: dict[str, Any] = {"under": [sys.executable, "-m", "tests.real.jobs.dying"], "environ": {"DIE_AT": str(tmp_path / "aim")}}
    pipeline = Pipeline(master(keeps_returns), make_sidecar, tmp_path, recovers=recovers, **mined)
    # A return that comes before the answer to the publish is stored together with that.
    later = f"; while [ ! -e {tmp_path}/aim.returned ]; do sleep 0.1; done"
    commands = {point: f"echo run >> {tmp_path / point}{later if point == 'returned' else ''}" for point in POINTS}
    jobs = {point: {"fun": "cmd.run", "arg": [command], "timeout": 1, "on_doubt": on_doubt} for point, command in commands.items()}
    for point, asked in jobs.items():
        crash(pipeline, tmp_path / "aim", point, asked)
    found = {point: retried(pipeline, point, asked) for point, asked in jobs.items()}

    assert {point: job["status"] for point, job in found.items()} == {point: status for point, (status, _) in ends.items()}
    ran = {point: runs_of(tmp_path / point) for point in POINTS}
    assert {point: count for point, count in ran.items() if count not in ends[point][1]} == {}


def crash(pipeline: Pipeline, aim: Path, point: str, asked: dict[str, Any]) -> None:
    """Have the sidecar die while it takes a job, and start another in its place."""
    aim.write_text(point)
    with contextlib.suppress(OSError):
        pipeline.post(key=point, **asked)
    assert pipeline.sidecar.end() == 9, point
    aim.unlink()
    pipeline.again()


def retried(pipeline: Pipeline, point: str, asked: dict[str, Any]) -> dict[str, Any]:
    """Repeat a request twice; return its job as it ends, or is while nobody can tell."""
    first, second = (pipeline.post(key=point, **asked).json() for _ in range(2))
    assert first["jid"] == second["jid"]
    return pipeline.end_of(second["jid"]) if second["status"] == "running" else second


def runs_of(file: Path) -> int:
    return len(file.read_text().splitlines()) if file.exists() else 0
