"""A store as a sidecar finds it after a restart, and what it asks the master then."""

from __future__ import annotations

import contextlib
import dataclasses
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import yaml

from benchmarks.behaviour import names
from service.events.event import read
from service.gateway.transport.wire import FrameReader
from service.jobs.job_request import parse
from service.jobs.stores.sqlite_store import SqliteStore
from service.jobs.stores.store import Change, JobRecord, PartRecord

if TYPE_CHECKING:
    from typing_extensions import Self

AT_ONCE = 500
MINIONS = 10
OPEN_SECONDS = 3600
LOOK_UP = "runner.jobs.list_job"
READ_BYTES = 64 * 1024
# The account that looks jobs up, and all that it may do.
RECOVERY = {"recovery": [{"@runner": ["jobs.list_job$"]}]}


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


class BusReader:
    """Reads the events of a master inside the block. path: of the socket of its event bus."""

    def __init__(self, path: str) -> None:
        self._bus = socket.socket(socket.AF_UNIX)
        self._bus.connect(path)
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        with contextlib.suppress(OSError):
            self._bus.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._bus.close()

    def take(self, raw: bytes) -> None:
        """Hear an event, in the reader's own thread."""
        raise NotImplementedError

    def _watch(self) -> None:
        frames = FrameReader()
        while chunk := self._bus.recv(READ_BYTES):
            for raw in frames.feed(chunk):
                self.take(raw)


class LookUps(BusReader):
    """
    Counts how often the master is asked inside the block what its job cache has of a job: it announces each such run on its event bus, and its end.

    made: how many there were. at_once: the most that were under way at one time.
    """

    def __init__(self, master_config: Path) -> None:
        super().__init__(f"{yaml.safe_load(master_config.read_text())['sock_dir']}/master_event_pub.ipc")
        self.made = self.at_once = 0
        self._under_way: set[str | None] = set()

    def are_over(self, count: int) -> bool:
        """Say whether so many were made, and none is under way."""
        return self.made >= count and not self._under_way

    def take(self, raw: bytes) -> None:
        event = read(raw)
        if event.kind not in {"run_new", "run_ret"} or event.data().get("fun") != LOOK_UP:
            return
        if event.kind == "run_ret":
            self._under_way.discard(event.jid)
            return
        self._under_way.add(event.jid)
        self.made, self.at_once = self.made + 1, max(self.at_once, len(self._under_way))
