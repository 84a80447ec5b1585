"""The listener of websockets on its port: what is no request, what never comes, who never answers, and what is left behind."""

from __future__ import annotations

import base64
import contextlib
import select
import socket
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from service.events.owners import Owners
from service.http.media import encode
from service.http.middleware import Canonical
from service.http.request_info import RequestInfo
from service.server.listener import bind
from service.sockets.socket_listener import SocketListener
from service.streaming.fanout import Streams
from service.streaming.messages import CHERRYPY
from service.streaming.readers import View
from service.streaming.subscription import End, Subscription, Upgrade
from service.wiring.requests import Unmeasured
from tests.meanwhile import eventually
from tests.websockets import Socket

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

KEY = base64.b64encode(b"0123456789abcdef").decode()
ASK = f"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\nSec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n"
MALFORMED = {
    "no HTTP": "SSH-2.0-OpenSSH_10.0\r\n\r\n",
    "a body": f"{ASK}Content-Length: 3\r\n\r\nabc",
    "chunks": f"{ASK}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a long line": f"{ASK}X: {'x' * 9000}\r\n\r\n",
    "many headers": ASK + "".join(f"X-{number}: x\r\n" for number in range(200)) + "\r\n",
    "no key": f"{ASK.replace(KEY, '')}\r\n",
    "another version": f"{ASK.replace(': 13', ': 8')}\r\n",
    "no upgrade": "GET /ws HTTP/1.1\r\nHost: x\r\n\r\n",
    "POST": f"{ASK.replace('GET', 'POST')}\r\n",
}


class Granting:
    """An application that grants every websocket, when `judged` lets it; and what it heard of their ends."""

    def __init__(self) -> None:
        self.streams = Streams(Owners(), encode=encode, queue_events=100)
        self.judged = threading.Event()
        self.judged.set()
        self.asked = threading.Event()
        self.environ: WSGIEnvironment = {}
        self.alive: Callable[[], bool] = lambda: True
        self.ends: list[End] = []
        self.over: list[tuple[int, bool]] = []
        self.rejected: list[str] = []
        self.app = Canonical(self._answer, Unmeasured(), lambda info, _seconds, complete: self.over.append((info.status, complete)))

    def _is_alive(self) -> bool:
        return self.alive()

    def _answer(self, environ: WSGIEnvironment, start_response: StartResponse) -> Subscription:
        self.environ = environ
        self.asked.set()
        assert self.judged.wait(60)
        RequestInfo.of(environ).kind = "websocket"
        start_response("200 OK", [])
        subscription = Subscription(
            self.streams,
            View(),
            CHERRYPY,
            heartbeat_seconds=0.1,
            alive=self._is_alive,
            on_lag=lambda _seconds: None,
            on_closed=lambda reason, _sent, _dropped: self.ends.append(reason),
        )
        Upgrade.of(environ).subscription = subscription
        return subscription


@pytest.fixture
def granting() -> Iterator[Granting]:
    made = Granting()
    yield made
    made.judged.set()
    made.streams.stop()


@pytest.fixture
def listen(granting: Granting) -> Iterator[Callable[..., SocketListener]]:
    with contextlib.ExitStack() as stack:

        def make(**changes: Any) -> SocketListener:
            options = {"connection_limit": 20, "connections_per_address": 20, "ping_seconds": 10.0, "on_rejected": granting.rejected.append, **changes}
            listener = SocketListener(granting.app, bind("websocket", "127.0.0.1", 0, None), **options)
            stack.callback(listener.stop)
            listener.start()
            return listener

        yield make


def connected(listener: SocketListener, address: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection(("127.0.0.1", listener.port), timeout=60, source_address=(address, 0))


def answer(connection: socket.socket) -> bytes:
    """Return all that comes until the connection ends."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while data := connection.recv(65_536):
            received += data
    return received


@pytest.mark.parametrize("name", MALFORMED)
def test_what_is_no_request_for_a_websocket_never_reaches_the_application(granting: Granting, listen: Callable[..., SocketListener], name: str) -> None:
    with connected(listen()) as connection:
        connection.sendall(MALFORMED[name].encode())
        received = answer(connection)

    assert not received or received.startswith((b"HTTP/1.1 4", b"HTTP/1.1 5")), received
    assert eventually(lambda: granting.rejected == ["malformed"])
    assert not granting.asked.is_set()


def test_a_probe_of_the_port_is_no_fault(granting: Granting, listen: Callable[..., SocketListener]) -> None:
    listener = listen()

    connected(listener).close()

    assert eventually(lambda: listener.connections() == 0)
    assert granting.rejected == []


def test_an_address_has_so_many_that_are_being_opened_and_others_have_theirs(granting: Granting, listen: Callable[..., SocketListener]) -> None:
    granting.judged.clear()
    listener = listen(most_judged=2)
    with contextlib.ExitStack() as stack:
        ours = [stack.enter_context(connected(listener)) for _ in range(3)]
        for connection in ours:
            connection.sendall(f"{ASK}\r\n".encode())
        (refused,), _, _ = select.select(ours, (), (), 60)
        answered = answer(refused)
        other = stack.enter_context(connected(listener, "127.0.0.2"))
        other.sendall(f"{ASK}\r\n".encode())
        is_asked = eventually(lambda: granting.environ.get("REMOTE_ADDR") == "127.0.0.2")
        granting.judged.set()
        opened = [connection.recv(12) for connection in (*ours, other) if connection is not refused]

    assert answered.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nRetry-After: 1\r\n" in answered
    assert granting.rejected == ["queue_full"]
    assert (is_asked, opened) == (True, [b"HTTP/1.1 101"] * 3)


@pytest.mark.slow
def test_a_request_that_does_not_come_in_time_is_cut_and_counted(granting: Granting, listen: Callable[..., SocketListener]) -> None:
    with connected(listen(open_seconds=0.5)) as connection:
        connection.sendall(ASK.encode())

        assert answer(connection) == b""
    assert granting.rejected == ["slow_body"]


@pytest.mark.slow
def test_who_does_not_answer_a_ping_is_taken_for_gone(granting: Granting, listen: Callable[..., SocketListener]) -> None:
    with connected(listen(ping_seconds=0.2, pong_seconds=0.2)) as connection:
        connection.sendall(f"{ASK}\r\n".encode())
        received = answer(connection)

    assert received.startswith(b"HTTP/1.1 101 ")
    assert b"keepalive ping timeout" in received
    assert eventually(lambda: granting.ends == ["client"])


@pytest.mark.costly
def test_who_answers_them_stays(granting: Granting, listen: Callable[..., SocketListener]) -> None:
    looked = threading.Semaphore(0)

    def alive() -> bool:
        looked.release()
        return True

    granting.alive = alive
    with Socket(listen(ping_seconds=0.1, pong_seconds=60.0).port, "/ws") as caller:
        pings = 0
        while pings < 3:
            frame = caller.inner.recv_data_frame(control_frame=True)
            pings += frame[0] == 9

        assert all(looked.acquire(timeout=60) for _ in range(3))
        assert granting.ends == []


def test_names_with_underscores_are_nobodys_headers(granting: Granting, listen: Callable[..., SocketListener]) -> None:
    headers = {"X_Auth_Token": "a", "X-Forwarded-For": "192.0.2.1", "Cookie": "a=1"}

    with Socket(listen().port, "/ws/%C3%BC%2Fx?tag=a%20b", header=headers):
        assert (granting.environ["PATH_INFO"], granting.environ["QUERY_STRING"]) == ("/ws/\xc3\xbc/x", "tag=a%20b")
        assert (granting.environ["HTTP_X_FORWARDED_FOR"], granting.environ["HTTP_COOKIE"]) == ("192.0.2.1", "a=1")
        assert "HTTP_X_AUTH_TOKEN" not in granting.environ


def test_what_is_granted_to_a_caller_that_has_left_is_given_back(granting: Granting, listen: Callable[..., SocketListener]) -> None:
    listener = listen()
    granting.judged.clear()
    with connected(listener) as connection:
        connection.sendall(f"{ASK}\r\n".encode())
        assert granting.asked.wait(60)
    assert eventually(lambda: listener.connections() == 0)
    granting.judged.set()

    assert eventually(lambda: granting.over == [(101, True)])
    assert granting.ends == ["client"]


def test_what_is_granted_too_late_is_given_back(granting: Granting, listen: Callable[..., SocketListener]) -> None:
    listener = listen(judge_seconds=0.1)
    granting.judged.clear()
    with connected(listener) as connection:
        connection.sendall(f"{ASK}\r\n".encode())
        received = answer(connection)
    granting.judged.set()

    assert received.startswith(b"HTTP/1.1 503 ")
    assert b"Retry-After: 1" in received
    assert eventually(lambda: granting.ends == ["client"])


def test_a_fault_of_ours_ends_the_websocket_and_says_so(granting: Granting, listen: Callable[..., SocketListener]) -> None:
    crashes: list[bool] = []

    def broken() -> bool:
        raise ValueError("broken")

    granting.alive = broken
    with Socket(listen(on_crash=lambda: crashes.append(True)).port, "/ws") as caller:
        assert caller.closed()[0] == 1011
    assert eventually(lambda: granting.ends == ["error"])
    assert crashes == [True]


@pytest.mark.costly
def test_a_stopping_listener_takes_nobody_new_and_leaves_nothing(granting: Granting, listen: Callable[..., SocketListener]) -> None:
    listener = listen()
    with Socket(listener.port, "/ws") as caller, connected(listener) as idle:
        listener.close()
        assert caller.closed()[0] == 1001
        listener.stop(timeout=5.0)

        assert answer(idle) == b""
    assert not listener.alive()
    assert listener.connections() == 0
    assert granting.ends == ["shutdown"]
    with pytest.raises(ConnectionRefusedError):
        connected(listener)
