"""Websockets of an application on a port of loopback, and callers that are not ours."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator
from types import TracebackType
from typing import Any

import websocket

from service.demo.embedded import PATIENCE_SECONDS
from service.server.listener import bind
from service.sockets.socket_listener import SocketListener
from service.streaming.subscription import READY
from service.wiring.process import Process

RECEIVED = "server received message"


class Socket:
    """A caller by `websocket-client`, which Salt's documentation names. Raises websocket.WebSocketBadStatusException if it gets none."""

    def __init__(self, port: int, path: str, *, address: str = "127.0.0.1", buffer_bytes: int = 0, **options: Any) -> None:
        """address: to call from. buffer_bytes: what the kernel may keep for this caller. options: of websocket.create_connection."""
        self._connection = socket.socket()
        if buffer_bytes:
            self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
        try:
            self._connection.settimeout(PATIENCE_SECONDS)
            self._connection.bind((address, 0))
            self._connection.connect(("127.0.0.1", port))
            self.inner = websocket.create_connection(f"ws://127.0.0.1:{port}{path}", timeout=PATIENCE_SECONDS, socket=self._connection, **options)
        except BaseException:
            self._connection.close()
            raise

    def __enter__(self) -> Socket:  # noqa: PYI034 - Self is newer than Python 3.10
        return self

    def __exit__(self, _kind: type[BaseException] | None, _exc: BaseException | None, _traceback: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Say farewell, if the server still listens, and hang up."""
        self.inner.close()
        self._connection.close()

    def ready(self) -> None:
        """Ask for events."""
        self.inner.send(READY)

    def receive(self) -> str:
        """Return the next message."""
        message = self.inner.recv()
        assert isinstance(message, str)
        assert self.inner.connected, "the server has closed the websocket"
        return message

    def events(self) -> Iterator[dict[str, Any]]:
        """Yield what comes, but for acknowledgements."""
        while True:
            message = self.receive()
            if message != RECEIVED:
                yield json.loads(message.removeprefix("data: "))

    def until(self, tag: str) -> list[dict[str, Any]]:
        """Return the events up to and with the first whose tag ends so."""
        found = []
        for event in self.events():
            found.append(event)
            if event["tag"].endswith(tag):
                break
        return found

    def closed(self) -> tuple[int, str]:
        """Wait until the server closes the websocket; return its code and reason."""
        while True:
            opcode, data = self.inner.recv_data(control_frame=True)
            if opcode == websocket.ABNF.OPCODE_CLOSE:
                return int.from_bytes(data[:2], "big"), data[2:].decode()


@contextlib.contextmanager
def listening_sockets(process: Process, **changes: Any) -> Iterator[SocketListener]:
    """Give an application's websockets a port. changes: of the listener's parameters."""
    options = {"connection_limit": 300, "connections_per_address": 300, "ping_seconds": 10.0, "on_rejected": process.report.rejected, **changes}
    listener = SocketListener(process.sockets, bind("websocket", "127.0.0.1", 0, None), **options)
    listener.start()
    try:
        yield listener
    finally:
        listener.stop()
