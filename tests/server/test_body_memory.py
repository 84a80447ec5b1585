"""Bodies under the memory limit of compose.yaml and the chart: real threads, and a process that may not take more."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.probes.bodies import LIMIT, MIB, SHAPES

ROOT = Path(__file__).parents[2]
REFUSED = {"cut short": 400, "too many values": 413, "too many in yaml": 413}
pytestmark = pytest.mark.slow


def sent(shape: str, callers: int) -> dict[str, Any]:
    command = [sys.executable, str(ROOT / "tests" / "probes" / "bodies.py"), shape, str(callers)]
    answer = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, check=True, timeout=300)
    told: dict[str, Any] = json.loads(answer.stdout)
    return told


@pytest.mark.parametrize("shape", SHAPES)
def test_the_largest_body_of_each_shape_is_taken_from_one_caller(shape: str) -> None:
    assert sent(shape, 1)["statuses"] == [REFUSED.get(shape, 200)]


@pytest.mark.parametrize("shape", SHAPES)
def test_the_largest_body_of_each_shape_from_eight_callers_leaves_the_process_under_its_limit(shape: str) -> None:
    told = sent(shape, 8)

    assert len(told["statuses"]) == 8
    assert {*told["statuses"]} <= {REFUSED.get(shape, 200), 503}
    assert told["peak_mib"] * MIB < LIMIT
