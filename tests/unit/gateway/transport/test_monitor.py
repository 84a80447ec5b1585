"""The monitor: when the master counts as busy, when as down, and when as up again."""

from __future__ import annotations

import asyncio
import errno
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from service.errors import MasterRefused, MasterTimeout, MasterUnreachable
from service.gateway.transport.monitor import DOWN_PROBE_SECONDS, PING_TIMEOUT_SECONDS, Monitor

INTERVAL = 3600.0
BUSY_SECONDS = 3.0


class ScriptIsOver(Exception):
    """Ends the monitor's endless run."""


class Watched:
    """
    A monitor that goes through a script of pings, with a clock that only its pauses move.

    `ok`, `miss`, `junk`; `hang`, which no answer ever ends; `late` for an answer after `connected`.
    """

    def __init__(self, port: int, *, at_ease: bool = True, **limits: float) -> None:
        self.script: list[str] = []
        self.pauses: list[float] = []
        self.timeouts: list[float] = []
        self.changes: list[tuple[str, str]] = []
        self.gone = 0
        self.probes: list[float] = []
        self.connected, self.changed = asyncio.Event(), asyncio.Event()
        self.now = 0.0
        self.port = port
        self.monitor = Monitor(
            f"tcp://127.0.0.1:{port}",
            self._ping,
            interval_seconds=INTERVAL,
            busy_seconds=BUSY_SECONDS,
            on_change=self._change,
            on_gone=self._is_gone,
            on_probe=self.probes.append,
            at_ease=lambda: at_ease,
            wait=self._pause,
            monotonic=lambda: self.now,
            **{"busy_ready_seconds": BUSY_SECONDS, "doubt_after_seconds": 0.0, "greeting_seconds": 0.01, "look_seconds": 0.01, **limits},
        )

    def _change(self, state: str, reason: str) -> None:
        self.changes.append((state, reason))
        self.changed.set()

    def _is_gone(self) -> None:
        self.gone += 1

    async def _ping(self, timeout: float) -> str:
        self.timeouts.append(timeout)
        kind = self.script.pop(0)
        if kind == "hang":
            await asyncio.Event().wait()
        if kind == "late":
            await self.connected.wait()
        if kind == "miss":
            raise MasterTimeout("no answer")
        if kind == "junk":
            raise MasterRefused("the answer cannot be decoded")
        return "pong"

    async def _pause(self, _doubt: asyncio.Event, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds
        if not self.script:
            raise ScriptIsOver

    def go_through(self, *script: str) -> None:
        self.script += script
        with pytest.raises(ScriptIsOver):
            asyncio.run(asyncio.wait_for(self.monitor.run(), 60))

    def go_through_until_busy(self) -> None:
        """Let a ping hang until the first change."""
        self.script.append("hang")

        async def run() -> None:
            running = asyncio.create_task(self.monitor.run())
            await self.changed.wait()
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

        asyncio.run(asyncio.wait_for(run(), 60))

    @property
    def states(self) -> list[str]:
        return [state for state, _ in self.changes]


def _say_and_close(listener: socket.socket, words: bytes) -> None:
    connection, _ = listener.accept()
    with connection:
        connection.sendall(words)


@pytest.fixture
def refusing_port() -> int:
    """Return a port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def open_port() -> Iterator[int]:
    """Give a port on which somebody listens and says nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listener:
        yield int(listener.getsockname()[1])


@pytest.fixture
def closing_port() -> Iterator[int]:
    """Give a port that takes one connection and closes it, as a proxy does whose server is gone."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_say_and_close, args=(listener, b""), daemon=True).start()
        yield int(listener.getsockname()[1])


@pytest.fixture
def greeting_port() -> Iterator[int]:
    """Give a port that greets its first caller, as ZeroMQ does, and answers nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_say_and_close, args=(listener, b"\xff"), daemon=True).start()
        yield int(listener.getsockname()[1])


def test_before_the_first_probe_calls_are_let_through_and_nothing_is_known(open_port: int) -> None:
    monitor = Watched(open_port).monitor
    monitor.require_up()
    monitor.doubt()

    assert (monitor.up, monitor.ready()) == (False, (False, "not probed yet"))


def test_a_master_that_answers_is_up(open_port: int) -> None:
    watched = Watched(open_port)
    watched.go_through("ok", "ok")
    watched.monitor.require_up()

    assert watched.changes == [("up", "answers")]
    assert (watched.pauses, watched.timeouts) == ([INTERVAL, INTERVAL], [PING_TIMEOUT_SECONDS] * 2)
    assert (len(watched.probes), watched.monitor.up, watched.monitor.ready()) == (2, True, (True, "answers"))


def test_a_master_that_still_answers_while_its_bus_is_gone_is_pinged_every_second(open_port: int) -> None:
    watched = Watched(open_port, at_ease=False)
    watched.go_through("ok", "ok")

    assert watched.monitor.up
    assert watched.pauses == [DOWN_PROBE_SECONDS] * 2


def test_a_refused_connection_means_down_at_once_and_ends_the_calls_in_flight(refusing_port: int) -> None:
    watched = Watched(refusing_port)
    watched.go_through("ok", "hang")

    assert watched.changes == [("up", "answers"), ("down", f"127.0.0.1:{refusing_port}: Connection refused")]
    with pytest.raises(MasterUnreachable, match=r"^the salt-master is down: .*Connection refused$") as caught:
        watched.monitor.require_up()
    assert caught.value.retry_after_seconds == DOWN_PROBE_SECONDS
    assert (watched.pauses, watched.gone, watched.monitor.failures) == ([INTERVAL, DOWN_PROBE_SECONDS], 1, 1)
    assert (watched.monitor.up, watched.monitor.ready()[0]) == (False, False)


def test_a_proxy_that_closes_for_a_master_that_is_gone_means_down_too(closing_port: int) -> None:
    watched = Watched(closing_port, greeting_seconds=60.0)
    watched.go_through("hang")

    assert watched.changes == [("down", f"127.0.0.1:{closing_port}: Connection reset by peer")]
    assert watched.gone == 1


@pytest.mark.parametrize("failure", ["miss", "junk"])
def test_a_master_that_misses_a_ping_is_busy_and_calls_are_let_through(open_port: int, failure: str) -> None:
    watched = Watched(open_port)
    watched.go_through("ok", failure, failure)
    watched.monitor.require_up()
    ready, reason = watched.monitor.ready()

    assert (watched.states, watched.pauses) == (["up", "busy"], [INTERVAL, DOWN_PROBE_SECONDS, DOWN_PROBE_SECONDS])
    assert (watched.monitor.up, ready, watched.gone) == (True, True, 0)
    assert reason.startswith(f"busy: 127.0.0.1:{watched.port}: ")


def test_a_master_that_takes_long_over_a_ping_is_busy_already_before_that_is_given_up(greeting_port: int) -> None:
    watched = Watched(greeting_port, busy_after_seconds=0.0, greeting_seconds=60.0)
    watched.go_through_until_busy()

    assert watched.changes == [("busy", f"busy: 127.0.0.1:{greeting_port} is open but does not answer a ping")]


def test_a_master_that_answers_nothing_for_long_is_down_and_calls_in_flight_keep_their_deadline(open_port: int) -> None:
    watched = Watched(open_port)
    watched.go_through("ok", "miss", "miss", "miss")
    assert watched.states == ["up", "busy"]

    watched.go_through("miss", "miss")

    assert (watched.states, watched.gone) == (["up", "busy", "down"], 0)
    with pytest.raises(MasterUnreachable, match="is down: "):
        watched.monitor.require_up()


def test_a_master_that_answers_calls_is_never_called_down_for_late_pings(open_port: int) -> None:
    watched = Watched(open_port)
    watched.go_through("ok")
    for _ in range(10):
        watched.go_through("miss")
        watched.monitor.heard()

    assert watched.states == ["up", "busy"]
    assert watched.monitor.ready()[0]


def test_a_busy_master_leaves_us_ready_for_its_time_only_and_not_before_it_has_answered_once(open_port: int) -> None:
    watched, strange = Watched(open_port, busy_ready_seconds=1.5), Watched(open_port)
    watched.go_through("ok", "miss")
    at_first = watched.monitor.ready()[0]
    watched.go_through("miss")
    strange.go_through("miss")

    assert (at_first, watched.monitor.ready()[0], watched.states) == (True, False, ["up", "busy"])
    assert (strange.monitor.ready()[0], strange.states) == (False, ["busy"])


def test_a_master_whose_port_is_open_may_take_its_time(monkeypatch: pytest.MonkeyPatch, open_port: int) -> None:
    watched = Watched(open_port)
    connect = asyncio.open_connection

    async def connect_and_tell(*address: Any) -> Any:
        pair = await connect(*address)
        watched.connected.set()
        return pair

    monkeypatch.setattr(asyncio, "open_connection", connect_and_tell)
    watched.go_through("late")

    assert watched.changes == [("up", "answers")]


def test_a_busy_master_is_up_again_with_the_first_answer(open_port: int) -> None:
    watched = Watched(open_port)
    watched.go_through("ok", "miss", "ok", "miss", "ok")

    assert watched.states == ["up", "busy", "up", "busy", "up"]


def test_a_master_that_comes_back_is_up_with_the_first_answer_and_no_sooner(refusing_port: int) -> None:
    watched = Watched(refusing_port)
    watched.go_through("hang", "miss", "ok")
    watched.monitor.require_up()

    assert watched.changes == [("down", f"127.0.0.1:{refusing_port}: Connection refused"), ("up", "answers")]


def test_a_master_that_takes_no_connection_in_time_is_busy(monkeypatch: pytest.MonkeyPatch, open_port: int) -> None:
    async def never(*_args: object) -> None:
        await asyncio.Event().wait()

    watched = Watched(open_port, connect_timeout_seconds=0.01, busy_after_seconds=0.0)
    monkeypatch.setattr(asyncio, "open_connection", never)
    watched.go_through_until_busy()

    assert watched.changes == [("busy", f"busy: no connection to 127.0.0.1:{open_port} within 0.01 s")]
    assert watched.gone == 0


@pytest.mark.parametrize(
    ("fault", "words", "gone"),
    [
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "Name or service not known", 0),
        (OSError(errno.EHOSTUNREACH, "unreachable"), "No route to host", 0),
        (OSError("Multiple exceptions: [Errno 111] ::1, [Errno 111] 127.0.0.1"), "Multiple exceptions: [Errno 111] ::1, [Errno 111] 127.0.0.1", 1),
    ],
)
def test_a_master_that_cannot_be_found_is_down_in_the_systems_words(
    monkeypatch: pytest.MonkeyPatch, open_port: int, fault: OSError, words: str, gone: int
) -> None:
    async def fail(*_args: object) -> None:
        raise fault

    watched = Watched(open_port)
    monkeypatch.setattr(asyncio, "open_connection", fail)
    watched.go_through("hang")

    assert (watched.changes, watched.gone) == ([("down", f"127.0.0.1:{open_port}: {words}")], gone)


class Endless:
    """A monitor whose pauses are real."""

    def __init__(self, interval_seconds: float) -> None:
        self.probed = asyncio.Event()
        self.monitor = Monitor(
            "tcp://127.0.0.1:9",
            self._ping,
            interval_seconds=interval_seconds,
            busy_seconds=BUSY_SECONDS,
            busy_ready_seconds=BUSY_SECONDS,
            on_change=lambda _state, _reason: None,
            on_gone=lambda: None,
            on_probe=self._on_probe,
        )

    async def _ping(self, _timeout: float) -> str:
        return "pong"

    def _on_probe(self, _seconds: float) -> None:
        self.probed.set()

    async def next_probe(self) -> None:
        await asyncio.wait_for(self.probed.wait(), 60)
        self.probed.clear()


def run_with(interval_seconds: float, act: Callable[[Endless], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        endless = Endless(interval_seconds)
        task = asyncio.create_task(endless.monitor.run())
        try:
            await endless.next_probe()
            await act(endless)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(run())


def test_doubt_makes_the_next_probe_happen_now() -> None:
    async def act(endless: Endless) -> None:
        endless.monitor.doubt()
        await endless.next_probe()

    run_with(INTERVAL, act)


def test_without_doubt_the_next_probe_happens_after_the_interval() -> None:
    async def act(endless: Endless) -> None:
        await endless.next_probe()

    run_with(0.001, act)
