"""Sessions over tokens in memory, with a clock that only a test moves."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from service.auth.guard import Guard
from service.auth.identity import Session
from service.auth.sessions import Sessions
from service.errors import Unauthenticated
from service.http.access import Access
from service.http.addresses import Grouping
from service.http.request_info import ENVIRON_KEY, new_info
from service.limits import Brake, Holder, Shares, Slots

TOKEN = "ab" * 32
OTHER = "cd" * 32
OFFLINE_SECONDS = 60.0
SOMEBODY = Holder("192.0.2.9/32", "user pam:somebody")
GOOD = {"username": "alice", "password": "secret", "eauth": "pam"}


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class FakeTokens:
    """A token store; `asked` counts look-ups."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.alive = {TOKEN: 2000.0}
        self.name = "alice"
        self.revoked: set[str] = set()
        self.asked = 0
        self.patience: list[float | None] = []
        self.fault: Exception | None = None
        self.during_look_up: Callable[[], object] = lambda: None

    def data(self, token: str) -> dict[str, Any]:
        return {"token": token, "name": self.name, "eauth": "pam", "start": 900.0, "expire": self.alive[token], "groups": ["ops"]}

    def mk_token(self, credentials: Mapping[str, Any]) -> dict[str, Any]:
        if credentials.get("password") != "secret":
            raise Unauthenticated("no")
        self.alive[OTHER] = 2000.0
        return self.data(OTHER)

    def get_token(self, token: str, timeout: float | None = None) -> dict[str, Any] | None:
        self.asked += 1
        self.patience.append(timeout)
        if self.fault:
            raise self.fault
        found = token in self.alive and token not in self.revoked
        data = self.data(token) if found else None
        self.during_look_up()
        return data

    def revoke(self, token: str, expire: float, settled: Callable[[str], None]) -> str:
        self.revoked.add(token)
        return "here"

    def owe(self, token: str, expire: float, settled: Callable[[str], None]) -> str:
        self.revoked.add(token)
        settled("runner")
        return "later"

    def is_revoked(self, token: str) -> bool:
        return token in self.revoked


@dataclasses.dataclass
class World:
    clock: Clock
    tokens: FakeTokens
    guard: Guard
    sessions: Sessions
    slots: Slots
    strangers: Shares
    revoked: list[tuple[Session, str]]


RIGHTS = {"pam": {"alice": ["test.*"], "ops%": [".*"]}}


def world(
    *, burst: int = 2, slots: int = 10, access: Access | None = None, cache_seconds: float = 5.0, rights: Mapping[str, Any] = RIGHTS, **more: Any
) -> World:
    """Make sessions and all that they need. more: of their own parameters."""
    clock = Clock()
    tokens = FakeTokens(clock)
    brakes = [Brake(burst, 1.0, monotonic=clock) for _ in range(2)]
    guard = Guard(
        addresses=brakes[0],
        users=brakes[1],
        newcomers=Brake(1000, 6),
        repeaters=Brake(1000, 6),
        concurrency=2,
        proven_seconds=900.0,
        known_seconds=900,
        grouping=Grouping(),
        are_good=lambda _credentials: False,
        on_attempt=lambda _eauth, _result: None,
        monotonic=clock,
    )
    revoked: list[tuple[Session, str]] = []
    strangers = Shares("callers who have not authenticated", slots, 1)
    quick_calls = Slots("quick calls", slots, strangers=strangers)
    sessions = Sessions(
        tokens,
        guard,
        quick_calls,
        access or Access(),
        cookie_name="session_id",
        cache_seconds=cache_seconds,
        offline_seconds=OFFLINE_SECONDS,
        external_auth=rights,
        on_revoked=lambda session, how: revoked.append((session, how)),
        monotonic=clock,
        time_of_day=clock,
        **more,
    )
    return World(clock, tokens, guard, sessions, quick_calls, strangers, revoked)


def request(address: str = "192.0.2.1", **headers: str) -> dict[str, Any]:
    environ: dict[str, Any] = {"REQUEST_METHOD": "GET", "PATH_INFO": "/", "REMOTE_ADDR": address}
    environ.update({f"HTTP_{name.upper()}": value for name, value in headers.items()})
    environ[ENVIRON_KEY] = new_info(environ)
    return environ
