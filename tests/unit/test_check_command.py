"""`salt-sidecar check`: one run names everything that is wrong, and each line says how to mend it."""

from __future__ import annotations

import contextlib
import os
import pwd
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.cli.check import find_faults
from service.cli.pam import pam_notes
from service.demo.embedded import SCRIPTS
from service.demo.embedded_config import environment_for_pam
from service.demo.ports import free_ports
from service.errors import ConfigFault, InvalidConfiguration
from service.wiring.configuration import read_configuration

GOOD: dict[str, Any] = {"netapi_enable_clients": ["local"], "external_auth": {"sharedsecret": {"me": [".*"]}}, "ret_port": 1}


def checked(tmp_path: Path, variables: Mapping[str, str] | None = None, **changes: Any) -> tuple[list[ConfigFault], list[str]]:
    """Return the faults and the notes of a master configuration; no master runs. variables: of the environment."""
    (tmp_path / "run").mkdir(exist_ok=True)
    (tmp_path / "master").write_text(yaml.safe_dump({"sock_dir": str(tmp_path / "run"), **GOOD, **changes}))
    ours = {"SIDECAR_API_PORT": "0", "SIDECAR_OPS_PORT": "0", "SIDECAR_JOBS_STORE": f"sqlite://{tmp_path}/jobs.db"}
    environ = {"SALT_MASTER_CONFIG": str(tmp_path / "master"), **ours, **(variables or {})}
    faults, notes = find_faults(environ)
    return faults, [str(note) for note in notes]


def test_a_good_configuration_without_a_master_has_two_faults_and_no_note(tmp_path: Path) -> None:
    faults, notes = checked(tmp_path)

    assert [Path(fault.where).name for fault in faults] == ["master_event_pub.ipc", "ret_port"]
    assert notes == []


@pytest.mark.parametrize(
    ("client", "said"),
    [
        ("locl", "`locl` is no client, so it enables nothing. Fix: did you mean `local`? There are local, "),
        ("Wheel", "did you mean `wheel`? "),
        ("xylophone", "`xylophone` is no client, so it enables nothing. Fix: There are local, "),
        ("*", "`*` is no client"),
        (5, "`5` is no client"),
        ("ssh", "`ssh` is listed, and `clients.ssh` is off, so every call of it is refused. Fix: set `clients.ssh: true`, or remove it, unless salt-api runs"),
    ],
)
def test_a_client_that_is_none_of_ours_is_noted(tmp_path: Path, client: object, said: str) -> None:
    faults, (note,) = checked(tmp_path, netapi_enable_clients=["runner", client])

    assert said in note
    assert "netapi_enable_clients" not in {fault.where for fault in faults}


def test_a_client_that_only_our_setting_enables_is_noted(tmp_path: Path) -> None:
    _, (note,) = checked(tmp_path, {"SIDECAR_CLIENTS_SSH": "true"}, netapi_enable_clients=["runner"])
    _, notes = checked(tmp_path, {"SIDECAR_CLIENTS_SSH": "true"}, netapi_enable_clients=["runner", "ssh"])

    assert (
        note
        == "clients.ssh: is on, and the master does not list `ssh`, so every call of it is refused. Fix: add it to `netapi_enable_clients`, or remove the setting"
    )
    assert notes == []


def test_a_place_where_no_jobs_can_be_kept_is_noted(tmp_path: Path) -> None:
    faults, (note,) = checked(tmp_path, {"SIDECAR_JOBS_STORE": "sqlite:///nonexistent/jobs.db"})

    assert "its folder does not exist, so `/v1/jobs` is answered 503 and everything else works. Fix: give it a folder" in note
    assert "jobs.store" not in {fault.where for fault in faults}


def test_a_database_without_the_extra_is_noted_with_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "service.jobs.stores.postgres.server_link", None)
    _, (note,) = checked(tmp_path, {"SIDECAR_JOBS_STORE": "postgresql://sidecar@127.0.0.1/jobs"})

    assert "psycopg is missing" in note
    assert "503 and everything else works. Fix: install salt-sidecar[postgres]" in note


@pytest.mark.slow
def test_a_database_that_is_away_is_noted(tmp_path: Path) -> None:
    _, (note,) = checked(tmp_path, {"SIDECAR_JOBS_STORE": "postgresql://sidecar@127.0.0.1:1/jobs"})

    assert "jobs.store: the database cannot be used: connection failed" in note
    assert "503 and everything else works. Fix: start the server, or correct address" in note


def test_the_start_notes_what_check_notes(tmp_path: Path) -> None:
    _, notes = checked(tmp_path, netapi_enable_clients=["local", "ssh"], rest_wsgi={"prot": 1})

    started = read_configuration({"SALT_MASTER_CONFIG": str(tmp_path / "master")})

    assert [str(note) for note in started.notes] == notes


ODD: tuple[object, ...] = (5, 1.5, True, "x y", "", [1], [None], {"a": 1}, {1: [2]}, [[]])
READ = ("auth.pam.python default_include ext_job_cache external_auth id interface ipc_mode netapi_enable_clients nodegroups order_masters rest_cherrypy "
        "rest_wsgi ret_port root_dir sock_dir syndic_wait timeout transport user").split()  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", READ)
def test_no_value_of_the_master_configuration_ends_check_or_the_start_in_a_traceback(tmp_path: Path, name: str) -> None:
    for value in ODD:
        checked(tmp_path, **{**pam_options(program(tmp_path / "python", "exit 0")), name: value})
        with contextlib.suppress(InvalidConfiguration):
            read_configuration({"SALT_MASTER_CONFIG": str(tmp_path / "master")})


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"SIDECAR_API_HOST": "192.0.2.1"}, "api.host: cannot listen on 192.0.2.1"),
        ({"SIDECAR_OPS_HOST": "192.0.2.1"}, "ops.host: cannot listen on 192.0.2.1"),
        ({"SIDECAR_API_PORT": "{port}", "SIDECAR_OPS_PORT": "{port}"}, "ops.port: port {port} on 127.0.0.1 is taken"),
    ],
)
def test_check_binds_as_the_start_does(tmp_path: Path, variables: dict[str, str], said: str) -> None:
    (port,) = free_ports(1)
    faults, _ = checked(tmp_path, {name: value.format(port=port) for name, value in variables.items()})

    assert [fault for fault in faults if str(fault).startswith(said.format(port=port))] == faults[:1]


@pytest.mark.parametrize("clients", [None, [], ["locl"]])
def test_a_master_without_a_client_of_ours_is_a_fault(tmp_path: Path, clients: object) -> None:
    faults, _ = checked(tmp_path, netapi_enable_clients=clients)

    assert "no client is enabled" in next(fault.problem for fault in faults if fault.where == "netapi_enable_clients")


@pytest.mark.parametrize("clients", ["local", 5])
def test_clients_that_are_no_list_are_one_fault(tmp_path: Path, clients: object) -> None:
    faults, notes = checked(tmp_path, netapi_enable_clients=clients)

    assert [fault.problem for fault in faults if "netapi_enable_clients" in fault.where] == ["is not a list"]
    assert notes == []


def test_a_user_who_sees_all_events_is_noted_without_an_eauth_module(tmp_path: Path) -> None:
    _, notes = checked(tmp_path, {"SIDECAR_EVENTS_SEE_ALL": "seer,file:other"})

    assert [note.partition(" ")[0] for note in notes] == ["events.see_all:"]
    assert "write `EAUTH:seer`" in notes[0]


def test_a_user_who_reads_all_jobs_is_noted_without_an_eauth_module(tmp_path: Path) -> None:
    _, notes = checked(tmp_path, {"SIDECAR_JOBS_READERS": "auditor,file:other"})

    assert [note.partition(" ")[0] for note in notes] == ["jobs.readers:"]
    assert "write `EAUTH:auditor`" in notes[0]


@pytest.mark.parametrize(("seconds", "noted"), [("60", ["keep_acl_in_token:"]), ("0", [])])
def test_a_master_whose_tokens_have_other_rights_is_noted_where_they_are_wanted(tmp_path: Path, seconds: str, noted: list[str]) -> None:
    _, notes = checked(tmp_path, {"SIDECAR_LIMITS_AUTH_REUSE_SECONDS": seconds}, keep_acl_in_token=True, external_auth={"rest": {}})

    assert [note.partition(" ")[0] for note in notes] == noted


@pytest.mark.parametrize(
    ("eauths", "more", "named"),
    [
        ({"sharedsecret": {}, "company": {}, "pam": {}}, {}, "pam, sharedsecret"),
        ({"rest": {}, "company": {}}, {}, ""),
        ({"pam": {}}, {"eauth_acl_module": "company"}, ""),
        ({"pam": {}}, {"keep_acl_in_token": False}, ""),
    ],
)
def test_modules_whose_tokens_are_without_rights_are_noted(tmp_path: Path, eauths: dict[str, Any], more: dict[str, Any], named: str) -> None:
    _, notes = checked(tmp_path, **{"external_auth": eauths, "keep_acl_in_token": True, **more})

    told = [note for note in notes if note.startswith("keep_acl_in_token:")]
    assert bool(told) == bool(named)
    assert all(f"a token of {named} asks for" in note for note in told)


@pytest.mark.parametrize(("seconds", "folder", "override", "noted"), [("60", "away", False, 1), ("60", "shared", False, 0), ("60", "away", True, 0), ("0", "away", False, 0)])  # fmt: skip
def test_a_master_that_would_keep_all_tokens_is_noted(tmp_path: Path, seconds: str, folder: str, override: bool, noted: int) -> None:
    reuse = {"SIDECAR_LIMITS_AUTH_REUSE_SECONDS": seconds}
    (tmp_path / "shared" / "tokens").mkdir(parents=True)
    _, notes = checked(tmp_path, reuse, cachedir=str(tmp_path / folder), token_expire_user_override=override)

    assert [note.partition(" ")[0] for note in notes] == ["cachedir:"] * noted


def test_a_rule_of_the_policy_that_cannot_fit_is_a_fault(tmp_path: Path) -> None:
    faults, _ = checked(tmp_path, {"SIDECAR_POLICY_RULES": '[{"action": "allow", "users": ["anna"]}, {"action": "refuse", "functions": ["cmd"]}]'})

    assert "policy.rules.1.functions: `cmd` is a module and no function. Fix: write `cmd.*` for all functions of it" in map(str, faults)


def test_a_misspelt_eauth_module_is_noted_and_one_of_somebodys_own_is_not(tmp_path: Path) -> None:
    _, (note,) = checked(tmp_path, external_auth={"ldpa": {"me": [".*"]}, "company_directory": {"me": [".*"]}})

    assert note == "external_auth: Salt comes without an eauth module `ldpa`. Fix: did you mean `ldap`? A module of your own may be called so"


@pytest.mark.parametrize(("eauths", "said"), [({}, "nobody may log in"), (["pam"], "is not a mapping")])
def test_an_external_auth_that_lets_nobody_in_is_a_fault(tmp_path: Path, eauths: object, said: str) -> None:
    faults, _ = checked(tmp_path, external_auth=eauths)

    assert said in next(fault.problem for fault in faults if fault.where == "external_auth")


def pam_options(python: object, **changes: Any) -> dict[str, Any]:
    return {"external_auth": {"pam": {"me": [".*"]}}, "user": "root", "auth.pam.python": str(python), **changes}


def program(path: Path, line: str) -> Path:
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)
    return path


def test_pam_with_a_root_master_and_a_python_that_has_asked_is_no_news(tmp_path: Path) -> None:
    python = program(tmp_path / "python", "exit 0")

    assert checked(tmp_path, {"PATH": "/usr/bin:/bin"}, **pam_options(python))[1] == []


@pytest.mark.slow
def test_pam_with_a_root_master_and_a_python_that_finds_salt_is_no_news(tmp_path: Path) -> None:
    _, notes = checked(tmp_path, environment_for_pam(SCRIPTS, {}), **pam_options(SCRIPTS / "python"))

    assert notes == []


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("echo Traceback >&2; echo \"ModuleNotFoundError: No module named 'salt'\" >&2; exit 1", "(ModuleNotFoundError: No module named 'salt')"),
        ("exit 1", "(libc or libpam is not there)"),
    ],
)
def test_a_python_that_cannot_ask_pam_is_noted(tmp_path: Path, line: str, said: str) -> None:
    python = program(tmp_path / "python", line)
    (tmp_path / "link").symlink_to(python)

    _, (note,) = checked(tmp_path, {"PATH": "/usr/bin:/bin"}, **pam_options(tmp_path / "link"))

    assert note.startswith(f"external_auth.pam: {python}, which Salt starts to ask PAM, ")
    assert said in note
    assert note.endswith("docs/eauth.md")


@pytest.mark.slow
def test_a_python_that_gives_no_answer_is_noted(tmp_path: Path) -> None:
    python = program(tmp_path / "python", "exec sleep 60")

    (note,) = pam_notes(pam_options(python), {"PATH": "/usr/bin:/bin"}, seconds=0.2)

    assert str(note).startswith(f"external_auth.pam: {python}, which Salt starts to ask PAM, gave no answer in 0.2 s")
    assert str(note).endswith("docs/eauth.md")


def test_a_python_that_is_not_there_is_noted(tmp_path: Path) -> None:
    _, (note,) = checked(tmp_path, **pam_options(tmp_path / "nowhere"))

    assert "cannot be run (No such file or directory). Fix: name another in the master's option `auth.pam.python`" in note


@pytest.mark.slow
@pytest.mark.parametrize("user", ["nobody", "a-user-of-another-machine"])
def test_pam_with_a_master_that_is_not_root_is_noted(tmp_path: Path, user: str) -> None:
    _, (note,) = checked(tmp_path, environment_for_pam(SCRIPTS, {}), **pam_options(SCRIPTS / "python", user=user))

    assert note.startswith(f"external_auth.pam: the master seems to run as `{user}`, ")


def test_a_user_in_the_group_that_may_read_the_passwords_is_as_good_as_root(tmp_path: Path) -> None:
    account = pwd.getpwnam("nobody") if os.getuid() == 0 else pwd.getpwuid(os.getuid())
    readable = program(tmp_path / "shadow", "")
    os.chown(readable, -1, account.pw_gid)

    assert pam_notes(pam_options(program(tmp_path / "python", "exit 0"), user=account.pw_name), {}, shadow=readable) == []


def test_without_pam_no_python_is_started(tmp_path: Path) -> None:
    _, notes = checked(tmp_path, **pam_options(program(tmp_path / "python", "exit 1"), user="nobody", external_auth=GOOD["external_auth"]))

    assert notes == []
