"""
Draws the dashboards as Grafana would show what asking.py has asked: the second half of `make pictures`.

Called with the name of that file; needs matplotlib, nothing of Salt.
"""

from __future__ import annotations

import datetime as dt
import itertools
import json
import math
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Wedge
from PIL import Image, PngImagePlugin

from tests.observe.pictures.units import shown

ROOT = Path(__file__).resolve().parents[3]
DASHBOARDS = ROOT / "config" / "grafana" / "dashboards"
PICTURES = ROOT / "docs" / "img"
Json = dict[str, Any]
Series = list[Json]

COLUMNS = 24
COLUMN_PIXELS, LINE_PIXELS, GAP_PIXELS, HEAD_PIXELS = 60, 34, 8, 44
DPI = 100
# So many tell lines from each other, and keep the file small.
COLOURS = 250
INK, PALE, PAPER, GROUND = "#24292e", "#8a8f98", "#ffffff", "#f4f5f5"
LINES = ("#56a64b", "#f2cc0c", "#3274d9", "#ff780a", "#e02f44", "#a352cc", "#1f9e9e", "#b5651d", "#447ebc", "#c15c17", "#890f02", "#6d1f62")
NAMED = {"red": "#e02f44", "green": "#56a64b", "blue": "#3274d9", "orange": "#ff780a", "yellow": "#f2cc0c"}
# About as wide as a letter of Grafana's is.
LETTER_PIXELS = 5.4
# And how wide it is in pixels, of its size in points.
LETTER_SHARE = 0.85
LEGEND_LINE_PIXELS = 16
# More than a third of the panel is not given to a legend; the rest is behind a scroll bar.
LEGEND_SHARE = 0.35


def main(file: str) -> int:
    answers = json.loads(Path(file).read_text(encoding="utf-8"))
    PICTURES.mkdir(exist_ok=True)
    for name, answer in answers.items():
        dashboard = json.loads((DASHBOARDS / name).read_text(encoding="utf-8"))
        path = PICTURES / f"{Path(name).stem}.png"
        Picture(dashboard, answer).write(path)
        print(f"{path.relative_to(ROOT)}: {path.stat().st_size // 1024} KiB")
    return 0


class Picture:
    """One dashboard, and what its panels show."""

    def __init__(self, dashboard: Json, answer: Json) -> None:
        self._dashboard = dashboard
        self._answer = answer
        lines = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in dashboard["panels"])
        self._width, self._height = COLUMNS * COLUMN_PIXELS, lines * LINE_PIXELS + HEAD_PIXELS
        self._figure = Figure(figsize=(self._width / DPI, self._height / DPI), dpi=DPI, facecolor=GROUND)
        FigureCanvasAgg(self._figure)

    def write(self, path: Path) -> None:
        """Draw it into a file, in few colours."""
        self._text(GAP_PIXELS * 2, 12, f"Salt / {self._dashboard['title']}", size=13, weight="bold")
        for panel in self._dashboard["panels"]:
            self._panel(panel)
        self._figure.savefig(path)
        titles = PngImagePlugin.PngInfo()
        titles.add_text("Panels", json.dumps([panel["title"] for panel in self._dashboard["panels"]]))
        with Image.open(path) as picture:
            picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True, pnginfo=titles)

    def _panel(self, panel: Json) -> None:
        place = panel["gridPos"]
        left, top = place["x"] * COLUMN_PIXELS + GAP_PIXELS / 2, place["y"] * LINE_PIXELS + HEAD_PIXELS
        if panel["type"] == "row":
            self._text(left + 6, top + 8, f"v  {panel['title']}", size=11, weight="bold")
            return
        width, height = place["w"] * COLUMN_PIXELS - GAP_PIXELS, place["h"] * LINE_PIXELS - GAP_PIXELS
        # Behind the axes, which are at 0.
        self._box(left, top, width, height, PAPER, -1)
        self._text(left + 10, top + 8, panel["title"], size=9.5, weight="bold")
        series = self._answer["panels"][str(panel["id"])]
        inside = (left + 8, top + 28, width - 16, height - 34)
        if not any(line["points"] for line in series):
            self._text(left + width / 2, top + height / 2, "No data", colour=PALE, ha="center")
            return
        {"timeseries": self._timeseries, "heatmap": self._heatmap, "stat": self._stat, "gauge": self._gauge}[panel["type"]](panel, series, inside)

    # Kinds of panels. inside: left, top, width and height in pixels.

    def _timeseries(self, panel: Json, series: Series, inside: Sequence[float]) -> None:
        left, top, width, height = inside
        colours = _colours(panel, series)
        legend = [(line["legend"], colour) for line, colour in zip(series, colours, strict=True)]
        rows, hidden = _flowed(legend, width, int(height * LEGEND_SHARE / LEGEND_LINE_PIXELS))
        bottom = len(rows) * LEGEND_LINE_PIXELS
        axes = self._axes(left + 52, top + 4, width - 56, height - 26 - bottom)
        custom = panel["fieldConfig"]["defaults"]["custom"]
        self._curves(axes, series, colours, stacked=custom["stacking"]["mode"] == "normal", fill=custom["fillOpacity"] / 100)
        self._time(axes)
        self._values(axes, panel)
        for number, row in enumerate(rows):
            self._legend_row(row, left, top + height - bottom + number * LEGEND_LINE_PIXELS)
        if hidden:
            self._text(left + width, top + height - LEGEND_LINE_PIXELS, f"+{hidden} below", size=7.5, colour=NAMED["red"], ha="right")

    def _curves(self, axes: Axes, series: Series, colours: Sequence[str], *, stacked: bool, fill: float) -> None:
        # Where there is no number there is a gap, and nothing is stacked on it.
        moments = sorted({at for line in series for at, _value in line["points"]})
        step = min((later - at for at, later in itertools.pairwise(moments)), default=0.0)
        moments = sorted({*moments, *(at + step for at, later in itertools.pairwise(moments) if later - at > 1.5 * step)})
        times = [_clock(at) for at in moments]
        below = [0.0] * len(moments)
        for line, colour in zip(series, colours, strict=True):
            values = dict(line["points"])
            tops = [base + values.get(at, math.nan) for at, base in zip(moments, below, strict=True)]
            axes.plot(times, tops, color=colour, linewidth=1.1, marker="o" if len(values) == 1 else "", markersize=2)
            axes.fill_between(times, below, tops, color=colour, alpha=fill, linewidth=0)
            if stacked:
                below = [base if math.isnan(top) else top for base, top in zip(below, tops, strict=True)]

    def _heatmap(self, panel: Json, series: Series, inside: Sequence[float]) -> None:
        left, top, width, height = inside
        buckets = sorted(((float(line["legend"].replace("+Inf", "inf")), dict(map(tuple, line["points"]))) for line in series), key=lambda bucket: bucket[0])
        times = sorted({at for _bound, points in buckets for at in points})
        rows = [[points.get(at, 0.0) for at in times] for _bound, points in buckets]
        cells = [
            [max(0.0, more - less) or float("nan") for more, less in zip(row, [0.0] * len(times) if number == 0 else rows[number - 1], strict=True)]
            for number, row in enumerate(rows)
        ]
        axes = self._axes(left + 52, top + 4, width - 56, height - 26)
        axes.pcolormesh([_clock(at) for at in times], range(len(buckets)), cells, cmap=panel["options"]["color"]["scheme"], shading="nearest")
        axes.set_yticks(range(0, len(buckets), 2), [shown(bound, panel["options"]["yAxis"]["unit"]) for bound, _points in buckets[::2]])
        self._time(axes)

    def _stat(self, panel: Json, series: Series, inside: Sequence[float]) -> None:
        left, top, width, height = inside
        defaults = panel["fieldConfig"]["defaults"]
        # Side by side in a wide panel, else one below the other, as `orientation: auto` does.
        wide = width > height
        across, down = (width / len(series), height) if wide else (width, height / len(series))
        for number, line in enumerate(series):
            value = line["points"][-1][1]
            x, y = (left + number * across, top) if wide else (left, top + number * down)
            text = _mapped(value, defaults.get("mappings", ())) or shown(value, defaults["unit"])
            # As large as there is room, which Grafana does too.
            name_size, value_size = (min(most, (across - 8) / max(1, len(text)) / LETTER_SHARE) for most, text in ((10.0, line["legend"]), (down / 4, text)))
            self._text(x + across / 2, y + down * 0.18, line["legend"], size=name_size, ha="center")
            self._text(x + across / 2, y + down * 0.48, text, size=value_size, weight="bold", ha="center", colour=_threshold(value, defaults))

    def _gauge(self, panel: Json, series: Series, inside: Sequence[float]) -> None:
        left, top, width, height = inside
        defaults = panel["fieldConfig"]["defaults"]
        value = series[0]["points"][-1][1]
        axes = self._axes(left + width / 2 - height * 0.8, top, height * 1.6, height)
        axes.set(xlim=(-1.1, 1.1), ylim=(-0.2, 1.1))
        axes.axis("off")
        share = min(1.0, max(0.0, (value - defaults["min"]) / (defaults["max"] - defaults["min"])))
        axes.add_patch(Wedge((0, 0), 1, 0, 180, width=0.28, color="#e3e5e8"))
        axes.add_patch(Wedge((0, 0), 1, 180 - 180 * share, 180, width=0.28, color=_threshold(value, defaults)))
        self._text(
            left + width / 2, top + height * 0.6, shown(value, defaults["unit"]), size=14, weight="bold", ha="center", colour=_threshold(value, defaults)
        )

    # Parts of panels.

    def _time(self, axes: Axes) -> None:
        began, ended = self._answer["began"], self._answer["ended"]
        axes.set_xlim(_clock(began), _clock(ended))
        ticks = [began + (ended - began) * share for share in (0.1, 0.3, 0.5, 0.7, 0.9)]
        axes.set_xticks([_clock(at) for at in ticks], [_clock(at).strftime("%H:%M:%S") for at in ticks])
        colours = {note["name"]: NAMED[note["iconColor"]] for note in self._dashboard["annotations"]["list"]}
        for name, moments in self._answer["annotations"].items():
            for at in (moment for moment in moments if began <= moment <= ended):
                axes.axvline(_clock(at), color=colours[name], linestyle="--", linewidth=0.8)

    def _values(self, axes: Axes, panel: Json) -> None:
        defaults = panel["fieldConfig"]["defaults"]
        low, high = axes.get_ylim()
        axes.set_ylim(defaults["min"], high if high > low and high > defaults["min"] else 1)
        if defaults["unit"] == "bytes":
            step = 2.0 ** math.ceil(math.log2(axes.get_ylim()[1] / 5))
            axes.set_yticks([number * step for number in range(6) if number * step <= axes.get_ylim()[1]])
        else:
            axes.locator_params(axis="y", nbins=5)
        axes.yaxis.set_major_formatter(lambda value, _position: shown(value, defaults["unit"]))

    def _legend_row(self, row: Iterable[tuple[float, str, str]], left: float, top: float) -> None:
        for x, name, colour in row:
            self._box(left + x, top + 6, 11, 3, colour, 1)
            self._text(left + x + 16, top + 2, name, size=7.5)

    def _axes(self, left: float, top: float, width: float, height: float) -> Axes:
        axes = self._figure.add_axes((left / self._width, 1 - (top + height) / self._height, width / self._width, height / self._height))
        axes.tick_params(labelsize=7.5, colors=INK, length=0)
        axes.grid(visible=True, color="#e3e5e8", linewidth=0.6)
        axes.spines[:].set_visible(False)
        return axes

    def _box(self, left: float, top: float, width: float, height: float, colour: str, order: int) -> None:
        corner = (left / self._width, 1 - (top + height) / self._height)
        self._figure.patches.append(
            FancyBboxPatch(
                corner,
                width / self._width,
                height / self._height,
                boxstyle="square,pad=0",
                facecolor=colour,
                edgecolor="none",
                zorder=order,
                transform=self._figure.transFigure,
                figure=self._figure,
            )
        )

    def _text(self, left: float, top: float, text: str, *, colour: str = INK, **style: Any) -> None:
        self._figure.text(left / self._width, 1 - top / self._height, text.replace("$", r"\$"), color=colour, va="top", **style)


def _flowed(legend: Sequence[tuple[str, str]], width: float, most: int) -> tuple[list[list[tuple[float, str, str]]], int]:
    """Return the lines of a legend as place, name and colour, and how many names had no room in the most lines that there may be."""
    rows: list[list[tuple[float, str, str]]] = [[]]
    x = 0.0
    for number, (name, colour) in enumerate(legend):
        wide = len(name) * LETTER_PIXELS + 30
        if x and x + wide > width:
            if len(rows) == most:
                return rows, len(legend) - number
            rows.append([])
            x = 0.0
        rows[-1].append((x, name, colour))
        x += wide
    return rows, 0


def _colours(panel: Json, series: Series) -> list[str]:
    """Return the colour of each series: of the last override that matches its name, each in a shade of its own, else the next of the palette."""
    rules = [(re.compile(rule["matcher"]["options"].strip("/")), rule["properties"][0]["value"]["fixedColor"]) for rule in panel["fieldConfig"]["overrides"]]
    named = [next((colour for words, colour in reversed(rules) if words.search(line["legend"])), None) for line in series]
    return [LINES[number % len(LINES)] if name is None else _shade(NAMED[name], named[:number].count(name)) for number, name in enumerate(named)]


def _shade(colour: str, number: int) -> str:
    shade: str = to_hex([part * 0.7**number for part in to_rgb(colour)])
    return shade


def _clock(at: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(at, tz=dt.timezone.utc)


def _mapped(value: float, mappings: Iterable[Json]) -> str | None:
    return next((word["text"] for mapping in mappings for key, word in mapping["options"].items() if float(key) == value), None)


def _threshold(value: float, defaults: Json) -> str:
    """Return the colour of the last step that the value has reached."""
    reached = [step["color"] for step in defaults["thresholds"]["steps"] if step["value"] is None or value >= step["value"]]
    return NAMED[reached[-1]]


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
