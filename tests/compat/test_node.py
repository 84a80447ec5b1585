"""The npm package salt-api, unmodified, against the sidecar."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from service.demo.embedded import EmbeddedSalt
from tests.compat.conftest import Site

pytestmark = [pytest.mark.master, pytest.mark.slow]

FOLDER = Path(__file__).parent / "node"


@pytest.fixture
def node(program: Callable[[str, str], str]) -> str:
    found = program("node", "nodejs")
    if not (FOLDER / "node_modules" / "salt-api").exists():
        missing = "salt-api is not installed: make node-client"
        pytest.fail(missing) if os.environ.get("CI") else pytest.skip(missing)
    return found


def test_the_npm_package_logs_in_runs_lists_and_listens(node: str, site: Site, salt_master: EmbeddedSalt) -> None:
    config = json.dumps({"url": site.url, **salt_master.credentials})

    ended = subprocess.run([node, "client.js", config], cwd=FOLDER, capture_output=True, text=True, timeout=300, check=False)

    assert ended.returncode == 0, ended.stderr
    answers = json.loads(ended.stdout)
    everybody = {"minion-1": True, "minion-2": True}
    assert answers["expire"] > time.time()
    assert answers["ping"] == answers["list"] == {"return": [everybody]}
    assert answers["echo"] == {"return": [{"minion-1": {"args": ["x"], "kwargs": {"y": 1}}}]}
    assert sorted(answers["minions"]) == ["minion-1", "minion-2"]
    assert answers["minion"] == ["minion-2"]
    assert answers["job"]["info"][0]["Function"] == "test.ping"
    assert set(answers["job"]["return"][0]) <= set(everybody)
    assert answers["event"]["id"] == "minion-1"
    assert answers["logout"] == {"return": "Your token has been cleared"}
    assert answers["after"] == 401
