"""`salt-sidecar check`: one run names everything that is wrong, and each line says how to mend it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from service.cli.check import find_faults
from service.configuration import read_configuration
from service.errors import ConfigFault

GOOD: dict[str, Any] = {"netapi_enable_clients": ["local"], "external_auth": {"sharedsecret": {"me": [".*"]}}, "ret_port": 1}


def checked(tmp_path: Path, **changes: Any) -> tuple[list[ConfigFault], list[str]]:
    """Return the faults and the notes of a master configuration; no master runs."""
    (tmp_path / "run").mkdir(exist_ok=True)
    (tmp_path / "master").write_text(yaml.safe_dump({"sock_dir": str(tmp_path / "run"), **GOOD, **changes}))
    environ = {"SALT_MASTER_CONFIG": str(tmp_path / "master"), "SIDECAR_API_PORT": "0", "SIDECAR_OPS_PORT": "0"}
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
        ("ssh", "`ssh` is not served here: every call of it is refused. Fix: remove it, unless salt-api runs beside the sidecar"),
    ],
)
def test_a_client_that_is_none_of_ours_is_noted(tmp_path: Path, client: object, said: str) -> None:
    faults, (note,) = checked(tmp_path, netapi_enable_clients=["runner", client])

    assert said in note
    assert "netapi_enable_clients" not in {fault.where for fault in faults}


def test_the_start_notes_what_check_notes(tmp_path: Path) -> None:
    _, notes = checked(tmp_path, netapi_enable_clients=["local", "ssh"], rest_wsgi={"prot": 1})

    started = read_configuration({"SALT_MASTER_CONFIG": str(tmp_path / "master")})

    assert [str(note) for note in started.notes] == notes


@pytest.mark.parametrize("clients", [None, [], ["locl"]])
def test_a_master_without_a_client_of_ours_is_a_fault(tmp_path: Path, clients: object) -> None:
    faults, _ = checked(tmp_path, netapi_enable_clients=clients)

    assert "no client is enabled" in next(fault.problem for fault in faults if fault.where == "netapi_enable_clients")


@pytest.mark.parametrize("clients", ["local", 5])
def test_clients_that_are_no_list_are_one_fault(tmp_path: Path, clients: object) -> None:
    faults, notes = checked(tmp_path, netapi_enable_clients=clients)

    assert [fault.problem for fault in faults if "netapi_enable_clients" in fault.where] == ["is not a list"]
    assert notes == []


def test_a_misspelt_eauth_module_is_noted_and_one_of_somebodys_own_is_not(tmp_path: Path) -> None:
    _, (note,) = checked(tmp_path, external_auth={"ldpa": {"me": [".*"]}, "company_directory": {"me": [".*"]}})

    assert note == "external_auth: Salt comes without an eauth module `ldpa`. Fix: did you mean `ldap`? A module of your own may be called so"


@pytest.mark.parametrize(("eauths", "said"), [({}, "nobody may log in"), (["pam"], "is not a mapping")])
def test_an_external_auth_that_lets_nobody_in_is_a_fault(tmp_path: Path, eauths: object, said: str) -> None:
    faults, _ = checked(tmp_path, external_auth=eauths)

    assert said in next(fault.problem for fault in faults if fault.where == "external_auth")
