"""A guard under a moved clock, over a master that accepts and refuses as it is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import pytest

from service.auth.guard import Guard
from service.errors import Unauthenticated
from service.http.addresses import Grouping
from service.limits import Brake

ME = {"eauth": "file", "username": "me", "password": "s3cret"}
WRONG = {**ME, "password": "guess"}
TOKEN = {"token": "ab" * 32}


class Gatehouse:
    """A guard under a moved clock, and what it told its observer."""

    def __init__(
        self,
        *,
        burst: int = 3,
        overall: int = 100,
        per_minute_overall: float = 12,
        concurrency: int = 2,
        proven_seconds: float = 900,
        known_seconds: float = 86_400,
        **limits: Any,
    ) -> None:
        """concurrency: of strangers. limits: of the guard, where they are not its own."""
        self.now = 1000.0
        self.attempts: list[tuple[str, str]] = []
        self.decided: list[tuple[str, float]] = []
        self.good: list[Mapping[str, Any]] = []  # what the master knows
        self.asked: list[Mapping[str, Any]] = []
        self.fault: Exception | None = None
        self.addresses = Brake(burst * 2, 6, monotonic=self._monotonic)
        self.users = Brake(burst, 6, monotonic=self._monotonic)
        self.newcomers = Brake(overall, per_minute_overall, monotonic=self._monotonic)
        self.repeaters = Brake(2 * burst, 12, monotonic=self._monotonic)
        self.guard = Guard(
            addresses=self.addresses,
            users=self.users,
            newcomers=self.newcomers,
            repeaters=self.repeaters,
            concurrency=2 * concurrency,
            proven_seconds=proven_seconds,
            known_seconds=known_seconds,
            grouping=Grouping(),
            are_good=self._are_good,
            on_attempt=lambda eauth, result: self.attempts.append((eauth, result)),
            on_decided=lambda eauth, seconds: self.decided.append((eauth, seconds)),
            monotonic=self._monotonic,
            **limits,
        )

    def _monotonic(self) -> float:
        return self.now

    def _are_good(self, credentials: Mapping[str, Any]) -> bool:
        self.asked.append(credentials)
        self.now += 1
        if self.fault:
            raise self.fault
        return credentials in self.good

    def admit(self, credentials: Mapping[str, str], address: str) -> AbstractContextManager[Callable[[], None]]:
        return self.guard.admit(self.guard.shown(credentials), address)

    def log_in(self, credentials: Mapping[str, str] = ME, address: str = "192.0.2.1") -> None:
        """Go to a master that accepts."""
        with self.admit(credentials, address) as accepted:
            accepted()

    def fail(self, credentials: Mapping[str, str] = WRONG, address: str = "192.0.2.1", fault: Exception | None = None) -> None:
        """Go to a master that refuses; what the guard itself raises comes out."""
        refusal = fault or Unauthenticated("no")
        with pytest.raises(type(refusal)) as caught, self.admit(credentials, address):
            raise refusal
        if caught.value is not refusal:
            raise caught.value

    def results(self) -> list[str]:
        return [result for _, result in self.attempts]
