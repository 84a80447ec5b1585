"""From a raw event of the bus to what a stream sends: without secrets, serialised once, with what visibility needs."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, cast

from service.events.checked import Odd, checked
from service.events.event import Event
from service.events.owners import Owner
from service.events.payload import text_of
from service.observe.redact import MASK, redact, redact_text

Encode = Callable[[object], bytes]

# Far above what jobs return: an event is shown whole or, beyond this, cut.
DEPTH = 100
NODES = 1_000_000
ERROR_CHARACTERS = 500
# Their arguments are tokens, without a name to know them by.
_TOKEN_FUNCTIONS = ("runner.auth.", "wheel.auth.", "auth.")
_LINE_ENDS = re.compile(r"[\r\n\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
# A JSON string that begins so. Where the quote is an escaped one, the string around it ends there, and JSON stays JSON.
_SECRET_ARGUMENT = re.compile(
    rb"""(?i)"([\w.-]{0,40}(?:password|passwd|passphrase|secret|token)s?=|(?:[\w.-]{0,40}_)?(?:api)?key=)(?:[^"\\]|\\.)+\"""",
)
# Many readers cut lines as Python's str.splitlines does, where these end one too; JSON need not contain them.
_UNICODE_LINE_ENDS = ((b"\xe2\x80\xa8", rb"\u2028"), (b"\xe2\x80\xa9", rb"\u2029"), (b"\xc2\x85", rb"\u0085"))


def scrub(kind: str, data: Mapping[str, Any]) -> dict[str, Any]:
    """
    Return an event's data without secrets.

    The master publishes a refused job's whole load, with the password and perhaps its own root key: of `job_error` only
    what describes the refusal is left. The rest is masked by key.
    """
    if kind == "job_error":
        return _refusal(data)
    clean = cast("dict[str, Any]", redact(data, depth=DEPTH, nodes=NODES))
    if kind in {"auth", "key"}:
        clean.pop("pub", None)
    if text_of(data, "fun").startswith(_TOKEN_FUNCTIONS):
        clean["fun_args"] = MASK
    return clean


def _refusal(data: Mapping[str, Any]) -> dict[str, Any]:
    error = data.get("error")
    words = error.get("message") if isinstance(error, dict) else error
    shown = {name: redact(data[name]) for name in ("jid", "fun", "tgt_type", "user") if name in data}
    stamp = {"_stamp": data["_stamp"]} if isinstance(data.get("_stamp"), str) else {}
    return {**shown, "error": redact_text(words if isinstance(words, str) else "")[:ERROR_CHARACTERS], **stamp}


def frame(tag: str, data: object, encode: Encode) -> bytes:
    """
    Return an event as Server-Sent Event, in rest_cherrypy's form: a `tag:` and a `data:` line.

    Texts like `password=x`, which are arguments, and what functions made of them, are masked wherever they are.
    A tag may hold anything but an empty line, so its line ends become spaces: nobody writes lines into other people's streams.
    """
    line = encode({"data": data, "tag": tag})
    if b"=" in line:
        line = _SECRET_ARGUMENT.sub(rb'"\1' + MASK.encode() + b'"', line)
    for raw, escaped in _UNICODE_LINE_ENDS:
        line = line.replace(raw, escaped)
    return b"tag: " + _LINE_ENDS.sub(" ", tag).encode("utf-8", "replace") + b"\ndata: " + line + b"\n\n"


class StreamEvent:
    """
    One event for the readers; decoded and rendered once, when the first of them wants it.

    owner, id, number: set by the fan-out. received_at: monotonic seconds. begun: how many starts of ours had begun then.
    unread: it came while nobody read, so it is there to be learned from, and for no reader.
    """

    __slots__ = ("_event", "_frame", "begun", "id", "jid", "kind", "number", "owner", "received_at", "size", "tag", "unread")

    def __init__(self, event: Event, received_at: float, begun: int = 0, *, unread: bool = False) -> None:
        self.tag = event.tag
        self.kind, self.jid = event.origin
        self.size = event.size
        self.received_at, self.begun = received_at, begun
        self.unread = unread
        self.owner: Owner | None = None
        self.number, self.id = 0, ""
        self._event = event
        self._frame: bytes | None = None

    def user(self) -> str:
        """Return who started the job that the event announces; empty if it does not say, or cannot be believed."""
        try:
            return text_of(checked(self._event, self.data()), "user")
        except Odd:
            return ""

    def data(self) -> dict[str, Any]:
        """Decode the payload; {} if it is no mapping."""
        return self._event.data()

    def render(self, encode: Encode) -> bytes:
        """Return the event as a stream sends it."""
        if self._frame is None:
            self._frame = frame(self.tag, scrub(self.kind, self.data()), encode)
        return self._frame
