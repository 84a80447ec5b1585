"""Jobs of `/v1` that are large, lied about and followed by nobody who reads, on a real master with simulated minions."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import running
from benchmarks.behaviour import names
from service.demo.embedded import EmbeddedSalt
from tests.real.conftest import MakeSidecar
from tests.real.jobs.pipeline import USERS, Pipeline
from tests.real.sidecar import Answer

pytestmark = [pytest.mark.master, pytest.mark.slow]

MIB = 1024 * 1024
COUNT = 55
FAILING, DUPLICATE, HOSTILE = 5, 5, 1
RETURN_BYTES = 2 * MIB
# What all returns together may add to the process; it must not hold them at once.
MOST_BYTES = 90 * MIB


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedSalt]:
    """Start a master that lets large returns through, and minions that send them."""
    folder = tmp_path_factory.mktemp("large")
    shares = {"failing": FAILING / COUNT, "duplicate": DUPLICATE / COUNT, "hostile": HOSTILE / COUNT}
    with (
        EmbeddedSalt(folder / "salt", minions=0, users=USERS, master={"max_event_size": 4 * MIB, "timeout": 30}) as salt,
        running.fleet(salt.master_config, folder / "fleet", COUNT, return_bytes=RETURN_BYTES, **shares),
    ):
        yield salt


@pytest.fixture
def pipeline(large: EmbeddedSalt, make_sidecar: MakeSidecar, tmp_path: Path) -> Pipeline:
    return Pipeline(large, make_sidecar, tmp_path)


def test_a_hundred_megabytes_of_returns_are_judged_and_not_held(pipeline: Pipeline) -> None:
    before = pipeline.sidecar.peak_bytes()
    jid = pipeline.post(tgt="sim-*", fun="test.blob", arg=["x"]).json()["jid"]
    job = pipeline.end_of(jid)
    failing = names(COUNT)[:FAILING]

    assert (job["status"], job["counts"]) == ("failed", {"ok": COUNT - FAILING, "failed": FAILING})
    assert [minion for minion, part in job["minions"].items() if part["status"] == "failed"] == failing
    whole = pipeline.get(f"/{jid}?fields=return,minions").json()["minions"]
    assert all(whole[minion]["omitted"] and whole[minion]["size"] > RETURN_BYTES for minion in whole.keys() - failing)
    assert pipeline.sidecar.peak_bytes() - before < MOST_BYTES


def test_returns_that_come_twice_or_are_anothers_change_nothing(pipeline: Pipeline) -> None:
    job = pipeline.end_of(pipeline.post(tgt="sim-*", fun="test.echo", arg=["hello"]).json()["jid"])
    whole = pipeline.get(f"/{job['jid']}?fields=return,minions&failed=0").json()["minions"]

    assert job["counts"] == {"ok": COUNT - FAILING, "failed": FAILING}
    assert whole.keys() == {*names(COUNT)}
    assert {part["return"] for part in whole.values() if part["status"] == "ok"} == {"hello"}
    # The hostile minion sends one of no arguments first.
    assert job["foreign_returns"] >= HOSTILE


def test_who_follows_and_never_reads_is_in_nobodys_way_and_misses_nothing(pipeline: Pipeline) -> None:
    ghosts = [f"ghost-{number:05}" for number in range(9000)]
    before = pipeline.sidecar.peak_bytes()
    jid = pipeline.post(tgt=["sim-0006", *ghosts], tgt_type="list", fun="test.ping").json()["jid"]
    with contextlib.ExitStack() as held:
        deaf = [held.enter_context(contextlib.closing(deaf_follower(pipeline, jid))) for _ in range(10)]
        pipeline.sidecar.wait(lambda: len(pipeline.sidecar.lines("stream.opened")) == len(deaf), "followed")
        answers: list[Answer] = []
        readers = [threading.Thread(target=lambda: answers.append(pipeline.get(f"/{jid}/events", "application/x-ndjson"))) for _ in range(3)]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join(120)
        assert len({answer.body for answer in answers}) == 1
        assert len([line for line in answers[0].body.splitlines() if line]) > len(ghosts)
        assert pipeline.sidecar.peak_bytes() - before < MOST_BYTES
        assert deaf[0].makefile("rb").read().count(b'"event"') == answers[0].body.count(b'"event"')


def deaf_follower(pipeline: Pipeline, jid: str) -> socket.socket:
    """Follow a job, and read nothing."""
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    made.settimeout(120)
    made.connect(("127.0.0.1", pipeline.sidecar.api_port))
    head = f"GET /v1/jobs/{jid}/events HTTP/1.1\r\nHost: deaf\r\nConnection: close\r\nAccept: application/x-ndjson\r\nX-Auth-Token: {pipeline.token}\r\n\r\n"
    made.sendall(head.encode())
    return made
