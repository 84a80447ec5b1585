"""`/events`: the master's event bus as Server-Sent Events."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable

import falcon

from service.auth.sessions import StreamSessions, still_holds
from service.http.request_info import RequestInfo
from service.limits import Slots
from service.settings.settings import EventSettings
from service.streaming.fanout import Streams
from service.streaming.readers import Reader, view_of
from service.streaming.sse import CONTENT_TYPE, EventStream, HttpCaller, StreamReport


class EventsResource:
    """
    The event stream (SSE), for any Accept header: `retry: 400` at once and as heartbeat, then a `tag:` and a `data:` line for each event.

    `?tag=` (a glob, repeatable) selects events; `?ids=1` adds `id:` lines, and `Last-Event-ID` then sends what was missed, as far as it is
    kept. Callers without the right `.*` see the events of the jobs they started. docs/events.md has the details.
    """

    any_accept = True

    def __init__(
        self, streams: Streams, sessions: StreamSessions, slots: Slots, settings: EventSettings, report: StreamReport, *, on_lag: Callable[[float], None]
    ) -> None:
        """on_lag(seconds): how old events were when their connection had them."""
        self._streams = streams
        self._sessions = sessions
        self._slots = slots
        self._settings = settings
        self._report = report
        self._on_lag = on_lag

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Send events until the caller leaves, its token dies or the sidecar stops."""
        everybody, globs = self._settings.visibility == "everybody", req.get_param_as_list("tag") or ()
        view = view_of(req.context.session.identity, globs, everybody=everybody, ids=req.get_param("ids") in {"1", "true", "yes"})
        with contextlib.ExitStack() as held:
            held.enter_context(self._slots.take(req.context.session.identity.holder_at(RequestInfo.of(req.env).address)))
            reader = self._streams.open(view, req.get_header("Last-Event-ID"))
            held.callback(self._streams.close, reader)
            resp.stream = self._body(req, reader, held.pop_all())
        resp.content_type = CONTENT_TYPE
        resp.set_header("Cache-Control", "no-cache")
        # nginx would keep events until its buffer is full.
        resp.set_header("X-Accel-Buffering", "no")

    def on_head(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """Answer as `GET` would, without a stream."""
        resp.content_type = CONTENT_TYPE

    def _body(self, req: falcon.Request, reader: Reader, held: contextlib.ExitStack) -> EventStream:
        info = RequestInfo.of(req.env)
        info.kind = "stream"
        self._report.stream_opened(info.request_id, reader.view.told)

        def closed(reason: str, sent: int) -> None:
            held.close()
            self._report.stream_closed(info.request_id, reason, sent, reader.dropped, time.monotonic() - info.started)

        return EventStream(
            reader,
            HttpCaller.of(req.env),
            heartbeat_seconds=self._settings.heartbeat_seconds,
            alive=functools.partial(still_holds, self._sessions.of, req.env),
            on_lag=self._on_lag,
            on_closed=closed,
        )
