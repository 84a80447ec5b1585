"""
What the dashboards would show of a short day, as a file for whoever draws it: the first half of `make pictures`.

Called with the file's name.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from config.grafana import build
from service.demo.embedded import EmbeddedSalt
from tests.observe.pictures.everyday import MASTER, a_day, everyday
from tests.observe.promql import variables_filled
from tests.observe.server import Prometheus
from tests.observe.story import observed

# Of the scrapes; Grafana takes four for a rate.
TICK_SECONDS = 10
TICK, RATE_INTERVAL = f"{TICK_SECONDS}s", "40s"
POINTS = 300
# Of the scrapes that there should be, those without which a picture would show the machine and not the day.
WANTED_SCRAPES = 0.9
Series = dict[str, Any]


def main(file: str) -> int:
    """Let a short day pass, write what the panels would show of it; 1 and no file where the machine was too busy to be scraped."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with EmbeddedSalt(folder / "salt", threads=True, master=MASTER) as salt, observed(salt, folder, print, TICK) as (_story, sidecar, prometheus):
            began = time.time()
            with everyday(salt, sidecar):
                for say, seconds in a_day(salt, sidecar):
                    print(say, flush=True)
                    time.sleep(seconds)
            ended = time.time()
            if fault := too_busy(prometheus, ended - began):
                print(fault, file=sys.stderr)
                return 1
            shown = Shown(prometheus, began, ended)
            Path(file).write_text(json.dumps({name: shown.dashboard(json.loads(text)) for name, text in build.files().items()}), encoding="utf-8")
    return 0


def too_busy(prometheus: Prometheus, seconds: float) -> str | None:
    """Return why the last seconds are no day to draw, None where they are."""
    due = seconds / TICK_SECONDS
    came = prometheus.value(f"min(sum_over_time(up[{seconds:.0f}s]))") or 0
    if came >= WANTED_SCRAPES * due:
        return None
    return f"{came:.0f} of {due:.0f} scrapes came: the machine has too much else to do, and the pictures that are there stay as they are"


class Shown:
    """Asks as Grafana asks; began, ended: the time that is shown, Unix time."""

    def __init__(self, prometheus: Prometheus, began: float, ended: float) -> None:
        self._prometheus = prometheus
        self._began = began
        self._ended = ended

    def dashboard(self, dashboard: dict[str, Any]) -> dict[str, Any]:
        """Return what each panel shows by its id, and when each annotation says something."""
        panels = {panel["id"]: [series for target in panel.get("targets", ()) for series in self._target(target)] for panel in dashboard["panels"]}
        notes = {note["name"]: self._moments(note) for note in dashboard["annotations"]["list"]}
        return {"began": self._began, "ended": self._ended, "panels": panels, "annotations": notes}

    def _target(self, target: dict[str, Any]) -> list[Series]:
        began = self._ended if target["instant"] else self._began
        return [{"legend": named(target["legendFormat"], labels), "points": points} for labels, points in self._asked(target["expr"], began)]

    def _moments(self, note: dict[str, Any]) -> list[float]:
        series = self._asked(note["expr"], self._began)
        if note["useValueForTime"]:
            return sorted({value / 1000 for _labels, points in series for _at, value in points})
        return sorted({points[0][0] for _labels, points in series})

    def _asked(self, expr: str, began: float) -> list[tuple[dict[str, str], list[tuple[float, float]]]]:
        span = f"{self._ended - self._began:.0f}s"
        return self._prometheus.history(variables_filled(expr, RATE_INTERVAL, span), began, self._ended, (self._ended - self._began) / POINTS)


def named(legend: str, labels: dict[str, str]) -> str:
    """Return a series' name, as Grafana makes it of a legend."""
    return re.sub(r"\{\{(\w+)\}\}", lambda match: labels.get(match[1], ""), legend)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
