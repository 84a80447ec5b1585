"""The subscription to the master's event bus: one connection, made again whenever it breaks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator

from service.deadline import within
from service.gateway.transport.wire import FrameReader

CONNECT_TIMEOUT_SECONDS = 5.0
FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 2.0
# The master announces a job before it acknowledges it; a bus that is still silent this long after that is dead.
STALE_SECONDS = 10.0
# What is read at once stays in memory, here and where frames are cut; the kernel holds little more than this for us.
READ_BYTES = 64 * 1024


class _Connection(asyncio.BufferedProtocol):
    """
    One connection: frames are cut and handed on where the loop reads the bytes.

    asyncio's streams would wake a task for every chunk, and most chunks are one event: half of what the bus costs. A plain
    protocol would get each chunk in new memory of 256 KiB, which malloc, as we have set it, maps and unmaps each time.
    over: done when the connection is, with the exception that ended it, if one did.
    """

    def __init__(self, take: Callable[[Iterator[bytes]], None]) -> None:
        self._take = take
        self._frames = FrameReader()
        self._buffer = memoryview(bytearray(READ_BYTES))
        self._transport: asyncio.Transport | None = None
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note what to close."""
        self._transport = transport  # type: ignore[assignment]  # of a socket, so one that reads and writes

    def get_buffer(self, _sizehint: int) -> memoryview:
        """Give the loop room to read into."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Hand on the events that these bytes complete; bytes that are no frames, and a fault of a taker, end the connection."""
        try:
            self._take(self._frames.feed(self._buffer[:nbytes]))
        except Exception as exc:
            self._finish(exc)
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is closed, by us or by the master."""
        self._finish(exc)

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def _finish(self, exc: Exception | None) -> None:
        if self.over.done():
            return
        if exc is None:
            self.over.set_result(None)
        else:
            self.over.set_exception(exc)


class Bus:
    """
    Reads the event bus until cancelled and hands each raw event on. Runs on the bus thread.

    The master drops a reader that stalls, so nothing here waits for anybody.
    deliver(raw) must not block. on_state(connected, reason, cause) hears of every change; cause: why it was lost, `eof`, `error` or `stale`.
    """

    def __init__(
        self,
        path: str | None,
        host: str,
        port: int,
        *,
        deliver: Callable[[bytes], None],
        on_state: Callable[[bool, str, str], None],
        first_pause_seconds: float = FIRST_PAUSE_SECONDS,
        longest_pause_seconds: float = LONGEST_PAUSE_SECONDS,
        connect_timeout_seconds: float = CONNECT_TIMEOUT_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = path
        self._host = host
        self._port = port
        self._deliver = deliver
        self._on_state = on_state
        self._first_pause_seconds = first_pause_seconds
        self._longest_pause_seconds = longest_pause_seconds
        self._connect_timeout_seconds = connect_timeout_seconds
        self._monotonic = monotonic
        self._connected = False
        self.reason = "not connected yet"
        self.last_event_at: float | None = None  # by `monotonic`
        self._expected_since: float | None = None  # an event must have come since then
        self._connection: _Connection | None = None
        self._stale = False

    @property
    def connected(self) -> bool:
        """Say whether events arrive."""
        return self._connected

    @property
    def address(self) -> str:
        """Return where the bus is, for people."""
        return self._path or f"{self._host}:{self._port}"

    def expect(self, seconds: float) -> None:
        """Take note that the master has put something on the bus within the last *seconds*. From any thread."""
        if self._expected_since is None:
            self._expected_since = self._monotonic() - seconds

    def check_alive(self) -> None:
        """Drop a connection that is silent although something was announced. Call it on the bus thread, when the master answers."""
        expected, self._expected_since = self._expected_since, None
        if expected is None or self._connection is None or (self.last_event_at or 0.0) >= expected:
            return
        if self._monotonic() - expected < STALE_SECONDS:
            self._expected_since = expected
            return
        self._stale = True
        self._connection.abort()

    async def run(self) -> None:
        """Connect, read until the connection breaks, and again, pausing longer while it fails."""
        pause = self._first_pause_seconds
        while True:
            try:
                await self._read()
                pause = self._first_pause_seconds
            except (OSError, ValueError, asyncio.TimeoutError) as exc:
                self._lost("error", f"{self.address}: {getattr(exc, 'strerror', None) or str(exc) or 'no connection in time'}")
                pause = min(2 * pause, self._longest_pause_seconds)
            await asyncio.sleep(pause)

    async def _read(self) -> None:
        connection = await within(self._connect_timeout_seconds, self._connect())
        self._connected, self.reason = True, "connected"
        self._connection, self._stale, self._expected_since = connection, False, None
        self._on_state(True, self.reason, "")
        try:
            await connection.over
        finally:
            self._connection = None
            connection.abort()
        self._lost("eof", f"{self.address}: closed by the master")

    async def _connect(self) -> _Connection:
        loop = asyncio.get_running_loop()
        if self._path is not None:
            _, made = await loop.create_unix_connection(self._new_connection, self._path)
        else:
            _, made = await loop.create_connection(self._new_connection, self._host, self._port)
        return made

    def _new_connection(self) -> _Connection:
        return _Connection(self._take)

    def _take(self, events: Iterator[bytes]) -> None:
        self.last_event_at = self._monotonic()
        for raw in events:
            self._deliver(raw)

    def _lost(self, cause: str, reason: str) -> None:
        if self._stale:
            cause, reason = "stale", f"{self.address}: silent, although the master has announced a job"
        was, self._connected, self.reason = self._connected, False, reason
        if was:
            self._on_state(False, reason, cause)
