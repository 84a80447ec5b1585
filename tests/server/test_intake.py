"""What one address may hold of a listener, against real sockets from several addresses of loopback."""

from __future__ import annotations

import contextlib
import resource
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from service.server.intake import Bounds, Patience
from service.server.listener import Listener
from tests.meanwhile import eventually
from tests.server.conftest import Caller

Listen = Callable[..., Listener]
From = Callable[[Listener, str], Any]

pytestmark = pytest.mark.slow


def upload(length: int, sent: int) -> bytes:
    return b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % length + b"x" * sent


@pytest.fixture
def call_from() -> Iterator[From]:
    """Connect callers from addresses of 127/8; hang up afterwards."""
    with contextlib.ExitStack() as stack:

        def connect(listener: Listener, address: str) -> Caller:
            caller = Caller(listener.port, address)
            stack.callback(caller.close)
            return caller

        yield connect


def test_who_keeps_many_idle_connections_pays_with_the_oldest_and_nobody_else_does(listen: Listen, call_from: From, rejected: list[str]) -> None:
    listener = listen(connection_limit=20, bounds=Bounds(connections_per_address=10))
    other = call_from(listener, "127.0.0.3")
    idle = [call_from(listener, "127.0.0.2") for _ in range(30)]

    assert other.get().answer()[0] == call_from(listener, "127.0.0.3").get().answer()[0] == 200
    assert idle[-1].get().answer()[0] == 200
    assert idle[0].rest() == b""
    assert eventually(lambda: listener.connections() == 12)
    assert rejected == []


def test_a_connection_over_the_limit_is_closed_when_all_others_are_in_use(listen: Listen, call_from: From, gate: Any, rejected: list[str]) -> None:
    listener = listen(bounds=Bounds(connections_per_address=2))
    running = [call_from(listener, "127.0.0.2").get("/wait") for _ in range(2)]
    assert all(gate.entered.acquire(timeout=60) for _ in running)

    assert call_from(listener, "127.0.0.2").rest() == b""
    assert rejected == ["connections_full"]
    gate.opened.set()
    assert [caller.answer()[0] for caller in running] == [200, 200]


def test_idle_connections_of_many_addresses_make_way_when_there_is_hardly_room(listen: Listen, call_from: From, caplog: pytest.LogCaptureFixture) -> None:
    listener = listen(connection_limit=20, patience=Patience(30.0, idle_seconds=2.4), sweep_seconds=0.05)
    for number in range(2, 22):
        call_from(listener, f"127.0.0.{number}")

    assert call_from(listener, "127.0.1.1").get().answer()[0] == 200
    assert "reached the connection limit" in caplog.text
    caplog.clear()


def test_unfinished_bodies_of_one_address_are_bounded(listen: Listen, call_from: From, gate: Any, rejected: list[str]) -> None:
    listener = listen(body_limit_bytes=1000, bounds=Bounds(body_bytes_per_address=2500))
    first = [call_from(listener, "127.0.0.2").send(upload(1000, 900)) for _ in range(2)]
    assert eventually(lambda: listener.body_bytes() == 1800)

    fault = call_from(listener, "127.0.0.2").send(upload(1000, 900)).fault()

    assert (fault["status"], fault["error"]) == (503, "Overloaded")
    assert rejected == ["bodies_full"]
    assert eventually(lambda: listener.body_bytes() == 1800)
    assert [caller.send(b"x" * 100).answer()[0] for caller in first] == [200, 200]
    assert call_from(listener, "127.0.0.2").send(upload(1000, 1000)).answer()[0] == 200
    assert eventually(lambda: listener.body_bytes() == 0)
    assert len(gate.bodies) == 3


def test_when_all_bodies_are_too_many_the_address_that_holds_most_pays(listen: Listen, call_from: From, rejected: list[str]) -> None:
    listener = listen(body_limit_bytes=1000, bounds=Bounds(body_bytes_per_address=2500, body_bytes=3000))
    small, large = [call_from(listener, "127.0.0.2").send(upload(1000, sent)) for sent in (900, 950)]
    assert eventually(lambda: listener.body_bytes() == 1850)
    others = [call_from(listener, f"127.0.0.{number}").send(upload(1000, 800)) for number in (3, 4)]

    assert large.fault()["status"] == 503
    assert rejected == ["bodies_full"]
    assert [caller.send(b"x" * 200).answer()[0] for caller in others] == [200, 200]
    assert small.send(b"x" * 100).answer()[0] == 200


def test_a_body_that_is_served_counts_until_it_is_answered_and_one_body_always_fits(listen: Listen, call_from: From, gate: Any) -> None:
    listener = listen(body_limit_bytes=1000, bounds=Bounds(body_bytes_per_address=10, body_bytes=10))
    caller = call_from(listener, "127.0.0.2").send(upload(1000, 1000).replace(b" / ", b" /wait "))
    assert gate.entered.acquire(timeout=60)

    assert listener.body_bytes() == 1000
    gate.opened.set()
    assert caller.answer()[0] == 200
    assert eventually(lambda: listener.body_bytes() == 0)


def test_who_hangs_up_gives_back_what_it_held(listen: Listen, call_from: From) -> None:
    listener = listen()
    caller = call_from(listener, "127.0.0.2").send(upload(1000, 900))
    assert eventually(lambda: listener.body_bytes() == 900)

    caller.socket.shutdown(socket.SHUT_RDWR)

    assert eventually(lambda: listener.body_bytes() == 0 and listener.connections() == 0)


def test_a_body_whose_file_finds_no_room_is_refused_and_the_next_is_served(listen: Listen, call_from: From, rejected: list[str]) -> None:
    listener = listen(body_limit_bytes=10_000_000)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, before[1]))
    try:
        fault = call_from(listener, "127.0.0.2").send(upload(5_000_000, 5_000_000)).fault()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    assert (fault["status"], fault["error"]) == (503, "Overloaded")
    assert rejected == ["bodies_full"]
    assert eventually(lambda: listener.body_bytes() == 0)
    assert call_from(listener, "127.0.0.2").send(upload(5_000_000, 5_000_000)).answer()[0] == 200
