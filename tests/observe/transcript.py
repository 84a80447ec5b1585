"""Plays the story before a real Prometheus and prints which alerts fired, when, and the key series: `make observe`."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from service.demo.embedded import EmbeddedSalt
from tests.observe.faster import FACTOR
from tests.observe.promtool import Missing, program
from tests.observe.story import EXPECTED, Story, observed

FIRST_COLUMN = 24
COLUMN = 14


def main() -> int:
    """Return 0 if the right alerts fired and no others."""
    try:
        for name in ("prometheus", "prometheus-alertmanager"):
            program(name)
    except Missing as missing:
        print(missing, file=sys.stderr)
        return 1
    started = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - started:6.1f} s  {line}", flush=True)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        say(f"starting a salt-master, two minions and the sidecar; the rules run {FACTOR} times as fast: 1 s stands for 1 minute")
        with EmbeddedSalt(folder / "salt", threads=True) as salt, observed(salt, folder, say) as (story, _sidecar, _prometheus):
            say("everything is up")
            for act in story.acts:
                act()
        say("everything is stopped")
    print(alerts(story))
    print(table(story))
    print("the right alerts fired, and no others" if story.fired == set(EXPECTED) else f"expected were {sorted(EXPECTED)}")
    return 0 if story.fired == set(EXPECTED) else 1


def alerts(story: Story) -> str:
    """Return when each alert began to fire and ended, by its first time."""
    lines = [f"\n{'alert':<{FIRST_COLUMN + 4}}{'fired at':>10}{'ended at':>10}"]
    for first in (change for change in story.changes if change.fires):
        ended = next((f"{change.at:.1f} s" for change in story.changes if not change.fires and change.alert == first.alert and change.at > first.at), "-")
        lines.append(f"{first.alert:<{FIRST_COLUMN + 4}}{f'{first.at:.1f} s':>10}{ended:>10}")
    return "\n".join(lines)


def table(story: Story) -> str:
    """Return the key series at the end of each act."""
    lines = ["\n" + " " * FIRST_COLUMN + "".join(f"{scene.title:>{COLUMN}}" for scene in story.scenes)]
    for name in story.scenes[0].figures:
        values = "".join(f"{shown(scene.figures[name]):>{COLUMN}}" for scene in story.scenes)
        lines += [f"{name:<{FIRST_COLUMN}}{values}"]
    return "\n".join(lines) + "\n"


def shown(value: float | None) -> str:
    return "-" if value is None or value != value else f"{value:.3g}"  # noqa: PLR0124 - NaN: nothing happened, so there is no ratio


if __name__ == "__main__":
    sys.exit(main())
