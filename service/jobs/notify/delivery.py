"""
Where notices may go, and how one is sent: one POST, there and nowhere else, within a deadline.

A URL of a caller's choice would let them send our requests anywhere, into networks that only we can reach too.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import http.client
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from urllib.parse import SplitResult, unquote, urlsplit

from service import __version__
from service.jobs.notify.look_ups import Found

PORTS = {"https": 443, "http": 80}
# Written so that proxies or servers could read another path than we do.
_DOUBTFUL = ("\\", "%2f", "%5c", "//")


def is_allowed(url: str, entries: Sequence[str]) -> bool:
    """Say whether an entry allows a URL: the same scheme, host and port, and the same path, or one below an entry that ends in a slash."""
    try:
        asked = urlsplit(url)
        return not _is_doubtful(asked) and any(_fits(asked, urlsplit(entry)) for entry in entries)
    except ValueError:
        return False


def _fits(asked: SplitResult, entry: SplitResult) -> bool:
    below = entry.path.endswith("/") and asked.path.startswith(entry.path)
    return _origin(asked) == _origin(entry) and (below or asked.path == entry.path)


def _origin(parts: SplitResult) -> tuple[str, str | None, int]:
    return parts.scheme, parts.hostname, parts.port or PORTS[parts.scheme]


def _is_doubtful(asked: SplitResult) -> bool:
    """Say whether a URL has credentials or a fragment, or a path that could lead out of itself."""
    path = asked.path.lower()
    climbs = any(unquote(segment) in {".", ".."} for segment in path.split("/"))
    return asked.scheme not in PORTS or "@" in asked.netloc or bool(asked.fragment) or climbs or any(text in path for text in _DOUBTFUL)


def deliver(url: str, body: bytes, secret: bytes, seconds: float, look_up: Callable[[str, int, float], Found]) -> str | None:
    """
    Send JSON, signed as GitHub signs its webhooks. Returns None when it was taken (2xx), else why not. Redirects are not followed, and no proxy is used.

    seconds: for all of it. look_up: as LookUps.addresses.
    """
    ends_at, to = time.monotonic() + seconds, urlsplit(url)
    connection = _connection(to)
    headers = {
        "Content-Type": "application/json",
        "User-Agent": f"salt-sidecar/{__version__}",
        "X-Hub-Signature-256": f"sha256={hmac.digest(secret, body, hashlib.sha256).hex()}",
    }
    try:
        connection.sock = _connected(look_up(connection.host, connection.port, seconds), ends_at)
        with _cut_at(ends_at, connection):
            _encrypt(connection, to)
            connection.request("POST", f"{to.path or '/'}{'?' if to.query else ''}{to.query}", body, headers)
            status = connection.getresponse().status
    except (OSError, http.client.HTTPException, ValueError) as exc:
        return f"{type(exc).__name__}: {exc}"[:200]
    finally:
        connection.close()
    return None if 200 <= status < 300 else f"answered {status}"


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


def _encrypt(connection: http.client.HTTPConnection, to: SplitResult) -> None:
    if to.scheme == "https":
        encrypted = ssl.create_default_context().wrap_socket(connection.sock, server_hostname=to.hostname, do_handshake_on_connect=False)
        connection.sock = encrypted
        encrypted.do_handshake()


@contextlib.contextmanager
def _cut_at(ends_at: float, connection: http.client.HTTPConnection) -> Iterator[None]:
    """End what is done inside the block when its time is over: each wait of a socket has a deadline of its own, all together have none."""
    timer = threading.Timer(ends_at - time.monotonic(), _cut, (connection,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _cut(connection: http.client.HTTPConnection) -> None:
    with contextlib.suppress(OSError, AttributeError):
        # Not `shutdown` of an encrypted socket, which takes away what the other thread is using.
        socket.socket.shutdown(connection.sock, socket.SHUT_RDWR)
