"""The monitor: when the master counts as down, and when as up again."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from service.errors import MasterRefused, MasterTimeout, MasterUnreachable
from service.gateway.transport.monitor import CONNECT_TIMEOUT_SECONDS, DOWN_PROBE_SECONDS, PING_TIMEOUT_SECONDS, Monitor

INTERVAL = 3600.0


class ScriptIsOver(Exception):
    """Ends the monitor's endless run."""


class Watched:
    """A monitor that goes through a script of pings and pauses for no time: `ok`, `miss`, `junk`, `hang`, or `late` for an answer after `connected`."""

    def __init__(self, port: int, *, at_ease: bool = True, connect_timeout_seconds: float = CONNECT_TIMEOUT_SECONDS) -> None:
        self.script: list[str] = []
        self.pauses: list[float] = []
        self.timeouts: list[float] = []
        self.changes: list[tuple[bool, str]] = []
        self.probes: list[float] = []
        self.connected = asyncio.Event()
        uri = f"tcp://127.0.0.1:{port}"
        self.monitor = Monitor(
            uri,
            self._ping,
            interval_seconds=INTERVAL,
            on_change=lambda up, reason: self.changes.append((up, reason)),
            on_probe=self.probes.append,
            at_ease=lambda: at_ease,
            doubt_after_seconds=0.0,
            connect_timeout_seconds=connect_timeout_seconds,
            wait=self._pause,
        )

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
        if not self.script:
            raise ScriptIsOver

    def go_through(self, *script: str) -> None:
        self.script += script
        with pytest.raises(ScriptIsOver):
            asyncio.run(asyncio.wait_for(self.monitor.run(), 60))


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


def test_before_the_first_probe_calls_are_let_through_and_nothing_is_known(open_port: int) -> None:
    monitor = Watched(open_port).monitor
    monitor.require_up()
    monitor.doubt()

    assert (monitor.up, monitor.reason) == (False, "not probed yet")


def test_a_master_that_answers_is_up(open_port: int) -> None:
    watched = Watched(open_port)
    watched.go_through("ok", "ok")
    watched.monitor.require_up()

    assert watched.changes == [(True, "answers")]
    assert (watched.pauses, watched.timeouts) == ([INTERVAL, INTERVAL], [PING_TIMEOUT_SECONDS] * 2)
    assert (len(watched.probes), watched.monitor.up, watched.monitor.reason) == (2, True, "answers")


def test_a_master_that_still_answers_while_its_bus_is_gone_is_pinged_every_second(open_port: int) -> None:
    watched = Watched(open_port, at_ease=False)
    watched.go_through("ok", "ok")

    assert watched.monitor.up
    assert watched.pauses == [DOWN_PROBE_SECONDS] * 2


def test_a_refused_connection_means_down_at_once(refusing_port: int) -> None:
    watched = Watched(refusing_port)
    watched.go_through("ok", "hang")

    assert watched.changes[0] == (True, "answers")
    assert watched.changes[1:] == [(False, f"127.0.0.1:{refusing_port}: Connection refused")]
    with pytest.raises(MasterUnreachable, match=r"^the salt-master is down: .*Connection refused$") as caught:
        watched.monitor.require_up()
    assert caught.value.retry_after_seconds == DOWN_PROBE_SECONDS
    assert watched.pauses == [INTERVAL, DOWN_PROBE_SECONDS]


@pytest.mark.parametrize("failure", ["miss", "junk"])
def test_one_unanswered_ping_is_a_reason_to_look_again_soon_and_two_mean_down(open_port: int, failure: str) -> None:
    watched = Watched(open_port)
    watched.go_through("ok", failure)

    assert (watched.monitor.up, watched.pauses) == (True, [INTERVAL, DOWN_PROBE_SECONDS])
    watched.go_through(failure)
    assert watched.changes == [(True, "answers"), (False, f"127.0.0.1:{open_port} is open but does not answer a ping")]


def test_a_master_whose_port_is_open_may_take_its_time(monkeypatch: pytest.MonkeyPatch, open_port: int) -> None:
    watched = Watched(open_port)
    connect = asyncio.open_connection

    async def connect_and_tell(*address: Any) -> Any:
        pair = await connect(*address)
        watched.connected.set()
        return pair

    monkeypatch.setattr(asyncio, "open_connection", connect_and_tell)
    watched.go_through("late")

    assert watched.changes == [(True, "answers")]


def test_misses_that_do_not_follow_each_other_mean_nothing(open_port: int) -> None:
    watched = Watched(open_port)
    watched.go_through("ok", "miss", "ok", "miss", "ok")

    assert watched.changes == [(True, "answers")]


def test_a_master_that_comes_back_is_up_with_the_first_answer(refusing_port: int) -> None:
    watched = Watched(refusing_port)
    watched.go_through("hang", "ok")
    watched.monitor.require_up()

    assert watched.changes == [(False, f"127.0.0.1:{refusing_port}: Connection refused"), (True, "answers")]


def test_a_master_that_cannot_be_connected_in_time_is_down(monkeypatch: pytest.MonkeyPatch, open_port: int) -> None:
    async def never(*_args: object) -> None:
        await asyncio.Event().wait()

    watched = Watched(open_port, connect_timeout_seconds=0.01)
    monkeypatch.setattr(asyncio, "open_connection", never)
    watched.go_through("hang")

    assert watched.changes == [(False, f"no connection to 127.0.0.1:{open_port} within 0.01 s")]


def test_a_master_whose_name_is_unknown_is_down_in_the_resolvers_words(monkeypatch: pytest.MonkeyPatch, open_port: int) -> None:
    async def unknown(*_args: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    watched = Watched(open_port)
    monkeypatch.setattr(asyncio, "open_connection", unknown)
    watched.go_through("hang")

    assert watched.changes == [(False, f"127.0.0.1:{open_port}: Name or service not known")]


class Endless:
    """A monitor whose pauses are real."""

    def __init__(self, interval_seconds: float) -> None:
        self.probed = asyncio.Event()
        self.monitor = Monitor("tcp://127.0.0.1:9", self._ping, interval_seconds=interval_seconds, on_change=lambda _up, _reason: None, on_probe=self._on_probe)

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
