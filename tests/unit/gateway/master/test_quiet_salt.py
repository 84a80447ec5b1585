"""Quiet: with Salt imported, nothing but JSON comes out of the process, whatever Salt or anybody prints."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[4]
PROBE = ROOT / "tests" / "probes" / "purity.py"


def run_probe(folder: Path, shape: str) -> list[dict[str, Any]]:
    """Run the probe and parse all that it wrote."""
    command = [sys.executable, "-W", "ignore::DeprecationWarning", str(PROBE), str(folder), shape]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, timeout=60, check=False)
    assert done.stderr == b""
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return run_probe(tmp_path_factory.mktemp("salt"), "json")


def messages(events: list[dict[str, Any]], logger: str) -> list[str]:
    return [event["message"] for event in events if event.get("logger") == logger]


pytestmark = pytest.mark.slow


def test_what_is_printed_by_anybody_is_a_log_line(events: list[dict[str, Any]]) -> None:
    assert set(messages(events, "captured.stdout")) == {
        "a print with two words",
        "bytes \\xff",
        "straight to 1",
        "child out",
        "from a shell",
        "salt prints",
        "printed by a fork",
        "left in the original stream",
    }
    assert set(messages(events, "captured.stderr")) == {"no line feed", "straight to 2", "child err", "to its errors"}


def test_warnings_and_salts_own_log_calls_are_log_lines(events: list[dict[str, Any]]) -> None:
    assert any("UserWarning: a warning" in message for message in messages(events, "py.warnings"))
    assert messages(events, "salt.probe") == ["%d broken", "still info", "load {'fun': 'test.ping', 'password': <redacted>}", "caught"]
    assert messages(events, "waitress") == ["with extra"]


def test_uncaught_exceptions_of_every_thread_are_crash_lines(events: list[dict[str, Any]]) -> None:
    crashes = [(event["thread"], event["error.type"]) for event in events if event["event"] == "crash"]

    assert crashes == [("doomed", "RuntimeError"), ("MainThread", "RuntimeError")]


def test_salt_can_neither_add_a_handler_nor_move_the_level(events: list[dict[str, Any]]) -> None:
    (state,) = (event for event in events if event["event"] == "app.state")

    assert state["handlers"] == ["Bridge"]
    assert state["root_level"] == 20


def test_salts_import_hooks_speak_todays_protocol(events: list[dict[str, Any]]) -> None:
    (state,) = (event for event in events if event["event"] == "app.state")

    assert state["old_hooks"] == []


def test_no_credential_is_in_any_line(events: list[dict[str, Any]]) -> None:
    assert "CANARY" not in json.dumps(events)


def test_lines_of_a_request_carry_its_id(events: list[dict[str, Any]]) -> None:
    assert {event["request_id"] for event in events if event.get("logger") == "salt.probe"} == {"req-1"}


def test_the_child_of_a_fork_logs_too(events: list[dict[str, Any]]) -> None:
    assert [event["password"] for event in events if event["event"] == "app.child"] == ["<redacted>"]


def test_elastics_shape_is_as_pure_and_what_is_for_terminals_is_json_elsewhere(tmp_path: Path) -> None:
    elastic = run_probe(tmp_path, "ecs")
    for event in elastic:
        assert {"@timestamp", "log.level", "message", "ecs.version", "event.action"} <= set(event)
    assert {"crash", "log", "app.child", "app.start"} <= {event["event.action"] for event in elastic}
    assert "CANARY" not in json.dumps(elastic)

    assert all(event["timestamp"] for event in run_probe(tmp_path, "console"))
