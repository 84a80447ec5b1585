"""Applies the patch of attach mode to somebody's workload as the API server does, with kubectl's own merge."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

KUBECTL = Path(sys.executable).parent / "kubectl"


def patched(workload: Mapping[str, Any], patch: str) -> dict[str, Any]:
    """Return the workload as `kubectl patch --type strategic` makes it."""
    with tempfile.TemporaryDirectory() as folder:
        live = Path(folder) / "live.json"
        live.write_text(json.dumps(workload))
        command: list[str | Path] = [KUBECTL, "patch", "--local", "--filename", live, "--type", "strategic", "--patch", patch, "--output", "json"]
        # Without a HOME it keeps no cache, and knows no cluster.
        ended = subprocess.run(command, env={"HOME": folder}, capture_output=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr.decode()
    merged: dict[str, Any] = yaml.safe_load(ended.stdout)
    return merged
