"""The calls that the demo shows and the smoke test sends, and the few lines of HTTP that sending takes."""

from __future__ import annotations

import json
import shlex
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

TIMEOUT_SECONDS = 60
# Nothing here leaves this machine, whatever proxy the environment names.
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def documented(credentials: Mapping[str, str], jid: str) -> list[dict[str, Any]]:
    """Return the three calls of rest_wsgi's documentation."""
    return [
        {**credentials, "client": "local", "tgt": "*", "fun": "test.ping"},
        {**credentials, "client": "local_async", "tgt": "*", "fun": "test.ping"},
        {**credentials, "client": "runner", "fun": "jobs.lookup_jid", "jid": jid},
    ]


def curl(url: str, low: Mapping[str, Any]) -> str:
    """Return the call as a line to paste into a shell."""
    return f"curl -sS -i -H 'Content-Type: application/json' -d {shlex.quote(json.dumps([low]))} {url}"


def masked(low: Mapping[str, Any]) -> str:
    """Return the call as text without its password."""
    return json.dumps([{**low, "password": "********"}] if "password" in low else [low])


def post(url: str, low: Mapping[str, Any]) -> tuple[int, Any]:
    """Send one call; returns the status and the decoded body."""
    request = urllib.request.Request(url, json.dumps([low]).encode(), {"Content-Type": "application/json"})  # noqa: S310 - our own http URL
    return _exchange(request)


def get(url: str) -> int:
    """Return the status, 0 if nobody answers."""
    try:
        return _exchange(urllib.request.Request(url))[0]  # noqa: S310 - our own http URL
    except OSError:
        return 0


def _exchange(request: urllib.request.Request) -> tuple[int, Any]:
    try:
        with OPENER.open(request, timeout=TIMEOUT_SECONDS) as response:
            return response.status, _decoded(response.read())
    except urllib.error.HTTPError as answer:
        with answer:
            return answer.code, _decoded(answer.read())


def _decoded(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body.decode(errors="replace")
