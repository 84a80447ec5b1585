"""The embedded Salt is real, comes back after a stop, and leaves no process behind."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.cli.pam import python_of
from service.demo.embedded import PATIENCE_SECONDS, EmbeddedSalt, StartFailed, until
from service.demo.embedded_config import StackFolder, environment_for_pam, merged, secrets_of
from service.demo.ports import free_ports, is_free
from service.demo.processes import Child, command_line, end_session, send, session_members
from tests.conftest import make_whole

SCRIPTS = Path(sys.executable).parent


def salt(embedded: EmbeddedSalt, *words: str) -> Any:
    """Run Salt's own command against the embedded master."""
    argv = [sys.executable, str(SCRIPTS / "salt"), "-c", str(embedded.master_config.parent), "--out=json", "--static", *words]
    return json.loads(subprocess.run(argv, check=False, capture_output=True, timeout=180).stdout)


@pytest.mark.master
def test_every_minion_answers_as_soon_as_it_is_ready(salt_master: EmbeddedSalt) -> None:
    assert salt(salt_master, "*", "test.ping") == {"minion-1": True, "minion-2": True}


@pytest.mark.master
def test_the_nodegroup_the_states_and_the_demo_functions_are_there(salt_master: EmbeddedSalt) -> None:
    states = salt(salt_master, "-N", "web", "state.apply", "failing")
    text = salt(salt_master, "minion-2", "demo.unicode")

    assert [state["result"] for state in states["minion-1"].values()] == [True, False]
    assert text["minion-2"]["日本"] == "語"


@pytest.mark.master
@pytest.mark.slow
def test_a_minion_that_was_stopped_and_started_answers_again(own_salt: EmbeddedSalt) -> None:
    own_salt.start()
    own_salt.wait_ready()

    own_salt.stop_minion("minion-1")
    without = sorted(own_salt.pids)
    own_salt.start_minion("minion-1")

    assert without == ["master", "minion-2"]
    assert salt(own_salt, "*", "test.ping") == {"minion-1": True, "minion-2": True}


@pytest.mark.master
@pytest.mark.slow
def test_who_was_killed_is_lost_and_started_again(own_salt: EmbeddedSalt) -> None:
    own_salt.start()
    own_salt.wait_ready()
    own_salt.stop_minion("minion-2")
    for name in ("master", "minion-1"):
        send(own_salt.pids[name], signal.SIGTERM)
    for _ in until(60):
        if len(own_salt.lost) == 2:
            break
    lost = own_salt.lost

    make_whole(own_salt)

    assert lost == ["master", "minion-1"]
    assert (own_salt.lost, sorted(own_salt.pids)) == ([], ["master", "minion-1"])
    assert salt(own_salt, "*", "test.ping", "--timeout=1") == {"minion-1": True}


@pytest.mark.master
@pytest.mark.slow
def test_minions_come_back_to_a_master_that_was_restarted(own_salt: EmbeddedSalt) -> None:
    own_salt.start()
    own_salt.wait_ready()

    own_salt.stop_master()
    stopped = is_free(own_salt.ret_port)
    own_salt.start_master()

    assert stopped
    assert salt(own_salt, "*", "test.ping") == {"minion-1": True, "minion-2": True}


@pytest.mark.master
@pytest.mark.slow
def test_a_minion_that_is_connected_is_ready_in_the_end_though_its_log_has_other_words(tmp_path: Path) -> None:
    with EmbeddedSalt(tmp_path, minions=1, threads=True, ready_line=b"other words", wordless_seconds=10) as embedded:
        embedded.stop_master()
        embedded.start_master()

        # How long a minion takes from there on is the machine's affair.
        assert any(salt(embedded, "*", "test.ping") == {"minion-1": True} for _ in until(PATIENCE_SECONDS))


@pytest.mark.master
@pytest.mark.slow
def test_stop_leaves_no_process_and_a_second_start_reuses_the_folder(tmp_path: Path) -> None:
    with EmbeddedSalt(tmp_path, threads=True) as embedded:
        first = embedded.credentials, embedded.ret_port
        sessions = list(embedded.pids.values())

    left = [pid for session in sessions for pid in session_members(session)]
    with EmbeddedSalt(tmp_path, threads=True) as embedded:
        second = embedded.credentials, embedded.ret_port

    assert left == []
    assert first == second


@pytest.mark.master
@pytest.mark.slow
def test_a_start_ends_what_a_killed_owner_left_running(own_salt: EmbeddedSalt, tmp_path: Path) -> None:
    own_salt.start()
    sessions = list(own_salt.pids.values())
    # For a moment after its start the kernel has no command line of a process.
    for _ in until(60):
        if all(command_line(pid) for pid in sessions):
            break

    EmbeddedSalt(tmp_path, threads=True).configure()

    assert [pid for session in sessions for pid in session_members(session)] == []


@pytest.mark.slow
def test_a_program_that_ends_at_once_is_named_with_its_last_words(tmp_path: Path) -> None:
    (tmp_path / "python").symlink_to(sys.executable)
    for program in ("salt-master", "salt-minion"):
        (tmp_path / program).write_text("raise SystemExit('no luck today')")

    with pytest.raises(StartFailed, match=r"(master|minion-\d) ended with status 1:\nno luck today"), EmbeddedSalt(tmp_path / "salt", scripts=tmp_path):
        pass


def test_without_salt_the_fault_says_so(tmp_path: Path) -> None:
    with pytest.raises(StartFailed, match="is Salt installed in this environment"), EmbeddedSalt(tmp_path / "salt", scripts=tmp_path):
        pass


@pytest.mark.slow
def test_stopping_a_program_ends_what_it_forked_even_if_they_ignore_signals(tmp_path: Path) -> None:
    script = "import signal, subprocess, sys, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nsubprocess.Popen(['sleep', '60'])\nprint('up', flush=True)\ntime.sleep(60)"
    child = Child("stubborn", [sys.executable, "-c", script], tmp_path / "log", {}, grace_seconds=0.1)
    child.start()
    for _ in until(60):
        if child.last_words() == "up":
            break
    session = child.pid or 0
    before = session_members(session)

    status = child.stop()

    assert len(before) == 2
    assert status == -signal.SIGKILL
    assert session_members(session) == []


def test_ending_a_session_that_is_gone_does_nothing() -> None:
    ended = subprocess.Popen(["true"], start_new_session=True)
    ended.wait()

    end_session(ended.pid)
    send(ended.pid, signal.SIGTERM)

    assert session_members(ended.pid) == []


def test_options_are_merged_deeply() -> None:
    ours = {"external_auth": {"file": {"a": 1}}, "timeout": 5}

    result = merged(ours, {"external_auth": {"pam": {"b": 2}}, "timeout": {"c": 3}})

    assert result == {"external_auth": {"file": {"a": 1}, "pam": {"b": 2}}, "timeout": {"c": 3}}


def test_ports_of_an_earlier_start_are_kept_only_while_they_are_free(tmp_path: Path) -> None:
    folder = StackFolder(tmp_path)
    first = secrets_of(folder, ["demo"])

    second = secrets_of(folder, ["demo", "pinger"])

    assert (first.publish_port, first.ret_port, first.passwords["demo"]) == (second.publish_port, second.ret_port, second.passwords["demo"])
    assert (tmp_path / "secrets.json").stat().st_mode & 0o077 == 0


def test_sockets_of_a_deep_folder_go_to_a_short_place(tmp_path: Path) -> None:
    deep = StackFolder(tmp_path / ("d" * 80))

    deep.create(["master"])
    socket_folder = deep.sockets("master")
    deep.remove_sockets()

    assert len(str(socket_folder)) < 66
    assert not socket_folder.exists()


@pytest.mark.slow
def test_the_python_that_salt_starts_to_ask_pam_finds_salt(tmp_path: Path) -> None:
    embedded = EmbeddedSalt(tmp_path)
    embedded.configure()
    python = python_of(yaml.safe_load(embedded.master_config.read_text()))
    program = [str(python), "-c", "import salt.utils.user, sys; print(sys.prefix == sys.base_prefix)"]
    environ = environment_for_pam(SCRIPTS, {})

    tried = subprocess.run(program, check=False, capture_output=True, text=True, cwd="/", env=environ, timeout=60)

    assert (tried.stdout, tried.stderr) == ("True\n", "")


def test_the_callers_own_path_stays_behind_salts(tmp_path: Path) -> None:
    (tmp_path / "lib" / "python3.99" / "site-packages").mkdir(parents=True)

    environ = environment_for_pam(tmp_path / "bin", {"PYTHONPATH": "/theirs", "HOME": "/root"})

    assert environ == {"PYTHONPATH": f"{tmp_path}/lib/python3.99/site-packages:/theirs", "HOME": "/root"}


def test_free_ports_differ_and_are_none_that_the_kernel_gives_away() -> None:
    found = free_ports(5)

    with socket.create_server(("127.0.0.1", 0)) as given:
        assert max(found) < given.getsockname()[1]
    assert len(set(found)) == 5


def test_a_port_that_is_taken_is_not_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        with pytest.raises(OSError, match="no 1 free ports"):
            free_ports(1, range(port, port + 1))
