"""`make bench-profile`: a flame graph of the sidecar under load, and the functions in which it spends most."""

from __future__ import annotations

import argparse
import re
import subprocess
import threading
from collections import Counter
from pathlib import Path

from benchmarks import peers
from benchmarks.cases import CASES, SIDECAR
from benchmarks.rig import Rig, prepared
from benchmarks.running import ROOT

PY_SPY = ROOT / ".venv-bench" / "bin" / "py-spy"
SAMPLES_PER_SECOND = 200
# The profiler counts samples, not seconds, and looks at every thread for each: it falls behind with many of them.
LATE_FACTOR = 10
FEW_THREADS = {"LIMITS_SYNC_JOBS": 32, "LIMITS_QUICK_CALLS": 16, "EVENTS_STREAMS": 2}
MOST = 25


def record(pid: int, seconds: float, file: Path, kind: str) -> None:
    """Sample a process for a while. kind: `flamegraph` (SVG) or `raw` (a line for each stack)."""
    argv = [str(PY_SPY), "record", "--pid", str(pid), "--duration", str(int(seconds)), "--rate", str(SAMPLES_PER_SECOND)]
    argv += ["--gil", "--format", kind, "--output", str(file)]
    subprocess.run(argv, check=True, capture_output=True, timeout=LATE_FACTOR * seconds)


def entitle(graph: Path, title: str) -> None:
    """Put a title in the place of the command line that made the graph."""
    graph.write_text(re.sub(r'(<text id="title"[^>]*>)[^<]*', lambda found: found[1] + title, graph.read_text(encoding="utf-8")), encoding="utf-8")


def heaviest(raw: str) -> list[tuple[str, float, float]]:
    """Return functions with their shares of the samples, in themselves and with all that they call."""
    own: Counter[str] = Counter()
    below: Counter[str] = Counter()
    for line in raw.splitlines():
        stack, _, count = line.rpartition(" ")
        frames = [frame.partition(":")[0].strip() for frame in stack.split(";")]
        own[frames[-1]] += int(count)
        for frame in set(frames):
            below[frame] += int(count)
    total = max(1, sum(own.values()))
    return [(name, 100 * count / total, 100 * below[name] / total) for name, count in own.most_common(MOST)]


def profile(rig: Rig, case_name: str, seconds: float, output: Path) -> str:
    """Load the sidecar with a case, sample it twice; return the text of the heaviest functions."""
    case = next(case for case in CASES if case.name == case_name)
    raw = output.with_suffix(".txt")
    with rig.using(SIDECAR) as peer:
        load = threading.Thread(target=rig.measure, args=(SIDECAR, case), kwargs={"seconds": 2 * seconds + 4, "alone": False})
        load.start()
        record(peer.process.pid, seconds, output, "flamegraph")
        entitle(output, f"salt-sidecar, {case.title}")
        record(peer.process.pid, seconds, raw, "raw")
        load.join()
    rows = heaviest(raw.read_text())
    raw.unlink()
    return "\n".join([f"{'own %':>6} {'all %':>6}  function", *(f"{own:6.1f} {below:6.1f}  {name}" for name, own, below in rows)])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profiling", description=__doc__)
    parser.add_argument("--case", default="local-8", help="one of " + ", ".join(case.name for case in CASES))
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "profiles" / "local-8.svg")
    chosen = parser.parse_args()
    chosen.output.parent.mkdir(parents=True, exist_ok=True)
    with prepared() as rig:
        rig.use_fleet(10)
        rig.peers[SIDECAR] = peers.sidecar(rig.salt, **FEW_THREADS)
        print(profile(rig, chosen.case, chosen.seconds, chosen.output))
    print(f"flame graph: {chosen.output}")


if __name__ == "__main__":
    main()
