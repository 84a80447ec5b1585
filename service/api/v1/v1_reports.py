"""`/v1/jobs/JID/log` and `/junit`: a job for the pages of pipelines."""

from __future__ import annotations

from collections.abc import Callable

import falcon

from service.errors import BadRequest, RangeBeyondEnd
from service.jobs.outcome import OPEN
from service.jobs.renderings import JobLogs, junit_of
from service.jobs.submission import Submissions

Find = Callable[[], Submissions]


class V1LogResource:
    """
    What has happened to a job so far, as text, for who cannot hold a stream open.

    `?offset=`, or `Range: bytes=N-`, leaves out what is known already; the header `X-Complete` says whether more may come.
    """

    any_accept = True

    def __init__(self, find: Find) -> None:
        self._find = find
        self._logs = JobLogs()

    def on_get(self, req: falcon.Request, resp: falcon.Response, jid: str) -> None:
        """Show it: 206 with a `Range`, 416 for one beyond the end."""
        jobs = self._find()
        record = jobs.of(jid, req.context.session.identity)
        # Before the text: what is complete now was so when it was read.
        resp.set_header("X-Complete", "false" if record.status in OPEN else "true")
        resp.set_header("Cache-Control", "no-store")
        resp.set_header("Accept-Ranges", "bytes")
        resp.content_type = "text/plain;charset=utf-8"
        first = start_of(req)
        resp.data, end = self._logs.read(jobs.store, record.jid, first)
        if req.get_header("Range") is None:
            return
        if first >= end:
            resp.set_header("Content-Range", f"bytes */{end}")
            raise RangeBeyondEnd(f"the log has {end} bytes so far")
        resp.status = falcon.HTTP_206
        resp.set_header("Content-Range", f"bytes {first}-{end - 1}/{end}")


class V1JunitResource:
    """A job as JUnit's XML: a test case for each minion; of steps a suite for each."""

    any_accept = True

    def __init__(self, find: Find) -> None:
        self._find = find

    def on_get(self, req: falcon.Request, resp: falcon.Response, jid: str) -> None:
        """Show it; a minion that has not returned yet is skipped."""
        jobs = self._find()
        record = jobs.of(jid, req.context.session.identity)
        resp.content_type = "application/xml"
        resp.set_header("Cache-Control", "no-store")
        resp.data = junit_of(jobs.store, record)


def start_of(req: falcon.Request) -> int:
    """Return the first byte that a caller wants. Raises BadRequest for what is no number, or no range from one byte on."""
    sent = req.get_header("Range")
    text = (req.get_param("offset") or "0") if sent is None else sent.removeprefix("bytes=").removesuffix("-")
    if not (text.isascii() and text.isdecimal() and len(text) < 16) or (sent is not None and not sent.startswith("bytes=")):
        raise BadRequest("offset, or Range: bytes=N-, must be a number of bytes", field="offset")
    return int(text)
