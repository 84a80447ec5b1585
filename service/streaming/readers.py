"""A reader of the event bus: what it may and wants to see, its inbox, bounded, and how it ends."""

from __future__ import annotations

import dataclasses
import fnmatch
import functools
import queue
import re
from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol

from service.errors import BadRequest
from service.events.owners import Owner
from service.streaming.rendering import StreamEvent

# What may wait for one reader, besides the number of events; the events themselves are shared by all readers.
QUEUE_BYTES = 64 * 1024 * 1024
Ending = Literal["slow_consumer", "shutdown"]
Transport = Literal["sse", "websocket"]
MOST_GLOBS = 50
MOST_GLOB_CHARACTERS = 512


class Onlooker(Protocol):
    """Who reads events: a user, and whether that one may read all of them; see auth/identity.py."""

    @property
    def user(self) -> str: ...
    @property
    def eauth(self) -> str: ...
    @property
    def sees_everything(self) -> bool: ...


@dataclasses.dataclass(frozen=True)
class View:
    """
    What a reader sees. Readers with equal views share their batches.

    owner: only the jobs that this one started; None: everything. globs: tags, all when empty. ids: with `id:` lines.
    """

    owner: Owner | None = None
    globs: tuple[str, ...] = ()
    ids: bool = False

    def wants(self, event: StreamEvent) -> bool:
        """Say whether an event is for this view."""
        if self.owner is not None and event.owner != self.owner:
            return False
        return not self.globs or _pattern(self.globs).match(event.tag) is not None

    @property
    def told(self) -> dict[str, Any]:
        """What the log says of it, when somebody begins to read."""
        return {"filter": [glob[:100] for glob in self.globs[:5]] or None, "sees_everything": self.owner is None}


def view_of(onlooker: Onlooker, globs: Sequence[str], *, everybody: bool, ids: bool = False) -> View:
    """
    Return what somebody sees who asks for the tags that match *globs*. Raises BadRequest.

    everybody: all callers see all events (`events.visibility`).
    """
    wanted = tuple(dict.fromkeys(globs))
    if len(wanted) > MOST_GLOBS or any(len(glob) > MOST_GLOB_CHARACTERS for glob in wanted):
        raise BadRequest(f"at most {MOST_GLOBS} tags of {MOST_GLOB_CHARACTERS} characters", field="tag")
    owner = None if everybody or onlooker.sees_everything else Owner(onlooker.eauth, onlooker.user)
    return View(owner, wanted, ids=ids)


@functools.lru_cache(maxsize=1024)
def _pattern(globs: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(fnmatch.translate(glob) for glob in globs))


@dataclasses.dataclass(frozen=True)
class Batch:
    """Events as the bytes to send. received_at: of the first of them, monotonic seconds."""

    data: bytes
    count: int
    received_at: float


class Reader:
    """
    The inbox of one stream. The fan-out thread puts, the stream's thread takes.

    wake: called, by whatever thread, when there is something to take, or the stream has ended; for a stream that does not wait in `next`.
    ended: why no more will come. last_message: what to send last. dropped: events meant for this reader that it does not get.
    """

    def __init__(self, view: View, limit_events: int, limit_bytes: int, *, transport: Transport = "sse", wake: Callable[[], None] = lambda: None) -> None:
        self.view = view
        self.transport = transport
        self._wake = wake
        self._limit_events, self._limit_bytes = limit_events, limit_bytes
        self._inbox: queue.SimpleQueue[Batch | None] = queue.SimpleQueue()
        self._put = self._put_bytes = 0  # the fan-out thread's
        self._taken = self._taken_bytes = self._extra = 0  # the stream's
        self.first: Batch | None = None  # what the stream is to send before anything else
        self.ended: Ending | None = None
        self.last_message = b""
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
        if waiting and (waiting + batch.count > self._limit_events or waiting_bytes + len(batch.data) > self._limit_bytes):
            self.dropped = waiting + batch.count
            return False
        self._put += batch.count
        self._put_bytes += len(batch.data)
        self._inbox.put(batch)
        self._wake()
        return True

    def end(self, reason: Ending, last_message: bytes = b"") -> None:
        """Let nothing more through, and wake the stream."""
        self.last_message, self.ended = last_message, reason
        self._inbox.put(None)
        self._wake()
