"""A few persistent request channels, shared by all request threads."""

from __future__ import annotations

import asyncio
import functools
import queue
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from service.errors import Fault, MasterTimeout, MasterUnreachable, Overloaded, TooLarge
from service.gateway.transport.bus_thread import BusThread
from service.gateway.transport.wire import decoded, enveloped

# A request that has no answer by then makes the monitor look at the master.
DOUBT_AFTER_SECONDS = 0.7
# Largest message to the master, which reads it with all of its worker.
MOST_BYTES = 8 * 1024 * 1024
# Most calls that wait for a channel.
MOST_WAITING = 300
# A net under the deadline, should the bus thread itself hang.
NET_SECONDS = 5.0


class Socket(Protocol):
    """One connection to the master's request port."""

    def ask(self, message: bytes, on_answer: Callable[[bytes], None]) -> None:
        """Send a message; on_answer gets what comes back. Raises MasterUnreachable."""

    def close(self) -> None:
        """Drop the connection, and forget what was asked."""


class Breaker(Protocol):
    """What we ask of the monitor."""

    def require_up(self) -> None:
        """Raise MasterUnreachable while the master is down."""

    def doubt(self) -> None:
        """Probe the master now."""

    def heard(self) -> None:
        """The master has answered."""


class _Call:
    """One request under way: its caller waits for the outcome, the loop thread does everything else."""

    __slots__ = ("came_at", "limit", "message", "outcome", "slow", "sock", "timer")

    def __init__(self, message: bytes, limit: float, *, slow: bool) -> None:
        self.message = message
        self.limit = limit
        self.slow = slow
        self.came_at = 0.0  # by the loop's clock
        self.sock: Socket | None = None  # once it has a channel
        self.timer: asyncio.TimerHandle | None = None  # for the doubt, then for the deadline
        self.outcome: queue.SimpleQueue[bytes | Fault] = queue.SimpleQueue()


class Channels:
    """
    Hands loads to the master from any thread, each over a channel of its own, and waits for the answer.

    Half of the channels are closed to slow calls (wheel modules, first-time logins), so that those cannot keep a
    publish waiting. on_rpc(cmd, seconds, fault) hears of every call.
    While the master is busy all channels are taken, and at most *most_waiting* calls wait for one, each to its own deadline.
    The loop knows a call by callbacks only: tasks and futures would cost more than all else that is done for it.
    """

    def __init__(
        self,
        bus: BusThread,
        sockets: list[Socket],
        breaker: Breaker,
        *,
        timeout_seconds: float,
        on_rpc: Callable[[str, float, Fault | None], None],
        most_bytes: int = MOST_BYTES,
        most_waiting: int = MOST_WAITING,
        doubt_after_seconds: float = DOUBT_AFTER_SECONDS,
        net_seconds: float = NET_SECONDS,
    ) -> None:
        self._bus = bus
        self._sockets = sockets
        self._breaker = breaker
        self._timeout_seconds = timeout_seconds
        self._on_rpc = on_rpc
        self._most_bytes = most_bytes
        self._most_waiting = most_waiting
        self._doubt_after_seconds = doubt_after_seconds
        self._net_seconds = net_seconds
        # The loop thread's alone, all of it. The last channel that became free is the first one used: with little load
        # one does all the work and the others stay unopened.
        self._free = list(sockets)
        self._slow_free = max(1, len(sockets) // 2)
        self._in_flight: set[_Call] = set()
        self._waiting: dict[bool, deque[_Call]] = {False: deque(), True: deque()}  # by `slow`
        self._ended = False
        bus.at_end(self.end)

    def send(self, load: dict[str, Any], *, timeout: float | None = None, slow: bool = False) -> Any:
        """
        Return the master's answer to a load.

        timeout: seconds, default `master.rpc_timeout_seconds`; waiting for a free channel counts.
        Raises TooLarge for one that is over `api.load_limit_bytes`, MasterUnreachable at once while the master is down and when it has not joined its cluster yet, Overloaded when too many wait already, MasterTimeout when the master
        does not answer, MasterRefused when the answer cannot be decoded.
        """
        self._breaker.require_up()
        message = enveloped(load)
        if len(message) > self._most_bytes:
            raise TooLarge(f"the master would get {len(message)} bytes for it, and may get {self._most_bytes} (api.load_limit_bytes)")
        started = time.monotonic()
        try:
            answer = decoded(self._answer_to(_Call(message, timeout or self._timeout_seconds, slow=slow)))
        except Fault as exc:
            self._on_rpc(str(load["cmd"]), time.monotonic() - started, exc)
            raise
        self._on_rpc(str(load["cmd"]), time.monotonic() - started, None)
        return answer

    def fail_in_flight(self) -> None:
        """End every call in flight with MasterUnreachable. Call it on the bus thread, when nobody is left to answer."""
        for call in list(self._in_flight):
            self._finish(call, MasterUnreachable("the salt-master went down during the call; whether it took it is unknown"))

    def in_flight(self) -> int:
        """Return how many calls wait for a channel or for their answer. Call it on the bus thread."""
        return len(self._in_flight)

    def end(self) -> None:
        """End every call in flight, and each that comes later. Call it on the bus thread, which does so when it is stopped."""
        self._ended = True
        self.fail_in_flight()

    def close(self) -> None:
        """Drop all connections. Call it on the bus thread."""
        for sock in self._sockets:
            sock.close()

    def _answer_to(self, call: _Call) -> bytes:
        self._bus.soon(self._begin, call)
        try:
            outcome = call.outcome.get(timeout=call.limit + self._net_seconds)
        except queue.Empty:
            self._bus.soon(self._expired, call)
            outcome = _unanswered(call)
        try:
            if isinstance(outcome, Fault):
                raise outcome
            return outcome
        finally:
            # A fault that can be reached from its own traceback would stay, and the load with it, until the collector comes by.
            del outcome

    # The bus thread.

    def _begin(self, call: _Call) -> None:
        if self._ended:
            call.outcome.put(MasterUnreachable("the sidecar is stopping"))
            return
        loop = asyncio.get_running_loop()
        call.came_at = loop.time()
        if call.limit > self._doubt_after_seconds:
            call.timer = loop.call_later(self._doubt_after_seconds, self._doubt, call)
        else:
            call.timer = loop.call_later(call.limit, self._expired, call)
        self._in_flight.add(call)
        self._waiting[call.slow].append(call)
        self._assign()
        if call.sock is None and call in self._in_flight and sum(map(len, self._waiting.values())) > self._most_waiting:
            self._finish(call, Overloaded(f"{self._most_waiting} calls wait for the master already", retry_after_seconds=1.0))

    def _doubt(self, call: _Call) -> None:
        call.timer = asyncio.get_running_loop().call_at(call.came_at + call.limit, self._expired, call)
        self._breaker.doubt()

    def _expired(self, call: _Call) -> None:
        if call in self._in_flight:
            self._finish(call, _unanswered(call))
            self._assign()

    def _assign(self) -> None:
        """Give free channels to those who wait, in the order they came."""
        while self._free and (call := self._next()) is not None:
            call.sock = self._free.pop()
            self._slow_free -= call.slow
            try:
                call.sock.ask(call.message, functools.partial(self._answered, call))
            except Fault as exc:
                self._finish(call, exc)

    def _next(self) -> _Call | None:
        quick, slow = self._waiting[False], self._waiting[True]
        if slow and self._slow_free and not (quick and quick[0].came_at <= slow[0].came_at):
            return slow.popleft()
        return quick.popleft() if quick else None

    def _answered(self, call: _Call, reply: bytes) -> None:
        self._breaker.heard()
        self._finish(call, reply)
        self._assign()

    def _finish(self, call: _Call, outcome: bytes | Fault) -> None:
        """Tell the caller and take its channel back; one without an answer is replaced, because it cannot send before it has received."""
        self._in_flight.discard(call)
        if call.timer is not None:
            call.timer.cancel()
        if call.sock is None:
            self._waiting[call.slow].remove(call)
        else:
            if isinstance(outcome, Fault):
                call.sock.close()
            self._free.append(call.sock)
            self._slow_free += call.slow
        call.outcome.put(outcome)


def _unanswered(call: _Call) -> MasterTimeout:
    if call.sock is None:
        return MasterTimeout(f"no free channel to the master within {call.limit:g} s")
    return MasterTimeout(f"the master did not answer within {call.limit:g} s")
