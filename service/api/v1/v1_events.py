"""`/v1/jobs/JID/events`: what happens to a job, as it happens."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Mapping
from typing import Any

import falcon

from service.errors import BadRequest
from service.http.accept import accepted
from service.http.request_info import RequestInfo
from service.jobs.followers import FORMS, Form, JobFollower, Readings
from service.jobs.submission import Submissions
from service.limits import Slots
from service.settings.settings import EventSettings
from service.streaming.sse import EventStream, HttpCaller, StreamReport


class V1EventsResource:
    """
    What happens to a job, from its beginning until it is over, when the stream ends; a job that is over is told whole.

    `Accept` chooses: `text/event-stream` (the default; `Last-Event-ID` goes on where a stream was cut), `application/x-ndjson`, or `text/plain` for people.
    """

    any_accept = True

    def __init__(
        self, find: Callable[[], Submissions], slots: Slots, settings: EventSettings, report: StreamReport, alive: Callable[[Mapping[str, Any]], bool]
    ) -> None:
        """slots: of streams. alive(environ): says whether the session of a stream still holds."""
        self._find = find
        self._slots = slots
        self._settings = settings
        self._report = report
        self._alive = alive
        self._readings = Readings()

    def on_get(self, req: falcon.Request, resp: falcon.Response, jid: str) -> None:
        """Follow it; `after`, a number, is the last one known, as `Last-Event-ID` is."""
        jobs, session, info = self._find(), req.context.session, RequestInfo.of(req.env)
        record = jobs.of(jid, session.identity)
        jobs.lend(record, session)
        after = number_of(req.get_param("after") or req.get_header("Last-Event-ID"))
        form = FORMS[form_of(req.get_header("Accept") or "*/*")]
        with contextlib.ExitStack() as held:
            held.enter_context(self._slots.take(session.identity.holder_at(info.address)))
            lend = functools.partial(jobs.lend, session=session)
            follower = JobFollower(jobs.store, jobs.running.watched, self._readings, record.jid, after=after, form=form, lend=lend)
            resp.stream = self._body(req, record.jid, follower, form, held.pop_all())
        resp.content_type = form.content_type
        resp.set_header("Cache-Control", "no-cache")
        # nginx would keep events until its buffer is full.
        resp.set_header("X-Accel-Buffering", "no")

    def on_head(self, _req: falcon.Request, resp: falcon.Response, jid: str) -> None:
        """Answer as `GET` would, without a stream."""
        del jid
        resp.content_type = FORMS["text/event-stream"].content_type

    def _body(self, req: falcon.Request, jid: str, follower: JobFollower, form: Form, held: contextlib.ExitStack) -> EventStream:
        info = RequestInfo.of(req.env)
        info.kind = "stream"
        self._report.stream_opened(info.request_id, {"jid": jid})

        def closed(reason: str, sent: int) -> None:
            held.close()
            self._report.stream_closed(info.request_id, reason, sent, 0, time.monotonic() - info.started)

        return EventStream(
            follower,
            HttpCaller.of(req.env),
            heartbeat_seconds=self._settings.heartbeat_seconds,
            alive=functools.partial(self._alive, req.env),
            on_lag=lambda _seconds: None,
            on_closed=closed,
            beat=form.beat,
        )


def form_of(accept: str) -> str:
    """Return the media type of a stream that a caller likes best; the first for who takes anything, or none of them."""
    wanted = accepted(accept)
    return max(FORMS, key=lambda media_type: wanted.get(media_type, 0.0))


def number_of(text: str | None) -> int:
    """Return the number of the last happening that a caller knows. Raises BadRequest."""
    if text is None:
        return 0
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise BadRequest("after, or Last-Event-ID, must be the number of a happening", field="after")
    return int(text)
