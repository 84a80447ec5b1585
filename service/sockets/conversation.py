"""One websocket from its handshake to its end: what its caller says, what it is told, and why it is over."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed
from websockets.protocol import State

from service.deadline import within
from service.errors import Draining
from service.sockets.handshake import Granted
from service.streaming.subscription import READY, RECEIVED, End

# The codes of RFC 6455, and IANA's 1013, that tell a caller whether to come back, and whether to log in first.
CLOSES: dict[End, tuple[int, str]] = {
    "shutdown": (1001, "the sidecar is stopping: connect again"),
    "token_expired": (1008, "the session is over: log in again"),
    "slow_consumer": (1013, "this reader was too slow: connect again"),
    "error": (1011, "internal error; the log tells more"),
}
# Longest time for a caller to take what is sent to it, and for it to answer that we close.
STALL_SECONDS = 120.0
CLOSE_SECONDS = 5.0
# Pause after each message of a caller, so that none of them keeps the others waiting.
MESSAGE_PAUSE_SECONDS = 0.01
# Runs what may block on a thread.
Aside = Callable[[Callable[[], Any]], Coroutine[Any, Any, Any]]


class LoopWaker:
    """Wakes the loop from other threads, once for all who are to be woken."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: collections.deque[Callable[[], None]] = collections.deque()
        self._rung = False

    def ring(self, wake: Callable[[], None]) -> None:
        """Have something called in the loop, soon. From any thread; does nothing once the loop is closed."""
        self._waiting.append(wake)
        if not self._rung:
            self._rung = True
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._answer)

    def _answer(self) -> None:
        # First, so that whoever rings from here on is heard.
        self._rung = False
        while self._waiting:
            self._waiting.popleft()()


class Conversation:
    """
    One open websocket, in the loop's thread.

    look, act: run on threads what asks the master, and what does not. on_crash: called inside the `except` of a bug.
    """

    def __init__(self, connection: ServerConnection, granted: Granted, waker: LoopWaker, *, look: Aside, act: Aside, on_crash: Callable[[], None]) -> None:
        self._connection = connection
        self._granted = granted
        self._subscription = granted.subscription
        self._waker = waker
        self._look, self._act = look, act
        self._on_crash = on_crash
        self._ready = asyncio.Event()
        self._news = asyncio.Event()
        self._over: asyncio.Future[End] = asyncio.get_running_loop().create_future()

    def end(self, reason: End) -> None:
        """Let it be over."""
        if not self._over.done():
            self._over.set_result(reason)

    async def hold(self) -> None:
        """Serve the websocket until it is over, and give back what it held."""
        tasks = [asyncio.ensure_future(one) for one in (self._hear(), self._tell(), self._watch())]
        try:
            self._subscription.reason = await self._over
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._leave(self._subscription.reason)
            await self._act(self._granted.finish)

    async def _guarded(self, doing: Coroutine[Any, Any, End | None]) -> None:
        """Do something for as long as the websocket lasts; what it returns is why that is over."""
        try:
            reason = await doing
        except (ConnectionClosed, OSError):
            reason = "client"
        except Draining:
            reason = "shutdown"
        except Exception:
            self._on_crash()
            reason = "error"
        if reason is not None:
            self.end(reason)

    async def _hear(self) -> None:
        await self._guarded(self._take_messages())

    async def _tell(self) -> None:
        await self._guarded(self._send_events())

    async def _watch(self) -> None:
        await self._guarded(self._check_session())

    async def _take_messages(self) -> End:
        async for message in self._connection:
            if self._subscription.acknowledges:
                await self._connection.send(RECEIVED)
            if (message if isinstance(message, str) else message.decode("utf-8", "replace")) == READY:
                self._ready.set()
            await asyncio.sleep(MESSAGE_PAUSE_SECONDS)
        return "client"

    async def _send_events(self) -> End | None:
        await self._ready.wait()
        await self._act(lambda: self._subscription.begin(lambda: self._waker.ring(self._wake)))
        while self._subscription.ended is None:
            self._news.clear()
            taken = self._subscription.take()
            if taken is None:
                await self._news.wait()
                continue
            messages, received_at = taken
            try:
                await within(STALL_SECONDS, self._send(messages))
            except asyncio.TimeoutError:
                return "slow_consumer"
            self._subscription.on_lag(time.monotonic() - received_at)
        return self._subscription.ended

    def _wake(self) -> None:
        self._news.set()
        if self._subscription.ended is not None:
            # Also of a caller that takes nothing, for which the sending waits.
            self.end(self._subscription.ended)

    async def _check_session(self) -> End:
        while True:
            await asyncio.sleep(self._subscription.heartbeat_seconds)
            if not await self._look(self._subscription.alive):
                return "token_expired"

    async def _send(self, messages: Sequence[bytes]) -> None:
        """Send messages in one piece: the library would write to the socket once for each."""
        connection = self._connection
        if connection.state is not State.OPEN:
            await connection.wait_closed()
            return
        for message in messages:
            connection.protocol.send_text(message)
        data = b"".join(connection.protocol.data_to_send())
        connection.transport.write(data)
        self._granted.info.sent_bytes += len(data)
        await connection.drain()

    async def _leave(self, reason: End) -> None:
        """Close the connection and say why; one that does not take that in time is cut."""
        if reason == "client":
            return
        try:
            await within(CLOSE_SECONDS, self._say_farewell(reason))
        except (asyncio.TimeoutError, ConnectionClosed, OSError):
            self._connection.transport.abort()

    async def _say_farewell(self, reason: End) -> None:
        await self._send(self._subscription.last_messages())
        await self._connection.close(*CLOSES[reason])
