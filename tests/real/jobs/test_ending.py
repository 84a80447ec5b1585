"""SIGTERM in each state that the jobs of `/v1` can bring a process into: whatever its threads are at, it ends in time, with 0, and without a fault."""

from __future__ import annotations

import contextlib
import http.client
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from service.demo.embedded import EmbeddedSalt
from tests.real.callers import frozen, master_pids
from tests.real.conftest import MakeSidecar
from tests.real.held import Held
from tests.real.jobs.pipeline import Pipeline
from tests.real.named import threads_of

pytestmark = [pytest.mark.master, pytest.mark.slow]

DRAIN_SECONDS = 5.0
# Kubernetes kills after 30 seconds where nobody says otherwise. Ending takes two or three, on a busy machine some more.
END_SECONDS = 30.0
ALWAYS = {"bus", "api-loop", "ops-loop", "api", "ops"}


class Scene:
    """A process beside the master, and what its jobs wait for."""

    def __init__(self, salt: EmbeddedSalt, make: MakeSidecar, folder: Path, held: Held) -> None:
        self._salt, self._make, self.folder = salt, make, folder
        self.job: dict[str, Any] = {name: held.low[name] for name in ("fun", "arg", "kwarg")}

    def start(self, **settings: Any) -> Pipeline:
        how = {"under": [sys.executable, "-m", "tests.real.named"], "DRAIN_DRAIN_SECONDS": DRAIN_SECONDS, **settings}
        return Pipeline(self._salt, self._make, self.folder, recovers=False, who=self._salt.credentials, **how)

    def away(self) -> AbstractContextManager[None]:
        """Let the master answer nothing inside the block."""
        return frozen(master_pids(self._salt))


@contextlib.contextmanager
def idle(scene: Scene) -> Iterator[Pipeline]:
    yield scene.start()


@contextlib.contextmanager
def running(scene: Scene) -> Iterator[Pipeline]:
    pipeline = scene.start()
    assert pipeline.post(**scene.job).status == 202
    yield pipeline


@contextlib.contextmanager
def in_mid_step(scene: Scene) -> Iterator[Pipeline]:
    pipeline = scene.start()
    step = {"tgt": "*", **scene.job}
    jid = pipeline.send({"steps": [step, step]}).json()["jid"]
    pipeline.sidecar.wait(lambda: pipeline.get(f"/{jid}").json()["steps"][0]["status"] == "running", "begun")
    yield pipeline


@contextlib.contextmanager
def telling_who_does_not_answer(scene: Scene) -> Iterator[Pipeline]:
    secret = scene.folder / "secret"
    secret.write_text("hunter2")
    with socket.create_server(("127.0.0.1", 0)) as receiver:
        url = f"http://127.0.0.1:{receiver.getsockname()[1]}/"
        pipeline = scene.start(JOBS_NOTIFY_URLS=url, JOBS_NOTIFY_SECRET_FILE=secret)
        pipeline.post(fun="test.ping", notify=url)
        with receiver.accept()[0] as connection:
            assert connection.recv(1)
            yield pipeline


@contextlib.contextmanager
def without_a_store(scene: Scene) -> Iterator[Pipeline]:
    yield scene.start(JOBS_STORE=f"sqlite://{scene.folder}/missing/jobs.db")


@contextlib.contextmanager
def with_a_database_that_does_not_answer(scene: Scene) -> Iterator[Pipeline]:
    pytest.importorskip("psycopg")
    with socket.create_server(("127.0.0.1", 0)) as server:
        pipeline = scene.start(JOBS_STORE=f"postgresql://sidecar@127.0.0.1:{server.getsockname()[1]}/jobs")
        with server.accept()[0] as connection:
            assert connection.recv(1)
            yield pipeline


@contextlib.contextmanager
def followed(scene: Scene) -> Iterator[Pipeline]:
    pipeline = scene.start()
    jid = pipeline.post(**scene.job).json()["jid"]
    with stream(pipeline, "/events"), stream(pipeline, f"/v1/jobs/{jid}/events"):
        yield pipeline


@contextlib.contextmanager
def stream(pipeline: Pipeline, path: str) -> Iterator[None]:
    """Hold a stream open, and read nothing of it, inside the block."""
    connection = http.client.HTTPConnection("127.0.0.1", pipeline.sidecar.api_port)
    with contextlib.closing(connection):
        connection.request("GET", path, headers={"X-Auth-Token": pipeline.token})
        with connection.getresponse() as answer:
            assert answer.status == 200
            yield


@contextlib.contextmanager
def asking_a_master_that_is_away(scene: Scene) -> Iterator[Pipeline]:
    pipeline = scene.start()
    assert pipeline.post(timeout=3, **scene.job).status == 202
    with scene.away():
        yield pipeline


@contextlib.contextmanager
def publishing_to_a_master_that_is_away(scene: Scene) -> Iterator[Pipeline]:
    pipeline = scene.start()
    group: dict[str, Any] = {"concurrency": {"group": "deploy"}}
    # The next one begins when the deadline of the first one has passed.
    assert pipeline.post(deadline=3, **group, **scene.job).status == 202
    assert pipeline.post(**group, **scene.job).json()["status"] == "queued"
    with scene.away():
        yield pipeline


STATES: dict[Callable[[Scene], AbstractContextManager[Pipeline]], set[str]] = {
    idle: set(),
    running: {"jobs", "store"},
    in_mid_step: {"jobs", "store", "sequence"},
    telling_who_does_not_answer: {"jobs", "store", "notify", "notice"},
    without_a_store: {"store-opener"},
    with_a_database_that_does_not_answer: {"store"},
    followed: {"jobs", "store", "streams"},
    asking_a_master_that_is_away: {"jobs", "store", "inquiries"},
    publishing_to_a_master_that_is_away: {"jobs", "store", "queue"},
}


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)
def test_whatever_the_threads_are_at_the_process_ends_in_time(
    salt_master: EmbeddedSalt, make_sidecar: MakeSidecar, tmp_path: Path, held: Held, state: Callable[[Scene], AbstractContextManager[Pipeline]]
) -> None:
    held_open = 2 if state is followed else 0
    with state(Scene(salt_master, make_sidecar, tmp_path, held)) as pipeline:
        sidecar = pipeline.sidecar
        sidecar.wait(lambda: threads_of(sidecar.pid) >= ALWAYS | STATES[state], f"at it, but {threads_of(sidecar.pid)}")
        # An answer is there before its thread is free again.
        sidecar.wait(lambda: sidecar.metric("salt_api_http_requests_in_flight") == held_open, "served")
        began = time.monotonic()
        sidecar.signal(signal.SIGTERM)
        exit_code, seconds = sidecar.end(), time.monotonic() - began

    draining, stopped = sidecar.lines("app.draining"), sidecar.lines("app.stop")
    assert (exit_code, [line["unfinished"] for line in stopped], [line["forced"] for line in stopped]) == (0, [0], [False])
    assert [line["in_flight"] for line in draining] == [held_open]
    assert seconds < END_SECONDS
    assert (sidecar.lines("crash"), sidecar.stderr()) == ([], "")
