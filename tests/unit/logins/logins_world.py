"""A master that makes tokens and takes lows, and logins that are kept of it, with clocks that only a test moves."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

from service.clients import Client
from service.errors import Fault, Forbidden, Unauthenticated
from service.gateway.clients.local import Request
from service.gateway.clients.result import LowResult
from service.gateway.low import Low
from service.logins.kept_logins import KeptLogins
from service.logins.reused_logins import ReusedLogins

PASSWORD = "s3cret-canary"
ALICE = {"eauth": "pam", "username": "alice", "password": PASSWORD}
# A test that fails waits so long; one that does not, never.
PATIENCE_SECONDS = 60.0
DEADLINE_SECONDS = 7200.0


def low_of(credentials: Mapping[str, Any] = ALICE, client: Client = Client.WHEEL, fun: str = "key.list_all", **fields: Any) -> Low:
    return Low(client, fun, {**fields, **credentials})


class Clocks:
    """Both of them."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class JudgingMaster:
    """
    Takes passwords and the tokens that it made; `logins` counts whatever it judged a password for.

    during_login: called while it makes a token, before it answers.
    """

    def __init__(self, clocks: Clocks) -> None:
        self._clocks = clocks
        self.passwords = {"alice": PASSWORD, "bob": PASSWORD}
        self.tokens: dict[str, float] = {}
        self.expire_seconds = 43_200.0
        self.asked_to_make: list[dict[str, Any]] = []
        self.lows: list[Low] = []
        self.shown: list[Mapping[str, Any]] = []
        self.discarded: list[str] = []
        self.shares_folder = True
        self.makes_tokens = True
        self.forbidden: set[str] = set()
        self.fault: Fault | None = None
        self.look_up_fault: Fault | None = None
        self.during_login: Callable[[], object] = lambda: None
        self.during_low: Callable[[], object] = lambda: None
        self._lock = threading.Lock()

    @property
    def logins(self) -> int:
        return len(self.asked_to_make) + sum("password" in shown for shown in self.shown)

    def mk_token(self, credentials: Mapping[str, Any]) -> dict[str, Any]:
        with self._lock:
            self.asked_to_make.append(dict(credentials))
            token = f"{len(self.asked_to_make):064x}"
        self.during_login()
        if self.fault:
            raise self.fault
        if not self.makes_tokens or self.passwords.get(credentials["username"]) != credentials["password"]:
            raise Unauthenticated("Could not authenticate using provided credentials")
        self.tokens[token] = self._clocks.now + self.expire_seconds
        return {"token": token, "expire": self.tokens[token], "name": credentials["username"], "eauth": "pam", "start": self._clocks.now}

    def get_token(self, token: str, timeout: float | None = None) -> dict[str, Any] | None:
        del timeout
        if self.look_up_fault:
            raise self.look_up_fault
        return {"token": token} if token in self.tokens else None

    def discard(self, token: str) -> bool:
        self.discarded.append(token)
        return self.shares_folder

    def run(self, low: Low, request: Request) -> LowResult:
        with self._lock:
            self.lows.append(low)
            self.shown.append(low.credentials)
        fields = low.fields
        good = fields["token"] in self.tokens if "token" in fields else self.passwords.get(fields["username"]) == fields["password"]
        if not good:
            raise Unauthenticated("Authentication error occurred.")
        if low.fun in self.forbidden:
            raise Forbidden("Authorization error occurred.") if low.client.kind == "local" else Unauthenticated("of one kind or the other")
        request.accepted()
        self.during_low()
        return LowResult(low.fun)

    def check_rights(self, low: Low, admitted: Callable[[], AbstractContextManager[Callable[[], None]]]) -> None:
        with admitted() as accepted:
            self.shown.append(low.credentials)
            accepted()


class LoginsWorld:
    """All of it. used, given_up: what was told of lows and of tokens."""

    def __init__(self, seconds: float = 60.0, *, most: int = 1000, most_of_a_user: int = 8, wait_seconds: float = PATIENCE_SECONDS, **options: Any) -> None:
        self.clocks = Clocks()
        self.master = JudgingMaster(self.clocks)
        self.used: list[str] = []
        self.given_up: list[str] = []
        self.crashed: list[bool] = []
        self.logins = KeptLogins(
            self.master,
            self.used.append,
            self.given_up.append,
            seconds=seconds,
            deadline_seconds=DEADLINE_SECONDS,
            wait_seconds=wait_seconds,
            on_crash=lambda: self.crashed.append(True),
            most=most,
            most_of_a_user=most_of_a_user,
            monotonic=self.clocks,
            time_of_day=self.clocks,
        )
        self.runner = ReusedLogins(self.master, self.logins, options, self.clocks)

    def run(self, low: Low | None = None) -> list[str]:
        """Run a low; return what was told of it on the way: `accepted`, `reused`."""
        told: list[str] = []
        request = Request("r", self.clocks.now + DEADLINE_SECONDS, accepted=lambda: told.append("accepted"), reused=lambda: told.append("reused"))
        assert self.runner.run(low or low_of(), request).outcome == "ok"
        return told
