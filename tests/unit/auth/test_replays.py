"""The memory of signatures: none is taken twice, however many come and in whatever order they are forgotten."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.auth.replays import Replays
from service.errors import Unauthenticated


def takes(replays: Replays, at: int | None, path: str = "a", signature: bytes = b"") -> bool:
    """Use a signature of a time; say whether it counted."""
    try:
        with replays.once(signature or str(at).encode(), path, at):
            return True
    except Unauthenticated:
        return False


def test_a_burst_over_the_memory_shortens_the_window_and_opens_no_gap() -> None:
    replays = Replays(most=3)

    assert [takes(replays, at) for at in (10, 11, 12, 13)] == [True] * 4
    assert [takes(replays, at) for at in (10, 11, 12, 13)] == [False] * 4
    assert not takes(replays, 9)
    assert takes(replays, 14)


def test_without_a_time_the_first_path_keeps_the_signature() -> None:
    replays = Replays()

    assert [takes(replays, None, path, b"s") for path in ("a", "b", "a")] == [True, False, True]


def test_two_at_one_time_are_one_and_what_failed_may_come_again() -> None:
    replays = Replays()

    def fail() -> None:
        with replays.once(b"1", "a", 1):
            assert not takes(replays, 1)
            raise ValueError

    with pytest.raises(ValueError, match=r"^$"):
        fail()
    assert takes(replays, 1)
    assert not takes(replays, 1)


@given(st.lists(st.integers(0, 20), max_size=60), st.integers(1, 5))
def test_no_time_counts_twice_whatever_comes(times: list[int], most: int) -> None:
    replays = Replays(most)
    taken = [at for at in times if takes(replays, at)]

    assert len(taken) == len(set(taken))
