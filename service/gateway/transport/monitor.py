"""Knows whether the master is up: pings it, and lets calls through or not."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

from service.errors import Fault, MasterUnreachable

PING_TIMEOUT_SECONDS = 2.0
CONNECT_TIMEOUT_SECONDS = 1.0
# A healthy master answers a ping in a millisecond; after this long we look whether its port is open at all.
DOUBT_AFTER_SECONDS = 0.3
DOWN_PROBE_SECONDS = 1.0
# A master whose workers are all busy misses a ping; one whose port is open is called down after this many.
MISSES_BEFORE_DOWN = 2


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except asyncio.TimeoutError:
        return


class Monitor:
    """
    Pings the master and says `up` or `down`.

    A refused connection means down at once and ends the calls in flight; an unanswered ping does so only when repeated,
    and lets the calls in flight wait for their own deadline. Runs on the bus thread; `require_up` may be called from any.

    ping: sends one ping and returns the answer. on_change(up, reason) is called on the bus thread.
    at_ease: False asks for a ping every second, although the last one was answered: a dying master loses its event bus first.
    """

    def __init__(
        self,
        uri: str,
        ping: Callable[[float], Awaitable[Any]],
        *,
        interval_seconds: float,
        on_change: Callable[[bool, str], None],
        on_probe: Callable[[float], None],
        at_ease: Callable[[], bool] = lambda: True,
        doubt_after_seconds: float = DOUBT_AFTER_SECONDS,
        connect_timeout_seconds: float = CONNECT_TIMEOUT_SECONDS,
        wait: Callable[[asyncio.Event, float], Awaitable[None]] = _wait,
    ) -> None:
        self._address = urlsplit(uri)
        self._ping = ping
        self._interval_seconds = interval_seconds
        self._on_change = on_change
        self._on_probe = on_probe
        self._at_ease = at_ease
        self._doubt_after_seconds = doubt_after_seconds
        self._connect_timeout_seconds = connect_timeout_seconds
        self._wait = wait
        self._doubt: asyncio.Event | None = None
        self._misses = 0
        self._up: bool | None = None
        self._reason = "not probed yet"

    @property
    def up(self) -> bool:
        """Say whether the last probe found the master well."""
        return bool(self._up)

    @property
    def failures(self) -> int:
        """Return how many pings in a row were not answered."""
        return self._misses

    @property
    def reason(self) -> str:
        """Say in words how the last probe ended."""
        return self._reason

    def require_up(self) -> None:
        """Raise MasterUnreachable at once while the master is known to be down."""
        if self._up is False:
            raise MasterUnreachable(f"the salt-master is down: {self._reason}", retry_after_seconds=DOWN_PROBE_SECONDS)

    def doubt(self) -> None:
        """Probe now instead of at the next turn. Call it on the bus thread."""
        if self._doubt is not None:
            self._doubt.set()

    async def run(self) -> None:
        """Probe until cancelled."""
        self._doubt = asyncio.Event()
        while True:
            self._doubt.clear()
            await self._probe()
            calm = self._up and not self._misses and self._at_ease()
            pause = self._interval_seconds if calm else DOWN_PROBE_SECONDS
            await self._wait(self._doubt, pause)

    async def _probe(self) -> None:
        started = time.monotonic()
        ping = asyncio.ensure_future(self._ping(PING_TIMEOUT_SECONDS))
        try:
            refused = await self._refused_meanwhile(ping)
            if refused:
                ping.cancel()
                self._misses += 1
                self._set(False, refused)
                return
            await ping
        except Fault:
            self._missed()
            return
        finally:
            await asyncio.gather(ping, return_exceptions=True)
        self._on_probe(time.monotonic() - started)
        self._misses = 0
        self._set(True, "answers")

    async def _refused_meanwhile(self, ping: asyncio.Future[Any]) -> str:
        """Return why the master's port cannot be reached, or nothing; asks only when the ping is slow."""
        done, _ = await asyncio.wait({ping}, timeout=self._doubt_after_seconds)
        if done:
            return ""
        try:
            connecting = asyncio.open_connection(self._address.hostname, self._address.port)
            _, writer = await asyncio.wait_for(connecting, self._connect_timeout_seconds)
        except asyncio.TimeoutError:
            return f"no connection to {self._address.netloc} within {self._connect_timeout_seconds:g} s"
        except OSError as exc:
            return f"{self._address.netloc}: {_words_of(exc)}"
        writer.close()
        return ""

    def _missed(self) -> None:
        self._misses += 1
        if self._misses >= MISSES_BEFORE_DOWN:
            self._set(False, f"{self._address.netloc} is open but does not answer a ping")

    def _set(self, up: bool, reason: str) -> None:
        before, self._up, self._reason = self._up, up, reason
        if before is not up:
            self._on_change(up, reason)


def _words_of(exc: OSError) -> str:
    """Return the system's words; asyncio puts the address into its own. A resolver's errors have negative numbers."""
    number = exc.errno or 0
    return os.strerror(number) if number > 0 else exc.strerror or str(exc)
