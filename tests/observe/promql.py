"""Which metrics, labels and label values a PromQL expression names; enough of its grammar to hold ours to the catalogue."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from service.observe.metrics.catalogue import CATALOGUE

# What Prometheus and prometheus_client make, with their labels; our own metrics get these at the scrape, the first three on Kubernetes.
TARGET = frozenset({"cluster", "namespace", "release", "job", "instance"})
FOREIGN = {
    **{f"process_{name}": TARGET for name in ("cpu_seconds_total", "resident_memory_bytes", "open_fds", "max_fds", "start_time_seconds")},
    "up": TARGET,
    "ALERTS": TARGET | {"alertname", "alertstate", "severity"},
}
_WORDS = frozenset({"and", "or", "unless", "bool", "offset"})
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_LABEL_LIST = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
_SELECTOR = re.compile(r"([A-Za-z_:][\w:]*)\s*\{([^}]*)\}")
_MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"')
_NAME = re.compile(r"[A-Za-z_:][\w:]*(?!\w)(?!\s*\()")
_RANGE = re.compile(r"\[[^\]]*\]")


@dataclasses.dataclass
class Named:
    """What an expression names: per metric its matchers (label, value), and the labels of its lists."""

    matchers: dict[str, set[tuple[str, str]]] = dataclasses.field(default_factory=dict)
    lists: set[str] = dataclasses.field(default_factory=set)


def named(expr: str) -> Named:
    """Take an expression apart."""
    found = Named()

    def selector(match: re.Match[str]) -> str:
        found.matchers.setdefault(match[1], set()).update((label, value) for label, _operator, value in _MATCHER.findall(match[2]))
        return " "

    rest = _SELECTOR.sub(selector, expr)
    rest = _RANGE.sub(" ", _STRING.sub(" ", rest))
    for labels in _LABEL_LIST.findall(rest):
        found.lists |= {label.strip() for label in labels.split(",") if label.strip()}
    for name in _NAME.findall(re.sub(r"\b\d[\w.]*", " ", _LABEL_LIST.sub(" ", rest))):
        if name not in _WORDS:
            found.matchers.setdefault(name, set())
    return found


def known_labels(rules: Iterable[Path]) -> dict[str, frozenset[str]]:
    """Return the labels of everything that a query may name: the catalogue, what these files record, and FOREIGN."""
    known = dict(FOREIGN)
    for declaration in CATALOGUE:
        labels = TARGET | set(declaration.labels)
        known[declaration.name] = labels
        if declaration.kind == "histogram":
            known |= {f"{declaration.name}_{part}": labels for part in ("sum", "count")} | {f"{declaration.name}_bucket": labels | {"le"}}
    for path in rules:
        for rule in rules_of(path):
            if "record" in rule:
                known[rule["record"]] = _grouping(rule["expr"])
    return known


def faults(expr: str, known: Mapping[str, frozenset[str]]) -> list[str]:
    """Return what an expression names and nobody knows."""
    found = named(expr)
    made = set(re.findall(r'label_replace\(.*?\}\s*\)?,\s*"(\w+)"', expr, re.DOTALL))
    wrong = [f"no metric {name}" for name in found.matchers if name not in known]
    labels = frozenset({"le"} | made).union(*(known.get(name, frozenset()) for name in found.matchers))
    wrong += [f"no label {label} in {sorted(found.matchers)}" for label in found.lists - labels]
    for name, matchers in found.matchers.items():
        wrong += [f"{name} has no label {label}" for label, _value in matchers if label not in known.get(name, frozenset({label}))]
        wrong += [f"{name}: {label} is never {value}" for label, text in matchers for value in _unknown_values(name, label, text)]
    return wrong


def rules_of(path: Path) -> list[dict[str, Any]]:
    """Return the rules of a file."""
    return [rule for group in yaml.load(path.read_text(encoding="utf-8"), yaml.CSafeLoader)["groups"] for rule in group["rules"]]


def variables_filled(expr: str, rate_interval: str = "1m", span: str = "3h") -> str:
    """Return a query as Grafana sends it, with everything chosen. span: how much time is shown."""
    everything = [(f"${name}", ".*") for name in ("cluster", "namespace", "release", "job", "instance")]
    for variable, value in (*everything, ("$__rate_interval", rate_interval), ("$__range", span)):
        expr = expr.replace(variable, value)
    return expr


def _unknown_values(name: str, label: str, text: str) -> set[str]:
    """Return the alternatives of a matcher that the label never has; only for labels whose values are all known."""
    for declaration in CATALOGUE:
        if label in declaration.labels and name.startswith(declaration.name) and declaration.values:
            domain = declaration.values[declaration.labels.index(label)]
            return set(text.split("|")) - set(domain) if domain else set()
    return set()


def _grouping(expr: str) -> frozenset[str]:
    lists = re.findall(r"\bby\s*\(([^)]*)\)", expr)
    return frozenset(label.strip() for label in lists[0].split(",")) - {"le"} if lists else TARGET


def promql_lines(page: str) -> list[str]:
    """Return the queries in the blocks of a page, one in each line."""
    return [line for block in re.findall(r"```promql\n(.*?)```", page, re.DOTALL) for line in block.splitlines()]
