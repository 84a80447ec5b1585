"""Real listeners on loopback, and raw callers."""

from __future__ import annotations

import contextlib
import json
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from service.server.intake import Patience
from service.server.listener import Listener

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

Listen = Callable[..., Listener]


class Gate:
    """An application whose `/wait` blocks until opened, and which remembers what it was asked."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.entered = threading.Semaphore(0)
        self.gone: list[bool] = []
        self.paths: list[str] = []
        self.bodies: list[bytes] = []
        self.environ: WSGIEnvironment = {}

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        self.environ = environ
        self.paths.append(environ["PATH_INFO"])
        self.bodies.append(environ["wsgi.input"].read())
        if environ["PATH_INFO"] == "/broken":
            raise ConnectionError("to somebody else")
        if environ["PATH_INFO"].startswith("/wait"):
            self.entered.release()
            assert self.opened.wait(60)
            self.gone.append(environ["waitress.client_disconnected"]())
        body = b"x" * int(environ.get("QUERY_STRING") or 2)
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
        return [body]


class Caller:
    """One connection, spoken to in bytes."""

    def __init__(self, port: int, address: str = "127.0.0.1") -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=60, source_address=(address, 0))
        self._file = self.socket.makefile("rb")

    def send(self, text: str | bytes) -> Caller:
        self.socket.sendall(text.encode("latin-1") if isinstance(text, str) else text)
        return self

    def get(self, path: str = "/", *headers: str) -> Caller:
        return self.send("".join(f"{line}\r\n" for line in (f"GET {path} HTTP/1.1", "Host: x", *headers, "")))

    def line(self) -> bytes:
        return self._file.readline()

    def answer(self) -> tuple[int, dict[str, str], bytes]:
        """Read one answer that has a Content-Length."""
        status = int(self._file.readline().split()[1])
        headers = dict(line.decode().rstrip().lower().split(": ", 1) for line in iter(self._file.readline, b"\r\n"))
        return status, headers, self._file.read(int(headers["content-length"]))

    def fault(self) -> dict[str, Any]:
        """Read one answer and check that it is an error in our form and the connection's last."""
        status, headers, body = self.answer()
        content = json.loads(body)
        assert headers["content-type"] == "application/json"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["connection"] == "close"
        assert content["status"] == status
        assert content["return"].startswith(f"{status}: ")
        assert content["error"] in {"BadRequest", "TooLarge", "Fault", "Overloaded"}
        assert isinstance(content, dict)
        return content

    def rest(self) -> bytes:
        """Read until the server closes."""
        try:
            return self._file.read()
        except ConnectionResetError:
            return b""

    def close(self) -> None:
        self._file.close()
        self.socket.close()


@pytest.fixture
def gate() -> Iterator[Gate]:
    app = Gate()
    yield app
    app.opened.set()


@pytest.fixture
def rejected() -> list[str]:
    return []


@pytest.fixture
def listen(gate: Gate, rejected: list[str], no_noise: None) -> Iterator[Listen]:
    """Make started listeners; stop them afterwards. No caller may have made waitress complain."""
    made: list[Listener] = []

    def make(**changes: Any) -> Listener:
        options: dict[str, Any] = {
            "app": gate,
            "name": "api",
            "host": "127.0.0.1",
            "port": 0,
            "threads": 2,
            "connection_limit": 50,
            "body_limit_bytes": 10_000,
            "patience": Patience(30.0),
            "on_rejected": rejected.append,
        }
        listener = Listener(**{**options, **changes})
        made.append(listener)
        listener.start()
        return listener

    yield make
    gate.opened.set()
    for listener in made:
        listener.stop()


@pytest.fixture
def call() -> Iterator[Callable[[Listener], Caller]]:
    """Connect callers; hang up afterwards."""
    with contextlib.ExitStack() as stack:

        def connect(listener: Listener) -> Caller:
            caller = Caller(listener.port)
            stack.callback(caller.close)
            return caller

        yield connect


@pytest.fixture
def no_noise(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Whatever callers do, waitress has nothing to complain about; a test that expects a line clears it."""
    with caplog.at_level(logging.WARNING):
        yield
    assert [record.getMessage() for record in caplog.get_records("call")] == []
