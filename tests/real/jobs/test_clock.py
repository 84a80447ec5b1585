"""Somebody sets the clock back by an hour while jobs of `/v1` are under way, of the sidecar alone or of its master too, and right again: nothing that is promised of them changes."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.demo.embedded import EmbeddedSalt
from tests.real.conftest import MakeSidecar
from tests.real.jobs.pipeline import USERS, Pipeline

pytestmark = [pytest.mark.master, pytest.mark.slow]

# Where Debian's libfaketime has it below /usr/lib; for processes with threads.
LIBRARY = "*/faketime/libfaketimeMT.so.1"
TRUE, AN_HOUR_BACK = "+0", "-3600"


class Clock:
    """The clock on the wall of the processes that have its variables; what they measure time with goes on, as it does on a machine whose clock is set."""

    def __init__(self, library: Path, folder: Path) -> None:
        self._file = folder / "clock"
        self.set(TRUE)
        self.environ = {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            # Seconds until it is looked at again.
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }

    def set(self, offset: str) -> None:
        """Set it: to the true time and so many seconds."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{offset}\n")
        new.rename(self._file)


@pytest.fixture(scope="module")
def library() -> Path:
    found = next(Path("/usr/lib").glob(LIBRARY), None)
    missing = "there is no libfaketime on this machine: apt-get install libfaketime"
    if found is None and os.environ.get("CI"):
        pytest.fail(missing)
    if found is None:
        pytest.skip(missing)
    return found


@pytest.fixture(scope="module")
def masters_clock(library: Path, tmp_path_factory: pytest.TempPathFactory) -> Clock:
    return Clock(library, tmp_path_factory.mktemp("master"))


@pytest.fixture(scope="module")
def timed(masters_clock: Clock) -> Iterator[EmbeddedSalt]:
    """Start a master whose clock can be set, and a minion whose clock is true."""
    runner = ["env", *(f"{name}={value}" for name, value in masters_clock.environ.items())]
    with tempfile.TemporaryDirectory() as folder, EmbeddedSalt(Path(folder), minions=1, threads=True, users=USERS, runner=runner) as salt:
        yield salt


@pytest.mark.parametrize("masters_too", [False, True], ids=["the sidecar's", "the master's too"])
def test_a_clock_that_goes_back_by_an_hour_changes_nothing(
    timed: EmbeddedSalt, masters_clock: Clock, library: Path, make_sidecar: MakeSidecar, tmp_path: Path, masters_too: bool
) -> None:
    clock = Clock(library, tmp_path)
    masters_clock.set(TRUE)
    pipeline = Pipeline(timed, make_sidecar, tmp_path, environ=clock.environ)
    held, held_longer = (pipeline.marking(f"while [ ! -e {tmp_path}/{gate} ]; do sleep 0.2; done") for gate in ("gate", "last-gate"))
    before = pipeline.post("?wait=60", key="before", **pipeline.marking()).json()
    followed = pipeline.post(**held).json()["jid"]
    overdue = [pipeline.post(timeout=1, deadline=seconds, **held).json()["jid"] for seconds in (8, 16)]
    with pipeline.following(followed) as happenings:
        heard = [next(happenings)]
        clock.set(AN_HOUR_BACK)
        masters_clock.set(AN_HOUR_BACK if masters_too else TRUE)
        # By the clock on the wall this would be in more than an hour.
        ended = [pipeline.end_of(overdue[0])]
        pipeline.sidecar.kill()
        heard += happenings
    pipeline.again()
    ended.append(pipeline.end_of(overdue[1]))
    (tmp_path / "gate").touch()
    with pipeline.following(followed, heard[-1]["seq"]) as happenings:
        heard += happenings
    after = pipeline.post("?wait=60", key="after", **pipeline.marking()).json()
    again = [pipeline.post(key=key, **pipeline.marking()).json()["jid"] for key in ("before", "after")]
    patient = pipeline.post(deadline=1800, **held_longer).json()["jid"]
    clock.set(TRUE)
    pipeline.sidecar.wait(lambda: pipeline.post("?wait=60", fun="test.ping").json()["jid"] > before["jid"], "right again")
    unharmed = pipeline.get(f"/{patient}").json()
    (tmp_path / "last-gate").touch()

    assert after["jid"] < before["jid"]
    assert [job["status"] for job in (before, *ended, after, unharmed)] == ["succeeded", "timed_out", "timed_out", "succeeded", "running"]
    assert ([one["seq"] for one in heard], heard[-1]["status"]) == (list(range(1, len(heard) + 1)), "succeeded")
    assert again == [before["jid"], after["jid"]]
    # What comes late corrects, by how long ago the end was.
    pipeline.sidecar.wait(lambda: {pipeline.get(f"/{jid}").json()["status"] for jid in (*overdue, patient)} == {"succeeded"}, "corrected")
    assert pipeline.runs == 6
