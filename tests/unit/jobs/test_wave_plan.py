"""Who has which turn, and when there are no more: by hand, and whatever sizes and limits are asked for."""

from __future__ import annotations

from collections import Counter
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.gateway.clients.batch import Present, batch_size
from service.jobs.job_request import parse
from service.jobs.outcome import MinionStatus
from service.jobs.rollout import turns_of
from service.jobs.wave_plan import FAILURES, Batch, is_too_many, plan

sizes = st.integers(1, 30) | st.integers(0, 100).map(lambda share: f"{share}%")
batches = sizes | st.lists(sizes, min_size=1, max_size=5)
fleets = st.integers(0, 60).map(lambda count: [f"m{number:02}" for number in range(count)])


@pytest.mark.parametrize(
    ("batch", "minions", "waves"),
    [
        (1, 3, [1, 1, 1]),
        ("10%", 25, [2] * 12 + [1]),
        ("100%", 3, [3]),
        ("1%", 3, [1, 1, 1]),
        ([1, "10%", "50%"], 20, [1, 2, 10, 7]),
        ([5, 1], 3, [3]),
        ([1, 100], 5, [1, 4]),
        (3, 0, []),
    ],
)
def test_a_size_is_for_one_wave_and_the_last_one_for_all_that_follow(batch: Batch, minions: int, waves: list[int]) -> None:
    assert [len(wave) for wave in plan([str(number) for number in range(minions)], batch)] == waves


@given(fleets, batches)
def test_every_minion_has_one_turn_in_its_order_and_no_wave_is_larger_than_asked(minions: list[str], batch: Batch) -> None:
    waves = plan(minions, batch)
    asked = [batch] if isinstance(batch, int | str) else batch

    assert [minion for wave in waves for minion in wave] == minions
    for number, wave in enumerate(waves):
        size = batch_size(asked[min(number, len(asked) - 1)], len(minions))
        assert wave
        assert len(wave) == size or (number == len(waves) - 1 and len(wave) < size)


@pytest.mark.parametrize(
    ("counts", "limit", "minions", "stops"),
    [
        ({"failed": 1}, 1, 10, True),
        ({"failed": 1, "lost": 1, "no_return": 1}, 3, 10, True),
        ({"failed": 2}, 3, 10, False),
        ({"failed": 1}, "10%", 10, True),
        ({"failed": 1}, "10%", 11, False),
        ({"ok": 9}, "0%", 10, False),
        ({"failed": 1}, "0%", 10, True),
        ({"failed": 10}, None, 10, False),
        ({"unknown": 1}, 1, 10, True),
        ({"no_key": 5}, 1, 10, False),
    ],
)
def test_so_many_failures_end_the_waves(counts: dict[MinionStatus, int], limit: int | str | None, minions: int, stops: bool) -> None:
    assert is_too_many(counts, limit, minions) is stops


@given(st.lists(st.sampled_from(get_args(MinionStatus)), max_size=20), sizes, st.integers(20, 60))
def test_more_failures_never_let_the_waves_go_on(found: list[MinionStatus], limit: int | str, minions: int) -> None:
    stops = is_too_many(Counter(found), limit, minions)

    assert not stops or FAILURES & set(found)
    assert not stops or is_too_many(Counter([*found, "failed"]), limit, minions)


def test_a_list_gives_the_order_and_otherwise_the_names_do() -> None:
    present = Present(["c", "a", "b"], ["s"], ["x"])

    assert turns_of(present, parse({"tgt": "*", "fun": "test.ping", "batch": [1, 2]})).waves == [["a"], ["b", "c"]]
    for tgt in (["b", "c", "a", "c"], "b, c,a"):
        named = turns_of(present, parse({"tgt": tgt, "tgt_type": "list", "fun": "test.ping", "batch": 2}))
        assert (named.waves, named.silent, named.no_key) == ([["b", "c"], ["a"]], ["s"], ["x"])
