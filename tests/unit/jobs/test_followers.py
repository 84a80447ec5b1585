"""Followers of a job: of all who wait at one place, one reads for the others."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from service.errors import StorageUnavailable
from service.jobs.followers import MOST_READINGS, READING_BYTES, Readings, Written

HERE = ("jid", 1)


def written(size: int = 1) -> Written:
    return Written(b"x" * size, 1, 2, 0.0)


def test_one_reads_for_all_who_are_waiting_at_a_place() -> None:
    readings, reading, let_go = Readings(), threading.Event(), threading.Event()
    reads: list[int] = []

    def read() -> Written:
        reads.append(1)
        reading.set()
        assert let_go.wait(30)
        return written()

    with ThreadPoolExecutor(5) as threads:
        first = threads.submit(readings.get, HERE, read)
        assert reading.wait(30)
        others = [threads.submit(readings.get, HERE, read) for _ in range(4)]
        let_go.set()

    assert {id(one.result()) for one in (first, *others)} == {id(readings.get(HERE, read))}
    assert reads == [1]


def test_a_reading_that_failed_is_told_and_tried_again() -> None:
    readings = Readings()

    def fail() -> Written:
        raise StorageUnavailable("away", retry_after_seconds=1)

    with pytest.raises(StorageUnavailable):
        readings.get(HERE, fail)

    assert readings.get(HERE, written) == written()


def test_what_is_kept_of_readings_is_bounded() -> None:
    readings = Readings()
    for place in range(MOST_READINGS + 1):
        readings.get((place,), lambda: written(READING_BYTES))
    readings.get(HERE, lambda: written(READING_BYTES + 1))

    assert readings.get((MOST_READINGS,), lambda: None) == written(READING_BYTES)
    assert readings.get((0,), lambda: None) is None
    assert readings.get(HERE, lambda: None) is None
