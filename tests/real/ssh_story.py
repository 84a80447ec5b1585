"""Calls hosts without a minion over a real server of ssh's, tries the attacks on salt-api's client ssh, and prints each call and its answer: `make ssh-story`."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from tests.installed import where
from tests.real.ssh_scenes import ATTACKS, SCENES, Scene, SshStage, value_of

LINE = "{:<46}{:>8}{:>10}  {}"
# Of an answer; states have long ones.
SHOWN_CHARACTERS = 600


def main() -> int:
    """Return 0 if every scene ended as it should."""
    program = where("sshd")
    if program is None:
        print("there is no sshd: apt-get install openssh-server")
        return 1
    print("starting a server of ssh's, a salt-master with a roster, and the sidecar", flush=True)
    with tempfile.TemporaryDirectory() as folder, SshStage(program, Path(folder)) as stage:
        rows = [told(stage, scene) for scene in (*SCENES, *ATTACKS)]
    print(LINE.format("\nscene", "status", "expected", "as expected"))
    for row in rows:
        print(LINE.format(*row))
    return 1 if any(row[-1] == "NO" for row in rows) else 0


def told(stage: SshStage, scene: Scene) -> tuple[str, int, int, str]:
    """Play a scene, print both sides, and return its row of the table."""
    answer = stage.play(scene)
    value = value_of(answer)
    well = answer.status == scene.status and scene.is_right(value) and not stage.trace.exists()
    print(
        f"\n--- {scene.title}\n> {json.dumps({'client': 'ssh', **stage.filled(scene.low)})}\n< {answer.status} {json.dumps(value)[:SHOWN_CHARACTERS]}",
        flush=True,
    )
    return scene.title, answer.status, scene.status, "yes" if well else "NO"


if __name__ == "__main__":
    sys.exit(main())
