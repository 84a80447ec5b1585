"""`make soak`: mixed load for a long time; memory, descriptors, threads and lost answers of the sidecar, and memory of the master's EventPublisher."""

from __future__ import annotations

import argparse
import concurrent.futures
import dataclasses
import functools
import json
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.cases import SIDECAR
from benchmarks.judge import SHORT_SOAK_TARGETS, SOAK_TARGETS, judge, table
from benchmarks.mixture import LONG, SHORT, Dose, open_jobs, parts
from benchmarks.peers import Peer
from benchmarks.probes import descriptors, resident_bytes, threads
from benchmarks.rig import Rig, prepared
from benchmarks.run import RESULTS, about

# Memory grows until every thread has run and every pool has its size.
WARM_UP_SHARE = 0.2
MINIONS = 10


@dataclasses.dataclass(frozen=True)
class Point:
    """How the processes were after a round. lost: answers that were wrong, not whole, or did not come; faults: of which kind, in this round."""

    requests: int
    lost: int
    rss_mb: float
    descriptors: int
    threads: int
    publisher_mb: float
    faults: dict[str, dict[str, int]] = dataclasses.field(default_factory=dict)


def mixed(rig: Rig, peer: Peer, dose: Dose) -> dict[str, dict[str, Any]]:
    """Run all kinds of load at once; return what came of each."""
    mixture = parts(rig, peer, dose)
    with concurrent.futures.ThreadPoolExecutor(len(mixture)) as pool:
        made = {name: pool.submit(part) for name, part in mixture.items()}
        return {name: one.result() for name, one in made.items()}


def soak(rig: Rig, dose: Dose, *, seconds: float = 0.0, rounds: int = 0) -> list[Point]:
    """Load the sidecar in rounds, so many or until the time is over; look at it after each. What has not come to an end then counts as lost."""
    points: list[Point] = []
    over = time.monotonic() + seconds
    with rig.using(SIDECAR) as peer:
        while len(points) < rounds or time.monotonic() < over:
            samples = mixed(rig, peer, dose)
            points.append(look(rig, peer, points, samples))
            print(f"{max(0.0, over - time.monotonic()):5.0f} s to go: {points[-1]}", flush=True)
        left_open = open_jobs(peer)
    return [*points[:-1], dataclasses.replace(points[-1], lost=points[-1].lost + left_open)]


def look(rig: Rig, peer: Peer, before: list[Point], samples: dict[str, dict[str, Any]]) -> Point:
    pid = peer.process.pid
    requests, lost = (sum(sample[figure] for sample in samples.values()) + (getattr(before[-1], figure) if before else 0) for figure in ("requests", "lost"))
    faults = {name: sample.get("faults") or {"lost": sample["lost"]} for name, sample in samples.items() if sample["lost"]}
    memory, publisher = round(resident_bytes([pid]) / 1e6, 2), round(rig.publisher_bytes() / 1e6, 2)
    return Point(requests, lost, memory, descriptors(pid), threads(pid), publisher, faults)


def slope_per_10_000(points: list[Point], figure: str) -> float:
    """Return how much a figure grows in 10,000 requests: the least squares line through the points."""
    xs, ys = [point.requests / 10_000 for point in points], [float(getattr(point, figure)) for point in points]
    x, y = sum(xs) / len(xs), sum(ys) / len(ys)
    spread = sum((one - x) ** 2 for one in xs)
    return round(sum((a - x) * (b - y) for a, b in zip(xs, ys, strict=True)) / spread, 3) if spread else 0.0


def summary(points: list[Point]) -> dict[str, float]:
    """Return what the targets ask for, of the points after the warm-up."""
    settled = points[int(WARM_UP_SHARE * len(points)) :]
    first, last = settled[0], settled[-1]
    return {
        "requests": last.requests,
        "lost": last.lost,
        "rss_slope_mb": slope_per_10_000(settled, "rss_mb"),
        "rss_growth_mb": round(last.rss_mb - first.rss_mb, 2),
        "descriptors_growth": last.descriptors - first.descriptors,
        "threads_growth": last.threads - first.threads,
        "publisher_slope_mb": slope_per_10_000(settled, "publisher_mb"),
        "rss_mb": last.rss_mb,
    }


def main() -> None:
    """Soak, print the verdict, keep the points."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=1800)
    parser.add_argument("--short", action="store_true", help="so many requests instead of seconds, with pauses: what CI runs, some three minutes")
    parser.add_argument("--output", type=Path, metavar="FILE", help="default benchmarks/results/soak-DATE.json, nothing for less than 20 minutes")
    chosen = parser.parse_args()
    facts = about()
    run = functools.partial(soak, dose=SHORT, rounds=SHORT.rounds) if chosen.short else functools.partial(soak, dose=LONG, seconds=chosen.seconds)
    with prepared() as rig:
        rig.use_fleet(MINIONS)
        points = run(rig)
    made: dict[str, Any] = summary(points)
    title = "the short soak" if chosen.short else f"{chosen.seconds / 60:.0f} minutes of mixed load"
    verdicts = judge(title, SHORT_SOAK_TARGETS if chosen.short else SOAK_TARGETS, {SIDECAR: made})
    print(f"\n{made['requests']:,.0f} requests\n{table(verdicts)}")
    output = chosen.output or (RESULTS / f"soak-{facts['date'][:16].replace(':', '')}.json" if chosen.seconds >= 1200 and not chosen.short else None)
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
