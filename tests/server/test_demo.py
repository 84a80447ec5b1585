"""The demo refuses what cannot work, shows lines that can be pasted, and the smoke test notices a wrong answer."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from service import cli
from service.cli import demo, smoke
from service.demo import calls
from service.demo.embedded import PATIENCE_SECONDS, until
from service.demo.processes import command_line
from service.demo.stack import Refused, Stack

LOW = {"client": "local", "tgt": "*", "fun": "test.ping", "username": "demo", "password": "it's secret"}


def quiet(_line: str) -> None:
    """Take a line and show it to nobody."""


def processes_naming(folder: Path) -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and str(folder) in command_line(int(entry.name))]


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_a_taken_port_is_named_with_the_option_that_changes_it(tmp_path: Path, taken_port: int) -> None:
    with pytest.raises(Refused, match=rf"port {taken_port} \(of the ops listener\) is taken: choose another with --ops-port"):
        Stack(tmp_path, api_port=0, ops_port=taken_port, say=quiet).__enter__()


def test_a_second_demo_in_a_folder_is_told_where_the_first_one_is(tmp_path: Path) -> None:
    first = Stack(tmp_path, api_port=0, ops_port=0, say=quiet)
    first.claim_folder()

    with pytest.raises(Refused, match=rf"already: {first.api_url}, process {os.getpid()};"):
        Stack(tmp_path, api_port=0, ops_port=0, say=quiet).__enter__()
    first.stop()


def test_a_curl_line_survives_the_shell() -> None:
    words = shlex.split(calls.curl("http://127.0.0.1:8001", LOW))

    assert json.loads(words[words.index("-d") + 1]) == [LOW]


def test_a_password_is_not_printed() -> None:
    assert "secret" not in calls.masked(LOW)


@pytest.mark.parametrize("answer", [[], [{}], ["text"], [{"jid": "1", "tag": "salt/run/1"}], [{"jid": "2" * 20}], [None], None])
def test_the_smoke_test_takes_no_wrong_answer_for_right(answer: object) -> None:
    assert not smoke.holds(smoke.is_started, answer)


def test_the_cache_folder_follows_the_desktop_convention(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    assert demo.default_folder() == tmp_path / "salt-sidecar" / "demo"


def test_version_names_ours_salts_and_pythons(capsys: pytest.CaptureFixture[str]) -> None:
    status = cli.main(["version"])

    assert status == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["salt-sidecar", "salt", "python"]


@pytest.mark.parametrize("command", [[], ["serve"], ["check"], ["demo"], ["smoke"], ["version"], ["docs"]])
def test_every_command_explains_itself(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        cli.main([*command, "--help"])

    assert "usage: salt-sidecar" in capsys.readouterr().out


@pytest.mark.master
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_the_demo_stops_everything_even_if_asked_twice(tmp_path: Path, number: signal.Signals) -> None:
    folder = tmp_path / "demo"
    shown = tmp_path / "shown"
    argv = [sys.executable, "-m", "service", "demo", "--dir", str(folder), "--api-port", "0", "--ops-port", "0", "--minions", "1"]
    with shown.open("wb") as out, subprocess.Popen(argv, stdout=out, stderr=subprocess.STDOUT, start_new_session=True) as process:
        for _ in until(PATIENCE_SECONDS):
            if "Ctrl-C stops everything." in shown.read_text() or process.poll() is not None:
                break
        running = processes_naming(folder)
        process.send_signal(number)
        process.send_signal(number)
        status = process.wait(timeout=90)

    assert (status, shown.read_text().splitlines()[-1]) == (0, "stopped")
    assert len(running) > 3
    assert processes_naming(folder) == []


@pytest.mark.master
@pytest.mark.slow
def test_the_smoke_test_passes(capsys: pytest.CaptureFixture[str]) -> None:
    status = cli.main(["smoke"])

    assert (status, capsys.readouterr().out.splitlines()[-2:]) == (0, ["stopped; processes left: none", "9 passed, 0 failed"])
