"""What a websocket is to send: made by the application that judged the request, taken by the server that holds the connection."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

from service.streaming.fanout import Streams
from service.streaming.messages import MessageForm
from service.streaming.readers import Ending, Reader, View

ENVIRON_KEY = "sidecar.websocket"
# What a caller sends when it wants events, to rest_cherrypy and to rest_tornado.
READY = "websocket client ready"
# The answer of rest_cherrypy to each message.
RECEIVED = "server received message"
End = Literal["client", "token_expired", "slow_consumer", "shutdown", "error"]


class Subscription:
    """
    One websocket's reader of the event bus, which begins when its caller is ready.

    As body of the WSGI answer it is empty; closing that closes it. wake: see Reader; `begin` gets it.
    alive: whether the caller's session holds. on_lag(seconds) hears how old events were when their connection had them; on_closed(reason, sent, dropped) once, at the end.
    """

    def __init__(
        self,
        streams: Streams,
        view: View,
        form: MessageForm,
        *,
        heartbeat_seconds: float,
        alive: Callable[[], bool],
        on_lag: Callable[[float], None],
        on_closed: Callable[[End, int, int], None],
    ) -> None:
        self._streams = streams
        self._view = view
        self.acknowledges = form.acknowledges
        self._render = form.render()
        self.heartbeat_seconds = heartbeat_seconds
        self.alive = alive
        self.on_lag = on_lag
        self._on_closed = on_closed
        self._sent = 0
        self.reason: End = "client"
        self._lock = threading.Lock()
        self._reader: Reader | None = None  # set under _lock
        self._closed = False  # guarded by _lock

    @property
    def ended(self) -> Ending | None:
        """Why no more will come."""
        return self._reader.ended if self._reader is not None else None

    def begin(self, wake: Callable[[], None]) -> None:
        """Read the bus from now on. Raises Draining."""
        reader = self._streams.open(self._view, transport="websocket", wake=wake)
        with self._lock:
            if not self._closed:
                self._reader = reader
                return
        self._streams.close(reader)

    def take(self) -> tuple[list[bytes], float] | None:
        """Return the messages of the next events that wait, and when the first of them came, in monotonic seconds; None if there are none."""
        batch = self._reader.next(0) if self._reader is not None else None
        if batch is None:
            return None
        self._sent += batch.count
        return self._render(batch.data), batch.received_at

    def last_messages(self) -> list[bytes]:
        """Return what to send last."""
        return self._render(self._reader.last_message) if self._reader is not None and self._reader.last_message else []

    def __iter__(self) -> Iterator[bytes]:
        """Yield nothing: what there is to send are messages, not a body."""
        return iter(())

    def close(self) -> None:
        """Give back what the websocket held; a second time does nothing."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        if self._reader is not None:
            self._streams.close(self._reader)
        self._on_closed(self.reason, self._sent, self._reader.dropped if self._reader is not None else 0)


class Upgrade:
    """The wish for a websocket, in the environment of its WSGI request. subscription: what the application grants."""

    def __init__(self) -> None:
        self.subscription: Subscription | None = None

    @classmethod
    def of(cls, environ: Mapping[str, Any]) -> Upgrade:
        """Return the wish of a request; every request of the websockets' listener has one."""
        wish: Upgrade = environ[ENVIRON_KEY]
        return wish
