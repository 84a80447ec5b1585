"""Lets pipelines in that hold no password, and keeps others out, and prints what each log says: `make id-story`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.installed import where
from tests.real.jobs.id_scenes import SCENES, IdStage

LINE = "{:<42}{:>10}{:>10}{:>12}{:>10}  {}"


def main() -> int:
    """Return 0 if every scene ended as it should."""
    nginx = where("nginx")
    if nginx is None:
        print("there is no nginx: apt-get install nginx-light")
        return 1
    print("starting an issuer, a salt-master with the eauth module, two minions, the sidecar and nginx before it", flush=True)
    rows = []
    with tempfile.TemporaryDirectory() as folder, IdStage(Path(folder), nginx) as stage:
        for scene in SCENES:
            played = stage.play(scene)
            well = (played.code, played.ran) == (scene.code, scene.ran)
            print(f"\n--- {scene.title}\n" + "".join(f"    {line}\n" for line in played.log.splitlines()), flush=True)
            rows.append((scene.title, played.code, scene.code, played.ran, scene.ran, "yes" if well else "NO"))
    print(LINE.format("scene", "exit code", "expected", "executions", "expected", "as expected"))
    for row in rows:
        print(LINE.format(*row))
    return 1 if any(row[-1] == "NO" for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
