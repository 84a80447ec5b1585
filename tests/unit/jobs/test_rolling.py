"""The waves of a job: what it costs to know whether one is over, and that it is known when it is."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.jobs.job_request import digest_of
from service.jobs.outcome import OVER
from service.jobs.running.account import JobAccount, Part, Waits
from service.jobs.running.rolling import Rolling
from tests.unit.jobs.kept import job

ARGUMENTS = digest_of(["a"])


class CountedParts(dict[str, Part]):
    """Counts how often somebody asks about a minion."""

    looks = 0

    def __getitem__(self, minion: str) -> Part:
        self.looks += 1
        return super().__getitem__(minion)


def opened(minions: list[str]) -> tuple[JobAccount, CountedParts]:
    """Return an account that awaits these, and what is known of them."""
    account = JobAccount("test.echo", ARGUMENTS, Waits(5, 10, 10), now=0)
    account.parts = parts = CountedParts()
    account.expect(minions)
    return account, parts


def hear(account: JobAccount, minion: str) -> None:
    account.returned(minion, {"fun": "test.echo", "return": "a", "retcode": 0, "success": True}, ARGUMENTS)


@pytest.mark.costly
@pytest.mark.parametrize("count", [100, 1000, 10_000])
@pytest.mark.parametrize("order", ["as they were sent", "backwards", "as it comes"])
def test_each_return_costs_the_same_however_many_minions_a_wave_has(count: int, order: str) -> None:
    minions = [f"minion-{number}" for number in range(count)]
    rolling, (account, parts) = Rolling([minions, ["later"]]), opened([*minions, "later"])
    record = job(waves=2, wave=1, taken=1, status="running")
    heard = {"as they were sent": minions, "backwards": minions[::-1], "as it comes": random.Random(1).sample(minions, count)}[order]
    ends = []
    for minion in heard:
        hear(account, minion)
        # What is asked each time that something is stored.
        ends.append((list(rolling.new_ends(record, account)), rolling.has_ended(1, account)))

    assert ends[-1] == (["ok"], True)
    assert all(end == ([], False) for end in ends[:-1])
    # Two questions a return, a look at each minion, and one for the verdict.
    assert parts.looks <= 4 * count


@given(st.integers(1, 8), st.lists(st.integers(0, 7), max_size=20))
def test_a_wave_has_ended_when_each_of_its_minions_is_over(size: int, heard: list[int]) -> None:
    minions = [f"minion-{number}" for number in range(size)]
    rolling, (account, parts) = Rolling([minions]), opened(minions)
    for number in heard:
        if number < size:
            hear(account, minions[number])

        assert rolling.has_ended(1, account) == all(part.status in OVER for part in parts.values())
