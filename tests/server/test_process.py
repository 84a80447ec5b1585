"""The life of the process: real signals, real drains."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


class Process:
    """The probe as a child, and what it says."""

    def __init__(self, notice_seconds: float, drain_seconds: float) -> None:
        command = [sys.executable, str(ROOT / "tests" / "probes" / "process.py"), str(notice_seconds), str(drain_seconds)]
        self.child = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE)
        self.said: list[dict[str, Any]] = []
        ports = self.wait_for("ports")
        self.api, self.ops = ports["api"], ports["ops"]

    def wait_for(self, event: str) -> dict[str, Any]:
        """Read what it says until it says this."""
        assert self.child.stdout
        for line in self.child.stdout:
            told: dict[str, Any] = json.loads(line)
            self.said.append(told)
            if told["event"] == event:
                return told
        raise AssertionError(f"ended without {event}: {self.said}")

    def end(self) -> tuple[int, list[str]]:
        """Wait for the end; return the exit code and the names of all events."""
        with contextlib.suppress(AssertionError):
            self.wait_for("no such event")
        return self.child.wait(60), [told["event"] for told in self.said]

    def signal(self, number: int) -> None:
        self.child.send_signal(number)


def get(port: int, path: str = "/") -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    with contextlib.closing(connection):
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()


Start = Callable[[float, float], Process]


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[Process] = []

    def make(notice_seconds: float, drain_seconds: float) -> Process:
        started.append(Process(notice_seconds, drain_seconds))
        return started[-1]

    yield make
    for process in started:
        process.child.kill()
        process.child.wait(60)
        assert process.child.stdout
        process.child.stdout.close()


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as pool:
        yield pool


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_process_stops_at_once_with_0(start: Start, number: int) -> None:
    process = start(0, 30)
    assert get(process.api) == (200, b"xx")
    began = time.monotonic()

    process.signal(number)

    assert process.end() == (0, ["ports", "entered", "app.draining", "closing", "stopped", "app.stop"])
    # Not the half minute in which it may drain.
    assert time.monotonic() - began < 20
    assert process.said[-1]["unfinished"] == 0


def test_an_answer_of_30_mb_in_flight_arrives_whole_and_late_callers_are_refused(start: Start, threads: ThreadPoolExecutor) -> None:
    process = start(0, 30)
    big = threads.submit(get, process.api, "/slow?30000000")
    process.wait_for("entered")

    process.signal(signal.SIGTERM)
    process.wait_for("closing")

    with pytest.raises(ConnectionRefusedError):
        get(process.api)
    assert get(process.ops)[0] == 503
    status, body = big.result(30)
    assert (status, len(body)) == (200, 30_000_000)
    assert process.end()[0] == 0


def test_bytes_that_wait_for_a_slow_reader_are_waited_for(start: Start) -> None:
    process = start(0, 30)
    with socket.create_connection(("127.0.0.1", process.api), timeout=60) as caller:
        caller.sendall(b"GET /?30000000 HTTP/1.1\r\nHost: x\r\n\r\n")
        process.wait_for("entered")
        process.signal(signal.SIGTERM)
        process.wait_for("closing")

        received = 0
        while data := caller.recv(1024 * 1024):
            received += len(data)

    assert received > 30_000_000
    assert process.end()[0] == 0


def test_during_the_notice_time_callers_are_served_and_readiness_fails(start: Start) -> None:
    process = start(1, 30)
    assert get(process.ops)[0] == 200

    process.signal(signal.SIGTERM)
    process.wait_for("app.draining")

    assert get(process.ops)[0] == 503
    assert get(process.api) == (200, b"xx")
    assert process.end()[0] == 0


def test_a_request_that_never_ends_is_given_up_after_the_drain_time(start: Start, threads: ThreadPoolExecutor) -> None:
    process = start(0, 0.5)
    endless = threads.submit(get, process.api, "/endless")
    process.wait_for("entered")

    process.signal(signal.SIGTERM)

    assert process.end()[0] == 0
    assert process.said[-1]["unfinished"] == 1
    with pytest.raises(ConnectionError):
        endless.result(20)


@pytest.mark.parametrize(("notice_seconds", "first_event"), [(60, "app.draining"), (0, "closing")])
def test_a_second_signal_stops_at_once(start: Start, threads: ThreadPoolExecutor, notice_seconds: float, first_event: str) -> None:
    process = start(notice_seconds, 60)
    endless = threads.submit(get, process.api, "/endless")
    process.wait_for("entered")
    process.signal(signal.SIGTERM)
    process.wait_for(first_event)
    began = time.monotonic()

    process.signal(signal.SIGTERM)

    assert process.end()[0] == 0
    # It takes a second, for the thread that is left behind; a busy machine may take longer, but never the minute that was asked for.
    assert time.monotonic() - began < 20
    assert process.said[-1]["forced"] is True
    with pytest.raises(ConnectionError):
        endless.result(20)


def test_sighup_reloads_and_a_bad_configuration_changes_nothing(start: Start) -> None:
    process = start(0, 30)

    process.signal(signal.SIGHUP)
    process.wait_for("reloaded")
    process.signal(signal.SIGHUP)
    invalid = process.wait_for("config.invalid")

    assert invalid["faults"] == ["log.level: is wrong. Fix: correct it"]
    assert json.loads(get(process.ops)[1]) == {"ready": True, "reloads": 2}
    process.signal(signal.SIGTERM)
    assert process.end()[0] == 0
