"""Plays what a pipeline meets with `/v1/jobs` and prints it, with what was expected: `make jobs-story`."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from tests.installed import where
from tests.real.jobs.jobs_scenes import MINIONS, SCENES, Outcome, Scene, Stage

ROW = "{:<37}{:>5}  {:<11}{:>10}{:>11}  {:<11}{:>6}  {}"


def main() -> int:
    """Return 0 if every scene came to what was expected of it."""
    print(f"starting a salt-master, {MINIONS} minions and the sidecar", flush=True)
    with tempfile.TemporaryDirectory() as folder, Stage(Path(folder)) as stage:
        print(ROW.format("scene", "HTTP", "job status", "exit code", "executions", "as expected", "s", "also"))
        wrong = sum(not told(stage, scene) for scene in SCENES)
    print(f"\nscenes: {len(SCENES)}; other than expected: {wrong}")
    return 1 if wrong else 0


def told(stage: Stage, scene: Scene) -> bool:
    """Play a scene and print what came of it; return whether that was expected, as it is where it cannot be played."""
    if scene.needs is not None and where(scene.needs) is None:
        print(f"{scene.title:<37}skipped: there is no {scene.needs} on this machine: apt-get install postgresql")
        return True
    began = time.monotonic()
    try:
        seen = stage.play(scene)
    except (AssertionError, LookupError, OSError, ValueError) as exc:
        seen = Outcome(0, "-", -1, -1, repr(exc))
    well = seen == scene.expected
    print(row(scene.title, seen, "yes" if well else "NO", f"{time.monotonic() - began:.1f}"), flush=True)
    if not well:
        print(row("    expected", scene.expected, "", ""), flush=True)
    return well


def row(title: str, outcome: Outcome, well: str, seconds: str) -> str:
    return ROW.format(title, outcome.http, outcome.status, outcome.exit_code, outcome.ran, well, seconds, outcome.also)


if __name__ == "__main__":
    sys.exit(main())
