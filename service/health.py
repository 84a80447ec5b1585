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
    since: float = 0.0


class Health:
    """
    Collects the checks. Ready means: not draining, and every check passes.

    Alive is not asked here: the ops listener that answers is the proof, and it must not depend on the master.
    """

    def __init__(self, checks: Mapping[str, Callable[[], Check]], *, time_of_day: Callable[[], float] = time.time) -> None:
        self._checks = checks
        self._draining = threading.Event()
        self._time_of_day = time_of_day
        self._lock = threading.Lock()
        self._since: dict[str, tuple[bool, float]] = {}  # guarded by _lock

    @property
    def draining(self) -> bool:
        """Say whether the process is stopping."""
        return self._draining.is_set()

    def drain(self) -> None:
        """Be not ready from now on."""
        self._draining.set()
        self.report()

    def report(self) -> dict[str, Check]:
        """Return every check by its name. Whoever knows of a change calls it too, so that `since` is right."""
        process = Check(not self.draining, "draining" if self.draining else "serving")
        found = {"process": process, **{name: check() for name, check in self._checks.items()}}
        with self._lock:
            return {name: dataclasses.replace(check, since=self._came_to_be(name, check.ok)) for name, check in found.items()}

    def _came_to_be(self, name: str, ok: bool) -> float:
        was, since = self._since.get(name, (None, 0.0))
        if was is not ok:
            since = self._time_of_day()
            self._since[name] = (ok, since)
        return since
