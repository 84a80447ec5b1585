"""Spans on their way to the collector: each is counted, whatever becomes of it, and the end has a deadline."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from service.observe.trace.spans import CountedProcessor

SECONDS = 60.0


class Collector(SpanExporter):
    """Keeps the names of spans; does not answer while it is not `free`, nor after `shutdown`."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.result: SpanExportResult | Exception = SpanExportResult.SUCCESS
        self.free = threading.Event()
        self.free.set()
        self.called = threading.Semaphore(0)
        self.ends = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.names += [span.name for span in spans]
        self.called.release()
        assert self.free.wait(SECONDS)
        if isinstance(self.result, Exception):
            raise self.result
        return self.result

    def shutdown(self) -> None:
        self.ends += 1
        self.free.set()


@pytest.fixture
def collector() -> Iterator[Collector]:
    one = Collector()
    yield one
    one.free.set()


class Spans:
    """What makes spans, and what was told of them."""

    def __init__(self, collector: Collector, *, queue_spans: int = 100) -> None:
        self.told: list[tuple[str, int, str]] = []
        self.processor = CountedProcessor(collector, lambda *what: self.told.append(what), queue_spans=queue_spans, batch_spans=1)
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(self.processor)
        self.tracer = provider.get_tracer("test")

    def make(self, *names: str) -> None:
        for name in names:
            self.tracer.start_span(name).end()

    def counts(self) -> dict[str, int]:
        return {result: sum(count for one, count, _ in self.told if one == result) for result, _, _ in self.told}


def test_what_the_collector_takes_is_exported_in_order(collector: Collector) -> None:
    spans = Spans(collector)
    spans.make("a", "b", "c")
    spans.processor.stop(SECONDS)

    assert collector.names == ["a", "b", "c"]
    assert spans.counts() == {"exported": 3}
    assert collector.ends == 1


def test_a_full_queue_keeps_what_waits_and_counts_each_span_that_comes(collector: Collector) -> None:
    collector.free.clear()
    spans = Spans(collector, queue_spans=2)
    spans.make("under way")
    assert collector.called.acquire(timeout=SECONDS)
    spans.make("a", "b", "c", "d", "e")
    assert spans.told == 3 * [("dropped", 1, "the queue is full")]
    collector.free.set()
    spans.processor.stop(SECONDS)

    assert collector.names == ["under way", "a", "b"]
    assert spans.counts() == {"dropped": 3, "exported": 3}


@pytest.mark.parametrize(("result", "reason"), [(SpanExportResult.FAILURE, ""), (ValueError("a bug"), "ValueError: a bug")])
def test_a_collector_that_refuses_or_an_exporter_that_raises_is_a_failure(collector: Collector, result: SpanExportResult | Exception, reason: str) -> None:
    collector.result = result
    spans = Spans(collector)
    spans.make("a")
    spans.processor.stop(SECONDS)

    assert spans.told == [("failed", 1, reason)]


@pytest.mark.costly
def test_at_the_end_what_is_under_way_is_ended_and_what_waits_is_counted(collector: Collector) -> None:
    collector.free.clear()
    spans = Spans(collector)
    spans.make("under way")
    assert collector.called.acquire(timeout=SECONDS)
    spans.make("a", "b")
    collector.result = SpanExportResult.FAILURE
    spans.processor.stop(0.05)

    assert collector.names == ["under way"]
    assert spans.told[-1] == ("dropped", 2, "the collector was too slow at the end")
    assert collector.ends == 1
