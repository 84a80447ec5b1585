"""A sidecar that dies at any point of the protocol of `/v1/jobs`, on a real master: the same request again runs the job once, and what it is told is true."""

from __future__ import annotations

import contextlib
import itertools
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from service.demo.embedded import EmbeddedSalt
from tests.real.conftest import MakeSidecar
from tests.real.jobs.dying import POINTS
from tests.real.jobs.pipeline import USERS, Pipeline

pytestmark = [pytest.mark.master, pytest.mark.slow]

# Where the sidecars of one job die, one after the other: at each point once, and once more in the publish that makes up for the first one.
COURSES = {**{point: (point,) for point in POINTS}, "taken-again": ("before-publish", "taken")}
# So many sidecars are there at once.
SIDE_BY_SIDE = 4
Found = tuple[str, int]


class Setting(NamedTuple):
    """What decides how a job ends whose sidecar has died."""

    keeps_returns: bool  # The master's `job_cache`.
    recovers: bool  # There is an account that looks jobs up.
    on_doubt: str


SETTINGS = [Setting(*chosen) for chosen in itertools.product((True, False), (True, False), ("refuse", "republish"))]


def publishes_again(setting: Setting) -> bool:
    """Say whether a job of which the master knows nothing is published when it is asked for again."""
    return setting.recovers or setting.on_doubt == "republish"


def expected(course: str, setting: Setting) -> set[Found]:
    """Return what may become of a job, and how often it may have run: from what the dead sidecar had stored, and what anybody can find out."""
    if course in {"before-intent", "stored"}:
        return {("succeeded", 1)}
    missed = ("succeeded" if setting.keeps_returns and setting.recovers else "unknown", 1)
    if course == "returned":  # It was stored as running.
        return {missed}
    if not publishes_again(setting):
        # What was in flight the master has taken, or not.
        return {("in_doubt", runs) for runs in {"taken": (1,), "in-flight": (0, 1)}.get(course, (0,))}
    if course == "before-publish":
        return {("succeeded", 1)}
    # A minion that had the first publish drops the second one, and has returned to nobody; in the last course it may be so late that the next sidecar hears it.
    return {missed, ("succeeded", 1)} if course == "taken-again" else {missed}


@pytest.fixture(scope="module")
def masters(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[bool, EmbeddedSalt]]:
    """Start a master and a minion for each kind of job cache: with returns, or without."""
    with contextlib.ExitStack() as held:
        made: dict[bool, EmbeddedSalt] = {}
        for keeps_returns in (True, False):
            master = {"job_cache": keeps_returns, "gather_job_timeout": 2}
            # Several sidecars share the minion, and each has the room that one has by default.
            minion = {"minion_jid_queue_hwm": 100 * len(SETTINGS)}
            folder = tmp_path_factory.mktemp("crashed")
            made[keeps_returns] = held.enter_context(EmbeddedSalt(folder, minions=1, threads=True, users=USERS, master=master, minion=minion))
        yield made


class Dying:
    """A pipeline whose sidecar dies where it is told to, and the jobs that it asks for: one for each course."""

    def __init__(self, salt: EmbeddedSalt, make: MakeSidecar, folder: Path, setting: Setting) -> None:
        folder.mkdir()
        self._folder, self._aim, self._setting = folder, folder / "aim", setting
        mined: dict[str, Any] = {"under": [sys.executable, "-m", "tests.real.jobs.dying"], "environ": {"DIE_AT": str(self._aim)}}
        self._pipeline = Pipeline(salt, make, folder, recovers=setting.recovers, **mined)

    def outcomes(self) -> dict[str, Found]:
        """Play all courses; return what became of each job, and how often it ran."""
        for course, (point, *more) in COURSES.items():
            self._crash(point, course)
            for another in more if publishes_again(self._setting) else ():
                self._crash(another, course)
        # All of them are begun again before the end of one is waited for.
        begun = {course: self._repeated(course) for course in COURSES}
        ended = {course: self._pipeline.end_of(job["jid"]) if job["status"] == "running" else job for course, job in begun.items()}
        return {course: (job["status"], self._runs(course)) for course, job in ended.items()}

    def _asked(self, course: str) -> dict[str, Any]:
        # A return that comes before the answer to the publish is stored together with that.
        later = f"; while [ ! -e {self._aim}.returned ]; do sleep 0.1; done" if course == "returned" else ""
        return {"fun": "cmd.run", "arg": [f"echo run >> {self._folder / course}{later}"], "timeout": 1, "on_doubt": self._setting.on_doubt}

    def _crash(self, point: str, course: str) -> None:
        """Have the sidecar die while it takes a job, and start another in its place."""
        self._aim.write_text(point)
        with contextlib.suppress(OSError):
            self._pipeline.post(key=course, **self._asked(course))
        assert self._pipeline.sidecar.end() == 9, (self._setting, course)
        self._aim.unlink()
        self._pipeline.again()

    def _repeated(self, course: str) -> dict[str, Any]:
        """Repeat a request twice; return its job as it is then."""
        first, second = (self._pipeline.post(key=course, **self._asked(course)).json() for _ in range(2))
        assert first["jid"] == second["jid"]
        job: dict[str, Any] = second
        return job

    def _runs(self, course: str) -> int:
        file = self._folder / course
        return len(file.read_text().splitlines()) if file.exists() else 0


def test_wherever_its_sidecar_dies_a_job_runs_once(masters: Mapping[bool, EmbeddedSalt], make_sidecar: MakeSidecar, tmp_path: Path) -> None:
    def play(setting: Setting) -> dict[str, Found]:
        folder = tmp_path / "-".join(map(str, setting))
        return Dying(masters[setting.keeps_returns], make_sidecar, folder, setting).outcomes()

    with ThreadPoolExecutor(SIDE_BY_SIDE) as threads:
        found = dict(zip(SETTINGS, threads.map(play, SETTINGS), strict=True))

    wrong = {(setting, course): outcome for setting, all_of in found.items() for course, outcome in all_of.items() if outcome not in expected(course, setting)}
    assert wrong == {}
    assert all(set(all_of) == set(COURSES) for all_of in found.values())
