"""Signals: the end of the process loses nothing, and a reload changes what it may."""

from __future__ import annotations

import json
import select
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from pathlib import Path

import pytest
import yaml

from service.demo.embedded import EmbeddedSalt
from tests.real.conftest import MakeSidecar
from tests.real.held import Held
from tests.real.sidecar import Sidecar

pytestmark = [pytest.mark.master, pytest.mark.slow]

MEGABYTE = 1_000_000
BUS = "master_event_pub.ipc"


@pytest.fixture
def sidecar(salt_master: EmbeddedSalt, make_sidecar: MakeSidecar) -> Sidecar:
    return make_sidecar(salt_master.master_config).__enter__()


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as pool:
        yield pool


def wait_for_jobs(sidecar: Sidecar, number: int = 1) -> None:
    sidecar.wait(lambda: sidecar.metric("salt_event_bus_events_total", type="job_new") >= number, "published")


def is_refused(sidecar: Sidecar) -> bool:
    """Between the end of /readyz and that of the port a caller may still come in."""
    try:
        sidecar.get()
    except ConnectionRefusedError:
        return True
    except (OSError, HTTPException):
        return False
    return False


def test_who_comes_before_the_bus_is_connected_waits_for_it(
    salt_master: EmbeddedSalt, make_sidecar: MakeSidecar, threads: ThreadPoolExecutor, tmp_path_factory: pytest.TempPathFactory
) -> None:
    ours = tmp_path_factory.mktemp("bus")  # a socket's path is short
    options = yaml.safe_load(salt_master.master_config.read_text())
    (ours / "master").write_text(yaml.safe_dump({**options, "sock_dir": str(ours)}))
    sidecar = make_sidecar(ours / "master").start()
    early = threads.submit(sidecar.post, {**salt_master.credentials, "client": "local", "tgt": "*", "fun": "test.ping"})

    (ours / BUS).symlink_to(Path(options["sock_dir"], BUS))

    assert set(early.result().value) == set(salt_master.minions)


def test_a_job_in_flight_is_answered_late_callers_are_refused_and_the_exit_code_is_0(
    salt_master: EmbeddedSalt, sidecar: Sidecar, threads: ThreadPoolExecutor, held: Held
) -> None:
    waiting = threads.submit(sidecar.post, {**salt_master.credentials, **held.low, "tgt": "*"})
    wait_for_jobs(sidecar)

    sidecar.signal(signal.SIGTERM)
    sidecar.wait(lambda: sidecar.probe("/readyz") == 503, "draining")
    sidecar.wait(lambda: is_refused(sidecar), "refusing")
    assert sidecar.probe("/livez") == 200
    held.let_go()

    assert waiting.result(180).value == {"minion-1": "let go", "minion-2": "let go"}
    assert sidecar.end() == 0
    stopped = sidecar.lines("app.stop")[-1]
    assert (stopped["exit_code"], stopped["unfinished"], stopped["forced"]) == (0, 0, False)
    assert sidecar.lines()[-1]["event"] == "app.stop"


def test_in_the_notice_time_commands_are_run_and_connections_end(salt_master: EmbeddedSalt, make_sidecar: MakeSidecar) -> None:
    ping = {**salt_master.credentials, "client": "local", "tgt": "*", "fun": "test.ping"}
    with make_sidecar(salt_master.master_config, DRAIN_NOTICE_SECONDS=60) as sidecar:
        sidecar.signal(signal.SIGTERM)
        sidecar.wait(lambda: sidecar.probe("/readyz") == 503, "draining")
        answer = sidecar.post(ping)
        sidecar.signal(signal.SIGTERM)

        assert (answer.value, answer.headers["connection"]) == ({"minion-1": True, "minion-2": True}, "close")
        assert sidecar.end() == 0


def test_a_second_sigterm_stops_at_once(salt_master: EmbeddedSalt, sidecar: Sidecar, threads: ThreadPoolExecutor, held: Held) -> None:
    waiting = threads.submit(sidecar.post, {**salt_master.credentials, **held.low, "tgt": "*"})
    wait_for_jobs(sidecar)
    sidecar.signal(signal.SIGTERM)
    sidecar.wait_for_line("app.draining")
    sidecar.signal(signal.SIGTERM)

    assert sidecar.end() == 0
    stopped = sidecar.lines("app.stop")[-1]
    assert (stopped["unfinished"], stopped["forced"]) == (1, True)
    with pytest.raises((OSError, HTTPException)):
        waiting.result(180)


def test_thirty_megabytes_that_the_caller_reads_slowly_arrive_whole(salt_master: EmbeddedSalt, sidecar: Sidecar) -> None:
    low = {**salt_master.credentials, "client": "local", "tgt": "minion-1", "fun": "demo.big", "arg": [MEGABYTE]}
    body = json.dumps([low] * 30).encode()
    with socket.create_connection(("127.0.0.1", sidecar.api_port), timeout=180) as caller:
        caller.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        assert select.select([caller], [], [], 180)[0]

        sidecar.signal(signal.SIGTERM)
        sidecar.wait_for_line("app.draining")
        assert sidecar.running
        received = b"".join(iter(lambda: caller.recv(MEGABYTE), b""))

    _head, _, content = received.partition(b"\r\n\r\n")
    values = json.loads(content)["return"]
    assert len(content) > 30 * MEGABYTE
    assert values == [{"minion-1": "x" * MEGABYTE}] * 30
    assert sidecar.end() == 0


def test_what_a_reload_may_change_is_changed_and_the_rest_named(salt_master: EmbeddedSalt, sidecar: Sidecar) -> None:
    ping = {**salt_master.credentials, "client": "local", "tgt": "minion-1", "fun": "test.ping"}
    before = sidecar.post(ping, ping).status
    (sidecar.folder / "sidecar.yaml").write_text("log: {level: debug}\nlimits: {lows_per_request: 1, sync_jobs: 3}\n")

    sidecar.signal(signal.SIGHUP)
    first, loaded = sidecar.wait_for_line("config.loaded"), sidecar.wait_for_line("config.loaded", 2)

    assert (first["source"], {"api.port", "ops.port"} <= set(first["keys"])) == (["environment"], True)
    assert loaded["applied"] == ["limits.lows_per_request", "log.level"]
    assert loaded["needs_restart"] == ["limits.sync_jobs"]
    refused = sidecar.post(ping, ping)
    assert (before, refused.status) == (200, 400)
    assert "2 lows" in refused.json()["return"]
    assert sidecar.probe("/livez") == 200
    sidecar.wait(lambda: any(line["level"] == "debug" and line["url.path"] == "/livez" for line in sidecar.lines("http.request")), "talkative")


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("limits: {lows_per_request: 0, sync_jobs: 3}\nlog: {level: loud}\n", ["limits.lows_per_request", "log.level"]),
        ("limits: {nonsense: 1}\n", ["limits.nonsense"]),
        ("limits: [", ["sidecar.yaml"]),
        ("- limits", ["sidecar.yaml"]),
        ("limits: 3\n", ["limits"]),
    ],
    ids=["values", "name", "syntax", "list", "section"],
)
def test_a_wrong_reload_changes_nothing(salt_master: EmbeddedSalt, sidecar: Sidecar, content: str, named: list[str]) -> None:
    ping = {**salt_master.credentials, "client": "local", "tgt": "minion-1", "fun": "test.ping"}
    (sidecar.folder / "sidecar.yaml").write_text(content)

    sidecar.signal(signal.SIGHUP)
    invalid = sidecar.wait_for_line("config.invalid")

    assert len(invalid["faults"]) == len(named)
    for name, fault in zip(named, invalid["faults"], strict=True):
        assert name in fault.partition(":")[0]
    assert sidecar.post(ping, ping).status == 200
    assert sidecar.probe("/readyz") == 200
