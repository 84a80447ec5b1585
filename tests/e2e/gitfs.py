"""A git repository of states, as a gitfs remote of a real master."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from tests.documented.commands import ROOT
from tests.e2e.shell import require, run

GUIDE = ROOT / "docs" / "install-compose.md"
STATE = "from-git:\n  test.configurable_test_state:\n    - changes: False\n    - result: True\n    - comment: this state came by gitfs\n"
WHO = ("-c", "user.name=e2e", "-c", "user.email=e2e@example.org")


def options() -> dict[str, Any]:
    """Return what the guide tells a master, but for the remote, which here is a folder that the containers see."""
    found = re.search(r"```yaml\n(# /etc/salt/master.d/gitfs.conf\n.*?)```", GUIDE.read_text(), re.DOTALL)
    require(found is not None, f"{GUIDE} has no gitfs.conf")
    told: dict[str, Any] = yaml.safe_load(found[1]) if found else {}
    return {**told, "gitfs_remotes": ["file:///given/states.git"]}


def repository(folder: Path) -> None:
    """Make a bare repository with the state `from-git`, and a branch that will go."""
    work = folder.with_suffix(".work")
    run("git", "init", "--quiet", "--initial-branch=main", work)
    (work / "from-git.sls").write_text(STATE)
    run("git", "-C", work, "add", ".")
    run("git", "-C", work, *WHO, "commit", "--quiet", "--message", "a state")
    run("git", "-C", work, "branch", "short-lived")
    run("git", "clone", "--quiet", "--bare", work, folder)


def delete_branch(folder: Path) -> None:
    run("git", "-C", folder, "branch", "--quiet", "-D", "short-lived")


def applied(status: int, body: Any) -> bool:
    """Say whether the answer is that of the state in the repository."""
    minions = body["return"][0].values() if status == 200 else ()
    return [state["comment"] for minion in minions if isinstance(minion, dict) for state in minion.values()] == ["this state came by gitfs"]
