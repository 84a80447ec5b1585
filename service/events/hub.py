"""The hub: takes every event of the bus and wakes the threads that wait for a job."""

from __future__ import annotations

import contextlib
import datetime as dt
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from service.blocks import Block
from service.errors import MasterUnreachable
from service.events.checked import Odd, checked
from service.events.event import Event, OnUndecodable, read
from service.events.owners import Owners
from service.events.payload import text_of

# A waiter that reads nothing must not eat the memory of the process.
INBOX_LIMIT_BYTES = 512 * 1024 * 1024
# With this much waiting its thread is woken before the last return is there: decoding takes memory too, and frees what was waiting.
INBOX_RING_BYTES = 128 * 1024
# Only what there is has these: anybody may fire another tag with a jid, and a master that refuses a low fires an error with the jid it named.
_OF_A_JOB = frozenset({"job_new", "job_publish", "job_ret", "job_start", "job_prog", "run_new", "run_ret", "syndic"})
LAG_SAMPLE_BYTES = 4096
LAG_SAMPLE_SECONDS = 1.0


class Interruption:
    """In a waiter's inbox: the bus was cut here, so events may be missing."""


class Bell(Protocol):
    """What a waiter's thread sleeps on."""

    def put(self, item: None, /) -> None:
        """Ring it."""

    def get(self, *, timeout: float) -> None:
        """Sleep until it rings. Raises queue.Empty after *timeout* seconds."""


class Waiter:
    """
    The inbox of one request. Only the hub puts, only the request's thread takes.

    interrupted: the bus was cut while we listened, so what we did not hear may have happened all the same.
    """

    def __init__(self, hub: Hub, bell: Bell, *, limit_bytes: int, ring_bytes: int) -> None:
        """bell: may ring once too often, never once too seldom. limit_bytes: of the inbox; ring_bytes: how many wake the thread whatever it waits for."""
        self._hub = hub
        self._bell = bell
        self._limit_bytes, self._ring_bytes = limit_bytes, ring_bytes
        self._items: deque[Event | Interruption] = deque()
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
        Let `next` sleep until *returns* are waiting, or `ring_bytes` of them; anything else still wakes it at once.

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

    def believed(self, event: Event, fun: str | list[str] | None = None) -> dict[str, Any] | None:
        """
        Decode what came; None if it cannot be believed, or is about another function than *fun*.

        The hub's `on_undecodable` hears of an event that cannot be decoded, `on_other_function` of one about another function.
        """
        try:
            data = checked(event, event.data(self._hub.on_undecodable))
        except Odd:
            return None
        if fun is not None and data.get("fun", fun) != fun:
            self._hub.on_other_function()
            return None
        return data

    def put(self, item: Event | Interruption) -> bool:
        """Accept an item; False when the inbox is full. The hub's alone."""
        rings = True
        if isinstance(item, Event):
            before = self._put_bytes - self._taken_bytes
            after = before + item.size
            if after > self._limit_bytes:
                return False
            self._put_bytes += item.size
            # The thread sleeps only after it has seen nothing wait, so it cannot miss the one that makes the number full.
            rings = len(self._items) + 1 == self._ring_at or before < self._ring_bytes <= after or item.kind != "job_ret"
        self._items.append(item)
        if rings:
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

    def look(self, event: Event) -> None:
        """Take an event, and mostly ignore it."""
        if self._monotonic() < self._next or event.size > LAG_SAMPLE_BYTES:
            return
        self._next = self._monotonic() + LAG_SAMPLE_SECONDS
        try:
            stamp = dt.datetime.fromisoformat(text_of(event.data(), "_stamp"))
        except ValueError:
            return
        self._on_lag(self._now() - (stamp if stamp.tzinfo else stamp.replace(tzinfo=dt.timezone.utc)).timestamp())


class Hub:
    """
    Routes events by jid.

    A minion may answer before the publish is acknowledged, so while a publish is under way, events of jids that
    nobody watches yet are kept, bounded in bytes; `watch` hands them over.

    on_event(kind, bytes) hears of every event; on_drop() of every one we had to drop; on_lag(seconds) of a sample's lateness;
    on_undecodable(tag, bytes) of an event that somebody waited for and that cannot be decoded; on_other_function() of a return under a jid that
    somebody waited for, but of another function. owners: hears which jobs there are.
    """

    def __init__(
        self,
        *,
        early_limit_bytes: int,
        on_event: Callable[[str, int], None],
        on_drop: Callable[[], None],
        on_lag: Callable[[float], None] = lambda _seconds: None,
        on_undecodable: OnUndecodable | None = None,
        on_other_function: Callable[[], None] = lambda: None,
        owners: Owners | None = None,
        inbox_limit_bytes: int = INBOX_LIMIT_BYTES,
        inbox_ring_bytes: int = INBOX_RING_BYTES,
        new_bell: Callable[[], Bell] = queue.SimpleQueue,
    ) -> None:
        self._early_limit_bytes = early_limit_bytes
        self._on_event = on_event
        self._on_drop = on_drop
        self.owners = owners or Owners()
        self._lag = LagSampler(on_lag)
        self.on_undecodable, self.on_other_function = on_undecodable, on_other_function
        self._new_waiter: Callable[[], Waiter] = lambda: Waiter(self, new_bell(), limit_bytes=inbox_limit_bytes, ring_bytes=inbox_ring_bytes)
        self._subscribers: tuple[Callable[[Event], None], ...] = ()
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

    @property
    def is_idle(self) -> bool:
        """Say whether nobody listens, no job is watched and no event is kept."""
        with self._lock:
            return not (self._listening or self._watched or self._early_bytes)

    def is_waited_for(self, jid: str) -> bool:
        """Say whether a request waits for a job."""
        return jid in self._watched

    def listen(self) -> Block[Waiter]:
        """
        Give a waiter. It hears of the jids it watches, and of every interruption of the bus.

        Raises MasterUnreachable while the bus is not connected.
        """
        return Block(self._listen, self._forget)

    def subscribe(self, take: Callable[[Event], None], on_cut: Callable[[], None] = lambda: None) -> None:
        """
        Hand every event to *take* too, and tell when the bus was cut; both on the bus thread, so they must not block.

        Who comes when the bus is connected hears of what is told from then on. Two may not come at once.
        """
        self._subscribers += (take,)
        self._on_cut += (on_cut,)

    def keep_early(self) -> Block[None]:
        """Keep the events of unknown jids inside the block: publish and `watch` in it, a fast minion answers first."""
        return Block(self._begin_publish, self._end_publish)

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
        event = read(raw)
        self._on_event(event.kind, len(raw))
        self._lag.look(event)
        if event.jid is not None and event.kind in _OF_A_JOB:
            self.owners.exists(event.jid)
        for take in self._subscribers:
            take(event)
        jid = event.jid
        if jid is None or event.kind == "job_prog":
            # Who waits for a job wants its returns, and is not woken for each of its states.
            return
        with self._lock:
            waiters = self._watched.get(jid)
            if waiters is None:
                dropped = bool(self._publishing) and not self._keep_early(jid, event)
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

    def _listen(self) -> Waiter:
        waiter = self._new_waiter()
        with self._lock:
            if not self._open:
                raise MasterUnreachable("the master's event bus is not connected", retry_after_seconds=1)
            self._listening.add(waiter)
        return waiter

    def _begin_publish(self) -> None:
        with self._lock:
            self._publishing += 1

    def _end_publish(self, _: None) -> None:
        with self._lock:
            self._publishing -= 1
            if not self._publishing:
                self._early.clear()
                self._early_bytes = 0

    def _keep_early(self, jid: str, event: Event) -> bool:
        total = self._early_bytes + event.size
        if total > self._early_limit_bytes:
            return False
        self._early.setdefault(jid, []).append(event)
        self._early_bytes = total
        return True

    def _forget(self, waiter: Waiter) -> None:
        with self._lock:
            self._listening.discard(waiter)
            for jid in waiter.jids:
                self._watched[jid].remove(waiter)
                if not self._watched[jid]:
                    del self._watched[jid]
