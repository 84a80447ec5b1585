"""`make costs` names the tests that take much of the CPU and are not marked, and those that are marked and do not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SUITE = """
import time
import pytest
def busy():
    until = time.process_time() + 0.1
    while time.process_time() < until:
        pass
def test_works_hard():
    busy()
@pytest.mark.costly
def test_is_known_to_work_hard():
    busy()
@pytest.mark.costly
@pytest.mark.parametrize("row", range(100))
def test_works_little(row):
    pass
def test_waits():
    time.sleep(0.1)
"""


@pytest.mark.slow
def test_who_is_to_be_marked_and_who_no_more_is_named(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n    costly: it is\n")
    (tmp_path / "test_it.py").write_text(SUITE)
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}

    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "tests.cpu_of_tests"], cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=300, check=False
    )
    named = [line.partition(" ms, ")[2] for line in run.stdout.splitlines() if " ms, " in line]

    assert run.returncode == 0
    assert named == ["to be marked: test_it.py::test_works_hard", "needs the mark no more: test_it.py::test_works_little"]
