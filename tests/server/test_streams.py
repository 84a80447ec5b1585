"""Streams over sockets: many readers, one that stalls, one that leaves, far too many, and the end of the process."""

from __future__ import annotations

import contextlib
import resource
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from service.gateway.transport.event_writer import packed
from service.server.listener import Listener
from service.wiring.listeners import api_listener
from tests.contract.conftest import Api, fake_api, login
from tests.fakes import FakeGateway

pytestmark = pytest.mark.slow

Serve = Callable[..., "Served"]


class Served:
    """The whole application on a port, over the fake master."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self._readers: list[Reader] = []
        self.listener: Listener = api_listener(api.process, api.process.reloading.settings)
        self.listener.start()
        self.token = login(api, api.demo)

    def fire(self, tag: str, **data: object) -> None:
        gateway = self.api.process.gateway
        assert isinstance(gateway, FakeGateway)
        gateway.hub.deliver(packed(tag, data, 2**24))

    def read(self, token: str | None = None, path: str = "/events", *, room: int | None = None) -> Reader:
        self._readers.append(Reader(self.listener.port, token or self.token, path, room))
        return self._readers[-1]

    def subscribers(self) -> int:
        return self.api.process.streams.subscribers()

    def metric(self, name: str, **labels: str) -> float:
        return self.api.process.metrics.value(name, **labels) or 0.0

    def stop(self) -> None:
        self.api.process.stop()
        for reader in self._readers:
            reader.close()
        self.listener.stop()


class Reader:
    """A connection that asked for the stream. room: bytes of its receive buffer, small for one that will not read."""

    def __init__(self, port: int, token: str, path: str, room: int | None = None) -> None:
        self.socket = socket.socket()
        if room is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
        self.socket.settimeout(60)
        self.socket.connect(("127.0.0.1", port))
        self.socket.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nX-Auth-Token: {token}\r\n\r\n".encode())
        self.received = bytearray()

    def until(self, text: bytes) -> bytearray:
        """Read until *text* has come; return all of it."""
        looked_at = 0
        while self.received.find(text, looked_at) < 0:
            looked_at = max(0, len(self.received) - len(text))
            piece = self.socket.recv(2**20)
            assert piece, self.received[-300:]
            self.received += piece
        return self.received

    def forget(self) -> int:
        """Drop what was read; return how many events were in it."""
        count = self.received.count(b"\ntag: ") + self.received.startswith(b"tag: ")
        self.received.clear()
        return count

    def to_the_end(self) -> bytearray:
        while piece := self.socket.recv(2**20):
            self.received += piece
        return self.received

    def close(self) -> None:
        self.socket.close()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Start applications; stop them afterwards."""
    with contextlib.ExitStack() as stack:

        def make(**environ: str) -> Served:
            environ = {f"SIDECAR_{name.upper()}": value for name, value in environ.items()}
            served = Served(fake_api(tmp_path, SIDECAR_API_PORT="0", SIDECAR_LIMITS_SYNC_JOBS="4", SIDECAR_LIMITS_QUICK_CALLS="4", **environ))
            stack.callback(served.stop)
            return served

        yield make


def wait_for(condition: Callable[[], bool], seconds: float = 60.0) -> float:
    """Wait for something that no call tells us of; return how long it took."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds
        threading.Event().wait(0.01)
    return time.monotonic() - started


def test_each_chunk_leaves_at_once(serve: Serve) -> None:
    served = serve()
    reader = served.read()

    head = reader.until(b"B\r\nretry: 400\n\r\n").split(b"\r\n\r\n")[0].lower()
    delays = []
    for number in range(5):
        started = time.monotonic()
        served.fire(f"my/{number}")
        reader.until(f'"tag":"my/{number}"'.encode())
        delays.append(time.monotonic() - started)

    assert b"transfer-encoding: chunked" in head
    assert b"content-type: text/event-stream;charset=utf-8" in head
    assert b"x-auth-token" not in head
    assert min(delays) < 1


def test_a_reader_that_stalls_is_dropped_and_the_others_get_everything(serve: Serve) -> None:
    served = serve(events_queue_events="20")
    readers = [served.read() for _ in range(5)]
    stalled = served.read(room=4096)
    for reader in (*readers, stalled):
        reader.until(b"retry: 400\n")
    counts = dict.fromkeys(readers, 0)

    for number in range(100):
        served.fire(f"my/{number}", text="x" * 200_000)
        for reader in readers:
            reader.until(f'"tag":"my/{number}"'.encode())
            counts[reader] += reader.forget()

    # The thread is free at once, though the connection is still there.
    wait_for(lambda: served.metric("salt_api_stream_disconnects_total", reason="slow_consumer") == 1)
    assert list(counts.values()) == [100] * 5
    assert served.subscribers() == 5
    assert served.metric("salt_api_stream_events_dropped_total", reason="slow_consumer") > 20
    assert served.metric("salt_event_bus_dropped_events_total", consumer="stream") == 0
    assert b"tag: salt/sidecar/stream/dropped\n" in stalled.to_the_end()


def test_a_reader_that_never_reads_a_byte_does_not_keep_the_thread_of_a_huge_event(serve: Serve) -> None:
    served = serve(events_queue_events="10")
    served.read(room=4096)
    wait_for(lambda: served.subscribers() == 1)

    for number in range(60):
        served.fire(f"my/{number}", text="x" * 1_000_000)
        wait_for(lambda: served.api.process.streams.queued() == 0)

    wait_for(lambda: served.subscribers() == 0)
    wait_for(lambda: served.listener.busy_threads() == 0)


@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_reader_that_left_frees_its_slot_at_the_next_heartbeat_on_a_silent_bus(serve: Serve, how: str) -> None:
    served = serve(events_streams="1", events_heartbeat_seconds="15")
    reader = served.read()
    reader.until(b"retry: 400\n")

    if how == "reset":
        reader.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    reader.close()

    # The one after that comes at 30 s.
    wait_for(lambda: served.subscribers() == 0, 29)
    wait_for(lambda: served.metric("salt_api_stream_disconnects_total", reason="client") == 1)
    assert served.read().until(b"retry: 400\n").startswith(b"HTTP/1.1 200")


def test_a_reader_that_closed_its_sending_side_only_keeps_reading(serve: Serve) -> None:
    served = serve(events_heartbeat_seconds="0.2")
    reader = served.read()
    reader.until(b"retry: 400\n")

    reader.socket.shutdown(socket.SHUT_WR)
    reader.until(b"B\r\nretry: 400\n\r\n" * 5)
    served.fire("my/event")

    assert reader.until(b'"tag":"my/event"')


def test_the_death_of_the_token_ends_the_stream_and_its_connection(serve: Serve) -> None:
    served = serve(events_heartbeat_seconds="0.2")
    other = login(served.api, served.api.demo)
    reader, stays = served.read(), served.read(other)
    reader.until(b"retry: 400\n")

    assert served.api.caller.post({}, "/logout", x_auth_token=served.token).status == 200

    assert reader.to_the_end().endswith(b"0\r\n\r\n")
    served.fire("my/event")
    assert stays.until(b'"tag":"my/event"')


def test_when_the_process_stops_the_streams_end_at_once_and_whole(serve: Serve) -> None:
    served = serve(events_heartbeat_seconds="15")
    readers = [served.read() for _ in range(10)]
    for reader in readers:
        reader.until(b"retry: 400\n")

    served.listener.close_accepting()
    started = time.monotonic()
    served.api.process.streams.end_all()
    idle = served.listener.wait_idle(time.monotonic() + 60)

    assert idle
    # The next heartbeat would come after 15 s.
    assert time.monotonic() - started < 14
    assert all(reader.to_the_end().endswith(b"0\r\n\r\n") for reader in readers)


def test_ten_thousand_readers_get_503_at_once_and_calls_are_still_answered(serve: Serve) -> None:
    served = serve(events_streams="20", api_connection_limit="600")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(8192, hard), hard))
    request = f"GET /events HTTP/1.1\r\nHost: x\r\nX-Auth-Token: {served.token}\r\n\r\n".encode()
    statuses: dict[bytes, int] = {}
    slowest = 0.0
    kept: list[socket.socket] = []
    try:
        for _ in range(10_000 // 200):
            crowd = _crowd(served.listener.port, request, 200)
            for status, seconds, sock in crowd:
                statuses[status] = statuses.get(status, 0) + 1
                slowest = max(slowest, seconds)
                if status == b"200":
                    kept.append(sock)
                else:
                    sock.close()
        started = time.monotonic()
        answer = served.api.run(client="local", tgt="*", fun="test.ping")
        seconds = time.monotonic() - started
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert statuses == {b"200": 20, b"503": 9_980}
    assert slowest < 30
    assert (answer.status, seconds < 30) == (200, True)
    assert served.subscribers() == 20
    for sock in kept:
        sock.close()


def _crowd(port: int, request: bytes, count: int) -> list[tuple[bytes, float, socket.socket]]:
    """Send the same request over many connections; return status and seconds of each."""
    waiting = selectors.DefaultSelector()
    started = time.monotonic()
    for _ in range(count):
        sock = socket.create_connection(("127.0.0.1", port), timeout=60)
        sock.sendall(request)
        waiting.register(sock, selectors.EVENT_READ)
    answers: list[tuple[bytes, float, socket.socket]] = []
    while len(answers) < count:
        ready = waiting.select(60)
        assert ready, f"{count - len(answers)} callers have no answer"
        for key, _ in ready:
            assert isinstance(key.fileobj, socket.socket)
            answers.append((key.fileobj.recv(4096).split(b" ")[1], time.monotonic() - started, key.fileobj))
            waiting.unregister(key.fileobj)
    waiting.close()
    return answers
