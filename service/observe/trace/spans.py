"""Spans of requests for an OpenTelemetry collector. The only file that imports opentelemetry; it is imported only when tracing is switched on."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState, set_span_in_context

from service import __version__
from service.observe import redact
from service.observe.log.log import INSTANCE, SERVICE_NAME
from service.observe.trace.timeline import Timeline
from service.observe.trace.traceparent import TraceContext

# Spans that may wait; a batch goes when it is full or this old.
QUEUE_SPANS = 8192
BATCH_SPANS = 512
BATCH_SECONDS = 1.0
# One attempt to hand a batch over, retries included: meanwhile the queue fills.
EXPORT_SECONDS = 10.0
# What the line of a request says, but a span says otherwise.
_NOT_ATTRIBUTES = frozenset({"trace_id", "span_id", "trace_flags", "salt.lows", "duration_s"})

OnSpans = Callable[[str, int, str], None]


class Tracing:
    """
    Makes the spans of a request: one for the whole, and one for each stage of its timeline.

    endpoint: takes OTLP over HTTP. sample_ratio: of the traces that begin here; a caller's own decision is followed.
    on_spans(result, count, reason) hears what became of spans: `exported`, `failed` or `dropped`.
    """

    def __init__(
        self,
        endpoint: str,
        sample_ratio: float,
        environ: Mapping[str, str],
        on_spans: OnSpans,
        *,
        queue_spans: int = QUEUE_SPANS,
        batch_spans: int = BATCH_SPANS,
        export_seconds: float = EXPORT_SECONDS,
    ) -> None:
        exporter = OTLPSpanExporter(endpoint=endpoint, timeout=export_seconds)
        self._processor = CountedProcessor(exporter, on_spans, queue_spans=queue_spans, batch_spans=batch_spans)
        provider = TracerProvider(sampler=ParentBased(TraceIdRatioBased(sample_ratio)), resource=_resource(environ), shutdown_on_exit=False)
        provider.add_span_processor(self._processor)
        self._tracer = provider.get_tracer(SERVICE_NAME, __version__)

    def begin(self, timeline: Timeline) -> None:
        """Start the span of a request; what it causes elsewhere belongs to it from now on."""
        span = self._tracer.start_span("request", context=_parent(timeline.context), kind=SpanKind.SERVER)
        place = span.get_span_context()
        state = timeline.context.state if timeline.context else ""
        timeline.context = TraceContext(f"{place.trace_id:032x}", f"{place.span_id:016x}", int(place.trace_flags), state)
        timeline.span = span

    def finish(self, timeline: Timeline, fields: Mapping[str, Any]) -> None:
        """End the span of a request and those of its stages. fields: of its log line, redacted once more here."""
        span = timeline.span
        if span is None or not span.is_recording():
            return
        span.update_name(f"{fields['http.request.method']} {fields['http.route']}")
        span.set_attributes(_attributes(fields))
        if fields["http.response.status_code"] >= 500:
            span.set_status(Status(StatusCode.ERROR, str(fields.get("error.type", ""))))
        since = time.time_ns() - int(timeline.now() * 1e9)
        around = set_span_in_context(span)
        for stage in timeline.stages:
            child = self._tracer.start_span(stage.name, context=around, start_time=since + int(stage.started * 1e9))
            child.end(since + int(stage.ended * 1e9))
        span.end()

    def stop(self, timeout: float) -> None:
        """Hand over what waits, for at most *timeout* seconds."""
        self._processor.stop(timeout)


class CountedProcessor(BatchSpanProcessor):
    """
    The SDK's queue and thread before an exporter, with a count of every span and an end in time.

    By itself a full queue pushes out its oldest span, which only the SDK's log says, and shutting down may take 30 s.
    So a span for which there is no room is counted here, and never enters the SDK's queue.
    """

    def __init__(self, exporter: SpanExporter, on_spans: OnSpans, *, queue_spans: int, batch_spans: int) -> None:
        self._counting = _CountingExporter(exporter, on_spans)
        self._on_spans = on_spans
        self._queue_spans = queue_spans
        super().__init__(self._counting, max_queue_size=queue_spans, schedule_delay_millis=BATCH_SECONDS * 1000, max_export_batch_size=batch_spans)

    def on_end(self, span: ReadableSpan) -> None:
        """Take an ended span. Never blocks."""
        if self._counting.enter(self._queue_spans):
            super().on_end(span)
        else:
            self._on_spans("dropped", 1, "the queue is full")

    def stop(self, timeout: float) -> None:
        """Hand over what waits; what is left after *timeout* seconds is dropped."""
        ending = threading.Thread(target=self.shutdown, name="traces-end", daemon=True)
        ending.start()
        ending.join(timeout)
        self._counting.shutdown()
        # What was under way ends now; its last word belongs before that of the process.
        ending.join(timeout)
        if left := self._counting.waiting:
            self._on_spans("dropped", left, "the collector was too slow at the end")


class _CountingExporter(SpanExporter):
    """Tells what became of each batch. After `shutdown` it takes none, and they count as waiting still."""

    def __init__(self, exporter: SpanExporter, on_spans: OnSpans) -> None:
        self._exporter = exporter
        self._on_spans = on_spans
        self._words = _FirstWord()
        self._lock = threading.Lock()
        self._ended = False  # guarded by _lock
        self.waiting = 0  # spans; guarded by _lock

    def enter(self, most: int) -> bool:
        """Count a span that is to wait here, unless *most* do."""
        with self._lock:
            fits = self.waiting < most
            self.waiting += fits
        return fits

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Hand over a batch."""
        with self._lock:
            if self._ended:
                return SpanExportResult.FAILURE
            self.waiting -= len(spans)
        self._words.said = ""
        try:
            well, reason = self._exporter.export(spans) is SpanExportResult.SUCCESS, self._words.said
        except Exception as exc:
            well, reason = False, f"{type(exc).__name__}: {exc}"
        self._on_spans("exported" if well else "failed", len(spans), "" if well else reason)
        return SpanExportResult.SUCCESS if well else SpanExportResult.FAILURE

    def shutdown(self) -> None:
        """End the retries of what is under way; a second time does nothing."""
        with self._lock:
            first, self._ended = not self._ended, True
        if first:
            self._exporter.shutdown()


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


def _resource(environ: Mapping[str, str]) -> Resource:
    """Return who we are; the operator's OTEL_SERVICE_NAME wins, and OTEL_RESOURCE_ATTRIBUTES adds."""
    name = environ.get("OTEL_SERVICE_NAME") or SERVICE_NAME
    return Resource.create({"service.name": name, "service.version": __version__, "service.instance.id": INSTANCE})


def _parent(context: TraceContext | None) -> Context:
    """Return the caller's place in a trace, as the SDK wants it."""
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
