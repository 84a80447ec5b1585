"""The bus: connects, reads, says how it is, and connects again, against real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import msgpack
import pytest

from service.gateway.transport.event_bus import FIRST_PAUSE_SECONDS, STALE_SECONDS, Bus


def frame(body: bytes) -> bytes:
    packed: bytes = msgpack.packb({"head": {}, "body": body})
    return packed


class Publisher:
    """The master's end of the bus: a server that sends what the test says."""

    def __init__(self) -> None:
        self._connections: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()
        self._server: asyncio.Server | None = None

    async def listen(self, path: Path) -> None:
        self._server = await asyncio.start_unix_server(self._accept, path)

    async def listen_tcp(self) -> int:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def _accept(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.put_nowait(writer)

    async def connection(self) -> asyncio.StreamWriter:
        return await asyncio.wait_for(self._connections.get(), 60)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()


class Subscriber:
    """A bus, and all that it told."""

    def __init__(self, path: Path | None, port: int = 0, **limits: Any) -> None:
        """limits: of the bus, where they are not its own; without any it makes no pauses to speak of."""
        self.events: asyncio.Queue[bytes] = asyncio.Queue()
        self.states: asyncio.Queue[tuple[bool, str, str]] = asyncio.Queue()
        self.bus = Bus(
            None if path is None else str(path),
            "127.0.0.1",
            port,
            deliver=self.events.put_nowait,
            on_state=lambda connected, reason, cause: self.states.put_nowait((connected, reason, cause)),
            **(limits or {"first_pause_seconds": 0.001, "longest_pause_seconds": 0.002}),
        )

    async def event(self) -> bytes:
        return await asyncio.wait_for(self.events.get(), 60)

    async def state(self) -> tuple[bool, str, str]:
        return await asyncio.wait_for(self.states.get(), 60)


def play(subscriber: Callable[[], Subscriber], act: Callable[[Subscriber, Publisher], Coroutine[Any, Any, None]]) -> None:
    """Run the bus while *act* plays the master."""

    async def run() -> None:
        publisher, listening = Publisher(), subscriber()
        task = asyncio.create_task(listening.bus.run())
        try:
            await act(listening, publisher)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await publisher.close()

    asyncio.run(asyncio.wait_for(run(), 60))


def test_events_of_a_unix_socket_are_handed_on_in_order(tmp_path: Path) -> None:
    path = tmp_path / "pub.ipc"

    async def act(subscriber: Subscriber, publisher: Publisher) -> None:
        assert (subscriber.bus.connected, subscriber.bus.reason, subscriber.bus.last_event_at) == (False, "not connected yet", None)
        await publisher.listen(path)
        writer = await publisher.connection()
        writer.write(frame(b"first") + frame(b"second")[:5])
        writer.write(frame(b"second")[5:])

        assert [await subscriber.event(), await subscriber.event()] == [b"first", b"second"]
        assert await subscriber.state() == (True, "connected", "")
        assert subscriber.bus.connected
        assert subscriber.bus.last_event_at is not None
        assert subscriber.bus.address == str(path)
        writer.close()

    play(lambda: Subscriber(path), act)


def test_a_closed_connection_is_reported_and_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "pub.ipc"

    async def act(subscriber: Subscriber, publisher: Publisher) -> None:
        await publisher.listen(path)
        (await publisher.connection()).close()
        writer = await publisher.connection()
        writer.write(frame(b"after"))

        assert [await subscriber.state() for _ in range(3)] == [
            (True, "connected", ""),
            (False, f"{path}: closed by the master", "eof"),
            (True, "connected", ""),
        ]
        assert await subscriber.event() == b"after"
        writer.close()

    play(lambda: Subscriber(path), act)


@pytest.mark.parametrize("junk", [b"\xc1\xc1\xc1", b"\x00\x00\x00\x01\xc1", b"\x7f\xff\xff\xff", b"\x81\x81\x01\x02\x03"])
def test_a_stream_that_makes_no_sense_is_left_and_connected_anew(tmp_path: Path, junk: bytes) -> None:
    path = tmp_path / "pub.ipc"

    async def act(subscriber: Subscriber, publisher: Publisher) -> None:
        await publisher.listen(path)
        first = await publisher.connection()
        first.write(junk)
        second = await publisher.connection()
        second.write(frame(b"sense"))

        assert await subscriber.event() == b"sense"
        states = [await subscriber.state() for _ in range(3)]
        assert [(connected, cause) for connected, _, cause in states] == [(True, ""), (False, "error"), (True, "")]
        assert states[1][1].startswith(f"{path}: ")
        first.close()
        second.close()

    play(lambda: Subscriber(path), act)


def test_a_bus_that_is_silent_about_a_job_of_ours_is_connected_anew(tmp_path: Path) -> None:
    now = 1000.0
    path = tmp_path / "pub.ipc"

    async def act(subscriber: Subscriber, publisher: Publisher) -> None:
        nonlocal now
        await publisher.listen(path)
        first = await publisher.connection()
        await subscriber.state()
        first.write(frame(b"announced"))
        await subscriber.event()
        subscriber.bus.expect(1.0)  # the announcement came before the acknowledgement
        subscriber.bus.check_alive()
        now += 1
        subscriber.bus.expect(0.0)
        subscriber.bus.check_alive()
        assert subscriber.states.empty()  # it may still come
        now += STALE_SECONDS
        subscriber.bus.check_alive()
        second = await publisher.connection()

        assert await subscriber.state() == (False, f"{path}: silent, although the master has announced a job", "stale")
        assert (await subscriber.state())[0]
        subscriber.bus.check_alive()
        first.close()
        second.close()

    play(lambda: Subscriber(path, monotonic=lambda: now, first_pause_seconds=0.001), act)


def test_a_master_without_ipc_is_heard_over_tcp() -> None:
    async def run() -> None:
        publisher = Publisher()
        subscriber = Subscriber(None, await publisher.listen_tcp())
        task = asyncio.create_task(subscriber.bus.run())
        writer = await publisher.connection()
        writer.write(frame(b"over tcp"))

        assert await subscriber.event() == b"over tcp"
        assert subscriber.bus.address.startswith("127.0.0.1:")
        writer.close()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await publisher.close()

    asyncio.run(asyncio.wait_for(run(), 60))


def tried(monkeypatch: pytest.MonkeyPatch, subscriber: Subscriber, attempts: int) -> list[float]:
    """Let the bus make *attempts*, and return its pauses."""
    pauses: list[float] = []

    class Enough(Exception):
        pass

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == attempts:
            raise Enough

    monkeypatch.setattr(asyncio, "sleep", pause)
    with pytest.raises(Enough):
        asyncio.run(subscriber.bus.run())
    return pauses


def test_pauses_grow_while_nobody_listens_and_the_reason_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    subscriber = Subscriber(tmp_path / "absent.ipc", first_pause_seconds=FIRST_PAUSE_SECONDS)

    assert tried(monkeypatch, subscriber, 7) == [0.2, 0.4, 0.8, 1.6, 2.0, 2.0, 2.0]
    assert subscriber.bus.reason == f"{tmp_path}/absent.ipc: No such file or directory"
    assert subscriber.states.empty()


def test_a_connection_that_does_not_come_about_in_time_is_given_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async def never(*_args: object, **_kwargs: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncio.SelectorEventLoop, "create_unix_connection", never)
    subscriber = Subscriber(tmp_path / "slow.ipc", connect_timeout_seconds=0.001)
    tried(monkeypatch, subscriber, 1)

    assert subscriber.bus.reason == f"{tmp_path}/slow.ipc: no connection in time"
