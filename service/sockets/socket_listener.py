"""The listener of websockets: one port, one asyncio loop for all connections, a few threads for what blocks."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import functools
import logging
import socket
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.http11 import Request, Response

from service.deadline import within
from service.errors import Overloaded
from service.limits import Shares
from service.sockets.connections import CallerConnection, Door
from service.sockets.conversation import CLOSE_SECONDS, Conversation, LoopWaker
from service.sockets.handshake import SWITCHING, Granted, environ_of, judge

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

BACKLOG = 1024
# Longest time for a request to come and to be judged, and of that for the judgement alone.
OPEN_SECONDS = 30.0
JUDGE_SECONDS = 20.0
# Requests that are judged at one time, and those of one address that wait for it, with a share left for others; more are answered 503.
# All who had a websocket come back at once when we start again.
JUDGES = 16
MOST_JUDGED = 400
JUDGED_SHARE = 0.85
# Sessions that are looked up again at one time, and subscriptions that begin or end.
LOOKERS = 4
ACTORS = 2
# Longest time for the answer to a ping: who waits for it for that long has left.
PONG_SECONDS = 60.0
# What a caller may send in one message, and how many of those wait for their turn.
MESSAGE_BYTES = 64 * 1024
MESSAGES = 4
# Unsent bytes of a connection; until it has taken some, its events wait in the reader's bounded queue.
UNSENT_BYTES = 256 * 1024
START_SECONDS = 30.0
LOOK_SECONDS = 0.01
BUSY = "503 too many websockets are being opened"


class SocketListener:
    """
    The websockets' port, which is bound already.

    app: judges requests; see streaming/subscription.py. connection_limit, connections_per_address: most open connections, whatever their state.
    on_rejected(reason): of each request that does not reach the application. on_crash: called inside the `except` of a bug.
    """

    def __init__(
        self,
        app: WSGIApplication,
        sock: socket.socket,
        *,
        connection_limit: int,
        connections_per_address: int,
        ping_seconds: float,
        on_rejected: Callable[[str], None] = lambda _reason: None,
        on_crash: Callable[[], None] = lambda: None,
        open_seconds: float = OPEN_SECONDS,
        judge_seconds: float = JUDGE_SECONDS,
        pong_seconds: float = PONG_SECONDS,
        most_judged: int = MOST_JUDGED,
    ) -> None:
        self._app = app
        self._sock = sock
        # The port in use, also when 0 was asked for.
        self.port: int = sock.getsockname()[1]
        self.connection_limit = connection_limit
        self._door = Door(connection_limit, connections_per_address, on_rejected)
        self._ping_seconds, self._pong_seconds = ping_seconds, pong_seconds
        self._open_seconds, self._judge_seconds = open_seconds, judge_seconds
        self._on_rejected = on_rejected
        self._on_crash = on_crash
        self._pools = [
            concurrent.futures.ThreadPoolExecutor(size, f"websocket-{name}") for name, size in (("judge", JUDGES), ("look", LOOKERS), ("act", ACTORS))
        ]
        self._thread = threading.Thread(target=self._run, name="websocket-loop", daemon=True)
        self._serving = threading.Event()
        # The loop's, all of them.
        self._closing = False
        self._judged = Shares("websockets that are being opened", most_judged, JUDGED_SHARE)
        self._held: set[Conversation] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._server: Server | None = None

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()
        self._serving.wait(START_SECONDS)

    def alive(self) -> bool:
        """Tell whether the loop runs; without it nobody is answered."""
        return self._thread.is_alive()

    def connections(self) -> int:
        """Return how many connections are open, whatever their state."""
        return self._door.inside

    def close(self) -> None:
        """Take no new connections, and end every websocket: the process is stopping."""
        self._in_loop(self._close)

    def stop(self, timeout: float = CLOSE_SECONDS + 1.0) -> None:
        """Close everything. timeout: seconds for callers to take that."""
        self.close()
        self._thread.join(timeout)
        self._in_loop(self._door.cut)
        self._thread.join(1.0)
        for pool in self._pools:
            pool.shutdown(wait=False, cancel_futures=True)
        self._sock.close()

    def _in_loop(self, act: Callable[[], object]) -> None:
        # A loop that is closed has nobody left.
        with contextlib.suppress(RuntimeError):
            if self._loop is not None:
                self._loop.call_soon_threadsafe(act)

    # The loop's thread.

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception:
            self._on_crash()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._waker = LoopWaker(self._loop)
        self._server = await serve(
            self._hold,
            sock=self._sock,
            backlog=BACKLOG,
            process_request=self._judge,
            create_connection=cast("type[ServerConnection]", functools.partial(CallerConnection, self._door, self._abandon)),
            # Compressed, each connection would take 64 KiB and more, and each event would be compressed once for each of them.
            compression=None,
            server_header=None,
            open_timeout=self._open_seconds,
            ping_interval=self._ping_seconds,
            ping_timeout=self._pong_seconds,
            close_timeout=CLOSE_SECONDS,
            max_size=MESSAGE_BYTES,
            max_queue=MESSAGES,
            write_limit=UNSENT_BYTES,
            logger=silent(),
        )
        self._serving.set()
        await self._server.wait_closed()
        # A loop that ends leaves those connections open whose end it has not seen, and the library knows of some only in its next turns.
        await asyncio.sleep(LOOK_SECONDS)
        self._door.cut()
        while self._door.inside:  # noqa: ASYNC110 - a few turns, at the end
            await asyncio.sleep(LOOK_SECONDS)

    def _close(self) -> None:
        if self._closing or self._server is None:
            return
        self._closing = True
        for conversation in self._held:
            conversation.end("shutdown")
        # First nobody new: Python 3.11 forgets a connection that it has accepted, but not set up, when the port is closed.
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._sock)
        loop.call_later(LOOK_SECONDS, self._server.close, False)
        # Also of those who have not said what they want.
        loop.call_later(CLOSE_SECONDS, self._door.cut)

    async def _judge(self, connection: ServerConnection, request: Request) -> Response | None:
        refusal = connection.protocol.accept(request)
        if refusal.status_code != SWITCHING:
            self._on_rejected("malformed")
            return refusal
        caller = cast("CallerConnection", connection)
        address, port = connection.remote_address[0], self.port
        try:
            self._judged.check(caller.holder)
        except Overloaded:
            self._on_rejected("queue_full")
            return _busy(connection)
        with self._judged.take(caller.holder):
            return await self._grant(caller, lambda: judge(self._app, environ_of(request, address, "websocket", port)))

    async def _grant(self, connection: CallerConnection, ask: Callable[[], Granted | Response]) -> Response | None:
        """Wait for the judgement, and leave what is granted with the connection."""
        asked = asyncio.get_running_loop().run_in_executor(self._pools[0], ask)
        try:
            judged = await within(self._judge_seconds, asyncio.shield(asked))
        except asyncio.TimeoutError:
            asked.add_done_callback(self._take_back)
            return _busy(connection)
        except asyncio.CancelledError:
            asked.add_done_callback(self._take_back)
            raise
        except Exception:
            self._on_crash()
            raise
        if isinstance(judged, Response):
            return judged
        if connection.is_lost:
            self._abandon(judged)
        else:
            connection.granted = judged
        return None

    def _take_back(self, asked: asyncio.Future[Granted | Response]) -> None:
        """Give back what was granted too late."""
        if not asked.cancelled() and asked.exception() is None and isinstance(judged := asked.result(), Granted):
            self._abandon(judged)

    def _abandon(self, granted: Granted) -> None:
        """End what was granted to a connection that is gone."""
        asyncio.get_running_loop().run_in_executor(self._pools[2], granted.finish)

    async def _hold(self, connection: ServerConnection) -> None:
        granted = cast("CallerConnection", connection).take_granted()
        if granted is None:
            return
        conversation = Conversation(connection, granted, self._waker, look=self._look, act=self._act, on_crash=self._on_crash)
        self._held.add(conversation)
        try:
            if self._closing:
                conversation.end("shutdown")
            await conversation.hold()
        finally:
            self._held.discard(conversation)

    async def _look(self, ask: Callable[[], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._pools[1], ask)

    async def _act(self, do: Callable[[], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._pools[2], do)


def _busy(connection: ServerConnection) -> Response:
    response = connection.respond(503, f"{BUSY}\n")
    response.headers["Retry-After"] = "1"
    return response


def silent() -> logging.Logger:
    """Return a logger that says nothing: what the library has to tell has the request's path in it, and so a token."""
    logger = logging.getLogger("websockets.server")
    logger.setLevel(logging.CRITICAL + 1)
    return logger
