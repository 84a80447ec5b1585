"""The few kinds of panels that our dashboards have, and how a dashboard is made of rows of them."""

from __future__ import annotations

import dataclasses
import string
from collections.abc import Sequence
from typing import Any, Literal

Kind = Literal["timeseries", "stat", "heatmap", "gauge"]
Look = Literal["lines", "stacked", "state", "budget"]
# `one`: what a sidecar hears of its master, which another one beside the same master hears too; a sum over both would be twice the truth.
Sidecars = Literal["all", "one"]
Json = dict[str, Any]

COLUMNS = 24
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
# In a query `@` stands for this: every series is of the chosen sidecars.
TARGET_LABELS = ("cluster", "namespace", "release", "job", "instance")
CHOSEN = ",".join(f'{label}=~"${label}"' for label in TARGET_LABELS)
# Of a variable: Grafana takes the first value that it finds.
FIRST: Json = {"current": {}, "includeAll": False}
GOOD_WHEN_ONE = [{"color": "red", "value": None}, {"color": "green", "value": 1}]
NEUTRAL = [{"color": "blue", "value": None}]
OVERSPENT_BELOW_NOTHING = [{"color": "red", "value": None}, {"color": "orange", "value": 0}, {"color": "green", "value": 0.25}]
# By their place among the others a failure could be green: series with these words, or HTTP codes, in their names have shades of a colour.
SHADES = {
    "red": r"\b(failure|failed|error|critical|incomplete|lost|dropped\S*|stopped|master_unreachable|overloaded|5\d\d)$",
    "orange": r"\b(bad_credentials|throttled|\w+_error|invalid|no_match|warning|partial|timeout|4\d\d)$",
    "blue": r"\binfo$",
    "green": r"\b(success|succeeded|ok|complete|sent|written|2\d\d)$",
}


@dataclasses.dataclass(frozen=True)
class Query:
    """
    One query of a panel.

    legend: a name for the series; `{{label}}` is replaced by a label's value.
    """

    expr: str
    legend: str = "__auto"


@dataclasses.dataclass(frozen=True)
class Panel:
    """
    One panel.

    unit: as Grafana names units. look: how lines are drawn; `state` is for a stat that is 1 when well, `budget` for a share that is left.
    """

    title: str
    unit: str
    description: str
    queries: Sequence[Query]
    kind: Kind = "timeseries"
    look: Look = "lines"
    width: int = 8
    height: int = 8


@dataclasses.dataclass(frozen=True)
class Row:
    title: str
    panels: Sequence[Panel]


def dashboard(uid: str, title: str, description: str, rows: Sequence[Row], sidecars: Sidecars) -> Json:
    """
    Return a dashboard as Grafana reads it from a file.

    sidecars: which it shows when it is opened; more can be chosen.
    """
    return {
        "uid": uid,
        "title": title,
        "description": description,
        "tags": ["salt"],
        "editable": False,
        "graphTooltip": 1,
        "refresh": "30s",
        "schemaVersion": 39,
        "time": {"from": "now-3h", "to": "now"},
        "timezone": "browser",
        "version": 1,
        "links": [{"type": "dashboards", "title": "Salt", "tags": ["salt"], "asDropdown": False, "includeVars": True, "keepTime": True}],
        "templating": {"list": _variables(sidecars)},
        "annotations": {"list": _annotations()},
        "panels": _placed(rows),
    }


def query_text(expr: str) -> str:
    """Return a query as it is sent."""
    return expr.replace("@", CHOSEN)


def _variables(sidecars: Sidecars) -> list[Json]:
    source: Json = {"type": "datasource", "name": "datasource", "label": "Data source", "query": "prometheus", "current": {}, "hide": 0, "refresh": 1}
    variables = [_variable(label, TARGET_LABELS[:place]) for place, label in enumerate(TARGET_LABELS)]
    return [source, *variables[:-1], {**variables[-1], **(FIRST if sidecars == "one" else {})}]


def _variable(name: str, chosen_before: Sequence[str]) -> Json:
    """Return the choice of a label's values, of series that fit the choices before it. Away from Kubernetes there is no value of the first three, which is chosen by all."""
    before = ",".join(f'{label}=~"${label}"' for label in chosen_before)
    query = f"label_values(salt_api_build_info{{{before}}}, {name})" if before else f"label_values(salt_api_build_info, {name})"
    return {
        "type": "query",
        "name": name,
        "label": name.capitalize(),
        "datasource": DATASOURCE,
        "definition": query,
        "query": {"query": query, "refId": "StandardVariableQuery"},
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
        "includeAll": True,
        "multi": True,
        "allValue": ".*",
        "hide": 0,
        "refresh": 2,
        "sort": 1,
    }


def _annotations() -> list[Json]:
    return [
        # The value is the moment itself, in milliseconds.
        _annotation("app.start", "green", "process_start_time_seconds{@} * 1000", "{{instance}} was started", at_value=True),
        _annotation("bus.disconnected", "orange", "salt_event_bus_connected{@} == 0", "{{instance}} does not hear the event bus", at_value=False),
    ]


def _annotation(name: str, color: str, expr: str, text: str, *, at_value: bool) -> Json:
    return {
        "name": name,
        "datasource": DATASOURCE,
        "enable": True,
        "iconColor": color,
        "expr": query_text(expr),
        "step": "60s",
        "titleFormat": name,
        "textFormat": text,
        "useValueForTime": at_value,
    }


def _placed(rows: Sequence[Row]) -> list[Json]:
    """Return rows and panels from left to right, line by line."""
    placed: list[Json] = []
    top = 0
    for row in rows:
        placed.append(
            {"id": len(placed) + 1, "type": "row", "title": row.title, "collapsed": False, "panels": [], "gridPos": {"h": 1, "w": COLUMNS, "x": 0, "y": top}}
        )
        top += 1
        left = deepest = 0
        for panel in row.panels:
            if left + panel.width > COLUMNS:
                top, left, deepest = top + deepest, 0, 0
            placed.append(_panel(panel, len(placed) + 1, {"h": panel.height, "w": panel.width, "x": left, "y": top}))
            left, deepest = left + panel.width, max(deepest, panel.height)
        top += deepest
    return placed


def _panel(panel: Panel, number: int, position: Json) -> Json:
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": DATASOURCE,
        "gridPos": position,
        "fieldConfig": {"defaults": {"unit": panel.unit, **_defaults(panel)}, "overrides": _shades() if panel.kind == "timeseries" else []},
        "options": _options(panel),
        "targets": [_target(panel, query, letter) for query, letter in zip(panel.queries, string.ascii_uppercase, strict=False)],
    }


def _target(panel: Panel, query: Query, letter: str) -> Json:
    return {
        "refId": letter,
        "datasource": DATASOURCE,
        "expr": query_text(query.expr),
        "legendFormat": query.legend if panel.kind != "heatmap" else "{{le}}",
        "format": "heatmap" if panel.kind == "heatmap" else "time_series",
        "instant": panel.kind in {"stat", "gauge"},
        "range": panel.kind not in {"stat", "gauge"},
        # Exemplars lead from a bucket to a trace; only histograms carry them.
        "exemplar": "_bucket" in query.expr,
    }


def _defaults(panel: Panel) -> Json:
    if panel.kind == "heatmap":
        return {}
    if panel.kind != "timeseries":
        steps = {"state": GOOD_WHEN_ONE, "budget": OVERSPENT_BELOW_NOTHING}.get(panel.look, NEUTRAL)
        words = [{"type": "value", "options": {"0": {"text": "no"}, "1": {"text": "yes"}}}] if panel.look == "state" else []
        return {"thresholds": {"mode": "absolute", "steps": steps}, "mappings": words, **({"min": 0, "max": 1} if panel.kind == "gauge" else {})}
    stacked = panel.look == "stacked"
    return {
        "min": 0,
        "custom": {"drawStyle": "line", "fillOpacity": 30 if stacked else 8, "showPoints": "never", "stacking": {"mode": "normal" if stacked else "none"}},
    }


def _shades() -> list[Json]:
    return [
        {"matcher": {"id": "byRegexp", "options": f"/{words}/"}, "properties": [{"id": "color", "value": {"mode": "shades", "fixedColor": color}}]}
        for color, words in SHADES.items()
    ]


def _options(panel: Panel) -> Json:
    if panel.kind == "heatmap":
        return {
            "calculate": False,
            "yAxis": {"unit": panel.unit},
            "color": {"mode": "scheme", "scheme": "Oranges"},
            "exemplars": {"color": "blue"},
            "legend": {"show": True},
        }
    if panel.kind in {"stat", "gauge"}:
        reduced = {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}}
        return reduced if panel.kind == "gauge" else {**reduced, "textMode": "value_and_name", "graphMode": "none", "colorMode": "value"}
    return {"legend": {"displayMode": "list", "placement": "bottom", "showLegend": True}, "tooltip": {"mode": "multi", "sort": "desc"}}
