"""A store as a sidecar finds it after a restart."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from benchmarks.behaviour import names
from service.jobs.job_request import parse
from service.jobs.stores.sqlite_store import SqliteStore
from service.jobs.stores.store import Change, JobRecord, PartRecord

AT_ONCE = 500
MINIONS = 10
OPEN_SECONDS = 3600


def fill(path: Path, *, finished: int, open_jobs: int) -> None:
    """Write jobs of ten minions: those that are over have ten returns, the others none."""
    store = SqliteStore(path, on_commit=lambda _seconds: None, monotonic=time.monotonic)
    changes = [*_changes(finished, "succeeded"), *_changes(open_jobs, "running")]
    for start in range(0, len(changes), AT_ONCE):
        store.save(changes[start : start + AT_ONCE])
    store.close()


def _changes(count: int, status: Literal["succeeded", "running"]) -> Iterator[Change]:
    kept, now, over = parse({"tgt": "*", "fun": "test.ping"}).kept(), time.time(), status == "succeeded"
    part = PartRecord("ok", source="bus", retcode=0, at=now, size=4, body=b"true") if over else PartRecord("waiting")
    for number in range(count):
        jid = f"2026010100000{int(over)}{number:06}"
        job = JobRecord(jid, "sharedsecret:admin", None, jid, kept, "", now, now + OPEN_SECONDS, "an earlier one", 0.0, status, expected=MINIONS)
        yield Change(dataclasses.replace(job, finished=now if over else None, revision=1), dict.fromkeys(names(MINIONS), part))
