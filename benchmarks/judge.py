"""From samples to medians, and from medians to verdicts: what was to be reached, what was."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.cases import SIDECAR, Target

LABELS = {
    "rate": "rate",
    "p99_ms": "p99",
    "cpu_ms": "CPU per request",
    "cpu_us": "CPU per delivery",
    "master_ms": "master's CPU per request",
    "lost": "lost",
    "rss_growth_mb": "memory growth",
    "rss_per_answer": "memory / answer",
    "bus_per_1000": "bus connections per 1,000 requests",
    "publisher_kb_per_1000": "EventPublisher growth per 1,000 requests",
    "readers_dropped": "readers dropped and counted",
    "return_us": "CPU per return",
    "minion_kb": "memory per minion",
    "reader_kb": "memory per reader",
    "intents": "intents",
    "start_s": "start",
    "look_ups": "look-ups",
    "look_ups_at_once": "look-ups at once",
    "idle_rss_mb": "idle memory",
    "idle_cpu_percent": "idle CPU",
    "rss_slope_mb": "memory per 10,000 requests",
    "descriptors_growth": "more descriptors",
    "threads_growth": "more threads",
    "publisher_slope_mb": "EventPublisher per 10,000 requests",
}
UNITS = {
    "rate": "/s",
    "p99_ms": " ms",
    "cpu_ms": " ms",
    "master_ms": " ms",
    "cpu_us": " us",
    "rss_growth_mb": " MB",
    "publisher_kb_per_1000": " KB",
    "start_s": " s",
}
UNITS |= {"return_us": " us", "intents": "/s", "minion_kb": " KB", "reader_kb": " KB"}
UNITS |= {"idle_rss_mb": " MB", "idle_cpu_percent": " %", "rss_slope_mb": " MB", "publisher_slope_mb": " MB"}
# A descriptor or two come and go with connections, and a thread with who reads a stream.
SOAK_TARGETS = (Target("rss_slope_mb", 1), Target("descriptors_growth", 4), Target("threads_growth", 4), Target("publisher_slope_mb", 0.5), Target("lost", 0))
# Too few requests for a slope. Threads, and connections to the store, become as many as there are requests at one time, on a busy machine not before
# the last round; what leaks would be one for each request.
SHORT_SOAK_TARGETS = (Target("rss_growth_mb", 15), Target("descriptors_growth", 40), Target("threads_growth", 40), Target("lost", 0))

Sample = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Verdict:
    """One target: what the sidecar has, what the other has, and whether that is enough. met: None when it cannot be told."""

    case: str
    figure: str
    sidecar: str
    other: str
    wanted: str
    got: str
    met: bool | None


def median(samples: Sequence[Sample]) -> dict[str, float]:
    """Return the median of every number that the rounds have; what was lost is added up."""
    good = [sample for sample in samples if "failed" not in sample]
    if not good:
        return {}
    numbers = {name for name, value in good[0].items() if isinstance(value, int | float)}
    made = {name: round(statistics.median(float(sample[name]) for sample in good), 4) for name in numbers}
    return made | {"lost": sum(float(sample.get("lost", 0)) for sample in good)}


def judge(title: str, targets: Sequence[Target], medians: Mapping[str, Mapping[str, float]]) -> list[Verdict]:
    """Hold each target against the medians of one case."""
    return [_verdict(title, target, medians) for target in targets]


def _verdict(title: str, target: Target, medians: Mapping[str, Mapping[str, float]]) -> Verdict:
    ours = medians.get(SIDECAR, {}).get(target.figure)
    other = medians.get(target.to or target.minus, {}).get(target.figure)
    label, compared = LABELS.get(target.figure, target.figure), bool(target.to or target.minus)
    wanted = _wanted(target)
    shown = (_number(target.figure, ours), _number(target.figure, other) if compared else "")
    if ours is None or (compared and not other):
        # A peer that has no figure at all, because it answered nothing, is beaten by any answer.
        return Verdict(title, label, *shown, wanted, "no figure", None)
    value = ours / other if target.to and other else ours - (other or 0.0) if target.minus else ours
    met = value >= target.bound if target.at_least else value <= target.bound
    return Verdict(title, label, *shown, wanted, _got(target, value), met)


def _wanted(target: Target) -> str:
    sign = ">=" if target.at_least else "<="
    if target.to:
        return f"{sign} {_ratio(target.bound)} of {target.to}"
    if target.minus:
        return f"{sign} {_number(target.figure, target.bound)} above {target.minus}"
    return f"{sign} {_number(target.figure, target.bound)}" if target.bound else "none"


def _got(target: Target, value: float) -> str:
    if target.to:
        return _ratio(value)
    return f"{value:+.2f}{UNITS.get(target.figure, '')}" if target.minus else _number(target.figure, value)


def _ratio(value: float) -> str:
    """Write a ratio as people say it: 2.8x, 1/12."""
    return f"{value:.1f}x" if value >= 0.95 or not value else f"1/{1 / value:.3g}"


def _number(figure: str, value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}{UNITS.get(figure, '')}" if abs(value) >= 100 or value == int(value) else f"{value:.2f}{UNITS.get(figure, '')}"


def table(verdicts: Sequence[Verdict]) -> str:
    """Return the verdicts as a Markdown table that is also read well on a terminal."""
    head = ("case", "figure", "sidecar", "compared with", "target", "reached", "met")
    words = {True: "yes", False: "**no**", None: "?"}
    rows = [head, *((v.case, v.figure, v.sidecar, v.other, v.wanted, v.got, words[v.met]) for v in verdicts)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])
