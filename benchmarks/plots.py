"""Growth as pictures: one figure of all peers by callers or by minions, both axes logarithmic."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.cases import CHERRYPY, GATEWAY, SIDECAR, TORNADO

# Readable beside each other by people who do not tell red from green; the mark says the same as the colour.
STYLES = {SIDECAR: ("#0072b2", "o", 2.4), CHERRYPY: ("#d55e00", "s", 1.6), TORNADO: ("#cc79a7", "^", 1.6), GATEWAY: ("#555555", "x", 1.2)}
SIZE_INCHES = (7.0, 3.8)


@dataclasses.dataclass(frozen=True)
class Plot:
    """One picture: a figure of the cases `prefix`-N, by `along` of the case."""

    name: str
    title: str
    prefix: str
    along: str
    figure: str
    unit: str


BY_CALLERS = (
    Plot("rate-by-callers", "Requests per second by callers", "local-", "callers", "rate", "complete answers per second"),
    Plot("latency-by-callers", "99th percentile by callers", "local-", "callers", "p99_ms", "p99, ms"),
    Plot("cpu-by-callers", "CPU per request by callers", "local-", "callers", "cpu_ms", "CPU per request, ms"),
)
BY_MINIONS = (
    Plot("latency-by-minions", "Median by minions", "minions-", "minions", "p50_ms", "p50, ms"),
    Plot("cpu-by-minions", "CPU per request by minions", "minions-", "minions", "cpu_ms", "CPU per request, ms"),
)


def lines_of(plot: Plot, cases: Mapping[str, Any]) -> dict[str, list[tuple[float, float]]]:
    """Return each peer's points; what a peer has no figure for, or nothing but zero, is no point."""
    found: dict[str, list[tuple[float, float]]] = {}
    rows = sorted((row for name, row in cases.items() if name.startswith(plot.prefix)), key=lambda row: row[plot.along])
    for row in rows:
        for peer, medians in row["medians"].items():
            if peer in STYLES and medians.get(plot.figure):
                found.setdefault(peer, []).append((row[plot.along], medians[plot.figure]))
    return found


def draw(plot: Plot, cases: Mapping[str, Any], file: Path) -> None:
    """Write one picture."""
    import matplotlib as mpl  # noqa: PLC0415 - only `make bench-report` has it

    mpl.use("svg")
    # Text stays text, and the same figures give the same bytes.
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": plot.name, "font.size": 9})
    import matplotlib.pyplot as plt  # noqa: PLC0415 - after the choice of what draws

    figure, axes = plt.subplots(figsize=SIZE_INCHES)
    lines = lines_of(plot, cases)
    for peer, points in lines.items():
        colour, mark, width = STYLES[peer]
        axes.plot(*zip(*points, strict=True), color=colour, marker=mark, linewidth=width, markersize=5, label=peer)
    axes.set(xscale="log", yscale="log", xlabel=plot.along, ylabel=plot.unit, title=plot.title)
    ticks = sorted({x for points in lines.values() for x, _ in points})
    axes.set_xticks(ticks, [f"{tick:,.0f}" for tick in ticks])
    axes.xaxis.set_minor_locator(mpl.ticker.NullLocator())
    plain = mpl.ticker.FuncFormatter(lambda value, _position: f"{value:,g}")
    axes.yaxis.set_major_formatter(plain)
    axes.yaxis.set_minor_locator(mpl.ticker.LogLocator(subs=(2, 5)))
    axes.yaxis.set_minor_formatter(plain)
    axes.grid(visible=True, which="major", color="#dddddd", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(file, metadata={"Date": None, "Creator": None})
    plt.close(figure)
