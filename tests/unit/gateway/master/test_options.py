"""Options: the few facts of the master's configuration, and what is said about a configuration that is none."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import salt.transport.base

from service.errors import ConfigFault, InvalidConfiguration
from service.gateway.master.options import SALT_VERSION, MasterOptions, read_master_config

RAW: dict[str, Any] = {"ret_port": 4506, "sock_dir": "/run/salt/master"}


def options(**raw: Any) -> MasterOptions:
    return MasterOptions.of({**RAW, **raw})


def test_what_a_configuration_does_not_say_is_salts_default() -> None:
    ours = options()

    assert (ours.request_uri, ours.bus_path) == ("tcp://127.0.0.1:4506", "/run/salt/master/master_event_pub.ipc")
    assert (ours.timeout, ours.gather_job_timeout, ours.runner_timeout, ours.syndic_wait) == (5, 10, 300, 5)
    assert (ours.enabled_clients, ours.order_masters, ours.nodegroups, ours.ext_job_cache) == ((), False, {}, "")


@pytest.mark.parametrize(
    ("interface", "uri"),
    [
        ("0.0.0.0", "tcp://127.0.0.1:4506"),
        ("::", "tcp://[::1]:4506"),
        ("192.0.2.7", "tcp://192.0.2.7:4506"),
        ("2001:db8::1", "tcp://[2001:db8::1]:4506"),
        ("[2001:db8::1]", "tcp://[2001:db8::1]:4506"),
    ],
)
def test_the_request_address_is_one_that_can_be_reached(interface: str, uri: str) -> None:
    assert options(interface=interface).request_uri == uri


def test_a_given_request_address_beats_the_configuration() -> None:
    assert MasterOptions.of(RAW, request_uri="tcp://salt-master:4506").request_uri == "tcp://salt-master:4506"


def test_a_master_without_ipc_has_its_bus_on_a_port() -> None:
    ours = options(ipc_mode="tcp", tcp_master_pub_port=4999, tcp_master_pull_port="4998")

    assert (ours.bus_path, ours.pull_path, ours.ipc_host, ours.bus_port, ours.pull_port) == (None, None, "127.0.0.1", 4999, 4998)


@pytest.mark.parametrize("ipv6", [None, False, True])
def test_the_bus_is_where_salts_own_client_finds_it(ipv6: bool | None, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = {**RAW, "ipc_mode": "tcp", "ipv6": ipv6, "tcp_master_pub_port": 4512}
    monkeypatch.setattr(salt.transport.base, "publish_client", lambda _opts, _io_loop, **where: where)
    theirs = salt.transport.base.ipc_publish_client("master", raw, None)

    ours = MasterOptions.of(raw)

    assert (ours.ipc_host, ours.bus_port) == (theirs["host"], theirs["port"])


def test_what_a_configuration_says_is_taken_over() -> None:
    ours = options(netapi_enable_clients=["local"], timeout=9, rest_timeout=60, order_masters=True, nodegroups={"a": "b"}, ext_job_cache="redis")

    assert (ours.enabled_clients, ours.timeout, ours.runner_timeout, ours.order_masters) == (("local",), 9, 60, True)
    assert (ours.nodegroups, ours.ext_job_cache) == ({"a": "b"}, "redis")


@pytest.mark.parametrize("name", ["netapi_enable_clients", "nodegroups", "ext_job_cache", "order_masters"])
def test_an_empty_option_is_as_if_not_there(name: str) -> None:
    assert options(**{name: None}) == MasterOptions.of({**RAW, name: None})
    assert not getattr(options(**{name: None}), {"netapi_enable_clients": "enabled_clients"}.get(name, name))


@pytest.mark.parametrize("clients", ["local", "local, runner", 5, True])
def test_clients_that_are_no_list_are_a_fault_as_none_of_them_would_be_enabled(clients: Any) -> None:
    with pytest.raises(InvalidConfiguration, match=r"netapi_enable_clients .* is not a list"):
        options(netapi_enable_clients=clients)


def test_every_number_that_is_none_is_told_at_once_without_its_value() -> None:
    with pytest.raises(InvalidConfiguration) as caught:
        options(ret_port="hunter2", timeout=[1], syndic_wait=float("inf"), netapi_enable_clients="local")

    assert [fault.where.split()[0] for fault in caught.value.faults] == ["ret_port", "timeout", "syndic_wait", "netapi_enable_clients"]
    assert "hunter2" not in str(caught.value)
    assert (options(timeout="7").timeout, options(timeout=None).timeout) == (7, 5)


def test_the_raw_configuration_is_never_shown() -> None:
    assert "hunter2" not in repr(options(password="hunter2"))


def fault_of(path: Path, **how: Any) -> ConfigFault:
    with pytest.raises(InvalidConfiguration) as caught:
        read_master_config(path, **how)
    (fault,) = caught.value.faults
    return fault


def test_a_configuration_is_read_by_salt(tmp_path: Path) -> None:
    path = tmp_path / "master"
    path.write_text("ret_port: 4999\ninterface: 192.0.2.1\n")
    raw = read_master_config(path)

    assert MasterOptions.of(raw).request_uri == "tcp://192.0.2.1:4999"
    assert SALT_VERSION[0].isdigit()


def test_a_configuration_that_is_not_there_is_a_fault_with_its_fix(tmp_path: Path) -> None:
    fault = fault_of(tmp_path / "absent")

    assert (fault.where, fault.problem) == (str(tmp_path / "absent"), "does not exist")
    assert "SALT_MASTER_CONFIG" in fault.fix


def test_a_path_that_no_file_can_have_does_not_exist() -> None:
    assert fault_of(Path("/tmp/a\0b")).problem == "does not exist"


def test_a_directory_is_a_fault_that_names_the_file_in_it(tmp_path: Path) -> None:
    assert fault_of(tmp_path).fix == f"set SALT_MASTER_CONFIG to the file, such as {tmp_path}/master"


def test_json_instead_of_a_path_is_told_without_repeating_it() -> None:
    fault = fault_of(Path('{"interface": "0.0.0.0", "password": "hunter2"}'))

    assert fault.where == "SALT_MASTER_CONFIG"
    assert "holds JSON" in fault.problem
    assert "hunter2" not in str(fault)


def test_a_file_that_we_may_not_read_is_a_fault_with_our_uid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "master"
    path.touch()
    monkeypatch.setattr(os, "access", lambda _path, _mode: False)  # root may read everything

    assert fault_of(path).problem == f"cannot be read by uid {os.getuid()}"


def test_a_file_in_a_folder_that_is_closed_to_us_may_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(_path: Path) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "stat", closed)

    assert fault_of(tmp_path / "closed" / "master").problem == f"cannot be read by uid {os.getuid()}"


@pytest.mark.parametrize(
    "text", ["ret_port: [\n  password: hunter2\n", "a: b: hunter2\n", "just words hunter2\n", "- hunter2\n", "a: !!python/name:hunter2 x\n"]
)
def test_a_configuration_that_salt_cannot_read_is_a_fault_that_repeats_no_value(tmp_path: Path, text: str) -> None:
    path = tmp_path / "master"
    path.write_text(text)
    fault = fault_of(path)

    assert fault.where == str(path)
    assert fault.problem.startswith("Salt cannot read it")
    assert "hunter2" not in str(fault)


@pytest.mark.parametrize("failure", [SystemExit(2), ValueError("bad port"), TypeError("not a mapping"), AttributeError("no text")])
def test_whatever_salt_raises_is_one_fault(tmp_path: Path, failure: BaseException) -> None:
    def read(_path: str) -> dict[str, Any]:
        raise failure

    (tmp_path / "master").touch()

    assert fault_of(tmp_path / "master", read=read).fix == "correct the YAML"
