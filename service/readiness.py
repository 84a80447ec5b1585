"""What the probes say: alive, and ready by named checks."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Mapping


@dataclasses.dataclass(frozen=True)
class Check:
    """One condition of being ready, and how it stands in words. since: the time of day when it came to stand so."""

    ok: bool
    reason: str
    since: float


class Since:
    """Remembers when each condition came to be as it is. For any thread."""

    def __init__(self, time_of_day: Callable[[], float] = time.time) -> None:
        self._time_of_day = time_of_day
        self._lock = threading.Lock()
        self._known: dict[str, tuple[bool, float]] = {}  # guarded by _lock

    def note(self, name: str, ok: bool) -> float:
        """Take note of how a condition is, at once if you know of a change; return the time of day when it came to be so."""
        with self._lock:
            was, since = self._known.get(name, (None, 0.0))
            if was is not ok:
                since = self._time_of_day()
                self._known[name] = (ok, since)
            return since


class Readiness:
    """
    Collects the checks. Ready means: not draining, and every check passes. checks: each says whether it passes, and why.

    Alive is not asked here: the ops listener that answers is the proof, and it must not depend on the master.
    """

    def __init__(self, checks: Mapping[str, Callable[[], tuple[bool, str]]], since: Since) -> None:
        self._checks = checks
        self._since = since
        self._draining = threading.Event()

    @property
    def draining(self) -> bool:
        """Say whether the process is stopping."""
        return self._draining.is_set()

    def drain(self) -> None:
        """Be not ready from now on."""
        self._draining.set()
        self._since.note("process", ok=False)

    def report(self) -> dict[str, Check]:
        """Return every check by its name."""
        found = {"process": (not self.draining, "draining" if self.draining else "serving"), **{name: check() for name, check in self._checks.items()}}
        return {name: Check(ok, reason, self._since.note(name, ok)) for name, (ok, reason) in found.items()}
