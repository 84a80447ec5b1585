"""What a caller missed since its Last-Event-ID."""

from __future__ import annotations

import itertools
import secrets
from collections import deque
from collections.abc import Callable

from service.streaming.rendering import StreamEvent

# What is kept for callers that reconnect with an event's id, and the time it is kept after the last of them has left.
REPLAY_EVENTS = 1000
REPLAY_BYTES = 8 * 1024 * 1024
REPLAY_SECONDS = 60.0


class Replay:
    """
    The last events, for callers that ask for ids and come back. Its user's lock guards it.

    An id is valid within one unbroken time of keeping: after a pause, in another process or after a restart, ids are others.
    """

    def __init__(self, monotonic: Callable[[], float], *, most_events: int = REPLAY_EVENTS, most_bytes: int = REPLAY_BYTES) -> None:
        self._monotonic = monotonic
        self._most_events, self._most_bytes = most_events, most_bytes
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
        return bool(self._keepers) or (self._until > 0.0 and self._until > self._monotonic())

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
        while len(self._events) > self._most_events or self._bytes > self._most_bytes:
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
