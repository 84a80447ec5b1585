"""Plays every attack on the running product and prints the table: `make attack`, `make attack POINT=B`."""

from __future__ import annotations

import sys
import tempfile
import time
import warnings
from pathlib import Path

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Salt's imports warn of its own doings
    from tests.attack.declared import ATTACKS
    from tests.attack.scene import Attack, Scene, Seen

ROW = "{:5}{:56}{:44}{:84}{:6}{:>5}"


def main(point: str) -> int:
    """Return 0 if the gate held against every attack whose point begins as asked."""
    wanted = [attack for attack in ATTACKS if attack.point.startswith(point)]
    fallen = 0
    with tempfile.TemporaryDirectory() as folder, Scene(Path(folder)) as scene:
        print(ROW.format("point", "attack", "before", "now", "held", "s"))
        for attack in wanted:
            began = time.monotonic()
            seen = played(attack, scene)
            fallen += not seen.held
            print(
                ROW.format(attack.point, attack.what, attack.before, seen.now[:82], "yes" if seen.held else "NO", f"{time.monotonic() - began:.1f}"), flush=True
            )
    print(f"\nattacks: {len(wanted)}; held: {len(wanted) - fallen}; not held: {fallen}")
    return 1 if fallen or not wanted else 0


def played(attack: Attack, scene: Scene) -> Seen:
    """Play an attack; one that ends in an answer of another shape has got through."""
    try:
        return attack.play(scene)
    except (AssertionError, LookupError, OSError, TypeError, ValueError) as exc:
        return Seen(repr(exc), held=False)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else ""))
