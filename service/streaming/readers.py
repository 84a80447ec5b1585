"""A reader of the event bus: what it may see, what waits for it, and what is kept for those who come back."""

from __future__ import annotations

import dataclasses
import fnmatch
import functools
import itertools
import queue
import re
import secrets
from collections import deque
from collections.abc import Callable
from typing import Literal

from service.streaming.rendering import StreamEvent

# What may wait for one reader, besides the number of events; the events themselves are shared by all readers.
QUEUE_BYTES = 64 * 1024 * 1024
# What is kept for callers that reconnect with an event's id, and the time it is kept after the last of them has left.
REPLAY_EVENTS = 1000
REPLAY_BYTES = 8 * 1024 * 1024
REPLAY_SECONDS = 60.0

Ending = Literal["slow_consumer", "shutdown"]


@dataclasses.dataclass(frozen=True)
class View:
    """
    What a reader sees. Readers with equal views share their batches.

    user: only the jobs this user started; None: everything. globs: tags, all when empty. ids: with `id:` lines.
    """

    user: str | None = None
    globs: tuple[str, ...] = ()
    ids: bool = False

    def wants(self, event: StreamEvent) -> bool:
        """Say whether an event is for this view."""
        if self.user is not None and event.owner != self.user:
            return False
        return not self.globs or _pattern(self.globs).match(event.tag) is not None


@functools.lru_cache(maxsize=1024)
def _pattern(globs: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(fnmatch.translate(glob) for glob in globs))


@dataclasses.dataclass(frozen=True)
class Batch:
    """Events as the bytes to send. received_at: of the first of them, monotonic seconds."""

    data: bytes
    count: int
    received_at: float


class Replay:
    """
    The last events, for callers that ask for ids and come back. Its user's lock guards it.

    An id is valid within one unbroken time of keeping: after a pause, in another process or after a restart, ids are others.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._events: deque[StreamEvent] = deque()
        self._bytes = 0
        self._numbers = itertools.count(1)
        self._forgotten = 0  # the number of the last event that is no longer kept
        self._keepers = 0
        self._until = 0.0
        self._epoch = ""

    @property
    def wanted(self) -> bool:
        """Say whether events are to be kept. May be asked without the lock."""
        return bool(self._keepers) or self._until > self._monotonic()

    def enter(self) -> None:
        """A reader with ids begins."""
        if not self.wanted:
            self._events.clear()
            self._bytes = self._forgotten = 0
            self._numbers = itertools.count(1)
            self._epoch = secrets.token_hex(4)
        self._keepers += 1

    def leave(self) -> None:
        """One is gone, and may come back."""
        self._keepers -= 1
        self._until = self._monotonic() + REPLAY_SECONDS

    def keep(self, event: StreamEvent) -> None:
        """Give an event its id, and keep it for a while."""
        if not self.wanted:
            return
        event.number = next(self._numbers)
        event.id = f"{self._epoch}-{event.number}"
        self._events.append(event)
        self._bytes += event.size
        while len(self._events) > REPLAY_EVENTS or self._bytes > REPLAY_BYTES:
            oldest = self._events.popleft()
            self._bytes -= oldest.size
            self._forgotten = oldest.number

    def after(self, last_id: str) -> list[StreamEvent] | None:
        """Return what came after an id, None if that is no longer known. Takes any text."""
        epoch, _, digits = last_id.partition("-")
        if not epoch or epoch != self._epoch or not (digits.isascii() and digits.isdecimal()) or len(digits) > 18:
            return None
        if int(digits) < self._forgotten:
            return None
        return [event for event in self._events if event.number > int(digits)]


class Reader:
    """
    The inbox of one stream. The fan-out thread puts, the stream's thread takes.

    ended: why no more will come. farewell: what to send last. dropped: events meant for this reader that it does not get.
    """

    def __init__(self, view: View, limit_events: int) -> None:
        self.view = view
        self._limit_events = limit_events
        self._inbox: queue.SimpleQueue[Batch | None] = queue.SimpleQueue()
        self._put = self._put_bytes = 0  # the fan-out thread's
        self._taken = self._taken_bytes = self._extra = 0  # the stream's
        self.first: Batch | None = None  # what the stream is to send before anything else
        self.ended: Ending | None = None
        self.farewell = b""
        self.dropped = 0

    @property
    def taken(self) -> int:
        """How many events the stream has taken."""
        return self._taken + self._extra

    def next(self, timeout: float) -> Batch | None:
        """Return the next batch; None after *timeout* seconds, and when the stream has ended."""
        if self.first is not None:
            batch, self.first = self.first, None
            self._extra += batch.count
            return batch
        try:
            queued = self._inbox.get(timeout=timeout)
        except queue.Empty:
            return None
        if queued is None or self.ended:
            return None
        self._taken += queued.count
        self._taken_bytes += len(queued.data)
        return queued

    def offer(self, batch: Batch) -> bool:
        """Take a batch, unless too much is waiting already; one batch is always taken. The fan-out's alone."""
        waiting, waiting_bytes = self._put - self._taken, self._put_bytes - self._taken_bytes
        if waiting and (waiting + batch.count > self._limit_events or waiting_bytes + len(batch.data) > QUEUE_BYTES):
            self.dropped = waiting + batch.count
            return False
        self._put += batch.count
        self._put_bytes += len(batch.data)
        self._inbox.put(batch)
        return True

    def end(self, reason: Ending, farewell: bytes = b"") -> None:
        """Let nothing more through, and wake the stream."""
        self.farewell, self.ended = farewell, reason
        self._inbox.put(None)
