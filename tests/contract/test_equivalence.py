"""The same low through Salt's own NetapiClient and through us gives the same, on the same real master."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest

from service.demo.embedded import EmbeddedSalt
from tests.contract.conftest import Api
from tests.contract.equivalence import CASES, CASES_STOPPED, LONGEST_SECONDS, Case, Outcome, both, in_good_time, verdict
from tests.contract.reference import Reference


@pytest.fixture(scope="session")
def reference(salt_master: EmbeddedSalt) -> Iterator[Reference]:
    with Reference(salt_master.master_config) as process:
        yield process


@pytest.fixture(scope="class")
def minion_2_stopped(salt_master: EmbeddedSalt) -> Iterator[None]:
    salt_master.stop_minion("minion-2")
    try:
        yield
    finally:
        salt_master.start_minion("minion-2")


def compare(case: Case, api: Api, reference: Reference) -> None:
    expected, got = both(case, api.demo, reference, api.process.gateway)

    assert verdict(case, expected, got) != "WRONG", (expected, got)


@pytest.mark.master
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_sidecar_gives_what_salt_gives(case: Case, real_api: Api, reference: Reference) -> None:
    compare(case, real_api, reference)


@pytest.mark.master
@pytest.mark.usefixtures("minion_2_stopped")
class TestWithAStoppedMinion:
    @pytest.mark.parametrize("case", CASES_STOPPED, ids=lambda case: case.name)
    def test_the_sidecar_gives_what_salt_gives(self, case: Case, real_api: Api, reference: Reference) -> None:
        compare(case, real_api, reference)


def test_names_of_cases_are_unique() -> None:
    names = [case.name for case in CASES + CASES_STOPPED]

    assert len(names) == len(set(names))


EMPTY: Outcome = ("value", {})
FULL: Outcome = ("value", {"minion-1": True})
SUBSET = next(case for case in CASES_STOPPED if case.name == "stopped minion in a subset")


def runs(*found: Outcome) -> tuple[list[int], Callable[[int], tuple[Outcome, Outcome]]]:
    """Return the times that were given, and what runs a case: Salt finds all, we one of these after the other."""
    given: list[int] = []
    ours = iter(found)

    def run(seconds: int) -> tuple[Outcome, Outcome]:
        given.append(seconds)
        return FULL, next(ours)

    return given, run


def pings(before: float, meanwhile: float) -> Callable[[], float]:
    """Return what pings the living minion: how long that takes before the case runs, and then."""
    seconds = itertools.chain([before] * 3, itertools.repeat(meanwhile))
    return lambda: next(seconds)


def test_a_difference_that_a_machine_made_which_stood_still_does_not_count() -> None:
    given, run = runs(EMPTY, FULL)

    assert in_good_time(SUBSET, run, pings(0.01, 0.51)) == (FULL, FULL)
    assert given == [1, 6]


def test_a_difference_counts_when_the_living_minion_had_its_time() -> None:
    given, run = runs(EMPTY)

    assert in_good_time(SUBSET, run, pings(0.1, 0.1)) == (FULL, EMPTY)
    assert given == [1]


def test_a_difference_counts_at_the_latest_when_the_longest_time_was_given() -> None:
    given, run = runs(EMPTY, EMPTY)

    assert in_good_time(SUBSET, run, pings(0.1, 100.0)) == (FULL, EMPTY)
    assert given == [1, LONGEST_SECONDS]


def test_what_is_equal_is_never_run_again() -> None:
    given, run = runs(FULL)

    assert in_good_time(SUBSET, run, pings(0.1, 100.0)) == (FULL, FULL)
    assert given == [1]
