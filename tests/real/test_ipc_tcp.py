"""A master without Unix sockets: its event bus is on a port of the loopback address that its options say."""

from __future__ import annotations

from pathlib import Path

import pytest
import salt.version

from service.demo.embedded import EmbeddedSalt
from service.demo.ports import free_ports
from tests.real.conftest import MakeSidecar

pytestmark = [pytest.mark.master, pytest.mark.slow, pytest.mark.ipv6]


@pytest.mark.skipif(salt.version.__saltstack_version__.major < 3008, reason="before Salt 3008 a master with ipv6 cannot have its bus on a port")
def test_a_bus_on_the_loopback_address_of_ipv6_is_read_and_written(tmp_path: Path, make_sidecar: MakeSidecar) -> None:
    names = ("tcp_master_pub_port", "tcp_master_pull_port", "tcp_master_publish_pull", "tcp_master_workers")
    master = {"ipc_mode": "tcp", "ipv6": True, **dict(zip(names, free_ports(4), strict=True))}
    with EmbeddedSalt(tmp_path / "salt", minions=1, threads=True, master=master) as embedded, make_sidecar(embedded.master_config) as sidecar:
        call = sidecar.post({**embedded.credentials, "client": "local", "tgt": "*", "fun": "test.ping"})
        runner = sidecar.post({**embedded.credentials, "client": "runner", "fun": "test.arg"})

    assert (call.value, runner.status) == ({"minion-1": True}, 200)
