"""Runs pytest, what failed once more in a fresh process, and names what passed only then: `python -m tests.again ARGUMENTS OF PYTEST`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

# Names the file that takes the names, a line each; `.ci/run` counts them.
VARIABLE = "FLAKY_FILE"
TESTS_FAILED = 1
# So many do not fail for reasons of their own: something that all need is broken, and each would wait for it to its deadline.
MOST_FAILED = 40


def counted() -> bool:
    """Say whether somebody counts what had to be run twice."""
    return VARIABLE in os.environ


def note(names: Iterable[str]) -> None:
    """Name what failed first and passed then: for a person, and for whoever counts."""
    lines = "".join(f"{name}\n" for name in sorted(names))
    if lines:
        print(f"--- flaky: these passed only when they were run again ---\n{lines}", end="", flush=True)
    if lines and counted():
        with Path(os.environ[VARIABLE]).open("a", encoding="utf-8") as file:
            file.write(lines)


def run(arguments: Sequence[str]) -> int:
    """
    Run pytest, and once more what failed; return the exit status.

    Tests that passed in the end are no failure; anything else is, such as a session that broke off, a test that was not found again, or too many.
    """
    # A memory of its own: pytest's usual one also holds what failed last week and is not even selected now.
    with tempfile.TemporaryDirectory() as memory:
        pytest = [sys.executable, "-m", "pytest", "-o", f"cache_dir={memory}", f"--maxfail={MOST_FAILED}", *arguments]
        status = subprocess.call(pytest)
        first = _failed(Path(memory))
        if status != TESTS_FAILED or not first:
            return status
        print(f"--- the {len(first)} that failed, once more, in fresh processes ---", flush=True)
        status = subprocess.call([*pytest, "--last-failed"])
        second = _failed(Path(memory))
    note(first - second)
    return status or int(bool(second))


def _failed(memory: Path) -> set[str]:
    """Return the names of the tests that pytest remembers as failed. Source: _pytest/cacheprovider.py, LFPlugin."""
    try:
        return set(json.loads((memory / "v/cache/lastfailed").read_text(encoding="utf-8")))
    except FileNotFoundError:
        return set()


if __name__ == "__main__":
    # Ctrl-C is for pytest, which stops its masters and minions then; we wait for that.
    signal.signal(signal.SIGINT, lambda *_: None)
    sys.exit(run(sys.argv[1:]))
