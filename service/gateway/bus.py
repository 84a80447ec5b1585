"""The subscription to the master's event bus: one connection, made anew whenever it breaks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from service.gateway.wire import FrameReader

READ_BYTES = 256 * 1024
CONNECT_TIMEOUT_SECONDS = 5.0
FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 2.0
# The master announces a job before it acknowledges it; a bus that is silent for so long after that is dead.
STALE_SECONDS = 10.0


class Bus:
    """
    Reads the event bus for ever and hands each raw event on. Runs on the bus thread.

    The master drops a reader that stalls, so nothing here waits for anybody.
    deliver(raw) must not block. on_state(connected, reason, cause) hears of every change; cause: why it was lost, `eof`, `error` or `stale`.
    """

    def __init__(self, path: str | None, host: str, port: int, *, deliver: Callable[[bytes], None], on_state: Callable[[bool, str, str], None]) -> None:
        self._path = path
        self._host = host
        self._port = port
        self._deliver = deliver
        self._on_state = on_state
        self._connected = False
        self.reason = "not connected yet"
        self.last_event_at: float | None = None  # time.monotonic()
        self._expected_since: float | None = None  # an event must have come since then
        self._writer: asyncio.StreamWriter | None = None
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
        """Take note that the master has put something on the bus within the last so many seconds. From any thread."""
        if self._expected_since is None:
            self._expected_since = time.monotonic() - seconds

    def check_alive(self) -> None:
        """Drop a connection that is silent although something was announced. Call it on the bus thread, when the master answers."""
        expected, self._expected_since = self._expected_since, None
        if expected is None or self._writer is None or (self.last_event_at or 0.0) >= expected:
            return
        if time.monotonic() - expected < STALE_SECONDS:
            self._expected_since = expected
            return
        self._stale = True
        self._writer.transport.abort()

    async def run(self) -> None:
        """Connect, read until the connection breaks, and again, pausing longer while it fails."""
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                await self._read()
                pause = FIRST_PAUSE_SECONDS
            except (OSError, ValueError, asyncio.TimeoutError) as exc:
                self._lost("error", f"{self.address}: {getattr(exc, 'strerror', None) or str(exc) or 'no connection in time'}")
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
            await asyncio.sleep(pause)

    async def _read(self) -> None:
        reader, writer = await asyncio.wait_for(self._connect(), CONNECT_TIMEOUT_SECONDS)
        frames = FrameReader()
        self._connected, self.reason = True, "connected"
        self._writer, self._stale, self._expected_since = writer, False, None
        self._on_state(True, self.reason, "")
        try:
            while chunk := await reader.read(READ_BYTES):
                self.last_event_at = time.monotonic()
                for raw in frames.feed(chunk):
                    self._deliver(raw)
        finally:
            self._writer = None
            writer.close()
        self._lost("eof", f"{self.address}: closed by the master")

    def _connect(self) -> asyncio.Future[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        if self._path is not None:
            return asyncio.ensure_future(asyncio.open_unix_connection(self._path, limit=READ_BYTES))
        return asyncio.ensure_future(asyncio.open_connection(self._host, self._port, limit=READ_BYTES))

    def _lost(self, cause: str, reason: str) -> None:
        if self._stale:
            cause, reason = "stale", f"{self.address}: silent, although the master has announced a job"
        was, self._connected, self.reason = self._connected, False, reason
        if was:
            self._on_state(False, reason, cause)
