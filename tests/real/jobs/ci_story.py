"""Plays what happens to a pipeline's step and prints the log of each platform, as it comes: `make ci-story`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.installed import where
from tests.real.jobs.ci_scenes import PLATFORMS, SCENES, CiStage


def main() -> int:
    """Return 0 if every step ended as it should."""
    nginx = where("nginx")
    if nginx is None:
        print("there is no nginx: apt-get install nginx-light")
        return 1
    print("starting a salt-master, two minions, the sidecar and nginx before it", flush=True)
    rows = []
    with tempfile.TemporaryDirectory() as folder, CiStage(Path(folder), nginx) as stage:
        for platform in PLATFORMS:
            for scene in SCENES:
                played = stage.play(scene, platform)
                well = (played.code, played.ran) == (scene.code, scene.ran)
                print(f"\n--- {platform}: {scene.title}\n" + "".join(f"    {line}\n" for line in played.log.replace("\x1b", "^[").splitlines()), flush=True)
                rows.append((platform, scene.title, played.code, scene.code, played.ran, scene.ran, "yes" if well else "NO"))
    print("{:<16}{:<30}{:>10}{:>10}{:>12}{:>10}  {}".format("platform", "scene", "exit code", "expected", "executions", "expected", "as expected"))
    for row in rows:
        print("{:<16}{:<30}{:>10}{:>10}{:>12}{:>10}  {}".format(*row))
    return 1 if any(row[-1] == "NO" for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
