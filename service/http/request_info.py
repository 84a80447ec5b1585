"""What one request asked for and how it ended, gathered on its way for the log line and the metrics."""

from __future__ import annotations

import dataclasses
import random
import re
import time
from collections.abc import Callable, Mapping
from typing import Any

from service.observe.trace import traceparent
from service.observe.trace.timeline import Timeline

ENVIRON_KEY = "sidecar.request_info"
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
# Clients of rest_cherrypy's and rest_tornado's websockets put the token there.
_TOKEN_IN_PATH = re.compile(r"(/(?:ws|all_events|formatted_events)/).+", re.DOTALL)
MAX_USER_AGENT_CHARACTERS = 256


@dataclasses.dataclass
class RequestInfo:
    """
    route: the template of the URL, never the URL itself; `unmatched` until one matches.
    kind: of the answer, `unary`, `stream` or `websocket`. audited: what the audit trail keeps of it. crashed: an exception nobody expected ended it.
    protocol: HTTP's version. queue_wait_s: seconds until a thread took the request. timeline: where its time goes, and its trace.
    lows: one entry for each low begun. who: the user, as the log line names it, that the master took the caller for.
    claimed: the user, as the audit trail names it, that a lowstate named which was refused before anybody was asked. Times are seconds of the monotonic clock.
    """

    request_id: str
    method: str
    path: str
    address: str
    user_agent: str | None
    body_bytes: int
    started: float
    route: str = "unmatched"
    status: int = 0
    sent_bytes: int = 0
    lows: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    who: dict[str, str] = dataclasses.field(default_factory=dict)
    claimed: dict[str, str] = dataclasses.field(default_factory=dict)
    kind: str = "unary"
    audited: list[Any] = dataclasses.field(default_factory=list)
    crashed: bool = False
    error: str | None = None
    error_type: str | None = None
    protocol: str | None = None
    queue_wait_s: float | None = None
    timeline: Timeline = dataclasses.field(default_factory=Timeline)

    @classmethod
    def of(cls, environ: Mapping[str, Any]) -> RequestInfo:
        """Return the account of a request that `Canonical` has begun."""
        info: RequestInfo = environ[ENVIRON_KEY]
        return info

    @property
    def trace_id(self) -> str | None:
        """The trace the request belongs to, None while nobody traces."""
        return self.timeline.context.trace_id if self.timeline.context else None

    @property
    def sampled(self) -> bool:
        """Whether somebody records that trace."""
        return self.timeline.context is not None and self.timeline.context.sampled


def new_info(environ: Mapping[str, Any], *, believe_id: bool = True) -> RequestInfo:
    """Start the account of a request. Its id is the caller's, when that is a sane one and to be believed, else a new one."""
    given = environ.get("HTTP_X_REQUEST_ID", "")
    length = str(environ.get("CONTENT_LENGTH") or "0")
    return RequestInfo(
        request_id=given if believe_id and _REQUEST_ID.fullmatch(given) else new_request_id(),
        method=environ["REQUEST_METHOD"],
        path=_TOKEN_IN_PATH.sub(_without_token, environ.get("PATH_INFO", "/")),
        address=environ.get("REMOTE_ADDR", ""),
        user_agent=(environ.get("HTTP_USER_AGENT") or "")[:MAX_USER_AGENT_CHARACTERS] or None,
        body_bytes=int(length) if length.isdecimal() else 0,
        started=time.monotonic(),
        protocol=environ.get("SERVER_PROTOCOL", "")[5:13] or None,
        queue_wait_s=environ.get("sidecar.queue_wait_seconds"),
        timeline=Timeline(traceparent.parse(header, environ.get("HTTP_TRACESTATE", "")) if (header := environ.get("HTTP_TRACEPARENT")) else None),
    )


def _without_token(found: re.Match[str]) -> str:
    return f"{found[1]}<redacted>"


def new_request_id(now: Callable[[], float] = time.time) -> str:
    """Return a UUID version 7 (RFC 9562): sortable by time."""
    # An id keeps no secret. Asking the system for its bits would let another thread go first.
    value = (int(now() * 1000) & (1 << 48) - 1) << 80 | random.getrandbits(80)
    value = value & ~(0xF << 76) | 7 << 76
    value = value & ~(0x3 << 62) | 2 << 62
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
