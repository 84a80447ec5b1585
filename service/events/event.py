"""What an event of the bus is: read once from its bytes, decoded by whoever waits for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from service.events.payload import Undecodable, whole
from service.events.tags import origin, returner, split, state_of

TAG_END = b"\n\n"
OnUndecodable = Callable[[str, int], None]  # takes the tag and the size in bytes


class Event(NamedTuple):
    """
    One event.

    kind: one of tags.KINDS. jid: of the job or runner that somebody may wait for by this event. raw: as the bus carries it, tag and payload; size: its bytes.
    """

    kind: str
    jid: str | None
    tag: str
    raw: bytes
    size: int

    def __repr__(self) -> str:
        """Show no payload: it may hold secrets."""
        return f"<event {self.tag}, {self.size} bytes>"

    @property
    def payload(self) -> bytes:
        """Return what follows the tag; empty if nothing does."""
        return self.raw.partition(TAG_END)[2]

    @property
    def origin(self) -> tuple[str, str | None]:
        """Return the kind and the job, as they were before syndics forwarded the event."""
        # Almost every event is what it was: no syndic forwarded it, and its tag has the job where a caller waits for it.
        return (self.kind, self.jid) if self.jid is not None and self.kind != "syndic" else origin(self.kind, self.jid, self.tag)

    @property
    def minion(self) -> str:
        """Return whose return a `job_ret` is, as its tag says."""
        return self.tag.split("/", 4)[-1] if self.kind == "job_ret" else returner(self.tag)

    @property
    def state(self) -> tuple[str, str]:
        """Return whose state a `job_prog` is about, and its number there, as its tag says; takes anybody's tags."""
        return state_of(self.tag)

    def data(self, on_undecodable: OnUndecodable | None = None) -> dict[str, Any]:
        """Decode the payload; one that is no mapping, or cannot be decoded (Salt logs that), counts as empty."""
        try:
            data = whole(self.payload)
        except Undecodable:
            if on_undecodable is not None:
                on_undecodable(self.tag, self.size)
            return {}
        return data if isinstance(data, dict) else {}


def read(raw: bytes) -> Event:
    """Read an event of the bus, of which only the tag is looked at. Takes any bytes. Source: SaltEvent.unpack in salt/utils/event.py."""
    # Not `partition`, which copies the payload, perhaps megabytes; and not `Event(...)`, which takes twice the time: the bus thread reads every event.
    end = raw.find(TAG_END)
    tag = (raw if end < 0 else raw[:end]).decode("utf-8", "replace")
    kind, jid = split(tag)
    return tuple.__new__(Event, (kind, jid, tag, raw, len(raw)))
