"""docs/tuning.md says what was measured: every figure is of a file in benchmarks/results, and every setting has its row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.messages import counted_as
from benchmarks.report import newest
from benchmarks.tuning_page import PAGE, page, ratio
from benchmarks.tuning_settings import DEFAULTS, SETTINGS
from benchmarks.worker_profile import NO_FRAME, OTHER, shares
from service.gateway.transport.event_writer import packed

RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results"


def sample(return_us: float, beside_us: float) -> dict[str, Any]:
    return {"return_us": return_us, "beside": {"return_us": beside_us}}


def test_the_page_is_made_of_the_newest_results() -> None:
    results = newest(RESULTS, "tuning-")

    assert results is not None
    counted = newest(RESULTS, "messages-")
    both = [json.loads(path.read_text(encoding="utf-8")) for path in (results, counted) if path]
    assert PAGE.read_text(encoding="utf-8") == page(*both), "run: make bench-report"


def test_what_was_counted_has_a_row_for_each_number_of_callers_and_each_way() -> None:
    row = {"title": "x", "callers": 16, "through": "sidecar", "right": 16, "publishes": 16, "questions": 1200, "returns": 32, "others": 3, "connections": 0}
    facts = {"date": "2026-01-01T00:00", "commit": "c", "packages": {"salt": "3008"}}

    tuned = newest(RESULTS, "tuning-")
    assert tuned is not None
    text = page(json.loads(tuned.read_text(encoding="utf-8")), {"about": facts, "rows": [row]})

    assert "| x | 16 | sidecar | 16 | 16 | 1,200 | 32 | 3 | 0 |" in text


def test_a_question_is_told_from_a_publish() -> None:
    jid = "20260101000000000000"
    events = [(f"salt/job/{jid}/new", {"fun": "test.ping"}), (f"salt/job/{jid}/new", {"fun": "saltutil.find_job"}), (f"salt/job/{jid}/ret/a", {}), (jid, {})]

    assert [counted_as(packed(tag, data, 10_000)) for tag, data in events] == ["publishes", "questions", "returns", "others"]


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
