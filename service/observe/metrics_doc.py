"""docs/metrics.md, generated from the catalogue."""

from __future__ import annotations

from service.observe.catalogue import Declaration, catalogue

_HEAD = """\
# Metrics

Generated from `service/observe/catalogue.py`; change that file and run `make docs`.

Served at `/metrics` of the ops listener, as Prometheus text or OpenMetrics, gzipped if asked for. A *stable* metric keeps its name, type and labels
through all minor releases; an *alpha* one may change in any. No label ever holds a minion, a user, a job id or a path: routes are templates, unknown
ones are `unmatched`, unknown methods `_OTHER`, unknown eauth backends `unknown`.

| metric | type | labels | meaning | stability |
|---|---|---|---|---|
"""

_TAIL = """
The process and Python collectors of prometheus_client (`process_*`, `python_info`, `python_gc_*`) are served too.
"""


def markdown() -> str:
    """Return the whole page."""
    return _HEAD + "".join(_row(declaration) for declaration in catalogue()) + _TAIL


def _row(declaration: Declaration) -> str:
    help_text = declaration.help
    if declaration.buckets:
        help_text += f" {len(declaration.buckets)} buckets, {declaration.buckets[0]:g} s to {declaration.buckets[-1]:g} s."
    return f"| `{declaration.name}` | {declaration.kind} | {_labels(declaration)} | {help_text} | {declaration.stability} |\n"


def _labels(declaration: Declaration) -> str:
    known = dict(zip(declaration.labels, declaration.values, strict=False))
    return "<br>".join(f"`{label}`" + (f": {', '.join(known[label])}" if known.get(label) else "") for label in declaration.labels) or "none"
