"""What needs nothing but this repository and a folder to work in."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.documented.commands import ROOT, Command, run_by
from tests.documented.shell import Shell


@pytest.mark.slow
@pytest.mark.parametrize("command", run_by("here"), ids=str)
def test_it_works(command: Command, tmp_path: Path) -> None:
    Shell(tmp_path, Path(sys.executable).parent, {"PYTHONPATH": str(ROOT)}).run(command)
