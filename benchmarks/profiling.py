"""`make bench-profile`: a flame graph of the sidecar under load, and the functions in which it spends most."""

from __future__ import annotations

import argparse
import subprocess
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from benchmarks import peers
from benchmarks.cases import CASES, SIDECAR
from benchmarks.flames import Stack, draw, stacks_of, tree_of
from benchmarks.probes import thread_ms
from benchmarks.rig import Rig, prepared
from benchmarks.running import ROOT

PY_SPY = ROOT / ".venv-bench" / "bin" / "py-spy"
SAMPLES_PER_SECOND = 1000
# The profiler counts samples, not seconds, and looks at every thread for each: it falls behind with many of them.
LATE_FACTOR = 10
FEW_THREADS = {"LIMITS_SYNC_JOBS": 32, "LIMITS_QUICK_CALLS": 16, "EVENTS_STREAMS": 2}
WARM_UP_SECONDS = 3.0
MOST = 25


def record(pid: int, seconds: float, raw: Path) -> None:
    """
    Sample a process for a while: which thread holds the interpreter's lock, and where it is.

    It is not stopped for a sample: it would do less, and give a tenth of the samples. A few that are torn py-spy leaves out.
    """
    argv = [str(PY_SPY), "record", "--pid", str(pid), "--duration", str(int(seconds)), "--rate", str(SAMPLES_PER_SECOND)]
    argv += ["--gil", "--nonblocking", "--threads", "--format", "raw", "--output", str(raw)]
    subprocess.run(argv, check=True, capture_output=True, timeout=LATE_FACTOR * seconds)


def heaviest(stacks: Sequence[tuple[Stack, float]]) -> list[tuple[str, float, float]]:
    """Return threads, and then functions, with their shares of the CPU time in percent: in themselves, and with all that they call."""
    own: defaultdict[str, float] = defaultdict(float)
    below: defaultdict[str, float] = defaultdict(float)
    for (thread, *frames), ms in stacks:
        below[f"thread {thread}"] += ms
        own[frames[-1] if frames else f"thread {thread}"] += ms
        for frame in set(frames):
            below[frame] += ms
    percent = 100 / (sum(own.values()) or 1.0)
    threads = [name for name in below if name.startswith("thread ")]
    names = [*sorted(threads, key=below.__getitem__, reverse=True), *sorted(set(own) - set(threads), key=own.__getitem__, reverse=True)[:MOST]]
    return [(name, own[name] * percent, below[name] * percent) for name in names]


def profile(rig: Rig, case_name: str, seconds: float, output: Path) -> str:
    """Load the sidecar with a case, sample it, draw; return the text of the heaviest threads and functions."""
    case = next(case for case in CASES if case.name == case_name)
    raw = output.with_suffix(".raw")
    with rig.using(SIDECAR) as peer:
        load = threading.Thread(target=rig.measure, args=(SIDECAR, case), kwargs={"seconds": WARM_UP_SECONDS + seconds + 2, "alone": False})
        load.start()
        time.sleep(WARM_UP_SECONDS)
        before = thread_ms(peer.process.pid)
        record(peer.process.pid, seconds, raw)
        used = {number: (name, ms - before.get(number, ("", 0.0))[1]) for number, (name, ms) in thread_ms(peer.process.pid).items()}
        load.join()
    text = raw.read_text()
    raw.unlink()
    stacks, samples = list(stacks_of(text, used)), sum(int(line.rpartition(" ")[2]) for line in text.splitlines())
    root = tree_of(stacks)
    subtitle = f"{samples:,} samples; widths are the CPU time of each thread as the kernel counted it, {root.ms:,.0f} ms; threads of one kind are one"
    output.write_text(draw(root, f"salt-sidecar, {case.title.replace('`', '')}", subtitle), encoding="utf-8")
    rows = heaviest(stacks)
    return "\n".join(
        [f"{samples:,} samples, {root.ms:,.0f} ms", f"{'own %':>6} {'all %':>6}", *(f"{own:6.1f} {below:6.1f}  {name}" for name, own, below in rows)]
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profiling", description=__doc__)
    parser.add_argument("--case", default="local-8", help="one of " + ", ".join(case.name for case in CASES))
    parser.add_argument("--seconds", type=float, default=40.0)
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
