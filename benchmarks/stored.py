"""A store as a sidecar finds it after a restart, and how many look-ups it then has under way at the master."""

from __future__ import annotations

import dataclasses
import http.client
import json
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from benchmarks.behaviour import names
from service.jobs.job_request import parse
from service.jobs.stores.sqlite_store import SqliteStore
from service.jobs.stores.store import Change, JobRecord, PartRecord

if TYPE_CHECKING:
    from typing_extensions import Self

AT_ONCE = 500
MINIONS = 10
OPEN_SECONDS = 3600
# Longer than between two heartbeats of a quiet stream.
READ_SECONDS = 60.0


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


class LookUps:
    """Counts the runs of `jobs.list_job` that the master has under way, in the events that it fires; `most` is the highest of all."""

    def __init__(self, port: int, headers: Mapping[str, str]) -> None:
        self.most = self.done = 0
        self._running: set[str] = set()
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=READ_SECONDS)
        self._connection.request("GET", "/events?tag=salt/run/", headers=dict(headers))
        self._answer = self._connection.getresponse()
        self._over = False
        self._thread = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over = True
        self._thread.join()
        self._connection.close()

    def _read(self) -> None:
        while not self._over and (line := self._answer.readline()):
            if line.startswith(b"data: "):
                self._take(json.loads(line[6:]))

    def _take(self, event: dict[str, Any]) -> None:
        data = event["data"]
        if data.get("fun") != "runner.jobs.list_job":
            return
        if event["tag"].endswith("/new"):
            self._running.add(data["jid"])
            self.most = max(self.most, len(self._running))
        elif event["tag"].endswith("/ret"):
            self._running.discard(data["jid"])
            self.done += 1
