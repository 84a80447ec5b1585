"""W3C trace context: which trace a request belongs to, as its caller says. Source: https://www.w3.org/TR/trace-context/."""

from __future__ import annotations

import dataclasses
import re

MAX_CHARACTERS = 512
MAX_STATE_MEMBERS = 32
# Version, trace, parent, flags; a later version than 00 may add more. ff is no version, and no id is all zeros.
_TRACEPARENT = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_STATE = re.compile(r"[\t -~]+")
# `sampled`, and Level 2's `random`; flags that we do not know are not passed on.
_KNOWN_FLAGS = 0x03


@dataclasses.dataclass(frozen=True)
class TraceContext:
    """A place in a trace: the span that whatever we cause is part of. state: other vendors' `tracestate`, passed on as it came."""

    trace_id: str
    span_id: str
    flags: int = 0
    state: str = ""

    @property
    def sampled(self) -> bool:
        """Whether somebody records this trace."""
        return bool(self.flags & 0x01)

    @property
    def traceparent(self) -> str:
        """The header's value."""
        return f"00-{self.trace_id}-{self.span_id}-{self.flags:02x}"

    def carrier(self) -> dict[str, str]:
        """Return what joins work elsewhere to this trace, by the names of the headers."""
        return {"traceparent": self.traceparent, "tracestate": self.state} if self.state else {"traceparent": self.traceparent}


def parse(traceparent: str, tracestate: str = "") -> TraceContext | None:
    """Return what a caller's headers say; None for anything malformed, which the specification wants ignored, never refused."""
    found = _TRACEPARENT.fullmatch(traceparent.strip(" \t")) if len(traceparent) <= MAX_CHARACTERS else None
    if found is None or (found[1] == "00" and found[5]):
        return None
    return TraceContext(found[2], found[3], int(found[4], 16) & _KNOWN_FLAGS, _state(tracestate))


def _state(text: str) -> str:
    """Return a `tracestate` that can be passed on; a bad one is dropped without the trace."""
    sane = len(text) <= MAX_CHARACTERS and text.count(",") < MAX_STATE_MEMBERS and _STATE.fullmatch(text)
    return text.strip() if sane and "=" in text else ""
