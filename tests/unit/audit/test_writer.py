"""The writers: sinks that fail, hang or are slow cost no more than agreed, and every lost record is counted."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import pytest

from service.audit.sinks import LineSink
from service.audit.writer import Delivery, Writer

pytestmark = pytest.mark.slow
SECONDS = 30.0


class Sink:
    """Keeps what it is given; fails while `error` is set, and hangs while `hanging` is."""

    def __init__(self, name: str = "fake") -> None:
        self.name = name
        self.taken: list[bytes] = []
        self.error: Exception | None = None
        self.free = threading.Event()
        self.free.set()
        self.tried = threading.Semaphore(0)
        self.synced = threading.Semaphore(0)
        self.closed = 0

    def write(self, records: Sequence[bytes]) -> None:
        self.tried.release()
        self.free.wait(SECONDS)
        if self.error:
            raise self.error
        self.taken += records

    def sync(self) -> None:
        self.synced.release()

    def close(self) -> None:
        self.closed += 1


class Report:
    def __init__(self) -> None:
        self.written = 0
        self.failed: list[tuple[str, str, int]] = []

    def on_written(self, count: int) -> None:
        self.written += count

    def on_failed(self, sink: str, error: str, count: int) -> None:
        self.failed.append((sink, error, count))


def writer(sink: Sink | LineSink, report: Report, *, queue: int = 100, **seconds: Any) -> Writer:
    waits = {"write_seconds": SECONDS, "sync_seconds": None, **seconds}
    return Writer(sink, lambda lost: b"lost %d" % lost, on_written=report.on_written, on_failed=report.on_failed, queue_records=queue, **waits)


def fails(one: Writer) -> bool:
    return one.failing


def deliver(records: Sequence[bytes], report: Report, *writers: Writer) -> Delivery:
    delivery = Delivery(records, len(writers), awaited=True)
    for one in writers:
        one.put(delivery)
    return delivery


def test_records_come_in_order_and_all_are_written_at_the_end() -> None:
    sink, report = Sink(), Report()
    one = writer(sink, report)
    for number in range(100):
        one.put(Delivery([b"%d" % number], 1, awaited=False))
    one.close(SECONDS)

    assert sink.taken == [b"%d" % number for number in range(100)]
    assert (report.written, report.failed, sink.closed) == (100, [], 1)


@pytest.mark.parametrize(("count", "awaited"), [(1, True), (41, False)], ids=["awaited", "half full"])
def test_records_wait_for_company_until_somebody_waits_for_them_or_the_queue_fills(count: int, awaited: bool) -> None:
    sink, report = Sink(), Report()
    one = writer(sink, report, linger_seconds=SECONDS)
    one.put(Delivery([b"x"] * 10, 1, awaited=False))
    one.put(Delivery([b"x"] * count, 1, awaited=awaited))

    assert sink.tried.acquire(timeout=SECONDS / 2)
    one.close(SECONDS)
    assert report.written == 10 + count


def test_one_sink_that_takes_them_is_enough() -> None:
    good, bad, report = Sink("good"), Sink("bad"), Report()
    bad.error = OSError(28, "No space left on device")
    writers = [writer(bad, report), writer(good, report)]

    assert deliver([b"a"], report, *writers).wait(SECONDS)
    for one in writers:
        one.close(SECONDS)
    assert [one.failing for one in writers] == [True, False]
    assert (report.written, report.failed) == (1, [("bad", "ENOSPC", 1)])


def test_a_sink_that_works_again_says_first_how_many_records_it_lacks() -> None:
    sink, report = Sink(), Report()
    sink.error = ValueError("a bug")
    one = writer(sink, report)
    assert not deliver([b"a", b"b"], report, one).wait(SECONDS)
    assert fails(one)
    sink.error = None

    assert deliver([b"c"], report, one).wait(SECONDS)
    one.close(SECONDS)
    assert sink.taken == [b"lost 2", b"c"]
    assert fails(one) is False
    assert report.failed == [("fake", "ValueError", 2)]


def test_a_failing_sink_is_tried_again_without_anybody_writing() -> None:
    sink, report = Sink(), Report()
    sink.error = OSError(5, "Input/output error")
    one = writer(sink, report)
    deliver([b"a"], report, one).wait(SECONDS)
    sink.error = None
    assert sink.tried.acquire(timeout=SECONDS)
    assert sink.tried.acquire(timeout=SECONDS)
    one.close(SECONDS)

    assert sink.taken == [b"lost 1"]
    assert not one.failing


def test_a_sink_that_hangs_holds_nobody_up_for_longer_than_agreed() -> None:
    sink, report = Sink(), Report()
    sink.free.clear()
    one = writer(sink, report, write_seconds=0.05)
    deliver([b"a"], report, one)
    assert sink.tried.acquire(timeout=SECONDS)
    assert any(one.failing or threading.Event().wait(0.01) for _ in range(3000))

    assert not deliver([b"b"], report, one).wait(SECONDS)  # at once: it is known to hang
    assert report.failed == [("fake", "QueueFull", 1)]
    sink.free.set()
    one.close(SECONDS)
    assert sink.taken == [b"a"]


def test_the_queue_is_bounded() -> None:
    sink, report = Sink(), Report()
    sink.free.clear()
    one = writer(sink, report, queue=10)
    first = deliver([b"x"], report, one)
    assert sink.tried.acquire(timeout=SECONDS)
    for _ in range(20):
        one.put(Delivery([b"x"], 1, awaited=False))
    sink.free.set()
    assert first.wait(SECONDS)
    one.close(SECONDS)

    assert len(report.failed) == 10
    assert report.written == 11
    assert sink.taken == [b"x", b"lost 10", *[b"x"] * 10]


def test_the_disk_is_asked_in_the_interval_and_at_the_end() -> None:
    sink, report = Sink(), Report()
    one = writer(sink, report, sync_seconds=0.01)
    deliver([b"a"], report, one).wait(SECONDS)
    assert sink.synced.acquire(timeout=SECONDS)
    slow = Sink()
    other = writer(slow, report, sync_seconds=1000.0)
    deliver([b"a"], report, other).wait(SECONDS)
    for each in (one, other):
        each.close(SECONDS)

    assert slow.synced.acquire(blocking=False)


def test_a_sink_is_opened_anew_when_told_to() -> None:
    sink, report = Sink(), Report()
    one = writer(sink, report)
    one.reopen()
    deliver([b"a"], report, one).wait(SECONDS)
    assert sink.closed == 1
    one.close(SECONDS)


def test_standard_output_that_takes_nothing_is_a_failure() -> None:
    report = Report()
    lines: list[bytes] = []

    def write(line: bytes) -> bool:
        lines.append(line)
        return line != b"no"

    one = writer(LineSink(write), report)

    assert deliver([b"a"], report, one).wait(SECONDS)
    assert not deliver([b"no"], report, one).wait(SECONDS)
    one.close(SECONDS)
    assert lines == [b"a", b"no"]
    assert report.failed == [("stdout", "EAGAIN", 1)]
