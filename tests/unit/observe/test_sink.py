"""The sink: order, bounds, and a reader that is slow or gone."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from service.observe.log.sink import LogSink


class Pipe(NamedTuple):
    reader: int
    writer: int

    def fill(self) -> int:
        """Write until the pipe takes nothing more; return the number of bytes."""
        os.set_blocking(self.writer, False)
        written = 0
        try:
            while True:
                written += os.write(self.writer, b"x" * 1024)
        except BlockingIOError:
            return written


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    ends = Pipe(*os.pipe())
    yield ends
    for fd in ends:
        with contextlib.suppress(OSError):
            os.close(fd)
        # A writer still waiting for its reader now gets EPIPE; it must end before the number of its descriptor is given to somebody else.
        for thread in threading.enumerate():
            if thread.name == "log-writer":
                thread.join(60)


def test_lines_come_out_in_the_order_given(pipe: Pipe) -> None:
    sink = LogSink(pipe.writer, 100)
    for number in range(50):
        sink.put(str(number).encode(), "info")

    assert sink.close(5)
    assert os.read(pipe.reader, 10_000) == b"".join(b"%d\n" % number for number in range(50))
    assert sink.counts() == {"debug": 0, "info": 50, "warning": 0, "error": 0, "critical": 0}
    assert sink.dropped() == 0


def test_an_error_takes_along_what_waits_for_company(pipe: Pipe) -> None:
    sink = LogSink(pipe.writer, 100, linger_seconds=60.0)
    for level in ("info", "warning", "error"):
        sink.put(level.encode(), level)

    assert os.read(pipe.reader, 100) == b"info\nwarning\nerror\n"
    assert sink.close(5)


def test_a_blocked_reader_blocks_nobody_and_the_lost_lines_are_counted(pipe: Pipe) -> None:
    pipe.fill()
    sink = LogSink(pipe.writer, 10)

    for _ in range(200):
        sink.put(b"line", "info")

    # 10 wait in the queue, and the writer may have taken up to 10 more before the queue was full again.
    assert 180 <= sink.dropped() <= 190
    assert sink.counts()["info"] == 200 - sink.dropped()
    assert not sink.close(0.01)


def test_lines_flow_again_when_the_reader_wakes(pipe: Pipe) -> None:
    filled = pipe.fill()
    sink = LogSink(pipe.writer, 10)
    sink.put(b"after", "info")

    os.read(pipe.reader, filled)

    assert sink.close(5)
    assert os.read(pipe.reader, 100) == b"after\n"


def test_a_dead_reader_costs_lines_and_nothing_else(pipe: Pipe) -> None:
    os.close(pipe.reader)
    sink = LogSink(pipe.writer, 10)

    sink.put(b"line", "info")

    assert sink.close(5)
    assert sink.dropped() == 1


def test_after_close_a_line_is_written_at_once(pipe: Pipe) -> None:
    sink = LogSink(pipe.writer, 10)
    assert sink.close(1)

    sink.put(b"late", "error")

    assert os.read(pipe.reader, 100) == b"late\n"
    assert sink.counts()["error"] == 1


def test_write_now_keeps_its_deadline(pipe: Pipe) -> None:
    pipe.fill()
    now = 100.0
    sink = LogSink(pipe.writer, 10, clock=lambda: now)

    assert not sink.write_now(b"line", now)


def test_a_forked_child_does_not_write_its_parents_lines(pipe: Pipe) -> None:
    pipe.fill()
    sink = LogSink(pipe.writer, 10)
    sink.put(b"parent", "info")

    sink.after_fork()

    assert sink.close(1)
    assert b"parent" not in os.read(pipe.reader, 2**20)
