"""Allowances: how many failed logins an address, a user and everybody together may have, and whose failures make whom wait."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Generic, NamedTuple, TypeVar

from service.bounded import Bounded
from service.errors import Throttled, Unauthenticated
from service.limits import MOST_KEYS, Brake

# How long an address that failed shares the allowance of those that have.
FAILED_SECONDS = 86_400.0
# All of them together may fail as often as that many could alone.
REPEATERS = 2
K = TypeVar("K")
Charges = tuple[tuple[Brake, str], ...]


class Lately(Generic[K]):
    """
    Remembers for a time what happened lately.

    most: how many things are remembered. seconds: how long; what is remembered already keeps its end when it changes.
    """

    def __init__(self, most: int, seconds: float, monotonic: Callable[[], float]) -> None:
        self.seconds = seconds
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._until: Bounded[K, float] = Bounded(most)  # guarded by _lock

    def has(self, key: K) -> bool:
        """Say whether it happened lately."""
        with self._lock:
            return self._until.get(key, 0.0) > self._monotonic()

    def add(self, *keys: K) -> None:
        """Remember that it happened now, or each of several things."""
        with self._lock:
            until = self._monotonic() + self.seconds
            for key in keys:
                self._until[key] = until

    def drop(self, key: K) -> None:
        """Forget it."""
        with self._lock:
            self._until.pop(key, None)


class Caller(NamedTuple):
    """Who tries to log in. address: or the network that it counts with. user: hashed."""

    address: str
    user: str

    @property
    def pair(self) -> str:
        """The user at this address."""
        return f"{self.address} {self.user}"


class Allowances:
    """
    The failures that an address, a user and everybody together may have.

    A caller whose user has logged in well at its address lately waits for its own failures only; another caller at an address from
    which somebody has, for those of that address. Everybody else waits for those of the address, of the user and of everybody.

    newcomers: the allowance of all addresses together that have not failed lately, wide enough for many of them. repeaters: of those
    that have, so that an attack that goes on leaves room for somebody new, and costs the master little: it deals requests out to its workers in turn, also
    to one that sits over a failed login, so that a few a minute slow every caller.
    known_seconds: what lately is.
    """

    def __init__(self, addresses: Brake, users: Brake, newcomers: Brake, repeaters: Brake, *, known_seconds: float, monotonic: Callable[[], float]) -> None:
        self._addresses = addresses
        self._users = users
        self._newcomers = newcomers
        self._repeaters = repeaters
        self._known = Lately[str](2 * MOST_KEYS, known_seconds, monotonic)  # addresses, and users at them
        self._failed = Lately[str](MOST_KEYS, FAILED_SECONDS, monotonic)  # addresses

    def adjust(self, *, burst: int, per_minute: float, burst_overall: int, per_minute_overall: float, known_seconds: float) -> None:
        """Change what may fail, in a running process; what has been used stays used."""
        self._addresses.adjust(burst, per_minute)
        self._users.adjust(burst, per_minute)
        self._newcomers.adjust(burst_overall, per_minute_overall)
        self._repeaters.adjust(REPEATERS * burst, REPEATERS * per_minute)
        self._known.seconds = known_seconds

    def knows(self, who: Caller) -> bool:
        """Say whether anybody has logged in well lately from where this caller is."""
        return self._known.has(who.address)

    def check(self, who: Caller) -> None:
        """Raise Throttled if an allowance that the caller needs is used up; takes nothing from it."""
        wait = max(brake.wait(key) for brake, key in self._charges(who)[0])
        if wait:
            raise _throttled(wait)

    def pay(self, who: Caller) -> contextlib.ExitStack:
        """Take one failure from the allowances in advance; return what gives it back when it is closed. Raises Throttled."""
        needed, others = self._charges(who)
        with contextlib.ExitStack() as paid:
            for brake, key in needed:
                wait = brake.take(key)
                if wait:
                    raise _throttled(wait)
                paid.callback(brake.give_back, key)
            for brake, key in others:
                if not brake.take(key):
                    paid.callback(brake.give_back, key)
            return paid.pop_all()

    @contextlib.contextmanager
    def judging(self, what: str) -> Iterator[None]:
        """
        Judge inside the block what the master is not asked about: an Unauthenticated counts as a failure of *what* alone.

        It is charged afterwards, for those that are good may come many at a time. Raises Throttled when its allowance is used up.
        """
        wait = self._addresses.wait(what)
        if wait:
            raise _throttled(wait)
        try:
            yield
        except Unauthenticated:
            self._addresses.take(what)
            raise

    def worked(self, who: Caller) -> None:
        """Remember a login that the master accepted."""
        self._known.add(who.address, who.pair)

    def failed(self, who: Caller) -> None:
        """Remember a login that the master refused."""
        self._failed.add(who.address)

    def _charges(self, who: Caller) -> tuple[Charges, Charges]:
        """Return the allowances that must have something left for this caller, and those that it is charged to as far as they have."""
        three = (
            (self._addresses, who.address),
            (self._users, who.user),
            (self._repeaters if self._failed.has(who.address) else self._newcomers, ""),
        )
        if self._known.has(who.pair):
            return ((self._users, who.pair),), three
        return (three[:1], three[1:]) if self.knows(who) else (three, ())


def _throttled(wait: float) -> Throttled:
    return Throttled("too many failed logins; wait before the next", retry_after_seconds=wait)
