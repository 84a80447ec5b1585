"""docs/metrics.md, generated from the catalogue."""

from __future__ import annotations

from service.observe.metrics.catalogue import catalogue
from service.observe.metrics.declaration import Declaration

_HEAD = """\
# Metrics

Generated from `service/observe/metrics/catalogue.py` and `salt_metrics.py` beside it; change those files and run `make docs`.

Served at `/metrics` of the ops listener, as Prometheus text or OpenMetrics, gzipped if the scraper asks for it.
A *stable* metric keeps its name, type and labels through all minor releases; an *alpha* one may change in any.
No label ever holds a user, a job id or a path, and only the two metrics of `metrics.per_minion` have a label for the minion.
Routes are templates; unknown ones are `unmatched`, unknown methods `_OTHER`, unknown eauth backends `unknown`.

The label `function` has at most `metrics.functions` values, and `other`.
Functions in `metrics.function_names` always have a value of their own.
Others get one in the order in which they come, and only from jobs that the master has announced, because a minion may write any name into a return.
Names over the limit count as `other`, in `salt_api_label_overflow_total`, and once for each metric in the log line `label.overflow`.
Runners have a separate limit of the same size; commands of the master's workers have 40.
With a hundred functions the whole page has about 3,000 series.

**Jobs.**
All jobs on the master's event bus are followed, whoever started them.
A job's window ends when the request that waits for it ends, or else after `jobs.tracking_window_seconds` (states: `jobs.tracking_window_state_seconds`).
Minions that have not returned by then are missing; a return that comes later is late.
When the event bus is lost, the running jobs are *tainted*: their missing minions may have answered unheard, so they are logged (`salt.job.completed`) and not counted.
A return has failed when its return code is not 0, `success` is false, or one of its states has the result false.
Durations of states are in seconds here, in milliseconds in Salt.

**Fleet.**
`salt_minion_keys` needs read access to the folders `minions*` of the master's `pki_dir` (as the master's user, or in its group with the master's option `permissive_pki_access`).
`salt_minions_connected` needs the master's option `presence_events`, the two `salt_master_worker_` metrics need `master_stats`.
There is no metric of a TLS certificate: the sidecar does not terminate TLS.

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
        unit = "s" if declaration.name.endswith("_seconds") else "B"
        help_text += f" {len(declaration.buckets)} buckets, {declaration.buckets[0]:g} {unit} to {declaration.buckets[-1]:.10g} {unit}."
    return f"| `{declaration.name}` | {declaration.kind} | {_labels(declaration)} | {help_text} | {declaration.stability} |\n"


def _labels(declaration: Declaration) -> str:
    known = dict(zip(declaration.labels, declaration.values, strict=False))
    return "<br>".join(f"`{label}`" + (f": {', '.join(known[label])}" if known.get(label) else "") for label in declaration.labels) or "none"
