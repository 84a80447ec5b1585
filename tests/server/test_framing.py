"""Where a request ends: RFC 9112's rules, by raw socket on a real listener."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from service.server.listener import Listener
from tests.server.framed import CLOSED, KEPT, REFUSED, TAKEN, UNKNOWN

Listen = Callable[..., Listener]
Call = Callable[[Listener], Any]

pytestmark = pytest.mark.slow
BEHIND = "GET /behind HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
def listener(listen: Listen) -> Listener:
    return listen(body_limit_bytes=100_000)


@pytest.mark.parametrize(
    ("status", "request_text"), [(400, text) for text in REFUSED.values()] + [(501, text) for text in UNKNOWN.values()], ids=[*REFUSED, *UNKNOWN]
)
def test_what_can_be_read_in_two_ways_is_refused_at_once_and_is_the_last_on_its_connection(
    listener: Listener, call: Call, gate: Any, rejected: list[str], status: int, request_text: str
) -> None:
    alone, followed = call(listener).send(request_text), call(listener).send(request_text + BEHIND)
    alone.socket.settimeout(10)

    assert alone.fault()["status"] == followed.fault()["status"] == status
    assert alone.rest() == followed.rest() == b""
    assert rejected == ["malformed"] * 2
    assert gate.paths == []


@pytest.mark.parametrize(("request_text", "path", "host", "body"), TAKEN.values(), ids=TAKEN)
def test_what_is_well_formed_is_understood_and_ends_where_it_says(
    listener: Listener, call: Call, gate: Any, request_text: str, path: str, host: str | None, body: bytes
) -> None:
    kept = "HTTP/1.0" not in request_text
    caller = call(listener).send(request_text)

    assert caller.answer()[0] == 200
    assert gate.environ.get("HTTP_HOST") == host
    assert "HTTP_TRANSFER_ENCODING" not in gate.environ
    if kept:
        assert caller.send(BEHIND).answer()[0] == 200
    assert gate.paths == [path, "/behind"][: 1 + kept]
    assert gate.bodies[0] == body


@pytest.mark.parametrize("request_text", CLOSED)
def test_who_says_close_anywhere_is_closed(listener: Listener, call: Call, gate: Any, request_text: str) -> None:
    caller = call(listener).send(request_text + BEHIND)

    assert caller.answer()[1]["connection"] == "close"
    assert caller.rest() == b""
    assert len(gate.paths) == 1


@pytest.mark.parametrize("request_text", KEPT)
def test_others_are_kept(listener: Listener, call: Call, gate: Any, request_text: str) -> None:
    caller = call(listener).send(request_text)

    assert caller.answer()[0] == 200
    assert caller.send(BEHIND).answer()[0] == 200
