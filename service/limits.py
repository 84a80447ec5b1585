"""Slots for each kind of work, shared by address and user, and an allowance of failures for each of them."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import threading
import time
from collections.abc import Callable, Iterator

from service.blocks import Block
from service.bounded import Bounded
from service.errors import Overloaded, ShareTaken, Throttled

# Addresses and users are invented without bound by those we want to slow down.
MOST_KEYS = 10_000


def slots_together(limit: int, share: float) -> int:
    """Return how many slots there are, when one user alone may hold *limit*: some are left then for others at its address, and some for other addresses."""
    return math.ceil(math.ceil(limit / share) / share)


@dataclasses.dataclass(frozen=True)
class Holder:
    """
    Who holds a slot.

    address: or the network that it counts with. user: with its eauth, or what stands for it. proven: it is that user; else it only says so.
    """

    address: str
    user: str
    proven: bool = True


class Shares:
    """
    Counts who holds how many slots of one kind; who asks for one too many is refused at once, never queued.

    limit: the most of one holder. share: of the slots that others leave, the most of one holder, so that some are left for whoever comes next; there are
    so many that nobody is refused before *limit* are taken. 1: first come, first served.
    """

    def __init__(self, kind: str, limit: int, share: float, *, retry_after_seconds: float = 1.0) -> None:
        self._kind = kind
        self._limit = limit
        self._share = share
        self._retry_after_seconds = retry_after_seconds
        self._size = slots_together(limit, share)
        self._lock = threading.Lock()
        self._taken = 0  # guarded by _lock
        self._held: dict[str, int] = {}  # by holder; guarded by _lock

    def take(self, *holders: str, begun: bool = False) -> Block[None]:
        """
        Hold a slot inside the block. Raises Overloaded, ShareTaken.

        holders: whose it is, each one within the one before it. begun: what the slot is for has, so it is given even if none is left.
        """
        return Block(lambda: self._count_in(holders, begun=begun), lambda _: self._count_out(holders))

    def check(self, *holders: str) -> None:
        """Raise what `take` would."""
        with self._lock:
            self._check(holders)

    def _count_in(self, holders: tuple[str, ...], *, begun: bool) -> None:
        with self._lock:
            if not begun:
                self._check(holders)
            self._taken += 1
            for holder in holders:
                self._held[holder] = self._held.get(holder, 0) + 1

    def _count_out(self, holders: tuple[str, ...]) -> None:
        with self._lock:
            self._taken -= 1
            for holder in holders:
                self._held[holder] -= 1
                if not self._held[holder]:
                    del self._held[holder]

    def _check(self, holders: tuple[str, ...]) -> None:
        room = self._size - self._taken
        for holder in holders:
            room = self._room(self._held.get(holder, 0), room)
        left = min(self._size - self._taken, self._limit - self._held.get(holders[-1], 0))
        if min(room, left) > 0:
            return
        if left <= 0:
            raise Overloaded(f"all {self._limit} slots for {self._kind} are taken", retry_after_seconds=self._retry_after_seconds)
        raise ShareTaken(f"this user or address holds its share of the slots for {self._kind} (limits.share)", retry_after_seconds=self._retry_after_seconds)

    def _room(self, held: int, left: int) -> int:
        """Return how many more a holder may take of those that others leave; the first one always. A hair is added, as floats may lack one."""
        return max(int(self._share * (held + left) + 1e-9) - held, int(left > 0 and not held))


class Slots:
    """
    Limits how many requests do one kind of work at one time.

    strangers: the slots of those who have not authenticated, of whatever kind their work is. They never hold one of these, and get in only
    if there is one for them once they have. None: nobody of that sort comes.
    """

    def __init__(self, kind: str, limit: int, *, share: float = 1.0, strangers: Shares | None = None, retry_after_seconds: float = 1.0) -> None:
        self._shares = Shares(kind, limit, share, retry_after_seconds=retry_after_seconds)
        self._strangers = strangers

    def take(self, holder: Holder) -> contextlib.AbstractContextManager[Callable[[str], None] | None]:
        """
        Hold a slot inside the block.

        Yields, for a stranger, what to call when it has turned out to be a user, which holds one of ours from then on. Raises Overloaded, and Throttled for strangers.
        """
        if holder.proven or self._strangers is None:
            return self._shares.take(holder.address, holder.user)
        return self._take_as_stranger(holder, self._strangers)

    @contextlib.contextmanager
    def _take_as_stranger(self, holder: Holder, strangers: Shares) -> Iterator[Callable[[str], None]]:
        with contextlib.ExitStack() as held:
            self._shares.check(holder.address, holder.user)
            try:
                # Anybody can use a name, so it counts at its own address only.
                held.enter_context(strangers.take(holder.address, f"{holder.address} {holder.user}"))
            except Overloaded as fault:
                # Guessing passwords must not look as if we failed our callers.
                raise Throttled(fault.reason, retry_after_seconds=fault.retry_after_seconds) from None

            def welcome(user: str) -> None:
                held.close()
                held.enter_context(self._shares.take(holder.address, user, begun=True))

            yield welcome


class Brake:
    """
    A token bucket of failures for each key.

    burst: failures at once; per_minute: the rate at which they are forgiven.
    """

    def __init__(self, burst: int, per_minute: float, *, monotonic: Callable[[], float] = time.monotonic, most_keys: int = MOST_KEYS) -> None:
        self._burst = burst
        self._per_second = per_minute / 60
        self._monotonic = monotonic
        self._lock = threading.Lock()
        # Allowance left and when it was counted, the longest unused first; guarded by _lock.
        self._left: Bounded[str, tuple[float, float]] = Bounded(most_keys)

    def adjust(self, burst: int, per_minute: float) -> None:
        """Change the allowance; what has been used stays used."""
        with self._lock:
            self._burst, self._per_second = burst, per_minute / 60

    def take(self, key: str) -> float:
        """Count a failure in advance. Returns 0, or the seconds to wait when the allowance is used up (nothing is counted then)."""
        with self._lock:
            wait = self._wait(key)
            if not wait:
                self._store(key, self._allowance(key) - 1)
            return wait

    def wait(self, key: str) -> float:
        """Return what `take` would, and count nothing."""
        with self._lock:
            return self._wait(key)

    def give_back(self, key: str) -> None:
        """Uncount what `take` counted: it was no failure."""
        with self._lock:
            self._store(key, min(self._burst, self._allowance(key) + 1))

    def _wait(self, key: str) -> float:
        left = self._allowance(key)
        return 0 if left >= 1 else math.ceil((1 - left) / self._per_second)

    def _allowance(self, key: str) -> float:
        left, at = self._left.get(key, (float(self._burst), self._monotonic()))
        return min(self._burst, left + (self._monotonic() - at) * self._per_second)

    def _store(self, key: str, left: float) -> None:
        if left >= self._burst:
            self._left.pop(key, None)
        else:
            self._left[key] = (left, self._monotonic())
