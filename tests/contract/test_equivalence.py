"""The same low through Salt's own NetapiClient and through us gives the same, on the same real master."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from service.demo.embedded import EmbeddedSalt
from tests.contract.conftest import Api
from tests.contract.equivalence import CASES, CASES_STOPPED, Case, both, verdict
from tests.contract.reference import Reference

pytestmark = pytest.mark.master


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


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_sidecar_gives_what_salt_gives(case: Case, real_api: Api, reference: Reference) -> None:
    compare(case, real_api, reference)


@pytest.mark.usefixtures("minion_2_stopped")
class TestWithAStoppedMinion:
    @pytest.mark.parametrize("case", CASES_STOPPED, ids=lambda case: case.name)
    def test_the_sidecar_gives_what_salt_gives(self, case: Case, real_api: Api, reference: Reference) -> None:
        compare(case, real_api, reference)


def test_names_of_cases_are_unique() -> None:
    names = [case.name for case in CASES + CASES_STOPPED]

    assert len(names) == len(set(names))
