"""The life of the process, from the first request to the last byte; read it from `run` downwards."""

from __future__ import annotations

import dataclasses
import resource
import signal
import time
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Protocol

from service.errors import InvalidConfiguration
from service.observe.log import log

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import FrameType

    from service.server.listener import Listener
    from service.settings.settings import DrainSettings

_STOP = frozenset({signal.SIGTERM, signal.SIGINT})
_LOOK_SECONDS = 1.0
# Longest wait at the start for the first word of the master; who comes meanwhile waits too.
SETTLE_SECONDS = 10.0
# A signal is looked for so often meanwhile.
_SETTLE_LOOK_SECONDS = 0.25


class Signals:
    """
    What the process was told, in order.

    The handlers only put a number into a queue whose `put` is safe inside a signal handler (an Event's `set` is not). Make it early, in the main
    thread: from then on, a signal waits until `run` reads it. Explicit handlers also mean that SIGTERM works as process 1.
    """

    def __init__(self) -> None:
        self._told: SimpleQueue[int] = SimpleQueue()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._tell)

    def next(self, timeout: float | None = None) -> int | None:
        """Return the next signal, or None after *timeout* seconds without one."""
        try:
            return self._told.get(timeout=timeout)
        except Empty:
            return None

    def stop_within(self, seconds: float) -> bool:
        """Wait for a signal to stop; True as soon as it comes, False after *seconds*. SIGHUP means nothing here."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if self.next(left) in _STOP:
                return True
        return False

    def stop_now(self) -> bool:
        """Tell whether another signal to stop has come."""
        while (received := self._take()) is not None:
            if received in _STOP:
                return True
        return False

    def _take(self) -> int | None:
        try:
            return self._told.get_nowait()
        except Empty:
            return None

    def _tell(self, number: int, _frame: FrameType | None) -> None:
        self._told.put(number)


class SideListener(Protocol):
    """The listener of websockets; see sockets/socket_listener.py."""

    connection_limit: int

    def start(self) -> None:
        """Begin to answer."""

    def alive(self) -> bool:
        """Tell whether its loop runs."""

    def close(self) -> None:
        """Take no new connections, and end every websocket."""

    def stop(self) -> None:
        """Close everything."""


@dataclasses.dataclass(frozen=True)
class Life:
    """
    What takes part in the process' life.

    sockets: none, or the listener of websockets.
    on_serving: both listeners listen. on_draining: make /readyz fail. on_reload: SIGHUP. on_closing: the API's port is closed, waiting requests may be told. on_stopped: all requests
    are over, both listeners are closed. settle(seconds): wait until the first caller can be served, or told in truth why not; say whether it is so.
    """

    api: Listener
    ops: Listener
    drain: DrainSettings
    on_draining: Callable[[], None]
    on_reload: Callable[[], None]
    on_stopped: Callable[[], None]
    on_closing: Callable[[], None] = lambda: None
    on_serving: Callable[[], None] = lambda: None
    settle: Callable[[float], bool] = lambda _seconds: True
    sockets: Sequence[SideListener] = ()


def run(life: Life, signals: Signals) -> int:
    """Serve until told to stop, then stop in order; return the exit code."""
    _allow_open_files(life)
    life.ops.start()
    # A caller who is quicker than our first look at the master would be refused for nothing; the kernel holds them at the open port.
    received = _settle(life, signals)
    life.api.start()
    for each in life.sockets:
        each.start()
    life.on_serving()
    received = received or _serve(life, signals)
    forced = _drain(life, signals) if received else True
    unfinished = life.api.in_flight()
    life.api.stop()
    for each in life.sockets:
        each.stop()
    life.ops.stop()
    life.on_stopped()
    exit_code = 0 if received else 1
    log.get().info("app.stop", exit_code=exit_code, unfinished=unfinished, forced=forced)
    return exit_code


def _settle(life: Life, signals: Signals) -> bool:
    """Wait until the first caller can be let in; True at the first signal to stop."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while not life.settle(_SETTLE_LOOK_SECONDS) and time.monotonic() < deadline:
        if _obey(life, signals, 0):
            return True
    return False


def _serve(life: Life, signals: Signals) -> bool:
    """
    Return True at the first signal to stop.

    False if a listener's loop has died (its `crash` is in the log): then there is nothing to drain, and the supervisor must start the process again.
    """
    while not _obey(life, signals, _LOOK_SECONDS):
        if not (life.api.alive() and life.ops.alive() and all(each.alive() for each in life.sockets)):
            return False
    return True


def _obey(life: Life, signals: Signals, seconds: float) -> bool:
    """Do what the next signal says, if one comes in time; True if it says to stop."""
    received = signals.next(seconds)
    if received == signal.SIGHUP:
        _reload(life)
    return received in _STOP


def _reload(life: Life) -> None:
    try:
        life.on_reload()
    except InvalidConfiguration as exc:
        # The old settings stay in force.
        log.get().error("config.invalid", faults=[str(fault) for fault in exc.faults])


def _drain(life: Life, signals: Signals) -> bool:
    """
    Answer what has been asked, and nothing new; True if a second signal cut it short.

    1. Say that we are not ready, and keep serving while those who route to us notice; kept-alive connections end with their next answer.
    2. Close the API's port: late callers are refused at once, and can go elsewhere; those that the kernel had let in are served. Websockets end.
    3. Wait for running requests and unsent bytes. The ops listener answers to the end.
    """
    life.on_draining()
    life.api.close_after_answer()
    log.get().info("app.draining", in_flight=life.api.in_flight(), notice_s=life.drain.notice_seconds, grace_s=life.drain.drain_seconds)
    if signals.stop_within(life.drain.notice_seconds):
        return True
    life.api.close_accepting()
    for each in life.sockets:
        each.close()
    life.on_closing()
    forced = False

    def told_again() -> bool:
        nonlocal forced
        forced = forced or signals.stop_now()
        return forced

    life.api.wait_idle(time.monotonic() + life.drain.drain_seconds, told_again)
    return forced


def _allow_open_files(life: Life) -> None:
    """Raise the soft limit of open files: systemd's 1024 is less than `api.connection_limit`. A connection needs one, its buffers two more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 3 * (life.api.connection_limit + life.ops.connection_limit) + sum(each.connection_limit for each in life.sockets) + 256
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
