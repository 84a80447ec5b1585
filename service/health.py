"""What the probes say: alive, and ready by named checks."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Mapping


@dataclasses.dataclass(frozen=True)
class Check:
    """One condition of being ready, and how it stands in words."""

    ok: bool
    reason: str


class Health:
    """
    Collects the checks. Ready means: not draining, and every check passes.

    Alive is not asked here: the ops listener that answers is the proof, and it must not depend on the master.
    """

    def __init__(self, checks: Mapping[str, Callable[[], Check]]) -> None:
        self._checks = checks
        self._draining = threading.Event()

    @property
    def draining(self) -> bool:
        """Say whether the process is stopping."""
        return self._draining.is_set()

    def drain(self) -> None:
        """Be not ready from now on."""
        self._draining.set()

    def report(self) -> dict[str, Check]:
        """Return every check by its name."""
        process = Check(not self.draining, "draining" if self.draining else "serving")
        return {"process": process, **{name: check() for name, check in self._checks.items()}}
