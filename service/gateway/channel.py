"""A few persistent request channels, shared by all request threads."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any, Protocol

from service.errors import Fault, MasterTimeout, MasterUnreachable
from service.gateway.loop import BusThread

# A request that has no answer by then makes the monitor look at the master.
DOUBT_AFTER_SECONDS = 0.7


class Socket(Protocol):
    """One connection to the master's request port."""

    async def roundtrip(self, load: dict[str, Any], timeout: float) -> Any:
        """Send a load, return the answer; raises MasterTimeout."""

    def close(self) -> None:
        """Drop the connection."""


class Breaker(Protocol):
    """What we ask of the monitor."""

    def require_up(self) -> None:
        """Raise MasterUnreachable while the master is down."""

    def doubt(self) -> None:
        """Probe the master now."""


class Channels:
    """
    Hands loads to the master from any thread, each over a channel of its own, and waits for the answer.

    Half of the channels are closed to slow calls (wheel modules, first-time logins), so that those cannot keep a
    publish waiting. on_rpc(cmd, seconds, fault) hears of every call.
    """

    def __init__(
        self, bus: BusThread, sockets: list[Socket], breaker: Breaker, *, timeout_seconds: float, on_rpc: Callable[[str, float, Fault | None], None]
    ) -> None:
        self._bus = bus
        self._sockets = sockets
        self._breaker = breaker
        self._timeout_seconds = timeout_seconds
        self._on_rpc = on_rpc
        self._in_flight: set[asyncio.Task[Any]] = set()  # the loop thread's alone
        self._free: asyncio.Queue[Socket] | None = None  # both made on the loop: before 3.10 they bind to one
        self._slow: asyncio.Semaphore | None = None

    def send(self, load: dict[str, Any], *, timeout: float | None = None, slow: bool = False) -> Any:
        """
        Return the master's answer to a load.

        timeout: seconds, default `master.rpc_timeout_seconds`; waiting for a free channel counts.
        Raises MasterUnreachable at once while the master is down, MasterTimeout when it does not answer.
        """
        self._breaker.require_up()
        limit = timeout or self._timeout_seconds
        started = time.monotonic()
        fault: Fault | None = None
        try:
            return self._bus.call(self._send(load, limit, slow=slow), limit + 5.0)
        except TimeoutError:
            fault = MasterTimeout(f"the master did not answer within {limit:g} s")
            raise fault from None
        except Fault as exc:
            fault = exc
            raise
        finally:
            self._on_rpc(str(load["cmd"]), time.monotonic() - started, fault)

    def fail_in_flight(self) -> None:
        """End every call in flight with MasterUnreachable. Call it on the bus thread, when the master went down."""
        for task in self._in_flight:
            task.cancel()

    def close(self) -> None:
        """Drop all connections. Call it on the bus thread."""
        for sock in self._sockets:
            sock.close()

    async def _send(self, load: dict[str, Any], timeout: float, *, slow: bool) -> Any:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - we run as one
        doubt = asyncio.get_running_loop().call_later(DOUBT_AFTER_SECONDS, self._breaker.doubt)
        self._in_flight.add(task)
        try:
            return await asyncio.wait_for(self._over_a_channel(load, timeout, slow=slow), timeout)
        except asyncio.TimeoutError:
            raise MasterTimeout(f"no free channel to the master within {timeout:g} s") from None
        except asyncio.CancelledError:
            raise MasterUnreachable("the salt-master went down during the call; whether it took it is unknown") from None
        finally:
            self._in_flight.discard(task)
            doubt.cancel()

    async def _over_a_channel(self, load: dict[str, Any], timeout: float, *, slow: bool) -> Any:
        free, gate = self._pool()
        async with AsyncExitStack() as stack:
            if slow:
                await stack.enter_async_context(gate)
            sock = await free.get()
            stack.callback(free.put_nowait, sock)
            return await sock.roundtrip(load, timeout)

    def _pool(self) -> tuple[asyncio.Queue[Socket], asyncio.Semaphore]:
        if self._free is None or self._slow is None:
            # LIFO: with little load one channel does all the work and the others stay unopened.
            self._free = asyncio.LifoQueue()
            for sock in self._sockets:
                self._free.put_nowait(sock)
            self._slow = asyncio.Semaphore(max(1, len(self._sockets) // 2))
        return self._free, self._slow
