"""Slots for each kind of work, and an allowance of failures for each address and user."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable, Iterator

from service.bounded import Bounded
from service.errors import Overloaded

# Addresses and users are invented without bound by those we want to slow down.
MOST_KEYS = 10_000


class Slots:
    """Limits how many requests do one kind of work at one time; further ones are refused at once, never queued."""

    def __init__(self, kind: str, limit: int, *, retry_after_seconds: float = 1.0) -> None:
        self._kind = kind
        self._limit = limit
        self._retry_after_seconds = retry_after_seconds
        self._free = threading.Semaphore(limit)

    @contextlib.contextmanager
    def take(self) -> Iterator[None]:
        """Hold a slot inside the block. Raises Overloaded."""
        if not self._free.acquire(blocking=False):
            raise Overloaded(f"all {self._limit} slots for {self._kind} are taken", retry_after_seconds=self._retry_after_seconds)
        try:
            yield
        finally:
            self._free.release()


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
