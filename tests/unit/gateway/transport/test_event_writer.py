"""Firing: the frame that the master's pull socket takes, one connection that heals, and words that name the fix."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest
import salt.payload
from hypothesis import given
from hypothesis import strategies as st

from service.errors import BadRequest, BusNotWritable, MasterTimeout, MasterUnreachable
from service.events.event import read
from service.gateway.master.options import MasterOptions
from service.gateway.transport.bus_thread import BusThread
from service.gateway.transport.event_writer import Trigger, packed


class PullSocket:
    """The master's end: reads frames as salt.transport.tcp.TCPPuller does."""

    def __init__(self, folder: Path, *, ipc_host: str | None = None) -> None:
        """ipc_host: the address to listen on, at any port, instead of a path."""
        if ipc_host is None:
            self.listener = socket.socket(socket.AF_UNIX)
            self.listener.bind(str(folder / "master_event_pull.ipc"))
            self.listener.listen()
        else:
            self.listener = socket.create_server((ipc_host, 0), family=socket.AF_INET6 if ":" in ipc_host else socket.AF_INET)
        self.listener.settimeout(10)
        self.accepted = 0
        self._connection: socket.socket | None = None

    def read(self) -> tuple[str, dict[str, Any]]:
        if self._connection is None:
            self._connection, _ = self.listener.accept()
            self._connection.settimeout(10)
            self.accepted += 1
        (length,) = struct.unpack(">I", self._exactly(4))
        body = msgpack.unpackb(self._exactly(length), raw=True)[b"body"]
        event = read(body)
        return event.tag, event.data()

    def drained(self) -> bool:
        """Read what is left; say whether the sender has closed the connection."""
        connection, _ = self.listener.accept()
        with connection:
            connection.settimeout(10)
            while connection.recv(2**20):
                pass
        return True

    def hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def close(self) -> None:
        self.hang_up()
        self.listener.close()

    def _exactly(self, count: int) -> bytes:
        assert self._connection is not None
        data = b""
        while len(data) < count:
            piece = self._connection.recv(count - len(data))
            assert piece
            data += piece
        return data


@pytest.fixture
def pull(tmp_path: Path) -> Iterator[PullSocket]:
    server = PullSocket(tmp_path)
    yield server
    server.close()


@pytest.fixture
def bus() -> Iterator[BusThread]:
    thread = BusThread()
    thread.start()
    yield thread
    thread.stop()


@pytest.fixture
def timeout_seconds() -> float:
    return 0.5


@pytest.fixture
def trigger(bus: BusThread, tmp_path: Path, timeout_seconds: float) -> Iterator[Trigger]:
    made = Trigger(bus, MasterOptions.of({"sock_dir": str(tmp_path), "ret_port": 1, "max_event_size": 2**20}), timeout_seconds=timeout_seconds)
    yield made
    made.close()


def test_an_event_arrives_as_the_master_reads_it(pull: PullSocket, trigger: Trigger) -> None:
    trigger.fire("my/tag", {"a": ["ü", 1]})

    tag, data = pull.read()
    assert tag == "my/tag"
    assert data.pop("_stamp")
    assert data == {"a": ["ü", 1]}


@pytest.mark.parametrize(("ipv6", "host"), [(None, "127.0.0.1"), pytest.param(True, "::1", marks=pytest.mark.ipv6)])
def test_without_ipc_the_event_goes_where_the_masters_options_say(bus: BusThread, tmp_path: Path, ipv6: bool | None, host: str) -> None:
    pull = PullSocket(tmp_path, ipc_host=host)
    port = pull.listener.getsockname()[1]
    options = MasterOptions.of({"ipc_mode": "tcp", "ipv6": ipv6, "tcp_master_pull_port": port, "ret_port": 1})
    trigger = Trigger(bus, dataclasses.replace(options, ipc_host=host), timeout_seconds=5)
    trigger.fire("my/tag", {})

    assert pull.read()[0] == "my/tag"
    trigger.close()
    pull.close()


def test_one_connection_serves_all(pull: PullSocket, trigger: Trigger) -> None:
    for number in range(3):
        trigger.fire(f"my/{number}", {})

    assert [pull.read()[0] for _ in range(3)] == ["my/0", "my/1", "my/2"]
    assert pull.accepted == 1


def test_after_the_master_closed_the_connection_a_new_one_is_made(pull: PullSocket, trigger: Trigger) -> None:
    trigger.fire("my/1", {})
    pull.read()
    pull.hang_up()

    trigger.fire("my/2", {})

    assert pull.read()[0] == "my/2"
    assert pull.accepted == 2


def test_threads_do_not_mix_their_events(pull: PullSocket, trigger: Trigger) -> None:
    threads = [threading.Thread(target=trigger.fire, args=(f"my/{number}", {"text": str(number) * 20_000})) for number in range(8)]
    for thread in threads:
        thread.start()

    received = [pull.read() for _ in threads]

    for thread in threads:
        thread.join()
    assert all(set(data["text"]) == {tag[-1]} for tag, data in received)
    assert len({tag for tag, _ in received}) == 8


def test_without_a_master_the_socket_is_named(trigger: Trigger) -> None:
    with pytest.raises(MasterUnreachable, match=r"master_event_pull\.ipc: No such file"):
        trigger.fire("my/tag", {})


def test_a_socket_that_nobody_serves_is_no_master(pull: PullSocket, trigger: Trigger) -> None:
    pull.close()

    with pytest.raises(MasterUnreachable, match="Connection refused"):
        trigger.fire("my/tag", {})


def test_another_users_socket_is_answered_with_the_fix(pull: PullSocket, trigger: Trigger, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refused(_loop: object, _socket: object, _address: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(asyncio.SelectorEventLoop, "sock_connect", refused)

    with pytest.raises(BusNotWritable, match=rf"uid {os.getuid()} may not write .* run the sidecar as the user the salt-master runs as"):
        trigger.fire("my/tag", {})


@pytest.mark.costly
@pytest.mark.parametrize("timeout_seconds", [0.05])
def test_a_master_that_takes_nothing_costs_the_timeout_and_the_connection(pull: PullSocket, trigger: Trigger) -> None:
    def fill() -> None:
        for _ in range(20):
            trigger.fire("my/stuck", {"text": "x" * 2**19})

    with pytest.raises(MasterTimeout):
        fill()

    # What was half sent must not be read as the beginning of what follows.
    assert pull.drained()


def test_a_large_event_is_cut_as_salt_does() -> None:
    event = packed("my/tag", {"text": "x" * 5000, "small": 1}, 1000)

    data = read(event).data()
    assert data["text"] == "VALUE_TRIMMED"
    assert data["small"] == 1


@pytest.mark.parametrize("tag", ["", "a\nb", "a\n\nb", "a\x00", "a\u2028b"])
def test_a_tag_that_could_end_early_is_refused(tag: str) -> None:
    with pytest.raises(BadRequest):
        packed(tag, {}, 2**20)


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize("value", [deep(1100), deep(100_000), "\ud800"])
def test_what_the_bus_cannot_carry_is_a_bad_request(value: Any) -> None:
    with pytest.raises(BadRequest):
        packed("my/tag", {"value": value}, 2**20)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(alphabet=st.characters(codec="utf-8")) | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(alphabet=st.characters(codec="utf-8")), inner, max_size=4),
    max_leaves=10,
)


@pytest.mark.costly
@given(VALUES)
def test_what_any_body_decodes_to_can_be_packed(value: Any) -> None:
    event = packed("my/tag", {"value": value}, 2**20)

    assert event.startswith(b"my/tag\n\n")
    assert set(salt.payload.loads(event.partition(b"\n\n")[2])) == {"value", "_stamp"}
