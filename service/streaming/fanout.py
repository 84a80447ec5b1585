"""Fan-out: one thread takes the bus' events and hands each, rendered once, to every reader that may and wants to see it."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable

from service.batcher import Batcher
from service.errors import Draining
from service.events.event import Event
from service.events.owners import Owners
from service.streaming.readers import QUEUE_BYTES, Batch, Reader, Transport, View
from service.streaming.rendering import Encode, StreamEvent, frame
from service.streaming.replay import Replay

# Readers are woken at most this often: at 100 events a second that is a third of the work, and a lone event still leaves at once.
PACE_SECONDS = 0.03
# Between the bus thread and the fan-out thread.
FEED_EVENTS = 20_000
FEED_BYTES = 128 * 1024 * 1024
# While nobody reads, announcements of jobs gather; when they reach one of these limits, the fan-out thread is woken to learn them.
UNREAD_EVENTS = 500
UNREAD_BYTES = 1024 * 1024
# Longest wait, and most events waiting, for the master to say whether a job that the bus tells of is one that we are starting.
UNSETTLED_SECONDS = 10.0
UNSETTLED_EVENTS = 5000
UNSETTLED_BYTES = 16 * 1024 * 1024
NEW_TYPES = frozenset({"job_new", "run_new"})
DROPPED_TAG = "salt/sidecar/stream/dropped"
GAP_TAG = "salt/sidecar/stream/gap"


class Streams:
    """
    All readers of the event bus.

    `take` runs on the bus thread and only queues; decoding, redaction and serialisation happen on a thread of our own,
    once for each event, and not at all while nobody wants it. Where a name tells whose a job is, events that announce jobs are always learned from:
    who connects after starting a job must see its returns. That has time until there is a return to show.

    Readers of all events get them at once. Readers of their own jobs get an event when its job's owner is settled, in the same order.

    owners: knows whose jobs are.

    on_drop(): an event did not fit between the two threads. on_slow(count): not sent to a reader that was too slow.
    on_gap(): a caller came back too late for the replay. on_crash(): called inside the `except` of a bug.
    """

    def __init__(
        self,
        owners: Owners,
        *,
        encode: Encode,
        queue_events: int,
        on_drop: Callable[[], None] = lambda: None,
        on_slow: Callable[[int], None] = lambda _count: None,
        on_gap: Callable[[], None] = lambda: None,
        on_crash: Callable[[], None] = lambda: None,
        pace_seconds: float = PACE_SECONDS,
        feed_events: int = FEED_EVENTS,
        feed_bytes: int = FEED_BYTES,
        unread_events: int = UNREAD_EVENTS,
        unread_bytes: int = UNREAD_BYTES,
        queue_bytes: int = QUEUE_BYTES,
        replay: Replay | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._encode = encode
        self._queue_limits = queue_events, queue_bytes
        self._on_drop, self._on_slow, self._on_gap = on_drop, on_slow, on_gap
        self._monotonic = monotonic
        self._feed: Batcher[StreamEvent] = Batcher(
            "streams",
            self._distribute,
            limit_items=feed_events,
            limit_bytes=feed_bytes,
            pace_seconds=pace_seconds,
            idle_seconds=lambda: pace_seconds if self._unsettled else None,
            on_crash=lambda _events: on_crash(),
        )
        self._unread_limits = unread_events, unread_bytes
        self._unread: list[StreamEvent] = []  # announcements that came while nobody read; the bus thread's
        self._unread_bytes = 0
        self._owners = owners
        self._unsettled: deque[StreamEvent] = deque()  # of jobs; the fan-out thread's
        self._unsettled_bytes = 0
        self._lock = threading.Lock()
        self._readers: dict[View, list[Reader]] = {}  # guarded by _lock, like all below
        self._replay = replay or Replay(monotonic)
        self._closing = False
        self._sent_before = 0  # by readers that are gone

    # The bus thread.

    def take(self, event: Event) -> None:
        """Take an event of the bus if anybody may want it. Never blocks."""
        if self._readers or self._replay.wanted:
            if self._unread:
                self._feed_unread()
            self._put(StreamEvent(event, self._monotonic(), self._owners.begun))
        elif self._owners.of_name is not None and event.tag.endswith("/new"):
            self._unread.append(StreamEvent(event, self._monotonic(), unread=True))
            self._unread_bytes += event.size
            most, most_bytes = self._unread_limits
            if len(self._unread) >= most or self._unread_bytes >= most_bytes:
                self._feed_unread()

    def _feed_unread(self) -> None:
        """Let the fan-out thread learn the announcements before it judges what comes after them."""
        for event in self._unread:
            self._put(event)
        self._unread, self._unread_bytes = [], 0

    def _put(self, event: StreamEvent) -> None:
        if not self._feed.put(event, size=event.size):
            self._on_drop()

    # Request threads.

    def open(self, view: View, last_event_id: str | None = None, *, transport: Transport = "sse", wake: Callable[[], None] = lambda: None) -> Reader:
        """
        Add a reader. last_event_id: for a view with ids, what came after it is sent first, as far as it is still kept. wake: as of Reader.

        Raises Draining.
        """
        reader = Reader(view, *self._queue_limits, transport=transport, wake=wake)
        with self._lock:
            if self._closing:
                raise Draining("the sidecar is stopping", retry_after_seconds=1)
            if view.ids:
                self._replay.enter()
            missed = self._replay.after(last_event_id) if view.ids and last_event_id else []
            # Here and now: what is settled later comes like all that is new.
            missed = missed and [event for event in missed if view.wants(event)]
            self._readers.setdefault(view, []).append(reader)
        reader.first = self._catch_up(view, missed)
        return reader

    def close(self, reader: Reader) -> None:
        """Take a reader away; a second time does nothing."""
        with self._lock:
            self._remove(reader)

    def subscribers(self, transport: Transport | None = None) -> int:
        """Return how many readers there are; transport: of one kind only."""
        with self._lock:
            return sum(transport in {None, reader.transport} for readers in self._readers.values() for reader in readers)

    def alive(self) -> bool:
        """Tell whether the fan-out thread runs; it starts with the first event that somebody wants."""
        return self._feed.running

    def queued(self) -> int:
        """Return how many events wait to be handed out."""
        return self._feed.waiting

    def sent_total(self) -> int:
        """Return how many events all streams have taken, those that are over included."""
        with self._lock:
            return self._sent_before + sum(reader.taken for readers in self._readers.values() for reader in readers)

    # The life of the process.

    def end_all(self) -> None:
        """End every stream and let no new one begin: the process is stopping."""
        with self._lock:
            self._closing = True
            readers = [reader for readers in self._readers.values() for reader in readers]
        for reader in readers:
            reader.end("shutdown")

    def stop(self, timeout: float = 2.0) -> None:
        """End every stream and the thread. timeout: seconds."""
        self.end_all()
        self._feed.stop(timeout)

    # The fan-out thread.

    def _distribute(self, events: list[StreamEvent]) -> None:
        for event in events:
            self._learn(event)
        events = [event for event in events if not event.unread]
        with self._lock:
            for event in events:
                self._replay.keep(event)
            settled = self._settle(events)
            views = {view: list(readers) for view, readers in self._readers.items()}
        for view, readers in views.items():
            batch = self._batch(view, events if view.owner is None else settled)
            if batch is not None:
                self._hand_out(batch, readers)

    def _learn(self, event: StreamEvent) -> None:
        """Take the name in an announcement, where it says whose the job is."""
        if self._owners.of_name is not None and event.kind in NEW_TYPES and event.jid is not None and (user := event.user()):
            self._owners.announced(event.jid, user)

    def _settle(self, events: Iterable[StreamEvent]) -> list[StreamEvent]:
        """Return the events, these and earlier ones, whose owner is settled, up to the first whose is not; those of no job are nobody's."""
        for event in events:
            if event.jid is not None:
                self._unsettled.append(event)
                self._unsettled_bytes += event.size
        settled: list[StreamEvent] = []
        while self._unsettled and self._is_settled(self._unsettled[0]):
            event = self._unsettled.popleft()
            self._unsettled_bytes -= event.size
            event.owner = self._owners.of(event.jid)
            settled.append(event)
        return settled

    def _is_settled(self, event: StreamEvent) -> bool:
        if len(self._unsettled) > UNSETTLED_EVENTS or self._unsettled_bytes > UNSETTLED_BYTES or self._monotonic() > event.received_at + UNSETTLED_SECONDS:
            return True
        return event.jid is None or self._owners.is_settled(event.jid, event.begun)

    def _hand_out(self, batch: Batch, readers: list[Reader]) -> None:
        for reader in readers:
            if reader.ended or reader.offer(batch):
                continue
            words = {"reason": "this reader was too slow", "dropped": reader.dropped}
            reader.end("slow_consumer", frame(DROPPED_TAG, words, self._encode))
            self.close(reader)
            self._on_slow(reader.dropped)

    def _batch(self, view: View, events: Iterable[StreamEvent]) -> Batch | None:
        wanted = [event for event in events if view.wants(event)]
        if not wanted:
            return None
        frames = [event.render(self._encode) for event in wanted]
        if view.ids:
            frames = [b"id: %b\n%b" % (event.id.encode(), one) for event, one in zip(wanted, frames, strict=True)]
        return Batch(b"".join(frames), len(wanted), wanted[0].received_at)

    def _catch_up(self, view: View, missed: list[StreamEvent] | None) -> Batch | None:
        """Return what a caller that came back has missed, or the event that says that it is not known."""
        if missed is None:
            self._on_gap()
            words = {"reason": "the events since Last-Event-ID are no longer kept"}
            return Batch(frame(GAP_TAG, words, self._encode), 1, self._monotonic())
        batch = self._batch(view, missed)
        return batch and dataclasses.replace(batch, received_at=self._monotonic())

    def _remove(self, reader: Reader) -> None:
        readers = self._readers.get(reader.view, [])
        if reader not in readers:
            return
        readers.remove(reader)
        self._sent_before += reader.taken
        if not readers:
            del self._readers[reader.view]
        if reader.view.ids:
            self._replay.leave()
