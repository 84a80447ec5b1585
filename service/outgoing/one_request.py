"""One request outwards, to a URL that the settings allow and nowhere else: redirects are not followed, no proxy is used, and all of it has a deadline."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from urllib.parse import SplitResult, urlsplit

from service import __version__
from service.outgoing.look_ups import Found

PORTS = {"https": 443, "http": 80}


@contextlib.contextmanager
def answer_of(
    method: str, url: str, seconds: float, look_up: Callable[[str, int, float], Found], *, body: bytes | None = None, headers: Mapping[str, str]
) -> Iterator[http.client.HTTPResponse]:
    """
    Send a request; its answer is there inside the block, and read there within the same deadline.

    seconds: for all of it. look_up: as LookUps.addresses. Raises OSError, ValueError and http.client.HTTPException.
    """
    ends_at, to = time.monotonic() + seconds, urlsplit(url)
    connection = _connection(to)
    sock = _connected(look_up(connection.host, connection.port, seconds), ends_at)
    # The connection forgets its socket while an answer is still being read.
    sockets = [sock]
    try:
        with _cut_at(ends_at, sockets):
            _encrypt(sockets, to)
            connection.sock = sockets[-1]
            connection.request(method, f"{to.path or '/'}{'?' if to.query else ''}{to.query}", body, {"User-Agent": f"salt-sidecar/{__version__}", **headers})
            with contextlib.closing(connection.getresponse()) as answer:
                yield answer
    finally:
        for one in sockets:
            one.close()
        connection.close()


def _connected(found: Found, ends_at: float) -> socket.socket:
    """Connect to the first of some addresses that takes it. Raises OSError of the last one, or TimeoutError."""
    failure: OSError = TimeoutError("no address was tried in time")
    for family, kind, protocol, _, address in found:
        if (left := ends_at - time.monotonic()) <= 0:
            break
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(left)
            sock.connect(address)
        except OSError as exc:
            sock.close()
            failure = exc
        else:
            return sock
    raise failure


def _connection(to: SplitResult) -> http.client.HTTPConnection:
    kind = http.client.HTTPSConnection if to.scheme == "https" else http.client.HTTPConnection
    return kind(to.hostname or "", to.port or PORTS[to.scheme])


def _encrypt(sockets: list[socket.socket], to: SplitResult) -> None:
    if to.scheme == "https":
        encrypted = ssl.create_default_context().wrap_socket(sockets[-1], server_hostname=to.hostname, do_handshake_on_connect=False)
        sockets.append(encrypted)
        encrypted.do_handshake()


@contextlib.contextmanager
def _cut_at(ends_at: float, sockets: list[socket.socket]) -> Iterator[None]:
    """End what is done inside the block when its time is over: each wait of a socket has a deadline of its own, all together have none."""
    timer = threading.Timer(ends_at - time.monotonic(), _cut, (sockets,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _cut(sockets: list[socket.socket]) -> None:
    with contextlib.suppress(OSError):
        # Not `shutdown` of an encrypted socket, which takes away what the other thread is using.
        socket.socket.shutdown(sockets[-1], socket.SHUT_RDWR)
