"""The end of the listener: callers who are late, being served, still sending, or have said nothing yet."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from service.server.channel import JUST_CAME_SECONDS
from service.server.listener import ARRIVAL_SECONDS, Listener

Listen = Callable[..., Listener]
Call = Callable[[Listener], Any]

pytestmark = pytest.mark.slow

POSTED = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody"
# A deadline that is over: one look, and no wait.
NOW = 0.0


def test_late_callers_are_refused_and_running_requests_are_answered(listen: Listen, call: Call, gate: Any) -> None:
    listener = listen()
    running = call(listener).get("/wait?3000000")
    kept_alive = call(listener)
    kept_alive.get().answer()
    assert gate.entered.acquire(timeout=60)

    listener.close_accepting()

    with pytest.raises(ConnectionRefusedError):
        call(listener)
    assert kept_alive.get().answer()[1]["connection"] == "close"
    assert not listener.wait_idle(time.monotonic() + 0.2)
    gate.opened.set()
    reader = threading.Thread(target=listener.wait_idle, args=(time.monotonic() + 60,))
    reader.start()
    status, headers, body = running.answer()
    reader.join(60)
    assert (status, len(body), headers["connection"]) == (200, 3_000_000, "close")
    assert listener.in_flight() == 0


def test_an_old_caller_with_keep_alive_is_told_to_close_too(listen: Listen, call: Call) -> None:
    listener = listen()
    caller = call(listener)
    caller.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    assert caller.answer()[1]["connection"] == "keep-alive"

    listener.close_accepting()

    assert caller.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").answer()[1]["connection"] == "close"


def test_who_got_into_the_queue_of_the_kernel_before_the_port_closed_is_served(listen: Listen, call: Call) -> None:
    listener = listen()
    callers = [call(listener) for _ in range(20)]

    listener.close_accepting()

    assert [caller.get().answer()[0] for caller in callers] == [200] * 20


@pytest.mark.parametrize("there", ["", "PO", "POST / HTTP/1.1\r\nHo", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n", POSTED[:-2]], ids=repr)
def test_a_request_that_is_on_its_way_when_the_port_closes_is_answered(listen: Listen, call: Call, gate: Any, there: str) -> None:
    listener = listen(clock=lambda: 100.0)
    caller = call(listener).send(there)

    listener.close_accepting()
    assert not listener.wait_idle(NOW)

    assert caller.send(POSTED.removeprefix(there)).answer()[0] == 200
    assert gate.bodies == [b"body"]
    assert listener.wait_idle(math.inf)


@pytest.mark.parametrize(("there", "seconds"), [("", JUST_CAME_SECONDS), (POSTED[:-2], ARRIVAL_SECONDS)], ids=["nothing yet", "half a request"])
def test_what_does_not_come_holds_up_the_end_no_longer_than_that(listen: Listen, call: Call, there: str, seconds: float) -> None:
    clock = [100.0]
    listener = listen(clock=lambda: clock[0])
    call(listener).send(there)
    listener.close_accepting()

    def pass_by() -> bool:
        clock[0] += 0.25
        return False

    assert listener.wait_idle(math.inf, pass_by)
    assert seconds <= clock[0] - 100.0 <= seconds + 0.5


def test_a_connection_that_is_kept_and_unused_does_not_hold_up_the_end(listen: Listen, call: Call) -> None:
    listener = listen(clock=lambda: 100.0)
    call(listener).get().answer()

    listener.close_accepting()

    assert listener.wait_idle(math.inf)
