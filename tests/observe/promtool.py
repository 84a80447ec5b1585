"""The programs of Prometheus: where they are, and how they are asked."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "config" / "prometheus"
RULES = CONFIG / "rules"


PACKAGES = {"amtool": "prometheus-alertmanager", "prometheus-alertmanager": "prometheus-alertmanager"}


class Missing(Exception):
    """A program of Prometheus is not installed; the message says how it would be."""


def program(name: str) -> str:
    """Return where a program is. Raises Missing."""
    found = shutil.which(name)
    if found is None:
        raise Missing(f"there is no {name}: apt-get install --no-install-recommends {PACKAGES.get(name, 'prometheus')}")
    return found


def needed(name: str) -> str:
    """Return where a program is; without it the test is skipped, and fails in CI."""
    try:
        return program(name)
    except Missing as missing:
        if os.environ.get("CI"):
            pytest.fail(str(missing))
        pytest.skip(str(missing))


def promtool(*arguments: str | Path, given: bytes | None = None, cwd: Path | None = None) -> subprocess.CompletedProcess[bytes]:
    """Run promtool; what it says on both outputs is in `stdout`."""
    return _run("promtool", *arguments, given=given, cwd=cwd)


def amtool(*arguments: str | Path) -> subprocess.CompletedProcess[bytes]:
    """Run amtool, likewise."""
    return _run("amtool", *arguments)


def _run(name: str, *arguments: str | Path, given: bytes | None = None, cwd: Path | None = None) -> subprocess.CompletedProcess[bytes]:
    argv: Sequence[str | Path] = [needed(name), *arguments]
    return subprocess.run(argv, input=given, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=cwd, timeout=300, check=False)
