"""Follows the bus for the metrics of jobs and fleet: one thread behind a bounded queue."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterator

from service.events.hub import jid_of, type_of
from service.events.payload import Peek, Undecodable, text_of
from service.fleet.job_tracker import QUESTION, JobTracker
from service.fleet.minions import Fleet
from service.fleet.returns import is_full_highstate

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


class FollowedEvent:
    """An event on its way from the bus thread to ours. publishing: a publish of ours was under way when it came."""

    __slots__ = ("at", "kind", "publishing", "raw", "tag")

    def __init__(self, kind: str, tag: bytes, raw: bytes, at: float, *, publishing: bool) -> None:
        self.kind = kind
        self.tag = tag
        self.raw = raw
        self.at = at
        self.publishing = publishing


Item = FollowedEvent | Callable[[], None]


class Follower:
    """
    Hands the events that matter to the job tracker and the fleet.

    `take` and `cut` run on the bus thread and only queue; `publishing`, `published`, `waits` and `ended` may be called from any thread.
    on_published(jid, fun, minions, missing, seconds): the master took a job of ours. on_drop(): an event did not fit into the queue. on_undecodable(tag, bytes). on_trimmed(): the master has cut an event. on_batch(outcome): a batch is over.
    on_crash(): called inside the `except` of a bug. monotonic: seconds.
    """

    def __init__(
        self,
        jobs: JobTracker,
        fleet: Fleet,
        *,
        on_published: Callable[[str, str, int, int, float], None],
        on_drop: Callable[[], None],
        on_undecodable: Callable[[bytes, int], None],
        on_trimmed: Callable[[], None],
        on_batch: Callable[[str], None],
        on_crash: Callable[[], None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._jobs = jobs
        self._fleet = fleet
        self._on_published = on_published
        self._on_drop, self._on_undecodable, self._on_trimmed, self._on_batch, self._on_crash = on_drop, on_undecodable, on_trimmed, on_batch, on_crash
        self._monotonic = monotonic
        self._queue: queue.SimpleQueue[Item | None] = queue.SimpleQueue()
        self._queued = self._queued_bytes = 0  # the bus thread's
        self._handled = self._handled_bytes = 0  # ours
        self._lock = threading.Lock()
        self._publishes = 0  # of ours under way; guarded by _lock
        self._hurry = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="follower", daemon=True)

    # The bus thread.

    def take(self, tag: bytes, raw: bytes) -> None:
        """Take an event of the bus if it matters. Never blocks."""
        kind = type_of(tag)
        if kind in _TAG_ALONE:
            raw = b""
        elif kind not in _DECODED:
            return
        if self._queued - self._handled >= QUEUE_EVENTS or self._queued_bytes - self._handled_bytes + len(raw) > QUEUE_BYTES:
            self._on_drop()
            return
        self._queued += 1
        self._queued_bytes += len(raw)
        if self._queued_bytes - self._handled_bytes > HURRY_BYTES:
            self._hurry.set()
        self._queue.put(FollowedEvent(kind, tag, raw, self._monotonic(), publishing=self._publishes > 0))

    def cut(self) -> None:
        """The bus was cut."""
        self._queue.put(self._jobs.cut)

    def depth(self) -> int:
        """Return how many events wait."""
        return self._queued - self._handled

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

    @contextlib.contextmanager
    def publishing(self) -> Iterator[None]:
        """Publish, and call `published`, inside the block: the job is announced before the master acknowledges it."""
        with self._lock:
            self._publishes += 1
        try:
            yield
        finally:
            with self._lock:
                self._publishes -= 1

    def published(self, jid: str, fun: str, minions: int, missing: int, seconds: float) -> None:
        """The master took a job of ours, after so many seconds."""
        self._queue.put(lambda: self._jobs.claimed(jid))
        if fun != QUESTION:
            self._on_published(jid, fun, minions, missing, seconds)

    def waits(self, jid: str, seconds: float) -> None:
        """A request waits for the job, at most so long."""
        until = self._monotonic() + seconds
        self._queue.put(lambda: self._jobs.waited_for(jid, until))

    def ended(self, jid: str) -> None:
        """The request waits no longer."""
        now = self._monotonic()
        self._queue.put(lambda: self._jobs.ended(jid, now))

    # Our thread.

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, timeout: float = 2.0) -> None:
        """End the thread. timeout: seconds."""
        self._stopping.set()
        self._hurry.set()
        self._queue.put(None)
        if self._thread.is_alive():
            self._thread.join(timeout)

    def handle_waiting(self, first: Item | None = None) -> None:
        """Handle what has gathered. Our thread's work; tests do it themselves."""
        # Read before the queue is: who had published by then has claimed the job there.
        quiet_at = None if self._publishes else self._monotonic()
        waiting = self._queue.qsize()
        self._guarded(first)
        for _ in range(waiting):
            self._guarded(self._queue.get())
        self._guarded(lambda: self._tick(quiet_at))

    def _run(self) -> None:
        while not self._stopping.is_set():
            first: Item | None = None
            with contextlib.suppress(queue.Empty):
                first = self._queue.get(timeout=TICK_SECONDS)
            self.handle_waiting(first)
            self._hurry.wait(PACE_SECONDS)
            self._hurry.clear()

    def _tick(self, quiet_at: float | None) -> None:
        self._jobs.tick(self._monotonic(), quiet_at=quiet_at)
        self._fleet.tick()

    def _guarded(self, item: Item | None) -> None:
        """Handle one item; a bug must not end the thread."""
        try:
            if isinstance(item, FollowedEvent):
                self._handled += 1
                self._handled_bytes += len(item.raw)
                self._handle(item)
            elif item is not None:
                item()
        except Exception:
            self._on_crash()

    def _handle(self, item: FollowedEvent) -> None:
        if item.kind in _TAG_ALONE:
            self._handle_tag(item)
            return
        try:
            event = Peek(item.raw)
            if item.kind in _MAY_BE_TRIMMED and event.trimmed:
                self._on_trimmed()
            self._handle_event(item, event)
        except Undecodable:
            self._on_undecodable(item.tag, len(item.raw))

    def _handle_tag(self, item: FollowedEvent) -> None:
        parts = item.tag.decode("utf-8", "replace").split("/")
        if item.kind in _BATCH_ENDS:
            self._on_batch(_BATCH_ENDS[item.kind])
        elif item.kind == "key":
            self._fleet.keys_changed()
        elif item.kind == "minion_start" and len(parts) == 4:
            # `minion_start`, in one word, tells of the same start.
            self._fleet.minion_started(parts[2])
        elif item.kind in {"beacon", "minion_refresh"} and len(parts) > 2 and parts[2]:
            self._fleet.heard(parts[2])

    def _handle_event(self, item: FollowedEvent, event: Peek) -> None:
        if item.kind in _FLEET:
            _FLEET[item.kind](self._fleet, event)
            return
        jid = jid_of(item.tag)
        if jid is None or len(jid) > LONGEST_JID:
            # Not Salt's; `salt/job/new`, say.
            return
        if item.kind == "job_new":
            self._jobs.announced(jid, event, item.at, publishing=item.publishing)
        elif item.kind == "job_ret":
            self._handle_return(jid, item, event)
        elif item.kind == "run_new":
            self._jobs.runner_announced(jid, event, item.at)
        else:
            self._jobs.runner_returned(jid, event, item.at)

    def _handle_return(self, jid: str, item: FollowedEvent, event: Peek) -> None:
        minion = text_of(event.fields, "id")
        if not 0 < len(minion) <= LONGEST_ID:
            self._on_undecodable(item.tag, len(item.raw))
            return
        success = self._jobs.returned(jid, text_of(event.fields, "resource_id") or minion, event, item.at)
        full = is_full_highstate(event.fields.get("fun"), event.later("fun_args"))
        self._fleet.heard(minion, success if full else None)
