"""
Where notices may go, and how one is sent: one POST, there and nowhere else, within a deadline.

A URL of a caller's choice would let them send our requests anywhere, into networks that only we can reach too.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
from collections.abc import Callable, Sequence
from urllib.parse import SplitResult, unquote, urlsplit

from service.outgoing.look_ups import Found
from service.outgoing.one_request import PORTS, answer_of

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
    Send JSON, signed as GitHub signs its webhooks. Returns None when it was taken (2xx), else why not.

    seconds, look_up: as `answer_of` takes them.
    """
    headers = {"Content-Type": "application/json", "X-Hub-Signature-256": f"sha256={hmac.digest(secret, body, hashlib.sha256).hex()}"}
    try:
        with answer_of("POST", url, seconds, look_up, body=body, headers=headers) as answer:
            status = answer.status
    except (OSError, http.client.HTTPException, ValueError) as exc:
        return f"{type(exc).__name__}: {exc}"[:200]
    return None if 200 <= status < 300 else f"answered {status}"
