"""Whose a job is: a user of one eauth module. The bus tells no more than a name, so this process notes what it starts itself."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import NamedTuple

from service.blocks import Block
from service.errors import Conflict

MOST_JOBS = 50_000


class Owner(NamedTuple):
    """A user of one eauth module; the same name in another one is somebody else."""

    eauth: str
    user: str


# What is known of jobs without an owner: that they exist, and that their announcement did not tell. No eauth module has an empty name.
_EXISTS, _NOBODYS = Owner("", "exists"), Owner("", "announced")


def taken(jid: str) -> Conflict:
    """Return what to say to who wants a jid that another job has."""
    return Conflict(f"there is a job {jid} already: leave `jid` out, and the master makes one", field="jid")


class RecentOwners:
    """
    The owners of the last jobs, by jid: half of *most* at least, then the older half is forgotten at once.

    That needs no order, and half of the memory of one. Reading needs no lock.
    """

    def __init__(self, most: int) -> None:
        self._half = most // 2
        self._new: dict[str, Owner] = {}
        self._old: dict[str, Owner] = {}
        self._same: dict[Owner, Owner] = {}  # one for all jobs of a user

    def get(self, jid: str) -> Owner | None:
        """Return what was put; None if it was not, or is forgotten."""
        return self._new.get(jid) or self._old.get(jid)

    def put(self, jid: str, owner: Owner) -> None:
        """Remember a job's owner."""
        if len(self._new) >= self._half:
            self._old, self._new, self._same = self._new, {}, {}
        self._new[jid] = self._same.setdefault(owner, owner)

    def forget(self, jid: str) -> None:
        """Remember a job's owner no longer."""
        self._new.pop(jid, None)
        self._old.pop(jid, None)


class Owners:
    """
    Who started which job, and which jids are taken. Called from any thread.

    What this process starts belongs to whoever it was started for. Other jobs are announced with a bare name, which users of several eauth modules
    may have: `of_name` returns its owner where that is certain; without it those jobs are nobody's. The first announcement counts: otherwise
    somebody who may fire events from a minion could claim another user's job later. A job is remembered once: as ours, or as one of the others,
    whose number takes nothing from ours.

    most: jobs of each of the two kinds that are remembered; see RecentOwners.
    """

    def __init__(self, of_name: Callable[[str], Owner | None] | None = None, most: int = MOST_JOBS) -> None:
        self.of_name = of_name
        self._lock = threading.Lock()
        self._ours, self._others = RecentOwners(most), RecentOwners(most)
        self._reserved: set[str] = set()  # guarded by _lock, like all below
        self._begun = 0
        self._under_way: dict[int, None] = {}  # starts of ours, by their number; the oldest first

    def of(self, jid: str | None) -> Owner | None:
        """Return who started a job, None if that is not known."""
        owner = None if jid is None else self._known(jid)
        return owner if owner and owner.eauth else None

    def _known(self, jid: str) -> Owner | None:
        return self._ours.get(jid) or self._others.get(jid)

    # What the bus says.

    def exists(self, jid: str) -> None:
        """There is such a job."""
        if self._known(jid) is None:
            with self._lock:
                if self._known(jid) is None:
                    self._others.put(jid, _EXISTS)

    def announced(self, jid: str, user: str) -> None:
        """A job was announced with a user's name."""
        with self._lock:
            if self._known(jid) in {None, _EXISTS}:
                self._others.put(jid, (self.of_name(user) if self.of_name else None) or _NOBODYS)

    # What this process does.

    def starting(self) -> Block[int]:
        """Start a job, and call `started`, inside the block: the bus may tell of it before the master answers."""
        return Block(self._begin, self._end)

    def started(self, jid: str, owner: Owner) -> None:
        """The master took a job of ours."""
        with self._lock:
            self._ours.put(jid, owner)
            self._others.forget(jid)

    @contextlib.contextmanager
    def reserve(self, jid: str, owner: Owner) -> Iterator[None]:
        """
        Keep a jid, which a caller chose, for this caller's job inside the block.

        Raises Conflict if there is such a job already that is not the caller's, or if it is kept for another: the returns of one would count as the other's.
        """
        with self._lock:
            if jid in self._reserved or self._known(jid) not in {None, owner}:
                raise taken(jid)
            self._reserved.add(jid)
        try:
            yield
        finally:
            with self._lock:
                self._reserved.discard(jid)

    def _begin(self) -> int:
        with self._lock:
            number = self._begun
            self._begun += 1
            self._under_way[number] = None
        return number

    def _end(self, number: int) -> None:
        with self._lock:
            del self._under_way[number]

    # For who has events that may be of jobs that are being started.

    @property
    def begun(self) -> int:
        """Return how many starts of ours have begun until now."""
        return self._begun

    def is_settled(self, jid: str, begun: int) -> bool:
        """Say whether a job's owner will not change any more. begun: when the bus told of it."""
        if self.of(jid) is not None:
            return True
        with self._lock:
            return next(iter(self._under_way), self._begun) >= begun
