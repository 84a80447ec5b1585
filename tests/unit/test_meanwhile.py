"""What goes on beside a test goes on, and ends with it."""

from __future__ import annotations

import threading

import pytest

from tests.meanwhile import meanwhile, reading_events, repeated


def test_what_is_repeated_goes_on_after_a_failure_and_ends_with_the_block() -> None:
    done = threading.Semaphore(0)

    def fails() -> None:
        done.release()
        raise OSError

    before = threading.active_count()
    with repeated(fails, 0.0):
        assert done.acquire(timeout=60)
        assert done.acquire(timeout=60)
    assert threading.active_count() == before


def test_a_reader_comes_back_until_the_block_is_left() -> None:
    asked = threading.Semaphore(0)

    def session() -> dict[str, str]:
        asked.release()
        raise OSError

    with reading_events(1, session, 0.0):
        assert asked.acquire(timeout=60)
        assert asked.acquire(timeout=60)


def test_the_work_ends_when_the_block_fails() -> None:
    ended = threading.Event()

    def work(over: threading.Event) -> None:
        over.wait(60)
        ended.set()

    with pytest.raises(ZeroDivisionError), meanwhile(work):
        raise ZeroDivisionError

    assert ended.is_set()
