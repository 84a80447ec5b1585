"""Follows the bus for the metrics of jobs and fleet: one thread behind a bounded queue."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from service.batcher import Batcher
from service.blocks import Block
from service.events.checked import Odd, checked
from service.events.event import Event
from service.events.payload import Payload, Undecodable
from service.fleet.job_tracker import QUESTION, JobTracker
from service.fleet.minion_tracker import Fleet
from service.fleet.returns import is_full_highstate
from service.observe.metrics.domains import Oddity

# Between the bus thread and ours.
QUEUE_EVENTS = 20_000
QUEUE_BYTES = 128 * 1024 * 1024
# Events that come close together are handled together, unless they are large: nobody else may need them any more.
PACE_SECONDS = 0.1
HURRY_BYTES = 128 * 1024
TICK_SECONDS = 1.0
LONGEST_JID = 64
LONGEST_ID = 256
# What these events hold is not wanted; their tag says all.
_TAG_ALONE = frozenset({"key", "minion_start", "minion_refresh", "beacon", "batch_complete", "batch_halted", "batch_recover"})
_FLEET = {"auth": Fleet.authenticated, "presence_present": Fleet.present, "presence_change": Fleet.presence_changed, "stats": Fleet.worker_stats}
_DECODED = frozenset({"job_new", "job_ret", "run_new", "run_ret", *_FLEET})
_BATCH_ENDS = {"batch_complete": "complete", "batch_halted": "halted", "batch_recover": "recovered"}
_MAY_BE_TRIMMED = frozenset({"job_new", "job_ret", "run_ret"})


class FollowedEvent(NamedTuple):
    """An event handed from the bus thread to ours. publishing: one of our publishes was under way when it came."""

    event: Event
    at: float
    publishing: bool


Item = FollowedEvent | Callable[[], None]


class Follower:
    """
    Hands the events that matter to the job tracker and the fleet.

    `take` and `cut` run on the bus thread and only queue; `publishing`, `published`, `waits` and `ended` may be called from any thread.
    on_published(jid, fun, minions, missing, seconds): the master took a job of ours. on_drop(): an event did not fit into the queue. on_undecodable(tag, bytes). on_odd(kind): an event is not believed, or a field of it. on_trimmed(): the master has cut an event. on_batch(outcome): a batch is over.
    on_crash(): called inside the `except` of a bug. monotonic: seconds.
    """

    def __init__(
        self,
        jobs: JobTracker,
        fleet: Fleet,
        *,
        on_published: Callable[[str, str, int, int, float], None],
        on_drop: Callable[[], None],
        on_undecodable: Callable[[str, int], None],
        on_odd: Callable[[Oddity], None],
        on_trimmed: Callable[[], None],
        on_batch: Callable[[str], None],
        on_crash: Callable[[], None],
        monotonic: Callable[[], float] = time.monotonic,
        queue_events: int = QUEUE_EVENTS,
        queue_bytes: int = QUEUE_BYTES,
        pace_seconds: float = PACE_SECONDS,
    ) -> None:
        self._jobs = jobs
        self.fleet = fleet
        self._on_published = on_published
        self._on_drop, self._on_undecodable, self._on_odd, self._on_trimmed = on_drop, on_undecodable, on_odd, on_trimmed
        self._on_batch, self._on_crash = on_batch, on_crash
        self._monotonic = monotonic
        self._batcher: Batcher[Item] = Batcher(
            "follower",
            self._handle_batch,
            limit_items=queue_events,
            limit_bytes=queue_bytes,
            pace_seconds=pace_seconds,
            idle_seconds=lambda: TICK_SECONDS,
            on_crash=lambda _items: on_crash(),
            lazy=False,
        )
        self._lock = threading.Lock()
        self._publishes = 0  # of ours under way; guarded by _lock
        self._quiet_at: float | None = None  # our thread's; see JobTracker.tick

    # The bus thread.

    def take(self, event: Event) -> None:
        """Take an event of the bus if it matters. Never blocks."""
        if event.kind in _TAG_ALONE:
            event = event._replace(raw=b"", size=0)
        elif event.kind not in _DECODED:
            if event.kind == "other" and event.jid is not None:
                self._on_odd("tag")
            return
        followed = FollowedEvent(event, self._monotonic(), self._publishes > 0)
        size = event.size
        if not self._batcher.put(followed, size=size, urgent=self._batcher.waiting_bytes + size > HURRY_BYTES):
            self._on_drop()

    def cut(self) -> None:
        """The bus was cut."""
        self._tell(self._jobs.cut)

    def depth(self) -> int:
        """Return how many events wait."""
        return self._batcher.waiting

    # Any thread.

    @property
    def in_progress(self) -> int:
        """Return how many jobs await a return."""
        return self._jobs.under_way()[0]

    @property
    def outstanding(self) -> int:
        """Return how many returns are awaited."""
        return self._jobs.under_way()[1]

    # Request threads.

    def publishing(self) -> Block[None]:
        """Publish, and call `published`, inside the block: the job is announced before the master acknowledges it."""
        return Block(self._begin_publish, self._end_publish)

    def published(self, jid: str, fun: str, minions: int, missing: int, seconds: float) -> None:
        """The master took a job of ours; the publish took *seconds*."""
        self._tell(lambda: self._jobs.claimed(jid))
        if fun != QUESTION:
            self._on_published(jid, fun, minions, missing, seconds)

    def waits(self, jid: str, seconds: float) -> None:
        """A request waits for the job, for at most *seconds*."""
        until = self._monotonic() + seconds
        self._tell(lambda: self._jobs.waited_for(jid, until))

    def ended(self, jid: str) -> None:
        """The request waits no longer."""
        now = self._monotonic()
        self._tell(lambda: self._jobs.ended(jid, now))

    def _begin_publish(self) -> None:
        with self._lock:
            self._publishes += 1

    def _end_publish(self, _: None) -> None:
        with self._lock:
            self._publishes -= 1

    def _tell(self, what: Callable[[], None]) -> None:
        """Let our thread do something between the events that came before and those that come after; it is no event, so there is room for it."""
        self._batcher.put(what, items=0)

    # Our thread.

    def start(self) -> None:
        """Start the thread."""
        self._batcher.start()

    def alive(self) -> bool:
        """Tell whether the thread runs."""
        return self._batcher.running

    def stop(self, timeout: float = 2.0) -> None:
        """Handle what waits and end the thread. timeout: seconds."""
        self._batcher.stop(timeout)

    def handle_waiting(self) -> None:
        """Handle what has gathered. Our thread's work; tests do it themselves."""
        self._batcher.handle_waiting()

    def _handle_batch(self, items: list[Item]) -> None:
        for item in items:
            self._guarded(item)
        self._guarded(self._tick)

    def _tick(self) -> None:
        # Read before the next batch is taken: who has published by now has claimed the job in it, or in an earlier one.
        quiet_at, self._quiet_at = self._quiet_at, None if self._publishes else self._monotonic()
        self._jobs.tick(self._monotonic(), quiet_at=quiet_at)
        self.fleet.tick()

    def _guarded(self, item: Item) -> None:
        """Handle one item; a bug must not end the thread."""
        try:
            if isinstance(item, FollowedEvent):
                self._batcher.release(1, item.event.size)
                self._handle(item)
            else:
                item()
        except Exception:
            self._on_crash()

    def _handle(self, item: FollowedEvent) -> None:
        event = item.event
        if event.kind in _TAG_ALONE:
            self._handle_tag(event)
            return
        try:
            payload = Payload(event.payload)
            if event.kind in _MAY_BE_TRIMMED and payload.trimmed:
                self._on_trimmed()
            fields = checked(event, payload.fields, payload.names)
            if len(fields) < len(payload.fields):
                self._on_odd("field")
                payload.fields = fields
            self._handle_event(item, payload)
        except Undecodable:
            self._on_undecodable(event.tag, event.size)
        except Odd as odd:
            self._on_odd(odd.kind)

    def _handle_tag(self, event: Event) -> None:
        parts = event.tag.split("/")
        if event.kind in _BATCH_ENDS:
            self._on_batch(_BATCH_ENDS[event.kind])
        elif event.kind == "key":
            self.fleet.keys_changed()
        elif event.kind == "minion_start" and len(parts) == 4:
            # `minion_start`, in one word, tells of the same start.
            self.fleet.minion_started(parts[2])
        elif event.kind in {"beacon", "minion_refresh"} and len(parts) > 2 and parts[2]:
            self.fleet.heard(parts[2])

    def _handle_event(self, item: FollowedEvent, payload: Payload) -> None:
        kind, jid = item.event.kind, item.event.jid
        if kind in _FLEET:
            _FLEET[kind](self.fleet, payload)
        elif jid is None or len(jid) > LONGEST_JID:
            # `salt/job/new`, say.
            raise Odd("tag")
        elif kind == "job_new":
            self._jobs.announced(jid, payload, item.at, publishing=item.publishing)
        elif kind == "job_ret":
            self._handle_return(jid, item, payload)
        elif kind == "run_new":
            self._jobs.runner_announced(jid, payload, item.at)
        else:
            self._jobs.runner_returned(jid, payload, item.at)

    def _handle_return(self, jid: str, item: FollowedEvent, payload: Payload) -> None:
        minion = item.event.minion
        if not 0 < len(minion) <= LONGEST_ID:
            raise Odd("identity")
        success = self._jobs.returned(jid, minion, payload, item.at)
        full = is_full_highstate(payload.fields.get("fun"), payload.later("fun_args"))
        self.fleet.heard(minion, success if full else None)
