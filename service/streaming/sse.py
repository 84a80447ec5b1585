"""Server-Sent Events: the body of a stream, in the one form that every known parser copes with."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

CONTENT_TYPE = "text/event-stream;charset=utf-8"
# The first bytes, and the heartbeat. Not a comment, not followed by an empty line: parsers of Salt's streams choke on both.
RETRY = b"retry: 400\n"
# Most unsent bytes of a connection; until it has taken some, its events wait in the reader's bounded queue.
UNSENT_BYTES = 256 * 1024
UNSENT_LOOK_SECONDS = 0.1
# A caller that closed its sending side has probably left. The kernel says so after a write or two, so these come quickly.
PROBES = 3
PROBE_SECONDS = 1.0


class StreamReport(Protocol):
    """Hears of streams."""

    def stream_opened(self, request_id: str, fields: Mapping[str, Any], kind: str = "stream") -> None:
        """A stream begins; kind: `websocket` if it is one."""

    def stream_closed(self, request_id: str, reason: str, sent: int, dropped: int, seconds: float) -> None:
        """A stream is over."""


class Chunk(Protocol):
    """Events as bytes."""

    @property
    def data(self) -> bytes: ...
    @property
    def count(self) -> int: ...
    @property
    def received_at(self) -> float: ...


class Source(Protocol):
    """Where a stream's events come from."""

    @property
    def ended(self) -> str | None:
        """Why there will be no more."""

    @property
    def last_message(self) -> bytes:
        """What to send last."""

    def next(self, timeout: float) -> Chunk | None:
        """Wait for the next chunk."""


class Connection(Protocol):
    """What the server knows of the caller."""

    def hung_up(self) -> bool:
        """Say whether the caller has closed its sending side."""

    def unsent_bytes(self) -> int:
        """Return how much of the answer waits to be sent."""


@dataclasses.dataclass(frozen=True)
class HttpCaller:
    """What waitress and our channels know of the caller."""

    hung_up: Callable[[], bool]
    unsent_bytes: Callable[[], int]

    @classmethod
    def of(cls, environ: Mapping[str, Any]) -> HttpCaller:
        """Return the caller of a WSGI request; one of another server never hangs up."""
        return cls(environ.get("waitress.client_disconnected", lambda: False), environ.get("sidecar.unsent_bytes", lambda: 0))


class EventStream:
    """
    The body of one stream, for the server to iterate over and to close.

    beat: the first bytes, and each heartbeat. alive: asked at each heartbeat; False ends the stream. on_lag(seconds) hears how old each chunk was when the connection had it;
    on_closed(reason, sent) once, when the stream is over.
    """

    def __init__(
        self,
        source: Source,
        connection: Connection,
        *,
        heartbeat_seconds: float,
        alive: Callable[[], bool],
        on_lag: Callable[[float], None],
        on_closed: Callable[[str, int], None],
        beat: bytes = RETRY,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._source = source
        self._beat = beat
        self._connection = connection
        self._heartbeat_seconds = heartbeat_seconds
        self._alive = alive
        self._on_lag = on_lag
        self._on_closed = on_closed
        self._monotonic = monotonic
        self._sleep = sleep
        self._probes = 0
        self._sent = 0
        self._reason: str | None = None
        self._closed = False

    def __iter__(self) -> Iterator[bytes]:
        """Yield until the stream ends, its caller's right to it does, or the server closes."""
        try:
            yield from self._chunks()
        except Exception:
            self._reason = "error"
            raise

    def close(self) -> None:
        """Tell that the stream is over; the server's last call, also when the caller has left."""
        if self._closed:
            return
        self._closed = True
        self._on_closed(self._reason or "client", self._sent)

    def _chunks(self) -> Iterator[bytes]:
        yield self._beat
        next_beat = self._monotonic() + self._heartbeat_seconds
        while self._source.ended is None:
            left = next_beat - self._monotonic()
            if left <= 0:
                if not self._alive():
                    self._reason = "token_expired"
                    return
                yield self._beat
                next_beat = self._monotonic() + self._pause()
            elif self._connection.unsent_bytes() > UNSENT_BYTES:
                # Writing more would block this thread, and then nobody could end the stream.
                self._sleep(min(left, UNSENT_LOOK_SECONDS))
            elif (chunk := self._source.next(left)) is not None:
                yield chunk.data
                self._sent += chunk.count
                self._on_lag(self._monotonic() - chunk.received_at)
        self._reason = self._source.ended
        if self._source.last_message:
            yield self._source.last_message

    def _pause(self) -> float:
        """Return the time to the next heartbeat; one that only half closed its connection is believed after some quick ones."""
        if self._probes < PROBES and self._connection.hung_up():
            self._probes += 1
            return min(PROBE_SECONDS, self._heartbeat_seconds)
        return self._heartbeat_seconds
