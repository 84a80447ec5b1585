"""
Puts the repository's web address into the chart that requirements/dist packs: `python -m requirements.release.charted CHART`.

Chart.yaml names neither `home` nor `sources`, because the repository has no address of its own; whoever publishes it knows one. Nothing is made up without.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

WEB = re.compile(r"https?://\S+")
GIVEN = re.compile(r"^(home|sources):", re.MULTILINE)


def published(chart: str, source: str) -> str:
    """
    Return Chart.yaml with `home` and `sources`.

    source: the repository's web address, or "", which changes nothing. Raises ValueError if it is none, or if the chart names one already.
    """
    if not source:
        return chart
    if not WEB.fullmatch(source):
        raise ValueError(f"SOURCE_URL is no web address: {source}")
    if GIVEN.search(chart):
        raise ValueError("Chart.yaml has home or sources already")
    # A JSON string is YAML, whatever is in it.
    return f"{chart}home: {json.dumps(source)}\nsources:\n  - {json.dumps(source)}\n"


def main(folder: str) -> None:
    """Change the chart in a folder."""
    source = subprocess.run([Path(__file__).parents[1] / "source"], check=True, capture_output=True, text=True).stdout.strip()
    path = Path(folder) / "Chart.yaml"
    path.write_text(published(path.read_text(encoding="utf-8"), source), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
