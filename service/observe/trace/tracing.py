"""Tracing: spans of requests for an OpenTelemetry collector. The only file that knows opentelemetry, and imports it only when it is switched on."""

from __future__ import annotations

import importlib.metadata
import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from service import __version__
from service.errors import ConfigFault
from service.observe import redact
from service.observe.log.log import INSTANCE, SERVICE_NAME
from service.observe.trace.timeline import Trail
from service.observe.trace.traceparent import TraceContext

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.trace import Tracer

_PACKAGES = ("opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-http")
_TRACES: Final = "/v1/traces"
# Spans that may wait; a batch goes when it is full or this old.
QUEUE_SPANS = 8192
BATCH_SPANS = 512
BATCH_SECONDS = 1.0
# One attempt to hand a batch over, retries included: meanwhile the queue fills.
EXPORT_SECONDS = 10.0
# What the line of a request says, but a span says otherwise.
_NOT_ATTRIBUTES = frozenset({"trace_id", "span_id", "trace_flags", "salt.lows", "duration_s"})

OnSpans = Callable[[str, int, str], None]


def endpoint_of(setting: str | None, environ: Mapping[str, str]) -> str | None:
    """Return the URL that takes spans: ours, else that of OpenTelemetry's own variables; None when nobody wants any."""
    if environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or environ.get("OTEL_TRACES_EXPORTER") == "none":
        return None
    if traces := environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") if setting is None else None:
        return traces
    base = setting or environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    if not base:
        return None
    return base if setting and urlsplit(base).path.strip("/") else base.rstrip("/") + _TRACES


def lacking() -> ConfigFault | None:
    """Return what is missing to trace at all."""
    try:
        for package in _PACKAGES:
            importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError as exc:
        fix = "install salt-sidecar[tracing], or unset tracing.endpoint and OTEL_EXPORTER_OTLP_ENDPOINT"
        return ConfigFault("tracing.endpoint", f"{exc.name} is not installed, so there are no traces", fix)
    return None


class Tracing:
    """
    Makes the spans of a request: one for the whole, and one for each stage of its trail.

    endpoint: takes OTLP over HTTP. sample_ratio: of the traces that begin here; a caller's own decision is followed.
    on_spans(result, count, reason) hears what became of spans: `exported`, `failed` or `dropped`.
    """

    def __init__(self, endpoint: str, sample_ratio: float, environ: Mapping[str, str], on_spans: OnSpans) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased  # noqa: PLC0415

        exporter = OTLPSpanExporter(endpoint=endpoint, timeout=EXPORT_SECONDS)
        sampler = ParentBased(TraceIdRatioBased(sample_ratio))
        # No processor: every span is ours, and goes into an outbox that counts what it must drop.
        provider = TracerProvider(sampler=sampler, resource=_resource(environ), shutdown_on_exit=False)
        self._tracer: Tracer = provider.get_tracer(SERVICE_NAME, __version__)
        self._outbox = Outbox(exporter.export, exporter.shutdown, on_spans)

    def begin(self, trail: Trail) -> None:
        """Start the span of a request; what it causes elsewhere belongs to it from now on."""
        from opentelemetry.trace import SpanKind  # noqa: PLC0415

        span = self._tracer.start_span("request", context=_parent(trail.context), kind=SpanKind.SERVER)
        place = span.get_span_context()
        state = trail.context.state if trail.context else ""
        trail.context = TraceContext(f"{place.trace_id:032x}", f"{place.span_id:016x}", int(place.trace_flags), state)
        trail.span = span

    def finish(self, trail: Trail, fields: Mapping[str, Any]) -> None:
        """End the span of a request and those of its stages. fields: of its log line, redacted once more here."""
        from opentelemetry.trace import Status, StatusCode, set_span_in_context  # noqa: PLC0415

        span = trail.span
        if span is None or not span.is_recording():
            return
        span.update_name(f"{fields['http.request.method']} {fields['http.route']}")
        span.set_attributes(_attributes(fields))
        if fields["http.response.status_code"] >= 500:
            span.set_status(Status(StatusCode.ERROR, str(fields.get("error.type", ""))))
        since = time.time_ns() - int(trail.now() * 1e9)
        around = set_span_in_context(span)
        for stage in trail.stages:
            child = self._tracer.start_span(stage.name, context=around, start_time=since + int(stage.started * 1e9))
            child.end(since + int(stage.ended * 1e9))
            self._outbox.put(child)
        span.end()
        self._outbox.put(span)

    def stop(self, timeout: float) -> None:
        """Hand over what waits, for at most *timeout* seconds."""
        self._outbox.stop(timeout)


class Outbox:
    """
    A bounded queue and a thread between requests and the collector, so that none of them waits for it.

    export: hands a batch over; says in its result's name whether that went well. shutdown: ends its retries.
    """

    def __init__(self, export: Callable[[Sequence[ReadableSpan]], Any], shutdown: Callable[[], None], on_spans: OnSpans) -> None:
        self._export = export
        self._shutdown = shutdown
        self._on_spans = on_spans
        self._words = _FirstWord()
        self._queue: queue.Queue[Any] = queue.Queue(QUEUE_SPANS)
        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="traces", daemon=True)
        self._thread.start()

    def put(self, span: Any) -> None:
        """Take an ended span. Never blocks."""
        try:
            self._queue.put_nowait(span)
        except queue.Full:
            self._on_spans("dropped", 1, "the queue is full")
        if self._queue.qsize() >= BATCH_SPANS:
            self._wake.set()

    def stop(self, timeout: float) -> None:
        """Hand over what waits; what is left after *timeout* seconds is dropped."""
        self._stopping = True
        self._wake.set()
        self._thread.join(timeout)
        self._shutdown()
        # What was under way ends now; its last word belongs before that of the process.
        self._thread.join(timeout)
        if left := self._queue.qsize():
            self._on_spans("dropped", left, "the collector was too slow at the end")

    def _run(self) -> None:
        while not self._stopping:
            self._wake.wait(BATCH_SECONDS)
            self._wake.clear()
            while batch := self._batch():
                self._send(batch)

    def _batch(self) -> list[Any]:
        batch: list[Any] = []
        while len(batch) < BATCH_SPANS and not self._queue.empty():
            batch.append(self._queue.get_nowait())
        return batch

    def _send(self, batch: list[Any]) -> None:
        self._words.said = ""
        try:
            well = self._export(batch).name == "SUCCESS"
            reason = "" if well else self._words.said
        except Exception as exc:
            well, reason = False, f"{type(exc).__name__}: {exc}"
        self._on_spans("exported" if well else "failed", len(batch), reason)


class _FirstWord(logging.Handler):
    """Keeps the first thing the SDK says of a batch, the reason; then come its retries."""

    def __init__(self) -> None:
        super().__init__()
        self.said = ""
        logger = logging.getLogger("opentelemetry")
        logger.addHandler(self)
        logger.propagate = False

    def emit(self, record: logging.LogRecord) -> None:
        """Remember a record."""
        self.said = self.said or redact.redact_text(record.getMessage())[:500]


def _resource(environ: Mapping[str, str]) -> Any:
    """Return who we are; the operator's OTEL_SERVICE_NAME wins, and OTEL_RESOURCE_ATTRIBUTES adds."""
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415

    name = environ.get("OTEL_SERVICE_NAME") or SERVICE_NAME
    return Resource.create({"service.name": name, "service.version": __version__, "service.instance.id": INSTANCE})


def _parent(context: TraceContext | None) -> Context:
    """Return the caller's place in a trace, as the SDK wants it."""
    from opentelemetry.context import Context  # noqa: PLC0415
    from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, TraceState, set_span_in_context  # noqa: PLC0415

    if context is None:
        return Context()
    state = TraceState.from_header([context.state]) if context.state else None
    place = SpanContext(int(context.trace_id, 16), int(context.span_id, 16), is_remote=True, trace_flags=TraceFlags(context.flags), trace_state=state)
    return set_span_in_context(NonRecordingSpan(place), Context())


def _attributes(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the line of a request as attributes; of its lows the first, and how many there are."""
    lows = fields.get("salt.lows") or []
    first = {f"salt.{name}": value for name, value in lows[0].items()} if lows else {}
    flat = {name: value for name, value in fields.items() if name not in _NOT_ATTRIBUTES}
    clean = redact.redact({**flat, **first, **({"salt.lows.count": len(lows)} if lows else {})})
    assert isinstance(clean, dict)  # noqa: S101 - a mapping stays one
    return {name: value for name, value in clean.items() if isinstance(value, str | bool | int | float)}
