"""How many requests that could not be understood are recorded one by one: the first of each minute, while the others are counted."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping

WINDOW_SECONDS = 60.0
# One address gets this part of the records, so that a flood from there hides nobody else's probes.
SHARES = 10
# Addresses that are counted by name in a window; what comes from further ones is counted together.
MOST_ADDRESSES = 100
OTHERS = "others"


class Refusals:
    """The records that refused requests may still have, in windows of WINDOW_SECONDS. most: of a window. Called from request threads."""

    def __init__(self, most: int, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._since = monotonic()  # guarded by _lock, like the next two
        self._recorded: Counter[str] = Counter()
        self._held_back: Counter[str] = Counter()

    def admit(self, address: str) -> bool:
        """Say whether the refusal of a caller from there gets a record; it is counted otherwise."""
        with self._lock:
            if self._recorded.total() < self._most and self._recorded[address] < max(1, self._most // SHARES):
                self._recorded[address] += 1
                return True
            known = address in self._held_back or len(self._held_back) < MOST_ADDRESSES
            self._held_back[address if known else OTHERS] += 1
            return False

    def settle(self, *, at_once: bool = False) -> Mapping[str, int]:
        """Begin a new window if the last one is over, or *at_once*; return by address how many got no record in the last one."""
        now = self._monotonic()
        with self._lock:
            if not at_once and now - self._since < WINDOW_SECONDS:
                return {}
            held_back, self._held_back, self._recorded, self._since = self._held_back, Counter(), Counter(), now
        return held_back
