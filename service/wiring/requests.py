"""What is made of a request that is over: its audit record, its figures, its line and its trace."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.audit.trail import Audit
from service.http.middleware import log_fields
from service.http.request_info import RequestInfo
from service.observe.log import log
from service.observe.metrics.metrics import Metrics
from service.observe.metrics.traffic import Traffic
from service.observe.report.report import Report

if TYPE_CHECKING:
    from service.observe.trace.spans import Tracing

# The faults by which a request is refused before it reaches Salt, as the metric names them.
REJECTIONS = {
    "TooLarge": "body_too_large",
    "NotAcceptable": "unsupported_media_type",
    "Throttled": "rate_limited",
    "Overloaded": "queue_full",
    "ShareTaken": "share_taken",
    "Draining": "shutting_down",
    "ClientDisabled": "client_disabled",
}


class RequestReport:
    """Hears of requests that are over, and of exceptions that nobody expected. Called from request threads."""

    def __init__(self, audit: Audit, metrics: Metrics, traffic: Traffic, report: Report, tracing: Tracing | None) -> None:
        self._log = log.get()
        self._audit = audit
        self._metrics = metrics
        self._traffic = traffic
        self._report = report
        self._tracing = tracing

    def over(self, info: RequestInfo, seconds: float, complete: bool) -> None:
        """A request to the API is over. complete: nobody hung up before all of the answer was sent."""
        self._audit.completed(info, seconds)
        self._traffic.served(info.body_bytes, info.sent_bytes, seconds)
        self._metrics.http_sizes(info.body_bytes, info.sent_bytes if info.kind == "unary" else None)
        if info.error_type in REJECTIONS:
            self._report.rejected(REJECTIONS[info.error_type])
        level = "warning" if info.status >= 500 or not complete else "info"
        fields = log_fields(info, seconds, complete)
        getattr(self._log, level)("http.request", **fields)
        if self._tracing is not None:
            self._tracing.finish(info.timeline, fields)

    def probed(self, info: RequestInfo, seconds: float, complete: bool) -> None:
        """A request to the ops listener is over."""
        self._log.debug("http.request", **log_fields(info, seconds, complete))

    def crashed(self, info: RequestInfo) -> None:
        """An exception that nobody expected is under way."""
        info.crashed = True
        self._log.error("crash", request_id=info.request_id, exc_info=True)


class Unmeasured:
    """Probes and scrapes are not among the API's figures."""

    def http_started(self) -> None: ...
    def http_finished(self, method: str, route: str, code: int, seconds: float, kind: str, *, request_id: str, trace_id: str | None) -> None: ...
