"""The hub: takes every event of the bus and wakes the threads that wait for a job."""

from __future__ import annotations

import contextlib
import queue
import re
import threading
from collections.abc import Callable, Iterator
from typing import Any

import salt.payload

from service.errors import MasterUnreachable

TAG_END = b"\n\n"
# A waiter that reads nothing must not eat the memory of the process.
INBOX_LIMIT_BYTES = 512 * 1024 * 1024
_SYNDIC_JID = re.compile(rb"/(\d{20}(?:_\d+)?)(?:/|$)")

# By the first parts of the tag; the first match names the type. Source: Salt's documentation, "Salt Master events".
_EVENT_TYPES: tuple[tuple[re.Pattern[bytes], str], ...] = tuple(
    (re.compile(pattern), name)
    for pattern, name in (
        (rb"salt/job/[^/]+/ret/", "job_ret"),
        (rb"salt/job/[^/]+/new$", "job_new"),
        (rb"salt/job/[^/]+/publish$", "job_publish"),
        (rb"salt/job/([^/]+/)?error$", "job_error"),
        (rb"salt/job/", "job_other"),
        (rb"salt/run/[^/]+/new$", "run_new"),
        (rb"salt/run/[^/]+/ret$", "run_ret"),
        (rb"salt/run/", "run_other"),
        (rb"salt/wheel/", "wheel"),
        (rb"salt/batch/", "batch"),
        (rb"salt/auth", "auth"),
        (rb"salt/key", "key"),
        (rb"salt/minion/[^/]+/start$|minion_start", "minion_start"),
        (rb"salt/presence/", "presence"),
        (rb"salt/stats/", "stats"),
        (rb"salt/beacon/", "beacon"),
        (rb"salt/netapi/", "netapi"),
        (rb"salt/", "salt_other"),
        (rb"syndic/", "syndic"),
        (rb"minion/refresh/", "minion_refresh"),
        (rb"", "other"),
    )
)
EVENT_TYPES = tuple(dict.fromkeys(name for _, name in _EVENT_TYPES))


def type_of(tag: bytes) -> str:
    """Return the type of an event, one of EVENT_TYPES."""
    return next(name for pattern, name in _EVENT_TYPES if pattern.match(tag))


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

    __slots__ = ("_raw", "jid", "size", "tag")

    def __init__(self, jid: str, tag: bytes, raw: bytes) -> None:
        self.jid = jid
        self.tag = tag.decode("utf-8", "replace")
        self.size = len(raw)
        self._raw = raw

    def data(self) -> dict[str, Any]:
        """Decode the payload; anything that is no mapping counts as empty."""
        _, _, payload = self._raw.partition(TAG_END)
        data = salt.payload.loads(payload, encoding="utf-8")
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
        self._inbox: queue.SimpleQueue[Event | Interruption] = queue.SimpleQueue()
        self.jids: set[str] = set()  # guarded by the hub's lock
        self._put_bytes = 0  # the hub's
        self._taken_bytes = 0  # the waiter's
        self.interrupted = False

    def watch(self, jid: str) -> None:
        """Take the events of this job too, also the early ones."""
        self._hub.attach(self, jid)

    def next(self, timeout: float) -> Event | Interruption | None:
        """Return the next event, or None after *timeout* seconds."""
        try:
            item = self._inbox.get(timeout=max(0.0, timeout))
        except queue.Empty:
            return None
        if isinstance(item, Interruption):
            self.interrupted = True
        else:
            self._taken_bytes += item.size
        return item

    def put(self, item: Event | Interruption) -> bool:
        """Accept an item; False when the inbox is full. The hub's alone."""
        if isinstance(item, Event):
            if self._put_bytes - self._taken_bytes + item.size > INBOX_LIMIT_BYTES:
                return False
            self._put_bytes += item.size
        self._inbox.put(item)
        return True


class Hub:
    """
    Routes events by jid.

    A minion may answer before the publish is acknowledged, so while a publish is under way, events of jids that
    nobody watches yet are kept, bounded in bytes; `watch` hands them over.

    on_event(type, bytes) hears of every event; on_drop(consumer) of every one we had to drop.
    """

    def __init__(self, *, early_limit_bytes: int, on_event: Callable[[str, int], None], on_drop: Callable[[str], None]) -> None:
        self._early_limit_bytes = early_limit_bytes
        self._on_event = on_event
        self._on_drop = on_drop
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
            self._on_drop("waiter")

    def deliver(self, raw: bytes) -> None:
        """Take one raw event. Called on the bus thread; never blocks, decodes nothing."""
        tag, _, _ = raw.partition(TAG_END)
        self._on_event(type_of(tag), len(raw))
        jid = jid_of(tag)
        if jid is None:
            return
        event = Event(jid, tag, raw)
        with self._lock:
            waiters = self._watched.get(jid)
            if waiters is None:
                dropped = "early" if self._publishing and not self._keep_early(event) else None
            else:
                dropped = "waiter" if [waiter for waiter in waiters if not waiter.put(event)] else None
        if dropped:
            self._on_drop(dropped)

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
