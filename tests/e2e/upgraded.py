"""A websocket through nginx: one port for callers, events on it, and no token in any log."""

from __future__ import annotations

import base64
import os
import re
import socket
import ssl

from tests.e2e.load import Api
from tests.e2e.report import Report
from tests.e2e.shell import eventually, require
from tests.e2e.stack import Stack

READY = b"websocket client ready"
TEXT, PONG = 1, 10
# The sidecar's have four bytes of its own. An answer to what only looks like one is ignored.
PINGS = re.compile(rb"\x89\x04(.{4})", re.DOTALL)
ANSWER_SECONDS = 120.0
# What a websocket tells of a job is there before the job's answer, once it hears the bus.
EVENT_SECONDS = 2.0


def through_nginx(stack: Stack, api: Api, tls: ssl.SSLContext, report: Report) -> None:
    """Read what a job does from a websocket at each of the three URLs."""
    _, answer = api.login()
    token = answer["return"][0]["token"]
    for path, wanted in (("/ws", b'data: {"data":{'), ("/all_events", b'{"data":{'), ("/formatted_events", b'{"jobs":{')):
        with _opened(api.port, tls, f"{path}/{token}") as connection:
            _send(connection, READY)
            _ping_until(api, connection, wanted)
    refused = _status(api.port, tls, "/ws")
    require(refused == 401, f"a websocket without a token: {refused}")
    logs = stack.compose("logs", "--no-color", "nginx", "sidecar", "sidecar-2")
    require(token not in logs and "/ws/<redacted>" in logs, "a token of a path is in a log, or the websocket is in none")
    report.found("websockets through nginx", "the events of a job at all three URLs, 401 without a token, no token in a log")


def _opened(port: int, tls: ssl.SSLContext, path: str) -> ssl.SSLSocket:
    connection = _asked(port, tls, path)
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = connection.recv(1)
        require(bool(byte), f"the connection ended within {head!r}")
        head += byte
    require(head.startswith(b"HTTP/1.1 101 "), f"no websocket: {head!r}")
    return connection


def _status(port: int, tls: ssl.SSLContext, path: str) -> int:
    with _asked(port, tls, path) as connection:
        return int(connection.recv(100).split(b" ")[1])


def _asked(port: int, tls: ssl.SSLContext, path: str) -> ssl.SSLSocket:
    connection = tls.wrap_socket(socket.create_connection(("127.0.0.1", port), timeout=ANSWER_SECONDS), server_hostname="localhost")
    key = base64.b64encode(os.urandom(16)).decode()
    words = (f"GET {path} HTTP/1.1", "Host: localhost", "Upgrade: websocket", "Connection: Upgrade", f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13")
    connection.sendall("".join(f"{word}\r\n" for word in (*words, "")).encode())
    return connection


def _send(connection: ssl.SSLSocket, payload: bytes, kind: int = TEXT) -> None:
    """Send something short as callers have to: masked, here with zeros (RFC 6455, 5.2)."""
    connection.sendall(bytes([0x80 | kind, 0x80 | len(payload)]) + bytes(4) + payload)


def _ping_until(api: Api, connection: ssl.SSLSocket, wanted: bytes) -> None:
    """Have the minions pinged until the websocket tells of it: it hears the bus from some moment on."""
    connection.settimeout(EVENT_SECONDS)
    received = b""

    def told() -> bool:
        nonlocal received
        api.ping()
        try:
            data = connection.recv(65_536)
        except TimeoutError:
            return False
        require(bool(data), f"the websocket ended without {wanted!r}: {received[-500:]!r}")
        received += data
        for payload in PINGS.findall(data):
            _send(connection, payload, PONG)
        return wanted in received

    eventually(f"a websocket tells {wanted!r}", told)
