"""The file of SQLite as an operator sees it, beside the process that has it: what is in it, how it is, and what may go."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from service.jobs import JobStatus
from service.jobs.stores.place import free_bytes_on, is_held, unusable
from service.jobs.stores.sqlite_rows import MIGRATIONS, bytes_of, remove_jobs
from service.jobs.stores.sqlite_store import BUSY_SECONDS, ballast_of

# Deleted in one transaction: the process that has the file waits for it with whatever it wants to store.
MOST_AT_ONCE = 20


@dataclasses.dataclass(frozen=True)
class StoreState:
    """
    How a store is. damage: what is wrong with it, nothing if all is well. held: a process has it.

    bytes: room that jobs take; file_bytes: room that its files take on the volume, what is kept back included; free_bytes: room that is left there.
    kept_back: there is room for closing jobs on a full volume; without, no new ones are taken. jobs: how many are in which status.
    """

    path: str
    damage: list[str]
    version: int
    held: bool
    bytes: int
    file_bytes: int
    free_bytes: int
    kept_back: bool
    jobs: dict[str, int]


class StoreFile:
    """
    A store's file, read beside the process that has it, and pruned without being in its way.

    All raise InvalidConfiguration if there is no file, or it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def is_held(self) -> bool:
        """Say whether a process has it."""
        return is_held(self._path)

    def jobs(self, owner: str | None = None, status: JobStatus | None = None, limit: int = -1) -> list[dict[str, Any]]:
        """Return jobs of all owners, or of one, the newest first."""
        asked = "SELECT * FROM job WHERE owner = ifnull(?, owner) AND status = ifnull(?, status) ORDER BY since DESC, jid DESC LIMIT ?"
        with self._opened("ro") as db:
            return [_job(row) for row in db.execute(asked, (owner, status, limit))]

    def job(self, jid: str) -> dict[str, Any] | None:
        """Return a job and what is known of its minions, without their returns; None if there is no such job."""
        with self._opened("ro") as db:
            row = db.execute("SELECT * FROM job WHERE jid = ?", (jid,)).fetchone()
            parts = db.execute(
                "SELECT minion, status, reason, why, source, retcode, flags, at, size, wave FROM part WHERE jid = ? ORDER BY minion", (jid,)
            ).fetchall()
        return {**_job(row), "minions": {part["minion"]: _part(part) for part in parts}} if row else None

    def state(self) -> StoreState:
        """Look through all of it."""
        ours = [self._path, ballast_of(self._path), *(self._path.with_name(f"{self._path.name}{end}") for end in ("-wal", "-shm"))]
        with self._opened("ro") as db:
            damage = [text for (text,) in db.execute("PRAGMA integrity_check") if text != "ok"]
            (version,) = db.execute("PRAGMA user_version").fetchone()
            if version > len(MIGRATIONS):
                damage.append(f"a newer salt-sidecar wrote it (version {version}, ours is {len(MIGRATIONS)})")
            return StoreState(
                str(self._path),
                damage,
                version,
                self.is_held,
                bytes_of(db),
                sum(file.stat().st_size for file in ours if file.exists()),
                free_bytes_on(self._path.parent),
                ballast_of(self._path).exists(),
                dict(db.execute("SELECT status, count(*) FROM job GROUP BY status ORDER BY status").fetchall()),
            )

    def prunable(self, before: float) -> int:
        """Return how many jobs were over before a time."""
        with self._opened("ro") as db:
            return int(db.execute("SELECT count(*) FROM job WHERE finished < ?", (before,)).fetchone()[0])

    def prune(self, before: float) -> int:
        """Remove jobs that were over before a time, a few in each transaction, and give back the room of SQLite's log; return how many."""
        removed = 0
        with self._opened("rw") as db:
            if db.execute("PRAGMA user_version").fetchone()[0] != len(MIGRATIONS):
                raise unusable(self._path, "another version of salt-sidecar wrote it")
            while jids := self._remove_some(db, before):
                removed += jids
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return removed

    def _remove_some(self, db: sqlite3.Connection, before: float) -> int:
        db.execute("BEGIN IMMEDIATE")
        with db:
            jids = [jid for (jid,) in db.execute("SELECT jid FROM job WHERE finished < ? LIMIT ?", (before, MOST_AT_ONCE))]
            remove_jobs(db, jids)
        return len(jids)

    def back_up(self, target: Path) -> None:
        """Write a sound copy into an empty file, whatever is written to the store meanwhile."""
        with self._opened("ro") as db, contextlib.closing(sqlite3.connect(target)) as copy:
            db.backup(copy)

    @contextlib.contextmanager
    def _opened(self, mode: str) -> Iterator[sqlite3.Connection]:
        """Open it; mode: `ro` or `rw`, neither of which makes a file where there is none."""
        try:
            if not self._path.exists():
                raise unusable(self._path, "there is no such file; a sidecar makes it at its start")
            with contextlib.closing(
                sqlite3.connect(f"{self._path.resolve().as_uri()}?mode={mode}", uri=True, timeout=BUSY_SECONDS, isolation_level=None)
            ) as db:
                db.row_factory = sqlite3.Row
                yield db
        except (sqlite3.Error, OSError) as exc:
            raise unusable(self._path, getattr(exc, "strerror", None) or str(exc)) from None


def _job(row: Mapping[str, Any]) -> dict[str, Any]:
    return {**dict(row), "request": json.loads(row["request"])}


def _part(row: Mapping[str, Any]) -> dict[str, Any]:
    return {**{name: row[name] for name in row.keys() if name != "minion"}, "retcode": json.loads(row["retcode"]), "flags": json.loads(row["flags"])}  # noqa: SIM118 - a Row is no mapping
