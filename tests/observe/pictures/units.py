"""Grafana's units, as far as our dashboards use them: how a value is written."""

from __future__ import annotations

import math
from collections.abc import Sequence

# What a number is divided by until it is short, the names of the steps, and what follows. Source: grafana-data, valueFormats.
_STEPS: dict[str, tuple[float, Sequence[str], str]] = {
    "short": (1000, ("", " K", " Mil", " Bil"), ""),
    "reqps": (1000, ("", "K", "M"), " req/s"),
    "cps": (1000, ("", "K", "M"), " c/s"),
    "bytes": (1024, (" B", " KiB", " MiB", " GiB"), ""),
    "Bps": (1000, (" B/s", " kB/s", " MB/s", " GB/s"), ""),
}
_TIMES = ((1e-6, "ns", 1e9), (1e-3, "µs", 1e6), (1.0, "ms", 1e3), (60.0, "s", 1.0), (3600.0, "min", 1 / 60), (math.inf, "hours", 1 / 3600))
UNITS = frozenset({*_STEPS, "s", "percentunit"})


def shown(value: float, unit: str) -> str:
    """Return a value as Grafana writes it. Raises KeyError for a unit that is none of UNITS."""
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if unit == "percentunit":
        return f"{value * 100:.0f}%" if abs(value) >= 10 else f"{value * 100:.3g}%"
    if unit == "s":
        name, factor = next((name, factor) for below, name, factor in _TIMES if abs(value) < below)
        return "0 s" if value == 0 else f"{value * factor:.3g} {name}"
    base, names, after = _STEPS[unit]
    step = 0
    while abs(value) >= base and step < len(names) - 1:
        value, step = value / base, step + 1
    return f"{value:.3g}{names[step]}{after}"
