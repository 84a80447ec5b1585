"""The volume of `/v1`'s jobs fills up in mid-job, on a real file system of its own: what runs is closed, what is new is refused, and all goes on by itself when there is room."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.demo.embedded import EmbeddedSalt
from tests.real.conftest import MakeSidecar
from tests.real.jobs.pipeline import USERS, Pipeline

pytestmark = [pytest.mark.master, pytest.mark.slow]

# For the store, what it keeps back, and as much again.
VOLUME = "size=8m"
MOUNTS = ["unshare", "--mount", "sh", "-c", f'mount -t tmpfs -o {VOLUME},mode=755 jobs "$0" && exec "$@"']


@pytest.fixture(scope="module")
def piped() -> Iterator[EmbeddedSalt]:
    """Start a master and a minion with the accounts of a pipeline."""
    with tempfile.TemporaryDirectory() as folder, EmbeddedSalt(Path(folder), minions=1, threads=True, users=USERS) as salt:
        yield salt


class Volume:
    """The small file system, as the sidecar sees it."""

    def __init__(self, pipeline: Pipeline, point: Path) -> None:
        self.path = Path(f"/proc/{pipeline.sidecar.pid}/root{point}")

    def fill(self) -> None:
        with (self.path / "filler").open("ab", buffering=0) as file, contextlib.suppress(OSError):
            for size in (65536, 4096, 512, 1):
                with contextlib.suppress(OSError):
                    while file.write(b"x" * size):
                        pass

    def empty(self) -> None:
        (self.path / "filler").unlink()

    @property
    def keeps_back(self) -> bool:
        return (self.path / "jobs.db.ballast").exists()


@pytest.fixture
def point(tmp_path: Path) -> Path:
    """Where the file system is mounted, for the sidecar alone."""
    made = tmp_path / "volume"
    made.mkdir()
    tried = subprocess.run([*MOUNTS, str(made), "true"], capture_output=True, check=False, text=True)
    if tried.returncode:
        pytest.skip(f"nothing can be mounted here: {tried.stderr.strip()}")
    return made


def test_a_volume_that_fills_up_in_mid_job_costs_no_job_and_is_noticed_to_have_room_again(
    piped: EmbeddedSalt, make_sidecar: MakeSidecar, tmp_path: Path, point: Path
) -> None:
    pipeline = Pipeline(piped, make_sidecar, tmp_path, under=[*MOUNTS, str(point)], JOBS_STORE=f"sqlite://{point}/jobs.db")
    volume = Volume(pipeline, point)
    sidecar = pipeline.sidecar
    held = f"while [ ! -e {tmp_path}/gate ]; do sleep 0.1; done"
    jids = [pipeline.post(**pipeline.marking(held)).json()["jid"] for _ in range(3)]
    sidecar.wait(lambda: pipeline.runs == len(jids), "begun")
    assert volume.keeps_back
    volume.fill()
    (tmp_path / "gate").touch()

    assert [pipeline.end_of(jid)["status"] for jid in jids] == ["succeeded"] * 3
    refused = pipeline.post(key="k", **pipeline.marking())
    assert (refused.status, refused.json()["error"], refused.headers["retry-after"]) == (503, "StorageFull", "60")
    assert (sidecar.probe("/readyz"), sidecar.metric("salt_api_jobs_store_up"), pipeline.runs) == (200, 0, 3)
    assert len(pipeline.get("").json()["jobs"]) == 3
    assert pipeline.get(f"/{jids[0]}/events").body
    volume.empty()
    taken = pipeline.post("?wait=60", key="k", **pipeline.marking())

    assert (taken.status, taken.json()["status"], pipeline.runs) == (200, "succeeded", 4)
    assert sidecar.metric("salt_api_jobs_store_up") == 1
    assert volume.keeps_back
