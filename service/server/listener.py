"""The listener: one port, one loop, one pool of threads; it knows how to stop without losing anything."""

from __future__ import annotations

import errno
import math
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

from waitress.adjustments import Adjustments
from waitress.server import TcpWSGIServer

from service.errors import ConfigFault, InvalidConfiguration
from service.http.app import Renderer, rest_wsgi
from service.server.channel import Channel
from service.server.dispatcher import Dispatcher
from service.server.intake import Bounds, Intake, Patience
from service.server.loop import Sockets
from service.settings.locations import environ_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from _typeshed.wsgi import WSGIApplication

BACKLOG = 1024
SWEEP_SECONDS = 1.0
_IDLE_CHECK_SECONDS = 0.05
# Longest wait at the end for requests that are still coming: who sends slowly on purpose shall not hold up an upgrade.
ARRIVAL_SECONDS = 5.0
# With more of the connections in use than this, idle and slow ones end early.
CROWDED = 0.75


class Server(TcpWSGIServer):  # type: ignore[misc]
    """waitress' server with our channels; Listener sweeps them, also after the port is closed."""

    next_channel_cleanup = math.inf
    draining = False
    clock: Callable[[], float]
    on_rejected: Callable[[str], None]
    renderer_of: Callable[[str], Renderer]
    intake: Intake
    arrived = 0

    def __init__(self, *args: Any, **options: Any) -> None:
        self.serving = threading.local()  # .channel: the one that a thread of the pool serves
        super().__init__(*args, **options)

    def channel_class(self, server: Server, sock: socket.socket, addr: tuple[Any, ...], adj: Adjustments, map: Any) -> None:  # noqa: A002 - waitress' name
        """Make a channel of a new connection, unless its address has too many; waitress calls this its channel's class."""
        self.arrived += 1
        if self.intake.make_room(addr[0]):
            channel = Channel(server, sock, addr, adj, map=map)
            channel.came_at = self.clock()
            self.intake.enter(channel)
        else:
            self.on_rejected("connections_full")  # counted first: who sees the connection closed can already see that it was
            sock.close()

    def pull_trigger(self) -> None:
        """
        Wake the loop: to do what `stop` asks for, or to ask the channel that this thread serves anew what to look for.

        waitress does so after every request. Mostly nothing has changed for the loop then, and the write and the turn would be most of what it costs.
        """
        channel = getattr(self.serving, "channel", None)
        if channel is not None:
            # Also in the midst of writing: it is the loop that has to go on.
            channel.writing = False
            if not channel.has_news():
                return
            self._map.ask_again(channel.descriptor)
        super().pull_trigger()

    @property
    def descriptor(self) -> int | None:
        """The port's number for the kernel; None once it is closed."""
        descriptor: int | None = self._fileno
        return descriptor

    def accept_waiting(self) -> None:
        """Accept all callers that the kernel has already let in."""
        for _ in range(BACKLOG):
            before = self.arrived
            self.handle_accept()
            if self.arrived == before:
                return


class Listener:
    """
    A WSGI application on a port.

    name: `api` or `ops`, the section of the settings whose `port` it is. flag: the command-line option that changes the port, for the fault.
    patience: how long a request may take to come. bounds: what an address may hold, and all together.
    renderer_of: who makes the errors at a path, for requests that never reach the application.
    on_rejected: told the reason of each request that never reaches the application; on_queue_wait: the seconds each other one waited for a thread.
    The port is bound at once, so that InvalidConfiguration is raised here; callers are answered after `start`.
    """

    def __init__(
        self,
        app: WSGIApplication,
        *,
        name: str,
        host: str,
        port: int,
        threads: int,
        connection_limit: int,
        body_limit_bytes: int,
        patience: Patience,
        bounds: Bounds | None = None,
        renderer_of: Callable[[str], Renderer] = lambda _path: rest_wsgi,
        on_rejected: Callable[[str], None] = lambda _reason: None,
        on_queue_wait: Callable[[float], None] = lambda _seconds: None,
        flag: str | None = None,
        clock: Callable[[], float] = time.monotonic,
        sweep_seconds: float = SWEEP_SECONDS,
    ) -> None:
        self.name = name
        self.host = host
        self.connection_limit = connection_limit
        self._patience = patience
        self._clock = clock
        self._sweep_seconds = sweep_seconds
        self._stopping = False
        self._dispatcher = Dispatcher(name, threads, on_queue_wait, clock)
        sock = bind(name, host, port, flag)
        self._sockets = Sockets()
        adjustments = _adjustments(sock, connection_limit, body_limit_bytes)
        sockinfo = (sock.family, sock.type, sock.proto, sock.getsockname())
        self._server = Server(app, self._sockets, True, sock, dispatcher=self._dispatcher, adj=adjustments, sockinfo=sockinfo, bind_socket=False)
        self._server.clock = clock
        self._server.on_rejected = on_rejected
        self._server.renderer_of = renderer_of
        self._server.intake = Intake(bounds or Bounds(), body_limit_bytes)
        self._thread = threading.Thread(target=self._run, name=f"{name}-loop", daemon=True)

    @property
    def port(self) -> int:
        """The port in use, also when 0 was asked for."""
        return int(self._server.effective_port)

    def start(self) -> None:
        """Begin to answer."""
        self._dispatcher.start()
        self._thread.start()

    def alive(self) -> bool:
        """Tell whether the loop runs; without it nobody is answered."""
        return self._thread.is_alive()

    def threads(self) -> int:
        """Return the size of the pool."""
        return self._dispatcher.size

    def busy_threads(self) -> int:
        """Return how many threads serve a request."""
        return self._dispatcher.busy_threads()

    def busy_seconds(self) -> float:
        """Return how long all threads together have served requests."""
        return self._dispatcher.busy_seconds()

    def queue_depth(self) -> int:
        """Return how many requests wait for a thread."""
        return self._dispatcher.queue_depth()

    def connections(self) -> int:
        """Return how many connections are open."""
        return len(self._server.active_channels)

    def body_bytes(self) -> int:
        """Return the bytes of all bodies that have come and are not answered."""
        return self._server.intake.body_bytes()

    def in_flight(self) -> int:
        """Return how many connections have a request or bytes of an answer that are not yet sent."""
        return sum(not channel.is_idle() for channel in self._channels())

    def close_after_answer(self) -> None:
        """Serve everybody as before, but close each connection after its next answer: who keeps one open shall not find it cut later."""
        self._server.draining = True

    def close_accepting(self) -> None:
        """Refuse new connections from now on; those that exist are served once more."""
        self.close_after_answer()
        self._in_loop(self._close_port)

    def wait_idle(self, deadline: float, give_up: Callable[[], bool] = lambda: False) -> bool:
        """
        Wait until every request is answered and every byte of the answers is sent; for those that are still coming at most ARRIVAL_SECONDS.

        deadline: a time of the clock. give_up: asked again and again; True ends the wait.
        Idle counts only at two looks in a row, each after a turn of the loop: what a caller has sent just now may still be on its way into it.
        """
        looks, arrived = 0, self._clock() + ARRIVAL_SECONDS
        while looks < 2:
            self._in_loop(lambda: None)
            is_idle = not self._arriving(arrived) and self.in_flight() == 0
            looks = looks + 1 if is_idle else 0
            if self._clock() >= deadline or give_up():
                return looks > 0
            time.sleep(_IDLE_CHECK_SECONDS)
        return True

    def stop(self, timeout: float = 1.0) -> None:
        """Close everything now. A thread still inside the application is left behind after *timeout*; it ends with the process."""
        self._in_loop(self._close_port)
        self._stopping = True
        if self.alive():
            self._server.pull_trigger()
            self._thread.join(timeout)
        for channel in self._channels():
            channel.abort()
        self._dispatcher.shutdown(timeout=timeout)
        if not self.alive():
            self._server.trigger.close()
            self._sockets.close()

    def _run(self) -> None:
        next_sweep = self._clock() + self._sweep_seconds
        while not self._stopping:
            # Whether the port takes callers depends on how many there are.
            self._sockets.ask_again(self._server.descriptor)
            self._sockets.turn(self._sweep_seconds)
            now = self._clock()
            if now >= next_sweep:
                next_sweep = now + self._sweep_seconds
                self._sweep(now)

    def _sweep(self, now: float) -> None:
        crowded = self.connections() > self.connection_limit * CROWDED
        patience = self._patience.shortened() if crowded else self._patience
        for channel in self._channels():
            channel.sweep(now, patience, self._server.on_rejected)
            # Nobody needs this; but a wake-up that waitress fails to give shall cost its caller a second, not the answer.
            if channel.has_news():
                self._sockets.ask_again(channel.descriptor)

    def _arriving(self, until: float) -> bool:
        now = self._clock()
        return now < until and any(channel.is_arriving(now) for channel in self._channels())

    def _channels(self) -> Iterable[Channel]:
        return list(self._server.active_channels.values())

    def _in_loop(self, act: Callable[[], None]) -> None:
        """Run *act* in the loop's thread, which owns the map and the sockets, and wait for it; without a loop, here."""
        if not self.alive():
            act()
            return
        done = threading.Event()

        def run() -> None:
            act()
            done.set()

        self._server.trigger.pull_trigger(run)
        while not done.wait(self._sweep_seconds) and self.alive():
            continue

    def _close_port(self) -> None:
        if not self._server.accepting:
            return
        self._server.accept_waiting()
        self._server.accepting = False
        self._server.del_channel()
        self._server.socket.close()


def _adjustments(sock: socket.socket, connection_limit: int, body_limit_bytes: int) -> Adjustments:
    return Adjustments(
        sockets=[sock],
        # waitress counts the port and its trigger too, and refuses a body of exactly the limit.
        connection_limit=connection_limit + 2,
        max_request_body_size=body_limit_bytes + 1,
        # Read on while a request is served, so that the application can learn that its caller is gone. Two: who has the answer may send the next
        # request before the thread is done with the last, and not to look for bytes then would cost the loop two turns.
        channel_request_lookahead=2,
        # A caller that hangs up is no event; AppTask keeps the application's own OSErrors loud.
        log_socket_errors=False,
        # Our own access.trusted_proxies reads X-Forwarded-* and Forwarded; waitress would take them away from every caller before.
        clear_untrusted_proxy_headers=False,
        backlog=BACKLOG,
    )


def bind(name: str, host: str, port: int, flag: str | None) -> socket.socket:
    """Return a listening socket. name, flag: as in Listener. Raises InvalidConfiguration."""
    sock = None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        sock = socket.socket(family, kind, protocol)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(BACKLOG)
    except OSError as exc:
        if sock is not None:
            sock.close()
        raise InvalidConfiguration([_bind_fault(exc, name, host, port, flag)]) from exc
    return sock


def _bind_fault(exc: OSError, name: str, host: str, port: int, flag: str | None) -> ConfigFault:
    change_port = f"set {name}.port ({environ_name(f'{name}.port')}{f', {flag}' if flag else ''}) to another one, or 0 for any free one"
    if exc.errno == errno.EADDRINUSE:
        return ConfigFault(f"{name}.port", f"port {port} on {host} is taken", f"stop the process that has it, or {change_port}")
    if exc.errno == errno.EACCES:
        return ConfigFault(f"{name}.port", f"port {port} needs a right this process does not have", change_port)
    return ConfigFault(
        f"{name}.host", f"cannot listen on {host} ({exc.strerror or exc})", f"set {name}.host ({environ_name(f'{name}.host')}) to an address of this machine"
    )
