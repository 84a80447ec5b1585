"""The short form of `make soak`: every kind of caller at once, good and bad, beside a real master; nothing is lost and nothing piles up."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.cases import SIDECAR
from benchmarks.judge import SHORT_SOAK_TARGETS, judge, table
from benchmarks.mixture import SHORT
from benchmarks.rig import Rig
from benchmarks.soak import MINIONS, soak, summary

pytestmark = [pytest.mark.master, pytest.mark.slow]


# It is bound by requests, with pauses between them: three minutes, and on a machine ten times as slow half an hour.
@pytest.mark.timeout(3600)
def test_after_some_minutes_of_everything_at_once_nothing_is_lost_and_nothing_has_piled_up(tmp_path: Path) -> None:
    with Rig(tmp_path) as rig:
        rig.use_fleet(MINIONS)
        points = soak(rig, SHORT, rounds=SHORT.rounds)
    verdicts = judge("the short soak", SHORT_SOAK_TARGETS, {SIDECAR: summary(points)})

    assert points[-1].requests > 0
    assert all(verdict.met for verdict in verdicts), "\n".join([table(verdicts), *map(str, points)])
