"""The table of docs/scale-out.md has a row for every cut that is played, seen from both sidecars, and no other."""

from __future__ import annotations

import itertools

from tests.real.jobs.survival import CUTS, SIDES, table


def test_the_table_has_the_cuts_that_are_played() -> None:
    assert list(table()) == list(itertools.product(CUTS, SIDES))
