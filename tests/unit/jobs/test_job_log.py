"""The log of a job, as bytes from any place on: the same as the whole, for the cost of what is new."""

from __future__ import annotations

from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.jobs.followers import AT_ONCE, line_of
from service.jobs.renderings import MOST_ENDS, JobLogs
from service.jobs.stores.store import Happening, Store
from tests.unit.jobs.kept import JID

LONG = 25_000


class CountedStore:
    """Has happened to one job what a test says; counts what is read of it."""

    def __init__(self) -> None:
        self.told: list[Happening] = []
        self.lines: list[bytes] = []
        self.rows = self.bytes = 0

    def happen(self, count: int) -> None:
        for seq in range(len(self.told) + 1, len(self.told) + count + 1):
            self.told.append(Happening(seq, "minion", 1000.0 + seq, {"status": "ok"}, f"minion-{seq % 977}"))
        self.lines += map(line_of, self.told[len(self.lines) :])

    def happenings(self, _jid: str, after: int, limit: int) -> list[Happening]:
        news = self.told[after : after + limit]
        self.rows += len(news)
        self.bytes += sum(map(len, self.lines[after : after + limit]))
        return news

    @property
    def whole(self) -> bytes:
        return b"".join(self.lines)


def read(logs: JobLogs, store: CountedStore, first: int, jid: str = JID) -> tuple[bytes, int]:
    return logs.read(cast("Store", store), jid, first)


@pytest.mark.costly
def test_a_poll_costs_what_is_new() -> None:
    store, logs = CountedStore(), JobLogs()
    offset = 0
    for _ in range(500):
        store.happen(5)
        data, end = read(logs, store, offset)
        offset += len(data)
        assert offset == end
        assert read(logs, store, offset) == (b"", end)

    assert (store.rows, store.bytes) == (len(store.told), offset)


@pytest.mark.costly
def test_a_poll_of_a_long_log_costs_what_is_new_also_for_several_who_do_not_keep_step() -> None:
    store, logs = CountedStore(), JobLogs()
    store.happen(LONG)
    offsets = [read(logs, store, 0)[1]] * 3
    store.rows = 0
    for turn in range(90):
        store.happen(1)
        number = turn % 3
        offsets[number] += len(read(logs, store, offsets[number])[0])

    # Each of them comes every third time, and so reads three lines.
    assert store.rows <= 3 * 90


@pytest.mark.costly
def test_any_place_in_a_long_log_is_found_near_by() -> None:
    """A caller that comes back late, or after another sidecar answered it, is where no reader of ours ever was."""
    store, logs = CountedStore(), JobLogs()
    for _ in range(LONG // 250):
        store.happen(250)
        read(logs, store, 10**9)
    whole = store.whole
    for tail in (len(whole) // 3, 5000, 1):
        store.rows = 0

        assert read(logs, store, len(whole) - tail) == (whole[-tail:], len(whole))
        assert store.rows <= whole[-tail:].count(b"\n") + 2 * AT_ONCE + 1


def test_the_first_reader_of_a_log_reads_it_once_and_beyond_its_end_there_is_nothing() -> None:
    store, logs = CountedStore(), JobLogs()
    store.happen(3)

    assert read(logs, store, 10**9) == (b"", len(store.whole))
    assert read(logs, store, 10**9) == (b"", len(store.whole))
    assert store.rows == 3
    assert read(JobLogs(), CountedStore(), 0) == (b"", 0)


def test_so_many_jobs_are_remembered_and_those_that_were_read_last() -> None:
    store, logs = CountedStore(), JobLogs(most_jobs=2)
    store.happen(10)
    end = len(store.whole)
    for jid in ("1", "2", "1", "3"):
        read(logs, store, end, jid)
    store.rows = 0

    assert read(logs, store, end, "1") == (b"", end)
    assert store.rows == 0
    read(logs, store, end, "2")
    assert store.rows == 10


@pytest.mark.costly
@given(st.lists(st.tuples(st.integers(0, 3 * AT_ONCE), st.integers(0, 60_000)), min_size=1, max_size=MOST_ENDS + 4))
def test_from_any_byte_it_is_the_rest_of_the_whole(turns: list[tuple[int, int]]) -> None:
    store, logs = CountedStore(), JobLogs()
    for count, first in turns:
        store.happen(count)
        whole = store.whole

        assert read(logs, store, first) == (whole[first:], len(whole))
