"""Knows whether the master is up, busy or down: pings it, and lets calls through or not."""

from __future__ import annotations

import asyncio
import errno
import os
import time
from collections.abc import Awaitable, Callable
from typing import Any, Literal
from urllib.parse import urlsplit

from service.deadline import within
from service.errors import Fault, MasterUnreachable

State = Literal["up", "busy", "down"]
# A busy master answers late; giving up sooner would ask it again and again for what it has not got to yet.
PING_TIMEOUT_SECONDS = 10.0
CONNECT_TIMEOUT_SECONDS = 1.0
# A healthy master answers a ping in a millisecond; after this long we look at its port, and then once a second.
DOUBT_AFTER_SECONDS = 0.3
LOOK_SECONDS = 1.0
BUSY_AFTER_SECONDS = 2.0
DOWN_PROBE_SECONDS = 1.0
# How long an open port may take to greet us before that says nothing; every ZeroMQ server speaks first, at once.
GREETING_SECONDS = 0.3


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        await within(seconds, event.wait())
    except asyncio.TimeoutError:
        return


class Monitor:
    """
    Pings the master and says `up`, `busy` or `down`. Runs on the bus thread; `require_up` and `ready` may be called from any.

    Nobody at its address means down at once; a refused or reset connection ends the calls in flight too, because nobody is left to answer them.
    A port that is open, or too busy to take another connection, while no ping is answered means busy: calls are let through and keep
    their own deadline. A master that has answered nothing at all for *busy_seconds*, neither pings nor calls, is down as well.

    ping: sends one ping and returns the answer. on_change(state, reason) and on_gone() are called on the bus thread.
    busy_ready_seconds: a master that has answered nothing for longer makes us not ready.
    at_ease: False asks for a ping every second, although the last one was answered: a dying master loses its event bus first.
    """

    def __init__(
        self,
        uri: str,
        ping: Callable[[float], Awaitable[Any]],
        *,
        interval_seconds: float,
        busy_seconds: float,
        busy_ready_seconds: float,
        on_change: Callable[[State, str], None],
        on_gone: Callable[[], None],
        on_probe: Callable[[float], None],
        at_ease: Callable[[], bool] = lambda: True,
        doubt_after_seconds: float = DOUBT_AFTER_SECONDS,
        busy_after_seconds: float = BUSY_AFTER_SECONDS,
        connect_timeout_seconds: float = CONNECT_TIMEOUT_SECONDS,
        greeting_seconds: float = GREETING_SECONDS,
        look_seconds: float = LOOK_SECONDS,
        wait: Callable[[asyncio.Event, float], Awaitable[None]] = _wait,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._address = urlsplit(uri)
        self._ping = ping
        self._interval_seconds = interval_seconds
        self._busy_seconds = busy_seconds
        self._busy_ready_seconds = busy_ready_seconds
        self._on_change = on_change
        self._on_gone = on_gone
        self._on_probe = on_probe
        self._at_ease = at_ease
        self._doubt_after_seconds = doubt_after_seconds
        self._busy_after_seconds = busy_after_seconds
        self._connect_timeout_seconds = connect_timeout_seconds
        self._greeting_seconds = greeting_seconds
        self._look_seconds = look_seconds
        self._wait = wait
        self._monotonic = monotonic
        self._doubt: asyncio.Event | None = None
        self._misses = 0
        self._state: State | None = None
        self._reason = "not probed yet"
        self._known = False  # it has answered once
        self._heard_at = monotonic()  # when it last answered a ping or a call, or should have begun to

    @property
    def up(self) -> bool:
        """Say whether the master is there, busy or not."""
        return self._state in {"up", "busy"}

    @property
    def down(self) -> bool:
        """Say whether the master is known to be away; before the first look nobody knows."""
        return self._state == "down"

    @property
    def failures(self) -> int:
        """Return how many pings in a row were not answered."""
        return self._misses

    def ready(self) -> tuple[bool, str]:
        """Say whether the master may be counted on, and in words how it is."""
        patient = self._known and self._silence() <= self._busy_ready_seconds
        return self._state == "up" or (self._state == "busy" and patient), self._reason

    def require_up(self) -> None:
        """Raise MasterUnreachable at once while the master is known to be down."""
        if self.down:
            raise MasterUnreachable(f"the salt-master is down: {self._reason}", retry_after_seconds=DOWN_PROBE_SECONDS)

    def doubt(self) -> None:
        """Probe now instead of at the next turn. Call it on the bus thread."""
        if self._doubt is not None:
            self._doubt.set()

    def heard(self) -> None:
        """Take note that the master has answered a call. Call it on the bus thread."""
        self._heard_at = self._monotonic()

    async def run(self) -> None:
        """Probe until cancelled."""
        self._doubt = asyncio.Event()
        while True:
            self._doubt.clear()
            await self._probe()
            calm = self._state == "up" and self._at_ease()
            pause = self._interval_seconds if calm else DOWN_PROBE_SECONDS
            await self._wait(self._doubt, pause)

    async def _probe(self) -> None:
        started = self._monotonic()
        if self._state in {None, "up"}:
            self._heard_at = started
        ping = asyncio.ensure_future(self._ping(PING_TIMEOUT_SECONDS))
        try:
            there = await self._look_meanwhile(ping, started)
            if not there:
                self._misses += 1
                return
            await ping
        except Fault as fault:
            self._misses += 1
            self._silent(f"{self._address.netloc}: {fault.reason}")
            return
        finally:
            ping.cancel()
            await asyncio.gather(ping, return_exceptions=True)
        self._on_probe(self._monotonic() - started)
        self._misses = 0
        self._known = True
        self.heard()
        self._set("up", "answers")

    async def _look_meanwhile(self, ping: asyncio.Future[Any], started: float) -> bool:
        """Look at the master's port until the ping is over; return whether there is anybody."""
        pause = self._doubt_after_seconds
        while not (await asyncio.wait({ping}, timeout=pause))[0]:
            try:
                reason = await self._look()
            except OSError as exc:
                if _nobody_listens(exc):
                    self._on_gone()
                self._set("down", f"{self._address.netloc}: {_words_of(exc)}")
                return False
            if self._monotonic() - started >= self._busy_after_seconds:
                self._silent(reason)
            pause = self._look_seconds
        return True

    async def _look(self) -> str:
        """Connect to the master's port; return in words what is found. Raises OSError when there is nobody."""
        connecting = asyncio.open_connection(self._address.hostname, self._address.port)
        try:
            reader, writer = await within(self._connect_timeout_seconds, connecting)
        except asyncio.TimeoutError:
            return f"no connection to {self._address.netloc} within {self._connect_timeout_seconds:g} s"
        try:
            # A proxy accepts for a master that is gone, and then closes.
            if not await within(self._greeting_seconds, reader.read(1)):
                raise ConnectionResetError(errno.ECONNRESET, "closed")
        except asyncio.TimeoutError:
            pass
        finally:
            writer.close()
        return f"{self._address.netloc} is open but does not answer a ping"

    def _silent(self, reason: str) -> None:
        """Nobody answers, but somebody may be there; one that is down stays so until a ping is answered."""
        if self._state == "down" or self._silence() >= self._busy_seconds:
            self._set("down", reason)
        else:
            self._set("busy", f"busy: {reason}")

    def _silence(self) -> float:
        return self._monotonic() - self._heard_at

    def _set(self, state: State, reason: str) -> None:
        before, self._state, self._reason = self._state, state, reason
        if before != state:
            self._on_change(state, reason)


def _nobody_listens(exc: OSError) -> bool:
    """Say whether the connection was refused or reset. Of a name with several addresses asyncio says all that it heard, without a number."""
    return isinstance(exc, ConnectionError) or exc.errno is None


def _words_of(exc: OSError) -> str:
    """Return the system's words; asyncio puts the address into its own. A resolver's errors have negative numbers."""
    number = exc.errno or 0
    return os.strerror(number) if number > 0 else exc.strerror or str(exc)
