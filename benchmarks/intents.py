"""How many jobs the store takes in, a process of its own: threads ask it to keep intents, and each waits until its own is on the disk."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from benchmarks.load import percentile
from service.jobs.stores.sqlite_store import SqliteStore
from service.jobs.stores.store import JobRecord

PAGE = b"x" * 4096
PAGES = 500


@dataclasses.dataclass(frozen=True)
class Asked:
    """folder: on the disk that is measured. seconds: for the intents; the disk alone gets as many, half of them before and half after."""

    folder: str
    callers: int
    seconds: float


def syncs_per_second(folder: Path, seconds: float) -> float:
    """Return how many pages a second one thread can write so that each is on the disk before the next."""
    done, started = 0, time.monotonic()
    with tempfile.TemporaryFile(dir=folder) as file:
        while time.monotonic() - started < seconds:
            os.pwrite(file.fileno(), PAGE, done % PAGES * len(PAGE))
            os.fdatasync(file.fileno())
            done += 1
    return done / (time.monotonic() - started)


def measure(asked: Asked) -> dict[str, Any]:
    """Let the callers intend jobs as fast as they can."""
    folder, latencies, commits = Path(asked.folder), list[float](), list[float]()
    before = syncs_per_second(folder, asked.seconds / 2)
    store = SqliteStore(folder / "intents.db", on_commit=commits.append, monotonic=time.monotonic)
    threads = [threading.Thread(target=_intend, args=(store, number, time.monotonic() + asked.seconds, latencies)) for number in range(asked.callers)]
    cpu, started = time.process_time(), time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    used, seconds = time.process_time() - cpu, time.monotonic() - started
    store.close()
    after = syncs_per_second(folder, asked.seconds / 2)
    return {
        "intents": round(len(latencies) / seconds, 1),
        "per_commit": round(len(latencies) / len(commits), 2),
        "fsyncs": round((before + after) / 2),
        "p50_ms": percentile(latencies, 0.5),
        "p99_ms": percentile(latencies, 0.99),
        "cpu_ms": round(1000 * used / len(latencies), 3),
        "beside": {},
    }


def _intend(store: SqliteStore, caller: int, until: float, latencies: list[float]) -> None:
    request = {"client": "local", "fun": "test.ping", "tgt": "*", "tgt_type": "glob"}
    count = 0
    while (begun := time.monotonic()) < until:
        jid = f"2026010100{caller:04}{count:06}"
        now = time.time()
        store.intend(JobRecord(jid, "pam:ci", f"key-{jid}", "f" * 64, request, "a" * 64, now, now + 3600, "boot", begun + 3600))
        latencies.append(time.monotonic() - begun)
        count += 1


def main() -> None:
    """Read what is asked as JSON from standard input, print what came of it."""
    print(json.dumps(measure(Asked(**json.load(sys.stdin)))))


if __name__ == "__main__":
    main()
