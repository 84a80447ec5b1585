"""The outermost layer: every request gets an id, and one log line when its last byte has left or its caller has."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

from service.http.addresses import Proxies
from service.http.request_info import ENVIRON_KEY, RequestInfo, new_info
from service.observe.log import log
from service.observe.trace.timeline import Timeline

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

# No answer is to be taken for a script or a page that it does not say it is.
NOSNIFF = ("X-Content-Type-Options", "nosniff")


class HttpMetrics(Protocol):
    """What we tell the metrics."""

    def http_started(self) -> None:
        """A request begins."""

    def http_finished(self, method: str, route: str, code: int, seconds: float, kind: str, *, request_id: str, trace_id: str | None) -> None:
        """A request is over; kind: `unary`, or `stream` if it became one. trace_id: of its trace, if somebody records that."""


class Tracer(Protocol):
    """What we ask of the tracing."""

    def begin(self, timeline: Timeline) -> None:
        """Start the span of a request."""


class Canonical:
    """
    A WSGI application around another that accounts for every request.

    log(info, seconds, complete) is called once for each, when the server closes the answer. proxies: whose word on the caller counts. tracer: None while nobody traces.
    """

    def __init__(
        self,
        app: WSGIApplication,
        metrics: HttpMetrics,
        log: Callable[[RequestInfo, float, bool], None],
        proxies: Proxies | None = None,
        tracer: Tracer | None = None,
    ) -> None:
        self.app = app
        self._metrics = metrics
        self._log = log
        self._proxies = proxies or Proxies()
        self._tracer = tracer

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request (PEP 3333)."""
        believe_id = self._proxies.believes(environ)
        # From here on everybody sees the caller's own address and scheme, not those of the proxy in front of us.
        environ["REMOTE_ADDR"], environ["wsgi.url_scheme"] = self._proxies.origin(environ)
        info = environ[ENVIRON_KEY] = new_info(environ, believe_id=believe_id)
        if self._tracer is not None:
            self._tracer.begin(info.timeline)
        self._metrics.http_started()
        # Lines of Salt and of other libraries tell the request too.
        log.bind(request_id=info.request_id, **({"trace_id": info.trace_id} if info.trace_id else {}))

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], object]:
            info.status = int(status.split(" ", 1)[0])
            ours = [("X-Request-ID", info.request_id), NOSNIFF]
            if info.timeline.context is not None:
                ours.append(("traceresponse", info.timeline.context.traceparent))
            return start_response(status, [*headers, *ours], exc_info)

        try:
            return _Body(self.app(environ, start), info, self._finished)
        except BaseException:
            info.status = 500
            self._finished(info, complete=False)
            raise

    def _finished(self, info: RequestInfo, *, complete: bool) -> None:
        seconds = time.monotonic() - info.started
        trace_id = info.trace_id if info.sampled else None
        self._metrics.http_finished(info.method, info.route, info.status, seconds, info.kind, request_id=info.request_id, trace_id=trace_id)
        self._log(info, seconds, complete)
        log.clear()


class _Body:
    """The answer on its way to the server, which calls `close` at the end, also of an aborted request."""

    def __init__(self, body: Iterable[bytes], info: RequestInfo, finished: Callable[..., None]) -> None:
        self._body = body
        self._facts = info
        self._finished = finished
        self._complete = False
        self._closed = False

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._body:
            self._facts.sent_bytes += len(chunk)
            yield chunk
        self._complete = True

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        try:
            close = getattr(self._body, "close", None)
            if close is not None:
                close()
        finally:
            # A stream has no end of its own: a caller that leaves has not aborted it.
            self._finished(self._facts, complete=self._complete or self._facts.kind != "unary")


def log_fields(info: RequestInfo, seconds: float, complete: bool) -> dict[str, Any]:
    """Return the canonical line of a request: flat OpenTelemetry names, one entry of `salt.lows` for each low."""
    fields: dict[str, Any] = {
        "request_id": info.request_id,
        "http.request.method": info.method[:16],
        "http.route": info.route,
        "url.path": info.path[:512],
        "http.response.status_code": info.status,
        "http.request.body.size": info.body_bytes,
        "http.response.body.size": info.sent_bytes,
        "network.protocol.version": info.protocol,
        "client.address": info.address,
        "user_agent.original": info.user_agent,
        **info.who,
        **info.timeline.fields(),
        "duration_s": round(seconds, 6),
        "queue_wait_s": None if info.queue_wait_s is None else round(info.queue_wait_s, 6),
        "aborted": not complete,
        "error.type": info.error_type,
        "error.message": info.error,
        "salt.lows": [{key: value for key, value in low.items() if value is not None} for low in info.lows] or None,
    }
    return {key: value for key, value in fields.items() if value is not None}
