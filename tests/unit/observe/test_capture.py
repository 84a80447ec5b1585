"""Capture: streams and descriptors become lines."""

from __future__ import annotations

import os
import threading

from service.observe.log.capture import LINE_LIMIT, FdCapture, LineLogger


def test_a_line_is_logged_when_its_line_feed_comes() -> None:
    lines: list[str] = []
    stream = LineLogger(lines.append, 1)

    print("one", "two", end="", file=stream)
    assert lines == []
    print(" three\n\nfour", file=stream)

    assert lines == ["one two three", "four"]


def test_flush_logs_the_line_without_a_line_feed() -> None:
    lines: list[str] = []
    stream = LineLogger(lines.append, 1)

    print("50 %", end="", file=stream, flush=True)

    assert lines == ["50 %"]


def test_half_lines_of_two_threads_do_not_mix() -> None:
    lines: list[str] = []
    stream = LineLogger(lines.append, 1)
    stream.write("mine ")

    thread = threading.Thread(target=lambda: print("theirs", file=stream))
    thread.start()
    thread.join()
    stream.write("too\n")

    assert lines == ["theirs", "mine too"]


def test_bytes_may_be_written_to_the_buffer() -> None:
    lines: list[str] = []
    stream = LineLogger(lines.append, 2)

    stream.buffer.write(b"caf\xc3\xa9 \xff\n")

    assert lines == ["café \\xff"]
    assert (stream.fileno(), stream.writable(), stream.buffer.writable()) == (2, True, True)


def test_an_endless_line_is_cut_into_pieces() -> None:
    lines: list[str] = []
    stream = LineLogger(lines.append, 1)

    stream.write("x" * (LINE_LIMIT + 1))
    stream.write("y\n")

    assert [len(line) for line in lines] == [LINE_LIMIT, 1, 1]


def test_a_surrogate_is_escaped() -> None:
    lines: list[str] = []

    LineLogger(lines.append, 1).write("\ud800\n")

    assert lines == ["\\ud800"]


def test_what_is_written_to_a_captured_descriptor_is_logged() -> None:
    lines: list[str] = []
    fd = os.dup(os.open(os.devnull, os.O_WRONLY))
    capture = FdCapture(fd, lines.append)

    os.write(fd, b"first\nsecond without end")
    capture.close(5)

    assert lines == ["first", "second without end"]
    assert os.write(fd, b"after close") == 11
    assert len(lines) == 2
