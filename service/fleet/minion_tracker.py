"""What the bus says about the minions: which were heard of, whose highstate succeeded, which are connected and have keys."""

from __future__ import annotations

import dataclasses
import fnmatch
import os
import threading
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from operator import itemgetter
from pathlib import Path
from typing import Any, Protocol

from service.bounded import Bounded
from service.events.payload import Payload, text_of

MOST_MINIONS = 100_000
REMEMBERED_SECONDS = 86_400.0
KEYS_SECONDS = 3600.0
# Keys change in bursts; this is the shortest pause between two readings of the folders.
KEYS_PAUSE_SECONDS = 5.0
# The master says about once a minute (`loop_interval`) which minions are connected; an older statement means nothing.
PRESENCE_SECONDS = 300.0
_FOLDERS = {"accepted": "minions", "pending": "minions_pre", "rejected": "minions_rejected", "denied": "minions_denied"}
_ENDS = {"success": True, "failure": False, "unknown": None}
_LAST_SEEN = "salt_minion_last_seen_timestamp_seconds"

Samples = dict[tuple[str, ...], float]


@dataclasses.dataclass(frozen=True)
class Sighting:
    """
    What is known of one minion. at: when it was heard of last, Unix time; well: whether its last highstate went well; connected: as the master says.

    Each is None where nothing is known: since we started, or within a day; of connections also without the master's option `presence_events`.
    """

    at: float | None
    well: bool | None
    connected: bool | None


class FleetObserver(Protocol):
    """Hears what happens to minions, on the thread that follows the bus."""

    def authenticated(self, act: str, *, accepted: bool) -> None:
        """A minion came to the master with its key."""

    def minion_started(self) -> None:
        """A minion started."""

    def presence_changed(self, new: int, lost: int) -> None:
        """*new* minions came, and *lost* minions went."""

    def worker_stats(self, cmd: str, runs: float, seconds: float) -> None:
        """The master's workers handled *runs* requests, in *seconds*."""

    def unlisted(self, metric: str) -> None:
        """A minion has no series of its own, because there are as many as there may be."""


class PerMinion(Protocol):
    """Which minions have series of their own."""

    @property
    def enabled(self) -> bool: ...
    @property
    def max(self) -> int: ...
    @property
    def allow(self) -> str: ...


class Fleet:
    """
    The minions. One thread tells, any thread may ask.

    pki_dir: the master's, or None when it keeps keys elsewhere. now is Unix time.
    """

    def __init__(
        self, observer: FleetObserver, per_minion: PerMinion, pki_dir: Path | None, *, now: Callable[[], float] = time.time, most_minions: int = MOST_MINIONS
    ) -> None:
        self._observer = observer
        self._per_minion = per_minion
        self._pki_dir = pki_dir
        self._now = now
        self._lock = threading.Lock()
        # When each was heard of last, the longest silent first, and whether its last highstate went well; guarded by _lock, like all below.
        self._heard: Bounded[str, tuple[float, bool | None]] = Bounded(most_minions, self._forgotten)
        self._ends: Counter[bool | None] = Counter()  # of those highstates
        self._shown: set[str] = set()  # have series of their own
        self._keys: Samples = {}
        self._connected: tuple[frozenset[str], float] | None = None
        self._keys_read_at = 0.0  # the teller's, like the next
        self._keys_stale = True

    # What the bus says.

    def heard(self, minion: str, highstate: bool | None = None) -> None:
        """A minion gave a sign of life; highstate: how its highstate ended, if it was that."""
        with self._lock:
            before = self._heard.get(minion)
            end = before[1] if before and highstate is None else highstate
            self._heard[minion] = (self._now(), end)
            if before is None:
                self._ends[end] += 1
            elif end is not before[1]:
                self._ends[before[1]] -= 1
                self._ends[end] += 1
        if before is None and self._per_minion.enabled:
            self._show(minion)

    def authenticated(self, event: Payload) -> None:
        """Take `salt/auth`."""
        fields = event.fields
        self._observer.authenticated(text_of(fields, "act"), accepted=bool(fields.get("result")))
        if fields.get("result") and text_of(fields, "act") == "accept" and text_of(fields, "id"):
            self.heard(text_of(fields, "id"))
        self._keys_stale = True

    def keys_changed(self) -> None:
        """Take `salt/key`."""
        self._keys_stale = True

    def minion_started(self, minion: str) -> None:
        """Take `salt/minion/ID/start`."""
        self._observer.minion_started()
        self.heard(minion)

    def present(self, event: Payload) -> None:
        """Take `salt/presence/present`."""
        with self._lock:
            self._connected = (_names(event.fields.get("present")), self._now())

    def presence_changed(self, event: Payload) -> None:
        """Take `salt/presence/change`."""
        self._observer.presence_changed(_size(event.fields.get("new")), _size(event.fields.get("lost")))

    def worker_stats(self, event: Payload) -> None:
        """Take `salt/stats/WORKER`: how many requests of each command, and how long they took on average."""
        stats = event.fields.get("stats")
        for cmd, figures in stats.items() if isinstance(stats, dict) else ():
            runs, mean = (_number(figures, name) for name in ("runs", "mean"))
            self._observer.worker_stats(str(cmd), runs, runs * mean)

    def tick(self) -> None:
        """Forget minions that have been silent for a day, and read the keys again when it is time."""
        with self._lock:
            while self._heard and next(iter(self._heard.values()))[0] <= self._now() - REMEMBERED_SECONDS:
                self._forgotten(*self._heard.popitem(last=False))
        age = self._now() - self._keys_read_at
        if age < 0 or age >= (KEYS_PAUSE_SECONDS if self._keys_stale else KEYS_SECONDS):
            self._keys_stale, self._keys_read_at = False, self._now()
            keys = count_keys(self._pki_dir)
            with self._lock:
                self._keys = keys

    # What a scrape asks.

    def seen(self, windows: Mapping[str, float]) -> Samples:
        """Return how many minions were heard of within each window, seconds."""
        with self._lock:
            heard = list(self._heard.values())
        return {(name,): float(len(heard) - bisect_right(heard, self._now() - seconds, key=itemgetter(0))) for name, seconds in windows.items()}

    def highstates(self) -> Samples:
        """Return how many minions' last highstate ended how."""
        with self._lock:
            return {(name,): float(self._ends[end]) for name, end in _ENDS.items()}

    def keys(self) -> Samples:
        """Return how many keys there are in each state; nothing where we may not look."""
        with self._lock:
            return self._keys

    def connected(self) -> Samples:
        """Return how many minions are connected; nothing if the master does not say."""
        present = self._present()
        return {} if present is None else {(): float(len(present))}

    def _present(self) -> frozenset[str] | None:
        with self._lock:
            known = self._connected
        return known[0] if known and self._now() - known[1] < PRESENCE_SECONDS else None

    # What a caller asks.

    def sightings(self, minions: Iterable[str]) -> dict[str, Sighting]:
        """Return what is known of each of these minions."""
        present = self._present()
        with self._lock:
            heard = {minion: self._heard.get(minion) or (None, None) for minion in minions}
        return {minion: Sighting(at, well, None if present is None else minion in present) for minion, (at, well) in heard.items()}

    # What a scrape asks, of minions with series of their own.

    def last_seen(self) -> Samples:
        """Return when each minion with a series of its own was heard of."""
        return {(minion,): at for minion, (at, _) in self._listed()}

    def last_highstate(self) -> Samples:
        """Return whether the last highstate of each minion with a series of its own went well."""
        return {(minion,): float(end) for minion, (_, end) in self._listed() if end is not None}

    def _listed(self) -> list[tuple[str, tuple[float, bool | None]]]:
        with self._lock:
            return [(minion, self._heard[minion]) for minion in sorted(self._shown)]

    def _forgotten(self, minion: str, heard: tuple[float, bool | None]) -> None:
        self._ends[heard[1]] -= 1
        self._shown.discard(minion)

    def _show(self, minion: str) -> None:
        if not fnmatch.fnmatchcase(minion, self._per_minion.allow):
            return
        if len(self._shown) >= self._per_minion.max:
            self._observer.unlisted(_LAST_SEEN)
            return
        with self._lock:
            self._shown.add(minion)


def count_keys(pki_dir: Path | None) -> Samples:
    """
    Return how many keys of minions there are in each state; nothing when the folders cannot be read.

    3008's default key store, `localfs_key`, keeps to these folders too; `minions` alone may also hold `.key_cache`.
    """
    if pki_dir is None:
        return {}
    try:
        return {(state,): float(_files_in(pki_dir / folder)) for state, folder in _FOLDERS.items()}
    except OSError:
        return {}


def _files_in(folder: Path) -> int:
    # Not `iterdir`, which makes a Path of each: with ten thousand keys that takes ten times as long.
    with os.scandir(folder) as entries:
        return sum(not entry.name.startswith(".") for entry in entries)


def key_folder(raw: Mapping[str, Any]) -> Path | None:
    """Return where the master of this configuration keeps keys as files, None when it keeps them elsewhere."""
    if (raw.get("keys.cache_driver") or "localfs_key") != "localfs_key":
        return None
    folder = raw.get("cluster_pki_dir") if raw.get("cluster_id") else raw.get("pki_dir")
    return Path(str(folder)) if folder else None


def _size(value: object) -> int:
    return len(value) if isinstance(value, list) else 0


def _names(value: object) -> frozenset[str]:
    return frozenset(name for name in value[:MOST_MINIONS] if isinstance(name, str)) if isinstance(value, list) else frozenset()


def _number(figures: object, name: str) -> float:
    value = figures.get(name) if isinstance(figures, dict) else None
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e12 else 0.0
