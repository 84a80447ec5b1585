"""The hub: takes every event of the bus and wakes the threads that wait for a job."""

from __future__ import annotations

import contextlib
import datetime as dt
import queue
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import salt.payload
from salt.exceptions import SaltDeserializationError

from service.errors import MasterUnreachable

TAG_END = b"\n\n"
Undecodable = Callable[[str, int], None]  # takes the tag and the size in bytes
# A waiter that reads nothing must not eat the memory of the process.
INBOX_LIMIT_BYTES = 512 * 1024 * 1024
# With so much waiting its thread is woken before the last return is there: decoding takes memory too, and lets go of what was waiting.
INBOX_RING_BYTES = 128 * 1024
LAG_SAMPLE_BYTES = 4096
LAG_SAMPLE_SECONDS = 1.0
_SYNDIC_JID = re.compile(rb"/(\d{20}(?:_\d+)?)(?:/|$)")

# Types of events by their tags, the names of the metric's label values. Source: Salt's documentation, "Salt Master events".
_JOB_TYPES = {
    b"new": "job_new",
    b"publish": "job_publish",
    b"ret": "job_ret",
    b"start": "job_start",
    b"prog": "job_prog",
    b"sub": "job_sub_error",
    b"error": "job_error",
}
_RUN_TYPES = {b"new": "run_new", b"ret": "run_ret"}
_WHEEL_TYPES = {b"ret": "wheel_ret"}
_BATCH_TYPES = {name.encode(): f"batch_{name}" for name in ("new", "progress", "complete", "halted", "recover")}
_PRESENCE_TYPES = {b"change": "presence_change", b"present": "presence_present"}
# For salt/KIND/JID/TYPE/...; the rest of the tag says nothing about the type.
_BY_FOURTH = {b"job": _JOB_TYPES, b"run": _RUN_TYPES, b"wheel": _WHEEL_TYPES, b"batch": _BATCH_TYPES, b"minion": {b"start": "minion_start"}}
_BY_SECOND = {b"auth": "auth", b"key": "key", b"stats": "stats", b"beacon": "beacon", b"fileserver": "fileserver", b"cluster": "cluster"}
_BY_FIRST = {b"syndic": "syndic", b"minion_start": "minion_start", b"salt": "other"}
EVENT_TYPES = (
    *(name for types in (*_BY_FOURTH.values(), _PRESENCE_TYPES) for name in types.values()),
    *_BY_SECOND.values(),
    *("syndic", "minion_refresh", "custom", "other"),
)


def type_of(tag: bytes) -> str:
    """Return the type of an event, one of EVENT_TYPES. Takes any bytes."""
    parts = tag.split(b"/", 4)
    if parts[0] != b"salt" or len(parts) == 1:
        return "minion_refresh" if parts[:2] == [b"minion", b"refresh"] else _BY_FIRST.get(parts[0], "custom")
    if parts[1] in _BY_FOURTH:
        # `salt/job/error` has no jid.
        return _BY_FOURTH[parts[1]].get(parts[3] if len(parts) > 3 else parts[-1], "other")
    if parts[1] == b"presence":
        return _PRESENCE_TYPES.get(parts[2] if len(parts) > 2 else b"", "other")
    return _BY_SECOND.get(parts[1], "other")


def jid_of(tag: bytes) -> str | None:
    """
    Return the jid of an event that somebody may wait for, else None. Takes any bytes.

    `salt/job/JID/...`, `salt/run/JID/new` and `/ret`, and whatever a syndic forwards of a job.
    """
    parts = tag.split(b"/", 4)
    if len(parts) >= 4 and parts[0] == b"salt" and parts[1] == b"job":
        return parts[2].decode("ascii", "replace")
    if len(parts) == 4 and parts[:2] == [b"salt", b"run"] and parts[3] in {b"new", b"ret"}:
        return parts[2].decode("ascii", "replace")
    if parts[0] == b"syndic" and (found := _SYNDIC_JID.search(tag)):
        return found[1].decode("ascii")
    return None


class Event:
    """One event: its tag, and its data, decoded when somebody looks."""

    __slots__ = ("_on_undecodable", "_raw", "jid", "size", "tag")

    def __init__(self, jid: str, tag: bytes, raw: bytes, on_undecodable: Undecodable | None = None) -> None:
        self.jid = jid
        self.tag = tag.decode("utf-8", "replace")
        self.size = len(raw)
        self._raw = raw
        self._on_undecodable = on_undecodable

    def data(self) -> dict[str, Any]:
        """Decode the payload; one that is no mapping, or cannot be decoded (Salt logs that), counts as empty."""
        _, _, payload = self._raw.partition(TAG_END)
        try:
            data = salt.payload.loads(payload, encoding="utf-8")
        except SaltDeserializationError:
            if self._on_undecodable is not None:
                self._on_undecodable(self.tag, self.size)
            return {}
        return data if isinstance(data, dict) else {}


class Interruption:
    """In a waiter's inbox: the bus was cut here, so events may be missing."""


class Waiter:
    """
    The inbox of one request. Only the hub puts, only the request's thread takes.

    interrupted: the bus was cut while we listened, so what we did not hear may have happened all the same.
    """

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._items: deque[Event | Interruption] = deque()
        self._bell: queue.SimpleQueue[None] = queue.SimpleQueue()  # may ring once too often, never once too seldom
        self._ring_at = 1
        self.jids: set[str] = set()  # guarded by the hub's lock
        self._put_bytes = 0  # the hub's
        self._taken_bytes = 0  # the waiter's
        self.interrupted = False

    @property
    def waiting(self) -> int:
        """Return how many items wait."""
        return len(self._items)

    def watch(self, jid: str) -> None:
        """Take the events of this job too, also the early ones."""
        self._hub.attach(self, jid)

    def wake_at(self, returns: int) -> None:
        """
        Let `next` sleep until so many returns wait, or INBOX_RING_BYTES of them; anything else still wakes it at once.

        Waking a thread costs more than the return it is woken for.
        """
        self._ring_at = max(1, returns)

    def next(self, timeout: float) -> Event | Interruption | None:
        """Return the next item, one that waits at once; after *timeout* seconds whatever there is. None, also before that, when there is nothing."""
        if not self._items:
            with contextlib.suppress(queue.Empty):
                self._bell.get(timeout=max(0.0, timeout))
            if not self._items:
                return None
        item = self._items.popleft()
        if isinstance(item, Interruption):
            self.interrupted = True
        else:
            self._taken_bytes += item.size
        return item

    def put(self, item: Event | Interruption) -> bool:
        """Accept an item; False when the inbox is full. The hub's alone."""
        heavy = False
        if isinstance(item, Event):
            before = self._put_bytes - self._taken_bytes
            if before + item.size > INBOX_LIMIT_BYTES:
                return False
            heavy = before < INBOX_RING_BYTES <= before + item.size
            self._put_bytes += item.size
        self._items.append(item)
        # The thread sleeps only after it has seen nothing wait, so it cannot miss the one that makes the number full.
        if len(self._items) == self._ring_at or heavy or isinstance(item, Interruption) or "/ret/" not in item.tag:
            self._bell.put(None)
        return True


class LagSampler:
    """
    Measures how late events come, from one small event a second: decoding each would cost more than all the rest.

    A stamp without an offset is UTC. now is Unix time.
    """

    def __init__(self, on_lag: Callable[[float], None], *, monotonic: Callable[[], float] = time.monotonic, now: Callable[[], float] = time.time) -> None:
        self._on_lag = on_lag
        self._monotonic = monotonic
        self._now = now
        self._next = 0.0

    def look(self, raw: bytes) -> None:
        """Take a raw event, and mostly ignore it."""
        if self._monotonic() < self._next or len(raw) > LAG_SAMPLE_BYTES:
            return
        self._next = self._monotonic() + LAG_SAMPLE_SECONDS
        try:
            stamp = dt.datetime.fromisoformat(str(Event("", b"", raw).data().get("_stamp")))
        except ValueError:
            return
        self._on_lag(self._now() - (stamp if stamp.tzinfo else stamp.replace(tzinfo=dt.timezone.utc)).timestamp())


class Hub:
    """
    Routes events by jid.

    A minion may answer before the publish is acknowledged, so while a publish is under way, events of jids that
    nobody watches yet are kept, bounded in bytes; `watch` hands them over.

    on_event(type, bytes) hears of every event; on_drop() of every one we had to drop; on_lag(seconds) of a sample's lateness;
    on_undecodable(tag, bytes) of an event that somebody waited for and that cannot be decoded.
    """

    def __init__(
        self,
        *,
        early_limit_bytes: int,
        on_event: Callable[[str, int], None],
        on_drop: Callable[[], None],
        on_lag: Callable[[float], None] = lambda _seconds: None,
        on_undecodable: Undecodable | None = None,
    ) -> None:
        self._early_limit_bytes = early_limit_bytes
        self._on_event = on_event
        self._on_drop = on_drop
        self._lag = LagSampler(on_lag)
        self._on_undecodable = on_undecodable
        self._subscribers: tuple[Callable[[bytes, bytes], None], ...] = ()
        self._on_cut: tuple[Callable[[], None], ...] = ()
        self._lock = threading.Lock()
        self._open = False  # guarded by _lock, like all below
        self._listening: set[Waiter] = set()
        self._watched: dict[str, list[Waiter]] = {}
        self._early: dict[str, list[Event]] = {}
        self._early_bytes = 0
        self._publishing = 0  # publishes under way: only they can want early events

    @property
    def is_open(self) -> bool:
        """Say whether events arrive."""
        return self._open

    @contextlib.contextmanager
    def listen(self) -> Iterator[Waiter]:
        """
        Give a waiter. It hears of the jids it watches, and of every interruption of the bus.

        Raises MasterUnreachable while the bus is not connected.
        """
        waiter = Waiter(self)
        with self._lock:
            if not self._open:
                raise MasterUnreachable("the master's event bus is not connected", retry_after_seconds=1)
            self._listening.add(waiter)
        try:
            yield waiter
        finally:
            self._forget(waiter)

    def subscribe(self, take: Callable[[bytes, bytes], None], on_cut: Callable[[], None] = lambda: None) -> None:
        """
        Hand every event, as tag and raw bytes, to *take* too, and tell when the bus was cut; both on the bus thread, so they must not block.

        Call it before the bus is connected.
        """
        self._subscribers += (take,)
        self._on_cut += (on_cut,)

    @contextlib.contextmanager
    def keep_early(self) -> Iterator[None]:
        """Keep the events of unknown jids inside the block: publish and `watch` in it, a fast minion answers first."""
        with self._lock:
            self._publishing += 1
        try:
            yield
        finally:
            with self._lock:
                self._publishing -= 1
                self._drop_early_if_unwanted()

    def attach(self, waiter: Waiter, jid: str) -> None:
        """Route a job's events to a waiter, the early ones first."""
        with self._lock:
            waiter.jids.add(jid)
            self._watched.setdefault(jid, []).append(waiter)
            early = self._early.pop(jid, [])
            self._early_bytes -= sum(event.size for event in early)
            full = [event for event in early if not waiter.put(event)]
        for _ in full:
            self._on_drop()

    def deliver(self, raw: bytes) -> None:
        """Take one raw event. Called on the bus thread; never blocks, decodes nothing."""
        tag, _, _ = raw.partition(TAG_END)
        self._on_event(type_of(tag), len(raw))
        self._lag.look(raw)
        for take in self._subscribers:
            take(tag, raw)
        jid = jid_of(tag)
        if jid is None:
            return
        event = Event(jid, tag, raw, self._on_undecodable)
        with self._lock:
            waiters = self._watched.get(jid)
            if waiters is None:
                dropped = bool(self._publishing) and not self._keep_early(event)
            else:
                dropped = bool([waiter for waiter in waiters if not waiter.put(event)])
        if dropped:
            self._on_drop()

    def opened(self) -> None:
        """The bus is connected."""
        with self._lock:
            self._open = True

    def interrupted(self) -> None:
        """The bus was cut: tell everybody who listens."""
        with self._lock:
            self._open = False
            waiters = list(self._listening)
        for waiter in waiters:
            waiter.put(Interruption())
        for tell in self._on_cut:
            tell()

    def _keep_early(self, event: Event) -> bool:
        if self._early_bytes + event.size > self._early_limit_bytes:
            return False
        self._early.setdefault(event.jid, []).append(event)
        self._early_bytes += event.size
        return True

    def _forget(self, waiter: Waiter) -> None:
        with self._lock:
            self._listening.discard(waiter)
            for jid in waiter.jids:
                self._watched[jid].remove(waiter)
                if not self._watched[jid]:
                    del self._watched[jid]

    def _drop_early_if_unwanted(self) -> None:
        if not self._publishing:
            self._early.clear()
            self._early_bytes = 0
