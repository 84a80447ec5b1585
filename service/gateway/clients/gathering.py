"""Which minions of a job are still awaited: a state machine without clock, threads or sockets."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import Any


class Step(enum.Enum):
    """What the owner of a gathering has to do now."""

    WAIT = "wait"
    ASK = "ask the silent minions whether they still run the job"
    DONE = "done"


class Gathering:
    """
    Decides as LocalClient does when a job is over: every minion returned, or the silent ones, asked with
    `saltutil.find_job`, do not run it any more.

    All times are seconds of one monotonic clock. Source: salt/client/__init__.py, LocalClient.get_iter_returns.
    """

    def __init__(self, minions: Iterable[str], *, now: float, timeout: float, ask_timeout: float, syndic_wait: float | None = None) -> None:
        """
        minions: the ids named in the publish reply.
        ask_timeout: `gather_job_timeout`. syndic_wait: given on a master of masters, where lower masters name further minions.
        """
        self.expected = set(minions)
        self.unknown: set[str] = set()
        self.syndics: set[str] = set()
        self.returns: dict[str, dict[str, Any]] = {}
        self._timeout = timeout
        self._ask_timeout = ask_timeout + (syndic_wait or 0.0)
        self._syndics_until = now + syndic_wait if syndic_wait is not None else None
        self._next_check = now + timeout
        self._still_running = True  # so that the silent are asked at least once
        self._patience = dict.fromkeys(self.expected, now + timeout)

    @property
    def pending(self) -> set[str]:
        """Return the minions that are awaited."""
        return self.expected - self.returns.keys()

    @property
    def missing(self) -> set[str]:
        """Return, when done, the minions that did not return: silent ones, and targets that the master does not know. A syndic is no minion."""
        return (self.expected | self.unknown) - self.returns.keys() - self.syndics

    def returned(self, minion: str, data: dict[str, Any]) -> bool:
        """Take a return; False if the minion has returned before."""
        if minion in self.returns:
            return False
        self.returns[minion] = data
        return True

    def expect(self, minions: Iterable[str], unknown: Iterable[str], *, now: float) -> None:
        """Await further minions, as a syndic names them; `unknown` are targets without a key."""
        self.unknown.update(unknown)
        for minion in minions:
            self.expected.add(minion)
            self._patience.setdefault(minion, now + self._timeout)

    def runs(self, minion: str, *, now: float) -> None:
        """Take a minion's word that it still runs the job."""
        self.expected.add(minion)
        self._patience[minion] = now + self._timeout
        self._still_running = True

    def give_up_on(self, minion: str) -> None:
        """Stop waiting for a minion that cannot answer the question."""
        self.expected.discard(minion)

    def asked(self, *, now: float) -> None:
        """Note that the silent minions are being asked."""
        self._still_running = False
        self._next_check = now + self._ask_timeout

    def ask_soon(self, *, now: float) -> None:
        """Ask at the next step: the event bus was lost for a while."""
        self._still_running = True
        self._next_check = now

    def step(self, *, now: float) -> Step:
        """Say what to do now."""
        pending = self.pending
        if not pending and (self._syndics_until is None or now >= self._syndics_until):
            return Step.DONE
        if now < self._next_check or not pending:
            return Step.WAIT
        if self._still_running:
            return Step.ASK
        return Step.DONE if now >= max(self._patience[minion] for minion in pending) else Step.WAIT

    def wake_at(self, *, now: float) -> float:
        """Return when `step` can next say something else without an event."""
        pending = self.pending
        if not pending:
            return self._syndics_until or now
        if self._still_running or now < self._next_check:
            return self._next_check
        return max(self._patience[minion] for minion in pending)
