"""Standard output that nobody reads: requests are answered all the same, and what is lost of the log is counted."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import IO

import pytest

from tests.real.conftest import MakeSidecar
from tests.real.sidecar import Sidecar

pytestmark = pytest.mark.slow

QUEUE_LINES = 100


def read_until(pipe: IO[bytes], event: str) -> dict[str, str]:
    """Return the first line of an event; what comes after it stays in the pipe."""
    while line := pipe.readline():
        decoded: dict[str, str] = json.loads(line)
        if decoded["event"] == event:
            return decoded
    raise AssertionError(f"no {event}")


def flood(sidecar: Sidecar) -> None:
    """Ask until lines are lost: the pipe takes some hundreds."""
    for _ in range(40):
        for _ in range(50):
            assert sidecar.get("/" + "x" * 400).status == 404
        if sidecar.metric("salt_api_log_dropped_total"):
            return


def test_a_blocked_output_holds_up_no_request_and_loses_only_lines_that_are_counted(tmp_path: Path, make_sidecar: MakeSidecar) -> None:
    (tmp_path / "master").write_text("interface: 127.0.0.1\nexternal_auth: {sharedsecret: {demo: ['.*']}}\n")
    sidecar = make_sidecar(tmp_path / "master", LOG_QUEUE_LINES=QUEUE_LINES)
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb", buffering=0) as pipe:
        sidecar.launch_into(writer)
        os.close(writer)
        line = read_until(pipe, "app.start")
        sidecar.api_port, sidecar.ops_port = (int(line[name].rpartition(":")[2]) for name in ("api", "ops"))
        sidecar.wait(lambda: sidecar.probe("/livez") == 200, "alive")

        flood(sidecar)
        lost = sidecar.metric("salt_api_log_dropped_total")
        written = pipe.read(10_000_000).splitlines()[:-1]

        assert lost > 0
        assert sidecar.get("/").status == 200
        assert {json.loads(one)["event"] for one in written} >= {"http.request"}
        sidecar.kill()
