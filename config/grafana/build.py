"""Writes the dashboards: `make docs`. A test compares them with the files."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from config.grafana import api, fleet

FOLDER = Path(__file__).parent / "dashboards"


def files() -> dict[str, str]:
    """Return the text of each file by its name."""
    made = {"salt-api.json": api.build(), "salt-fleet-and-jobs.json": fleet.build()}
    return {name: json.dumps(dashboard, indent=1, ensure_ascii=False) + "\n" for name, dashboard in made.items()}


def main() -> int:
    for name, text in files().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
