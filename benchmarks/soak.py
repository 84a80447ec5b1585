"""`make soak`: mixed load for a long time; memory, descriptors and lost returns of the sidecar, and memory of the master's EventPublisher."""

from __future__ import annotations

import argparse
import concurrent.futures
import dataclasses
import json
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.cases import CASES, SIDECAR
from benchmarks.judge import SOAK_TARGETS, judge, table
from benchmarks.peers import Peer
from benchmarks.probes import descriptors, resident_bytes
from benchmarks.rig import Rig, prepared
from benchmarks.run import RESULTS, about

# Callers of each kind, at one time.
MIX = {"local-8": 4, "async-16": 2, "wheel-16": 1, "runner-16": 1}
ROUND_SECONDS = 30.0
# Memory grows until every thread has run and every pool has its size.
WARM_UP_SHARE = 0.2


@dataclasses.dataclass(frozen=True)
class Point:
    """How the processes were after a round."""

    requests: int
    lost: int
    rss_mb: float
    descriptors: int
    publisher_mb: float


def mixed(rig: Rig, seconds: float) -> tuple[int, int]:
    """Run all kinds of load at once; return how many requests there were and how many were lost."""
    cases = [dataclasses.replace(case, callers=MIX[case.name]) for case in CASES if case.name in MIX]
    # Asynchronous jobs to every minion would leave the master no time for anything but their returns.
    cases = [dataclasses.replace(case, minions=1) if case.check == "job" else case for case in cases]
    with concurrent.futures.ThreadPoolExecutor(len(cases)) as pool:
        samples = list(pool.map(lambda case: rig.measure(SIDECAR, case, seconds=seconds, alone=False), cases))
    return sum(sample["requests"] for sample in samples), sum(sample["lost"] for sample in samples)


def soak(rig: Rig, seconds: float) -> list[Point]:
    """Load the sidecar in rounds; look at it after each."""
    points: list[Point] = []
    requests = lost = 0
    over = time.monotonic() + seconds
    with rig.using(SIDECAR) as peer:
        while (left := over - time.monotonic()) > 0:
            done, missed = mixed(rig, min(left, ROUND_SECONDS))
            requests, lost = requests + done, lost + missed
            points.append(look(rig, peer, requests, lost))
            print(f"{max(0, left - ROUND_SECONDS):5.0f} s to go: {points[-1]}", flush=True)
    return points


def look(rig: Rig, peer: Peer, requests: int, lost: int) -> Point:
    pid = peer.process.pid
    return Point(requests, lost, round(resident_bytes([pid]) / 1e6, 2), descriptors(pid), round(rig.publisher_bytes() / 1e6, 2))


def slope_per_10_000(points: list[Point], figure: str) -> float:
    """Return how much a figure grows in 10,000 requests: the least squares line through the points."""
    xs, ys = [point.requests / 10_000 for point in points], [float(getattr(point, figure)) for point in points]
    x, y = sum(xs) / len(xs), sum(ys) / len(ys)
    spread = sum((one - x) ** 2 for one in xs)
    return round(sum((a - x) * (b - y) for a, b in zip(xs, ys, strict=True)) / spread, 3) if spread else 0.0


def summary(points: list[Point]) -> dict[str, float]:
    """Return what the targets ask for, of the points after the warm-up."""
    settled = points[int(WARM_UP_SHARE * len(points)) :]
    return {
        "requests": points[-1].requests,
        "lost": points[-1].lost,
        "rss_slope_mb": slope_per_10_000(settled, "rss_mb"),
        "descriptors_growth": settled[-1].descriptors - settled[0].descriptors,
        "publisher_slope_mb": slope_per_10_000(settled, "publisher_mb"),
        "rss_mb": settled[-1].rss_mb,
    }


def main() -> None:
    """Soak, print the verdict, keep the points."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=1800)
    parser.add_argument("--output", type=Path, metavar="FILE", help="default benchmarks/results/soak-DATE.json, nothing for less than 20 minutes")
    chosen = parser.parse_args()
    facts = about()
    with prepared() as rig:
        rig.use_fleet(10)
        points = soak(rig, chosen.seconds)
    made: dict[str, Any] = summary(points)
    verdicts = judge(f"{chosen.seconds / 60:.0f} minutes of mixed load", SOAK_TARGETS, {SIDECAR: made})
    print(f"\n{made['requests']:,.0f} requests\n{table(verdicts)}")
    output = chosen.output or (RESULTS / f"soak-{facts['date'][:16].replace(':', '')}.json" if chosen.seconds >= 1200 else None)
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        kept = {
            "about": facts,
            "points": [dataclasses.asdict(point) for point in points],
            "summary": made,
            "verdicts": [dataclasses.asdict(v) for v in verdicts],
        }
        output.write_text(json.dumps(kept, indent=1) + "\n")
        print(f"kept in {output}")
    sys.exit(any(not verdict.met for verdict in verdicts))


if __name__ == "__main__":
    main()
