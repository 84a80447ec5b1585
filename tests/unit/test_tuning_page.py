"""docs/tuning.md says what was measured: every figure is of a file in benchmarks/results, and every setting has its row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.report import newest
from benchmarks.tuning_page import PAGE, page, ratio
from benchmarks.tuning_settings import DEFAULTS, SETTINGS
from benchmarks.worker_profile import NO_FRAME, OTHER, shares

RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results"


def sample(return_us: float, beside_us: float) -> dict[str, Any]:
    return {"return_us": return_us, "beside": {"return_us": beside_us}}


def test_the_page_is_made_of_the_newest_results() -> None:
    results = newest(RESULTS, "tuning-")

    assert results is not None
    assert PAGE.read_text(encoding="utf-8") == page(json.loads(results.read_text(encoding="utf-8"))), "run: make bench-report"


def test_every_setting_has_its_row_and_says_what_one_loses() -> None:
    text = PAGE.read_text(encoding="utf-8")

    assert len({setting.name for setting in SETTINGS}) == len(SETTINGS)
    assert [setting.name for setting in SETTINGS if f"| {setting.shown} |" not in text or f"| {setting.costs} |" not in text] == []


def test_a_setting_is_compared_with_the_defaults_at_the_same_time() -> None:
    rounds: list[dict[str, Any]] = [{"lean": sample(5, 10), DEFAULTS: sample(20, 10)}, {"lean": sample(8, 20)}, {"lean": {"failed": "x"}}]

    assert ratio(rounds, "lean") == (0.5 + 0.4) / 2
    assert ratio(rounds, DEFAULTS) == 2
    assert ratio(rounds, "memory") is None


def test_a_sample_of_a_worker_is_put_to_what_it_was_for() -> None:
    close = "run (a.py:1);returner (salt/returners/local_cache.py:250);_AtomicWFile.close (salt/utils/atomicfile.py:146) 3"
    found = shares([f"{close}\nrun (a.py:1);prep_jid (salt/returners/local_cache.py:192) 1\n", " 2\nrun (a.py:1) 4\n"])

    assert found["samples"] == 10
    assert list(found["parts"].items())[:2] == [(OTHER, 40.0), ("`fsync` of what the job cache has written", 30.0)]
    assert found["parts"][NO_FRAME] == 20.0
