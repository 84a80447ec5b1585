"""The loop against real sockets, without its sweep: no wake-up is lost, no turn is wasted, no caller is left waiting."""

from __future__ import annotations

import functools
import socket
import struct
import threading
from collections.abc import Callable
from typing import Any

import pytest

from service.server.channel import Channel
from service.server.listener import Listener
from service.server.loop import Sockets
from tests.meanwhile import eventually

Listen = Callable[..., Listener]
Call = Callable[[Listener], Any]

pytestmark = pytest.mark.slow

POST = "POST /?7 HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n"


@pytest.fixture
def listen(listen: Listen) -> Listen:
    """Leave out the sweep, which asks everybody anew, and for which the loop wakes by itself: without it a lost wake-up is lost for good."""
    return functools.partial(listen, sweep_seconds=3600.0)


class Halt:
    """Stops the loop at one place of its turn."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.wanted, self.reached, self.go = threading.Event(), threading.Event(), threading.Event()
        self._monkeypatch = monkeypatch

    def at(self, *, before_asking: bool) -> None:
        ask = Sockets.ask

        def halted(sockets: Sockets) -> None:
            if before_asking:
                self._pause()
            ask(sockets)
            if not before_asking:
                self._pause()

        self._monkeypatch.setattr(Sockets, "ask", halted)

    def _pause(self) -> None:
        if self.wanted.is_set():
            self.reached.set()
            assert self.go.wait(60)


@pytest.fixture
def halt(monkeypatch: pytest.MonkeyPatch) -> Halt:
    return Halt(monkeypatch)


@pytest.mark.parametrize("before_asking", [True, False])
@pytest.mark.parametrize(("path", "header"), [("/wait?9000000", "X: y"), ("/wait?5", "Connection: close"), ("/wait?5", "X: y")])
def test_a_thread_that_finishes_while_the_loop_is_between_turns_is_heard(
    listen: Listen, call: Call, gate: Any, halt: Halt, path: str, header: str, before_asking: bool
) -> None:
    halt.at(before_asking=before_asking)
    listener = listen()
    caller, other = call(listener), call(listener)
    caller.get(path, header)
    assert gate.entered.acquire(timeout=60)

    halt.wanted.set()
    other.get()
    assert halt.reached.wait(60)
    gate.opened.set()
    assert eventually(lambda: listener.busy_threads() == 0 and listener.queue_depth() == 0)
    halt.wanted.clear()
    halt.go.set()

    assert len(caller.answer()[2]) == int(path.partition("?")[2])
    assert other.answer()[0] == 200
    if header == "Connection: close":
        assert caller.rest() == b""
    else:
        assert caller.get("/?3").answer()[2] == b"xxx"


def test_no_wake_up_is_lost_under_load(listen: Listen, call: Call) -> None:
    listener = listen(threads=6)
    failed: list[BaseException] = []

    def converse(number: int) -> None:
        try:
            for _ in range(30):
                _conversation(call(listener), number)
        except BaseException as exc:
            failed.append(exc)

    callers = [threading.Thread(target=converse, args=(number,)) for number in range(8)]
    for thread in callers:
        thread.start()
    for thread in callers:
        thread.join(60)

    assert not any(thread.is_alive() for thread in callers)
    assert failed == []
    assert eventually(lambda: listener.in_flight() == 0)


def _conversation(caller: Any, number: int) -> None:
    """Say what a caller may: one after the other, several at once, large answers, 100-continue, a half-closed end, a refusal."""
    for size in (0, 1, 70_000 + number):
        assert len(caller.get(f"/?{size}").answer()[2]) == size
    for size in (1, 2, 3, 4, 300_000):
        caller.get(f"/?{size}")
    assert [len(caller.answer()[2]) for _ in range(5)] == [1, 2, 3, 4, 300_000]
    caller.get("/?3").send(POST + "Expect: 100-continue\r\n\r\n")
    assert len(caller.answer()[2]) == 3
    assert caller.line() + caller.line() == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert len(caller.send("hello").answer()[2]) == 7
    caller.get("/?2000000").get("/?6", *(["Connection: close"] if number % 2 else []))
    if number % 3 == 0:
        caller.socket.shutdown(socket.SHUT_WR)
    assert [len(caller.answer()[2]) for _ in range(2)] == [2_000_000, 6]
    if number % 3 and not number % 2:
        assert caller.send("what is this\r\n\r\n").fault()["status"] == 400
        caller.socket.shutdown(socket.SHUT_WR)
    assert caller.rest() == b""
    caller.close()


@pytest.mark.parametrize("rudely", [True, False])
def test_a_hang_up_during_a_request_is_told_and_keeps_the_loop_neither_busy_nor_waiting(
    listen: Listen, call: Call, gate: Any, monkeypatch: pytest.MonkeyPatch, rudely: bool
) -> None:
    turns: list[None] = []
    turn = Sockets.turn

    def counted(sockets: Sockets, seconds: float) -> None:
        turns.append(None)
        turn(sockets, seconds)

    monkeypatch.setattr(Sockets, "turn", counted)
    listener = listen()
    caller, other = call(listener), call(listener)
    caller.get("/wait?5000000")
    assert gate.entered.acquire(timeout=60)
    environ = gate.environ

    if rudely:
        caller.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    caller.close()
    assert eventually(environ["waitress.client_disconnected"])
    before = len(turns)
    for _ in range(20):
        assert other.get().answer()[0] == 200
    spent = len(turns) - before
    gate.opened.set()

    assert spent < 60
    assert eventually(lambda: listener.connections() == 1 and listener.busy_threads() == 0)


def test_idle_connections_are_not_asked_when_others_have_requests(listen: Listen, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Channel] = []
    readable = Channel.readable

    def counted(channel: Channel) -> bool:
        asked.append(channel)
        return readable(channel)

    monkeypatch.setattr(Channel, "readable", counted)
    listener = listen(connection_limit=400)
    idle = [call(listener) for _ in range(300)]
    busy = call(listener)
    assert eventually(lambda: listener.connections() == 301)
    busy.get().answer()
    asked.clear()

    for _ in range(50):
        assert busy.get().answer()[0] == 200

    assert len(set(asked)) == 1
    assert len(asked) <= 150
    assert idle[7].get().answer()[0] == 200


@pytest.mark.parametrize("who", ["the caller", "the server"])
def test_a_caller_over_the_limit_is_let_in_when_a_place_is_free(listen: Listen, call: Call, caplog: pytest.LogCaptureFixture, who: str) -> None:
    listener = listen(connection_limit=5)
    first = [call(listener) for _ in range(5)]
    assert eventually(lambda: listener.connections() == 5)
    waiting = [call(listener).get() for _ in range(3)]
    assert eventually(lambda: "reached the connection limit" in caplog.text)

    for caller in first[:3]:
        if who == "the caller":
            caller.close()
        else:
            assert caller.get("/", "Connection: close").answer()[0] == 200

    assert [caller.answer()[0] for caller in waiting] == [200] * 3
    assert listener.connections() == 5
    assert first[4].get().answer()[0] == 200
    caplog.clear()


def test_numbers_that_are_used_again_and_again_are_always_the_right_callers(listen: Listen, call: Call) -> None:
    listener = listen()
    kept = call(listener)

    for size in range(1, 200):
        caller = call(listener).get(f"/?{size}", "Connection: close")
        assert len(caller.answer()[2]) == size
        assert caller.rest() == b""
        caller.close()

    assert kept.get("/?9").answer()[2] == b"xxxxxxxxx"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_loop_that_died_is_seen(listen: Listen, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    listener = listen()
    assert listener.alive()

    def fail(_sockets: Sockets) -> None:
        raise OSError("out of memory")

    monkeypatch.setattr(Sockets, "ask", fail)
    call(listener)

    assert eventually(lambda: not listener.alive())
