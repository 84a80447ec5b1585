"""A master that follows a script, and a clock that moves only when somebody waits: for jobs, batches, runners and wheels."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import queue
from collections.abc import Callable
from typing import Any

import salt.payload

from service.clients import CLIENTS
from service.events.hub import Hub
from service.gateway.clients.local import Jobs, Request
from service.gateway.clients.publish import Publisher
from service.gateway.low import Low, parse_lowstate
from service.gateway.master.options import MasterOptions

JID = "20260101000000000000"
QUESTION = "20260101000000000001"
TOKEN = "ab" * 32
DEADLINE = 1000.0


class Bell:
    """What wakes a waiter, in the world's time: waiting lets happen what is due meanwhile."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._rung = 0
        self._turns = 0

    def put(self, _ring: None) -> None:
        self._rung += 1

    def get(self, *, timeout: float) -> None:
        self._turns += 1
        assert self._turns < 10_000, "a loop that never ends"
        self._world.wait(timeout, lambda: bool(self._rung))
        if not self._rung:
            raise queue.Empty
        self._rung -= 1


class NoLedger:
    """Keeps no account of jobs."""

    def publishing(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def published(self, jid: str, fun: str, minions: int, missing: int, seconds: float) -> None: ...
    def waits(self, jid: str, seconds: float) -> None: ...
    def ended(self, jid: str) -> None: ...


class World:
    """What happens, and when. Replies to loads are given in order: a value, an exception, or a function of the load."""

    def __init__(self) -> None:
        self.now = 0.0
        self.up = True
        # The real hub, whose waiters wait in the world's time.
        self.others = 0  # returns of another function than was sent
        self.hub = Hub(
            early_limit_bytes=10**6,
            on_event=lambda _kind, _size: None,
            on_drop=lambda: None,
            on_other_function=self.other_function,
            new_bell=lambda: Bell(self),
        )
        self.hub.opened()
        self.replies: list[Any] = []
        self.loads: list[dict[str, Any]] = []
        self.calls: list[tuple[float | None, bool]] = []
        self.accepted = 0
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def send(self, load: dict[str, Any], *, timeout: float | None = None, slow: bool = False) -> Any:
        """Answer a load from the script."""
        self.loads.append(load)
        self.calls.append((timeout, slow))
        reply = self.replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return reply(load) if callable(reply) else reply

    def other_function(self) -> None:
        self.others += 1

    def monotonic(self) -> float:
        return self.now

    def at(self, seconds: float, act: Callable[[], None]) -> None:
        """Let something happen at a time."""
        heapq.heappush(self._due, (seconds, next(self._order), act))

    def wait(self, seconds: float, enough: Callable[[], bool]) -> None:
        """Let time pass, until there is enough; what is due at the same moment happens too."""
        end = self.now + seconds
        while self._due and self._due[0][0] <= (self.now if enough() else end):
            when, _, act = heapq.heappop(self._due)
            self.now = max(self.now, when)
            act()
        if not enough():
            self.now = max(self.now, end)

    def fires(self, seconds: float, tag: str, data: object) -> None:
        """Put an event on the bus at a time."""
        raw = tag.encode() + b"\n\n" + salt.payload.dumps(data, use_bin_type=True)
        self.at(seconds, lambda: self.hub.deliver(raw))

    def returns(self, seconds: float, minion: str, value: object = True, *, jid: str = JID, **more: object) -> None:  # noqa: FBT002 - the usual return
        """Let a minion return at a time."""
        self.fires(seconds, f"salt/job/{jid}/ret/{minion}", {"id": minion, "jid": jid, "return": value, "retcode": 0, "success": True, **more})

    def cut(self, seconds: float) -> None:
        """Let the bus be cut at a time."""
        self.at(seconds, self.hub.interrupted)

    def mend(self, seconds: float) -> None:
        """Let the bus come back at a time."""
        self.at(seconds, self.hub.opened)

    def stands_still(self, seconds: float, until: float) -> None:
        """Let the process stand still at a time: what is due meanwhile is read only when somebody waits again."""
        self.at(seconds, lambda: setattr(self, "now", until))

    def accept(self) -> None:
        self.accepted += 1

    def request(self, *, deadline: float = DEADLINE, metadata: bool = False) -> Request:
        return Request("request-1", deadline, metadata=metadata, accepted=self.accept)

    def publisher(self, **options: Any) -> Publisher:
        return Publisher(self, options_with(**options), NoLedger())

    def jobs(self, **options: Any) -> Jobs:
        return Jobs(self.publisher(**options), self.hub, options_with(**options), master_up=lambda: self.up, monotonic=self.monotonic, shuffle=list.reverse)


def options_with(**raw: Any) -> MasterOptions:
    """Return a master's options, with Salt's defaults for what is not named."""
    return MasterOptions.of({"ret_port": 4506, "sock_dir": "/run/salt", "netapi_enable_clients": CLIENTS, **raw})


def low(client: str = "local", **fields: Any) -> Low:
    """Return a low as the parser makes it."""
    base: dict[str, Any] = {"client": client, "fun": "test.ping", "token": TOKEN}
    if client == "ssh" or client.startswith("local"):
        base["tgt"] = "*"
    (parsed,) = parse_lowstate({**base, **fields}, enabled=CLIENTS, most=1)
    return parsed


def published(*minions: str, jid: str = JID, missing: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the master's acknowledgement of a publish."""
    return {"enc": "clear", "load": {"jid": jid, "minions": list(minions), "missing": list(missing)}}


NO_MATCH: dict[str, Any] = {"enc": "clear", "load": {"jid": None, "minions": []}}
AUTHENTICATION_ERROR = {"error": {"name": "AuthenticationError", "message": "Authentication error occurred."}}
AUTHORIZATION_ERROR = {"error": {"name": "AuthorizationError", "message": "Authorization error occurred."}}
