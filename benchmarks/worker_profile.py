"""Where the workers of a master spend their time: py-spy's samples of all of them, each put to one thing that a worker does for a return."""

from __future__ import annotations

import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.profiling import LATE_FACTOR, PY_SPY

SAMPLES_PER_SECOND = 100
# The first that is in a stack says what it was for. Source: Salt 3008's salt/utils/job.py, salt/returners/local_cache.py, salt/utils/event.py.
PARTS = (
    ("`fsync` of what the job cache has written", "_AtomicWFile.close (salt/utils/atomicfile.py"),
    ("the rest of the job cache: folders, files, and whether the job is known", "(salt/returners/local_cache.py"),
    ("events: a thread and an event loop for each", "SaltEvent.fire_event (salt/utils/event.py"),
    ("events: a thread and an event loop for each", "SyncWrapper._target (salt/utils/asynchronous.py"),
    ("the publish: targets, rights, signature", "ClearFuncs.publish (salt/master.py"),
    ("a jid for the time of the return", "gen_jid (salt/utils/jid.py"),
    ("who sent it, and what it says: keys and decryption", "(salt/crypt.py"),
    ("taking messages and answering them", "(salt/transport/"),
    ("taking messages and answering them", "(zmq/"),
)
OTHER = "the rest: loader, event loop, dispatch"
# A sample of a thread that has no Python frame yet, or no more.
NO_FRAME = "threads that begin or end: those of the events"


def record(pid: int, seconds: float) -> str:
    """Sample a process for a while, in py-spy's `raw` format: threads that run or wait for a core. It is not stopped for a sample."""
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "raw"
        argv = [str(PY_SPY), "record", "--pid", str(pid), "--duration", str(int(seconds)), "--rate", str(SAMPLES_PER_SECOND)]
        argv += ["--nonblocking", "--format", "raw", "--output", str(raw)]
        subprocess.run(argv, check=True, capture_output=True, timeout=LATE_FACTOR * seconds)
        return raw.read_text(encoding="utf-8")


def profile(pids: Sequence[int], seconds: float) -> dict[str, Any]:
    """Sample processes at the same time; see `shares`."""
    with ThreadPoolExecutor(len(pids)) as pool:
        return shares(pool.map(lambda pid: record(pid, seconds), pids))


def shares(texts: Iterable[str]) -> dict[str, Any]:
    """Return how many samples there are, and the percentage of each part, largest first. texts: in py-spy's `raw` format."""
    seen: Counter[str] = Counter()
    for line in (line for text in texts for line in text.splitlines()):
        stack, _, count = line.rpartition(" ")
        seen[part_of(stack)] += int(count)
    total = seen.total()
    return {"samples": total, "parts": {part: round(100 * count / total, 1) for part, count in seen.most_common()}}


def part_of(stack: str) -> str:
    """Return what a stack was for."""
    if not stack:
        return NO_FRAME
    return next((part for part, frame in PARTS if frame in stack), OTHER)
