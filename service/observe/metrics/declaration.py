"""What is declared of a metric, and the bounds of the histograms' buckets."""

from __future__ import annotations

import dataclasses
from typing import Literal

Kind = Literal["counter", "gauge", "histogram"]
Stability = Literal["stable", "alpha"]

# Each histogram takes one of these. Bounds lie on Salt's own `timeout` (5 s) and `gather_job_timeout` (10 s); state runs take minutes.
WORK_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
CLIENT_SECONDS = (*WORK_SECONDS, 600.0)
FAST_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
RPC_SECONDS = (*FAST_SECONDS, 10.0, 30.0)
JOB_SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)
# Coarse: there is one for each status, and all series of a sidecar are to stay below 2000.
PIPELINE_SECONDS = (0.1, 1.0, 5.0, 30.0, 120.0, 600.0, 3600.0)
SIZE_BYTES = (256.0, 1024.0, 4096.0, 16_384.0, 65_536.0, 262_144.0, 1_048_576.0, 10_485_760.0)
LAG_SECONDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0)


@dataclasses.dataclass(frozen=True)
class Declaration:
    """
    One metric.

    values: per label the values known beforehand, whose series exist from the start; an empty tuple: known only at run time.
    buckets: upper bounds of a histogram, in the unit that the name ends with. stability: what docs/metrics.md promises of it.
    optional: has no series until something is known; 0 would be a lie.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    values: tuple[tuple[str, ...], ...] = ()
    buckets: tuple[float, ...] = ()
    stability: Stability = "alpha"
    optional: bool = False
