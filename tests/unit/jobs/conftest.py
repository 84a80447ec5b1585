"""A sidecar's side of jobs, over a master in memory, for one test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.jobs.process import Sidecar


@pytest.fixture
def sidecar(tmp_path: Path) -> Iterator[Sidecar]:
    """One that has ended without a fault when the test is over."""
    made = Sidecar(tmp_path)
    yield made
    made.jobs.stop()
    made.kill()
    assert made.report.crashes == 0
