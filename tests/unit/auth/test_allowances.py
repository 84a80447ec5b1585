"""Allowances: whose failures make whom wait, and how many good logins get through an attack."""

from __future__ import annotations

import dataclasses
import heapq
import itertools
import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial

import pytest

from service.errors import Throttled, Unauthenticated
from service.http.addresses import Grouping
from tests.unit.auth.gatehouse import ME, WRONG, Gatehouse

HOME = "192.0.2.1"


def is_throttled(house: Gatehouse, user: str, address: str) -> bool:
    try:
        house.log_in({**ME, "username": user, "password": "new"}, address)
    except Throttled:
        return True
    return False


def test_an_address_that_has_logged_in_well_does_not_wait_for_others() -> None:
    house = Gatehouse(overall=4)
    house.log_in(address=HOME)
    for number in range(4):
        house.fail({**WRONG, "username": "colleague" if number < 3 else "x"}, f"198.51.100.{number}")

    assert is_throttled(house, "colleague", "203.0.113.1")
    assert not is_throttled(house, "colleague", HOME)


def test_a_user_that_has_logged_in_well_does_not_wait_for_the_neighbours_at_its_address() -> None:
    house = Gatehouse()
    house.log_in(address=HOME)
    for number in range(6):
        house.fail({**WRONG, "username": f"user-{number}"}, HOME)

    assert is_throttled(house, "colleague", HOME)
    assert not is_throttled(house, "me", HOME)


def test_a_user_that_has_logged_in_well_waits_for_its_own_failures() -> None:
    house = Gatehouse()
    house.log_in(address=HOME)
    for _ in range(3):
        house.fail(address=HOME)

    assert is_throttled(house, "me", HOME)


def test_a_login_that_worked_counts_for_a_time() -> None:
    house = Gatehouse(overall=1, known_seconds=60)
    house.log_in(address=HOME)
    house.now += 61
    house.fail({**WRONG, "username": "x"}, "198.51.100.1")

    assert is_throttled(house, "me", HOME)


def test_addresses_that_have_failed_share_an_allowance_and_leave_room_for_new_ones() -> None:
    house = Gatehouse(overall=4)
    for number in range(9):
        house.fail({**WRONG, "username": f"user-{number}"}, f"198.51.100.{number % 3}")

    assert is_throttled(house, "x", "198.51.100.1")
    assert not is_throttled(house, "x", "203.0.113.1")


@pytest.mark.parametrize(
    ("address", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("192.0.2.1", "192.0.2.2", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("unknown", "unknown", True),
        ("unknown", "", False),
    ],
)
def test_an_address_counts_with_its_network(address: str, other: str, same: bool) -> None:
    assert (Grouping().of(address) == Grouping().of(other)) is same


def test_how_wide_a_network_is_can_be_chosen() -> None:
    assert Grouping(24, 48).of("192.0.2.1") == Grouping(24, 48).of("192.0.2.254") == "192.0.2.0/24"
    assert Grouping(24, 48).of("2001:db8:0:1::1") == "2001:db8::/48"


FAILED_SECONDS, GOOD_SECONDS, PATIENCE_SECONDS, AGAIN_SECONDS = 1.0, 0.05, 5.0, 0.5
SPAN_SECONDS = 300.0
GOOD_LOGINS = 100


@dataclasses.dataclass
class Tally:
    """What came of the good logins, and how many bad ones reached the master."""

    good: int = 0
    passed: int = 0
    failed: int = 0

    @property
    def share(self) -> float:
        return self.passed / self.good


class Siege:
    """
    Attackers and good users before one guard, event by event.

    A bad login keeps a turn for a second, a good one for 50 ms; there is no queue for a turn, whoever finds none comes again, which is worse than
    what callers meet. A good user gives up after five seconds.
    """

    def __init__(self) -> None:
        self.house = Gatehouse(burst=3, overall=30, per_minute_overall=30, concurrency=1, proven_seconds=0.0, gate_wait_seconds=0.0)
        self.tally = Tally()
        self.random = random.Random(1)  # attackers and users in step with the allowances would be chance
        self._order = itertools.count()
        self._events: list[tuple[float, int, Callable[[], None]]] = []

    def at(self, moment: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._events, (moment, next(self._order), act))

    def run(self, until: float) -> None:
        while self._events and self._events[0][0] < until:
            self.house.now, _, act = heapq.heappop(self._events)
            act()

    def attack(self, addresses: Iterator[str], every: float, users: Iterator[str]) -> None:
        """Try another password, and come again."""
        self.at(self.house.now + self.random.uniform(0, 2 * every), partial(self.attack, addresses, every, users))
        attempt = self.house.admit({**WRONG, "username": next(users)}, next(addresses))
        try:
            attempt.__enter__()
        except Throttled:
            return
        self.tally.failed += 1
        self.at(self.house.now + FAILED_SECONDS, partial(self._refuse, attempt))

    def _refuse(self, attempt: AbstractContextManager[Callable[[], None]]) -> None:
        attempt.__exit__(Unauthenticated, Unauthenticated("no"), None)

    def come(self, user: str, address: str, since: float | None = None) -> None:
        """Log in with a good password, again until it works or five seconds are over."""
        first = self.house.now if since is None else since
        self.tally.good += since is None
        attempt = self.house.admit({**ME, "username": user}, address)
        try:
            accepted = attempt.__enter__()
        except Throttled as fault:
            again = self.house.now + (fault.retry_after_seconds or AGAIN_SECONDS)
            if again + GOOD_SECONDS <= first + PATIENCE_SECONDS:
                self.at(again, partial(self.come, user, address, first))
            return
        self.at(self.house.now + GOOD_SECONDS, partial(self._accept, attempt, accepted))

    def _accept(self, attempt: AbstractContextManager[Callable[[], None]], accepted: Callable[[], None]) -> None:
        accepted()
        attempt.__exit__(None, None, None)
        self.tally.passed += 1


def network(number: int) -> Iterator[str]:
    """Yield addresses of one /64."""
    return (f"2001:db8:{number:x}::{host:x}" for host in itertools.cycle(range(1, 65_536)))


def besiege(attackers: int, *, known: bool) -> Tally:
    """Let attackers try for five minutes, and a hundred good logins come meanwhile: of ten users who have logged in well before, or each of somebody new."""
    siege = Siege()
    start = siege.house.now
    regulars = [(f"regular-{number}", f"192.0.2.{number}") for number in range(10)]
    for user, address in regulars:
        siege.house.log_in({**ME, "username": user}, address)
    # One attacker has a whole /64; guesses go to the regulars' names as well.
    names = itertools.cycle(["regular-1", "root", *(f"user-{number}" for number in range(997))])
    every = max(1.0, attackers / 50)
    for number in range(attackers):
        siege.at(start + every * number / attackers, partial(siege.attack, network(number), every, names))
    for number in range(GOOD_LOGINS):
        user, address = regulars[number % 10] if known else (f"new-{number}", f"198.51.{number // 250}.{number % 250}")
        siege.at(start + 5 + siege.random.uniform(0, SPAN_SECONDS - 10), partial(siege.come, user, address))
    siege.run(start + SPAN_SECONDS)
    return siege.tally


@pytest.mark.slow
@pytest.mark.parametrize(
    ("attackers", "known", "least"),
    [
        (1, True, 1.0),
        (10, True, 1.0),
        pytest.param(1000, True, 1.0, marks=pytest.mark.slow),
        (1, False, 1.0),
        (10, False, 0.95),
        pytest.param(1000, False, 0.05, marks=pytest.mark.slow),
    ],
)
def test_good_logins_pass_while_others_guess(attackers: int, known: bool, least: float) -> None:
    tally = besiege(attackers, known=known)
    print(
        f"{attackers} addresses, {'known' if known else 'new'}: {tally.share:.0%} of {tally.good}; {60 * tally.failed / SPAN_SECONDS:.0f} bad logins a minute"
    )

    assert tally.share >= least
    assert tally.failed <= 30 + 6 + (30 + 12) * SPAN_SECONDS / 60
