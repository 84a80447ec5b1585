"""Jobs in a file of SQLite: one thread writes, in groups; readers have connections of their own."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Literal

from service.batcher import Batcher
from service.bounded import Bounded
from service.errors import StorageFull, StorageUnavailable
from service.jobs.outcome import CORRECTABLE
from service.jobs.stores.place import free_bytes_on, locked, unusable
from service.jobs.stores.sqlite_rows import (
    JOB_FIELDS,
    PART_FIELDS,
    PUT_JOB,
    SELECT,
    bytes_of,
    facts_of,
    find_job,
    first_of_group,
    job_of,
    job_row,
    marks,
    migrate,
    oldest,
    part_of,
    put_parts,
    remove_jobs,
)
from service.jobs.stores.sqlite_tokens import SqliteTokens
from service.jobs.stores.store import Change, Happening, JobRecord, OnlyFollower, PartRecord, Search, answered, conditions_of, text_of

BALLAST_BYTES = 2 * 1024 * 1024
BUSY_SECONDS = 10.0
CLOSE_SECONDS = 5.0
MOST_WAITING = 10_000
MOST_ROOMS = 1000  # jobs of which it is remembered how much room their returns have left; of others it is added up once
# Connections that read at one time, each with three descriptors: when a job ends that a thousand follow, all of them look at once.
MOST_READERS = 8
# Of pages that a connection keeps; the system has them all once for all. 2 MB for each reader would make a large file 16 MB of memory.
WRITER_CACHE_KIB, READER_CACHE_KIB = 2000, 256


@dataclasses.dataclass
class _Write:
    """Something to be written. durable: a loss of power must not undo it."""

    run: Callable[[sqlite3.Connection], Any]
    durable: bool
    done: Future[Any] = dataclasses.field(default_factory=Future)


class SqliteStore(OnlyFollower):
    """
    A Store in one file, which one process has at a time. Raises InvalidConfiguration if it cannot be had.

    on_commit(seconds): a group of writes is stored. monotonic: measures that. busy_seconds: longest wait for a turn to read.
    """

    def __init__(
        self,
        path: Path,
        *,
        on_commit: Callable[[float], None],
        monotonic: Callable[[], float],
        ballast_bytes: int = BALLAST_BYTES,
        busy_seconds: float = BUSY_SECONDS,
        connect: Callable[..., sqlite3.Connection] = sqlite3.connect,
        free_bytes: Callable[[Path], int] = free_bytes_on,
    ) -> None:
        self._path = path
        self._ballast = ballast_of(path)
        self._ballast_bytes, self._free_bytes = ballast_bytes, free_bytes
        self._on_commit, self._monotonic, self._open = on_commit, monotonic, connect
        self._lock_file = locked(path)
        with contextlib.ExitStack() as held:
            held.callback(self._lock_file.close)
            try:
                path.touch(mode=0o600)  # Returns may hold secrets; SQLite's other files get the same rights.
                self._db = held.enter_context(contextlib.closing(self._connect(WRITER_CACHE_KIB)))
                migrate(self._db)
                self._fill_ballast()
            except (sqlite3.Error, OSError) as exc:
                raise unusable(path, str(exc)) from None
            held.pop_all()
        self._has_told_of_correctable = False  # what is over from now on this process follows itself
        self._synchronous = ""  # what the writer's commits were last
        self._room: Bounded[str, float | None] = Bounded(MOST_ROOMS)  # for returns, of jobs that were written lately; the writer's
        self._busy_seconds = busy_seconds
        self._turns = threading.Semaphore(MOST_READERS)
        self._readers: list[sqlite3.Connection] = []  # idle ones; guarded by _lock
        self._lock = threading.Lock()
        self._writer: Batcher[_Write] = Batcher("store", self._write_group, limit_items=MOST_WAITING, on_crash=_fail)
        self.tokens = SqliteTokens(self._written, self._reading)

    def intend(self, job: JobRecord, inputs: bytes | None = None) -> JobRecord | None:
        """See Store."""

        def insert(db: sqlite3.Connection) -> JobRecord | None:
            taken = None if job.key is None else find_job(db, "owner = ? AND key = ?", job.owner, job.key)
            if taken is None and job.concurrency_group is not None and job.status != "queued":
                taken = first_of_group(db, job)
            if taken is None:
                self._need_room()
                db.execute(f"INSERT INTO job VALUES ({marks(JOB_FIELDS)})", job_row(job))
                if inputs is not None:
                    db.execute("INSERT INTO input VALUES (?, ?)", (job.jid, inputs))
            return taken

        found: JobRecord | None = self._written(insert, durable=True)
        return found

    def advance(self, job: JobRecord) -> bool:
        """See Store."""

        def begin(db: sqlite3.Connection) -> bool:
            if find_job(db, "jid = ? AND status = 'queued'", job.jid) is None or first_of_group(db, job) is not None:
                return False
            db.execute(f"INSERT OR REPLACE INTO job VALUES ({marks(JOB_FIELDS)})", job_row(job))
            return True

        begun: bool = self._written(begin, durable=True)
        return begun

    def save(self, changes: Iterable[Change]) -> set[str]:
        """See Store."""
        rows = list(changes)

        def put(db: sqlite3.Connection) -> None:
            for change in rows:
                db.execute(PUT_JOB, job_row(change.job))
                self._room[change.job.jid] = put_parts(db, change.job.jid, change.parts, self._room.get(change.job.jid))
                happened = [(change.job.jid, one.seq, one.kind, one.at, text_of(one.body), one.minion) for one in change.happenings]
                db.executemany("INSERT OR IGNORE INTO happening VALUES (?, ?, ?, ?, ?, ?)", happened)
                if change.notice:
                    db.execute("INSERT OR IGNORE INTO notice VALUES (?, ?)", (change.job.jid, change.job.finished))

        self._written(put, durable=any(change.durable for change in rows))
        return set()

    def job(self, jid: str) -> JobRecord | None:
        """See Store."""
        with self._reading() as db:
            return find_job(db, "jid = ?", jid)

    def keyed(self, owner: str, key: str) -> JobRecord | None:
        """See Store."""
        with self._reading() as db:
            return find_job(db, "owner = ? AND key = ?", owner, key)

    def inputs(self, jid: str) -> bytes | None:
        """See Store."""
        with self._reading() as db:
            row = db.execute("SELECT body FROM input WHERE jid = ?", (jid,)).fetchone()
        return row[0] if row else None

    def parts(self, jid: str, *, bodies: bool) -> dict[str, PartRecord]:
        """See Store."""
        with self._reading() as db:
            if not bodies:
                return dict(facts_of(db, jid))
            rows = db.execute(f"SELECT minion, {', '.join(PART_FIELDS)} FROM part WHERE jid = ? ORDER BY minion", (jid,))
            return {minion: part_of(row) for minion, *row in rows}

    def part(self, jid: str, minion: str) -> PartRecord | None:
        """See Store."""
        with self._reading() as db:
            row = db.execute(f"SELECT {', '.join(PART_FIELDS)} FROM part WHERE jid = ? AND minion = ?", (jid, minion)).fetchone()
        return part_of(row) if row else None

    def happenings(self, jid: str, after: int, limit: int) -> list[Happening]:
        """See Store."""
        wanted = "SELECT seq, kind, at, body, minion FROM happening WHERE jid = ? AND seq > ? ORDER BY seq LIMIT ?"
        with self._reading() as db:
            return [Happening(seq, kind, at, json.loads(body), minion) for seq, kind, at, body, minion in db.execute(wanted, (jid, after, limit))]

    def notices(self, limit: int) -> list[str]:
        """See Store."""
        with self._reading() as db:
            return [jid for (jid,) in db.execute("SELECT jid FROM notice ORDER BY at, jid LIMIT ?", (limit,))]

    def noticed(self, jids: Sequence[str]) -> None:
        """See Store."""
        self._written(lambda db: db.executemany("DELETE FROM notice WHERE jid = ?", [(jid,) for jid in jids]), durable=False)

    def search(self, search: Search) -> list[JobRecord]:
        """See Store."""
        where, values = conditions_of(search, "?")
        with self._reading() as db:
            return [job_of(row) for row in db.execute(f"{SELECT} WHERE {where} ORDER BY since DESC, jid DESC LIMIT ?", (*values, search.limit))]

    def unfinished(self) -> list[JobRecord]:
        """See Store."""
        with self._reading() as db:
            return [job_of(row) for row in db.execute(f"{SELECT} WHERE finished IS NULL ORDER BY since")]

    def correctable(self, since: float) -> list[JobRecord]:
        """See Store."""
        if self._has_told_of_correctable:
            return []
        where = f"finished >= ? AND status IN ({marks(CORRECTABLE)})"
        with self._reading() as db:
            found = [job_of(row) for row in db.execute(f"{SELECT} WHERE {where} ORDER BY since", (since, *CORRECTABLE))]
        self._has_told_of_correctable = True
        return found

    def prune(self, before: float, most_bytes: int) -> int:
        """See Store."""

        def remove(db: sqlite3.Connection) -> int:
            jids = [jid for (jid,) in db.execute("SELECT jid FROM job WHERE finished < ?", (before,))]
            excess = bytes_of(db) - most_bytes
            if excess > 0:
                jids += oldest(db, before, excess)
            remove_jobs(db, jids)
            self._fill_ballast()
            return len(jids)

        removed: int = self._written(remove, durable=False)
        return removed

    def size_bytes(self) -> int:
        """See Store."""
        with self._reading() as db:
            return bytes_of(db)

    def takes_jobs(self) -> bool:
        """Say whether there is room for new ones; see Store."""
        return self._ballast.exists()

    def close(self) -> None:
        """See Store."""
        self._writer.stop(CLOSE_SECONDS)
        with self._lock:
            idle, self._readers = self._readers, []
        for db in (*idle, self._db):
            db.close()
        self._lock_file.close()

    def _written(self, run: Callable[[sqlite3.Connection], Any], *, durable: bool) -> Any:
        write = _Write(run, durable)
        if not self._writer.put(write, urgent=True):
            raise StorageUnavailable("the store of jobs does not keep up, or is closed", retry_after_seconds=1)
        return answered(write.done, "the store of jobs")

    def _write_group(self, group: list[_Write]) -> None:
        """Commit what has gathered, once; when the volume is full once more, without the ballast."""
        started = self._monotonic()
        try:
            results = self._commit(group)
        except sqlite3.Error as exc:
            if not (_is_full(exc) and self._drop_ballast()):
                raise
            results = self._commit(group)
        self._on_commit(self._monotonic() - started)
        for write, result in zip(group, results, strict=True):
            if isinstance(result, Exception):
                write.done.set_exception(result)
            else:
                write.done.set_result(result)

    def _commit(self, group: list[_Write]) -> list[Any]:
        self._synchronise("FULL" if any(write.durable for write in group) else "NORMAL")
        self._db.execute("BEGIN IMMEDIATE")
        try:
            results = [self._apart(write) for write in group]
            self._db.execute("COMMIT")
        except sqlite3.Error:
            self._room.clear()
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise
        return results

    def _apart(self, write: _Write) -> Any:
        """Run one of a group; if it is refused, before it has written anything, the others are written all the same."""
        try:
            return write.run(self._db)
        except StorageFull as fault:
            return fault
        except sqlite3.IntegrityError:
            return StorageUnavailable("another job has this jid", retry_after_seconds=1)

    def _synchronise(self, how: Literal["FULL", "NORMAL"]) -> None:
        """Say whether the next commit is to be on the disk, with all before it."""
        if how != self._synchronous:
            self._db.execute(f"PRAGMA synchronous = {how}")
            self._synchronous = how

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        if not self._turns.acquire(timeout=self._busy_seconds):
            raise StorageUnavailable("too many wait to read the store of jobs", retry_after_seconds=1)
        try:
            with self._connected() as db:
                yield db
        except sqlite3.Error as exc:
            raise StorageUnavailable(f"the store of jobs cannot be read: {exc}", retry_after_seconds=1) from None
        finally:
            self._turns.release()

    @contextlib.contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection that is idle, or a new one, which is kept unless something goes wrong."""
        with self._lock:
            idle = self._readers.pop() if self._readers else None
        with contextlib.ExitStack() as held:
            db = held.enter_context(contextlib.closing(idle or self._connect(READER_CACHE_KIB)))
            yield db
            with self._lock:
                self._readers.append(db)
            held.pop_all()

    def _connect(self, cache_kib: int) -> sqlite3.Connection:
        with contextlib.ExitStack() as held:
            db = held.enter_context(contextlib.closing(self._open(self._path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)))
            db.execute("PRAGMA journal_mode = WAL")
            db.execute(f"PRAGMA cache_size = -{cache_kib}")
            held.pop_all()
        return db

    # A full volume lets nothing be deleted, and jobs could not be closed; so some room is kept back. The writer's thread alone, after the start.

    def _need_room(self) -> None:
        if self.takes_jobs():
            return
        self._fill_ballast()
        if not self.takes_jobs():
            raise StorageFull(f"the volume of {self._path} is full: running jobs are closed, new ones are refused", retry_after_seconds=60)

    def _drop_ballast(self) -> bool:
        try:
            self._ballast.unlink()
        except OSError:
            return False
        return True

    def _fill_ballast(self) -> None:
        """Keep room back, once there is more than that."""
        if self._ballast.exists() or self._free_bytes(self._path.parent) < 2 * self._ballast_bytes:
            return
        partial = self._ballast.with_suffix(".partial")
        try:
            with partial.open("wb") as file:  # Zeros that are written take no room where a file system compresses.
                os.posix_fallocate(file.fileno(), 0, self._ballast_bytes)
            partial.rename(self._ballast)
        except OSError:
            partial.unlink(missing_ok=True)


def ballast_of(path: Path) -> Path:
    """Return the file that keeps room back for a store."""
    return path.with_name(f"{path.name}.ballast")


def _is_full(exc: sqlite3.Error) -> bool:
    # Python 3.10 has no codes of SQLite's, only its words.
    return getattr(exc, "sqlite_errorname", "SQLITE_FULL" if "disk is full" in str(exc) else "") == "SQLITE_FULL"


def _fail(group: list[_Write]) -> None:
    """Tell all whose writes are lost why. Called inside the `except`."""
    exc = sys.exc_info()[1]
    full = isinstance(exc, sqlite3.Error) and _is_full(exc)
    for write in group:
        if not write.done.done():
            fault = (
                StorageFull("the volume of the store of jobs is full", retry_after_seconds=60)
                if full
                else StorageUnavailable(f"the store of jobs cannot be written: {exc}", retry_after_seconds=1)
            )
            write.done.set_exception(fault)
