"""Jobs in a database of PostgreSQL. Each open job is followed by one sidecar; only that one writes it, until it dies and another takes it over."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from service.errors import StorageUnavailable
from service.jobs.outcome import CORRECTABLE
from service.jobs.stores.postgres.postgres_tokens import PostgresTokens
from service.jobs.stores.postgres.server_link import CHANNEL, LOCKS, Database, ServerLink
from service.jobs.stores.store import (
    BODY_LIMIT_BYTES,
    JOB_LIMIT_BYTES,
    Change,
    Happening,
    JobRecord,
    PartRecord,
    Search,
    conditions_of,
    packed,
    text_of,
    unpacked,
)

# Columns are what is searched for; a record has everything, so that a new field of it needs no migration. JSON is in text, as `jsonb` takes no \u0000.
MIGRATIONS = (
    f"""
    CREATE TABLE job (
        jid text PRIMARY KEY, owner text NOT NULL, key text, since double precision NOT NULL, status text NOT NULL, finished double precision,
        follower bigint NOT NULL, bytes bigint NOT NULL, record text NOT NULL, UNIQUE (owner, key)
    );
    CREATE INDEX job_owner ON job (owner, since, jid);
    CREATE INDEX job_open ON job (since) WHERE finished IS NULL;
    CREATE INDEX job_finished ON job (finished);
    CREATE TABLE part (
        jid text NOT NULL REFERENCES job ON DELETE CASCADE, minion text NOT NULL, record text NOT NULL, body bytea, PRIMARY KEY (jid, minion)
    );
    ALTER TABLE part ALTER COLUMN body SET STORAGE EXTERNAL;
    CREATE TABLE happening (jid text NOT NULL REFERENCES job ON DELETE CASCADE, seq integer NOT NULL, record text NOT NULL, PRIMARY KEY (jid, seq));
    CREATE SEQUENCE follower AS integer CYCLE;
    CREATE VIEW living AS SELECT objid::bigint AS follower FROM pg_locks
        WHERE locktype = 'advisory' AND classid::bigint = {LOCKS} AND objsubid = 2 AND granted
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database());
    """,
    "CREATE TABLE input (jid text PRIMARY KEY REFERENCES job ON DELETE CASCADE, body bytea NOT NULL)",
    # The jids under which minions were asked to end the job through sidecars that do not follow it, until the one that does has heard of them.
    "ALTER TABLE job ADD COLUMN ends text[] NOT NULL DEFAULT '{}'",
    "CREATE INDEX job_since ON job (since, jid)",
    "CREATE TABLE notice (jid text PRIMARY KEY REFERENCES job ON DELETE CASCADE, at double precision NOT NULL)",
    """
    ALTER TABLE job ADD COLUMN concurrency_group text, ADD COLUMN needs_owner boolean NOT NULL DEFAULT false;
    CREATE INDEX job_group ON job (concurrency_group) WHERE finished IS NULL;
    """,
    """
    ALTER TABLE job ADD COLUMN token text;
    CREATE TABLE token (
        id text PRIMARY KEY, digest text NOT NULL UNIQUE, owner text NOT NULL, scope text[] NOT NULL, sealed bytea NOT NULL,
        since double precision NOT NULL, expires double precision NOT NULL, max_uses integer, uses integer NOT NULL, used_at double precision
    );
    CREATE INDEX token_owner ON token (owner);
    """,
)
# Told instead of a jid: somebody was asked to end a job, or jobs are offered.
AN_END = "end"
# What a row takes beside its texts, about.
ROW_BYTES = 200
# One statement removes at most so many jobs, to end in time; the next one comes in a minute.
MOST_PRUNED = 5000
_JOBS = "SELECT record, status FROM job"
_COLUMNS = ("jid", "owner", "key", "since", "status", "finished", "follower", "bytes", "record", "concurrency_group", "needs_owner", "token")
_INSERT = f"INSERT INTO job ({', '.join(_COLUMNS)}) VALUES ({', '.join(['%s'] * len(_COLUMNS))})"
_PUT_PART = "INSERT INTO part VALUES (%s, %s, %s, %s) ON CONFLICT (jid, minion) DO UPDATE SET record = excluded.record, body = excluded.body"
_PUT_HAPPENING = "INSERT INTO happening VALUES (%s, %s, %s) ON CONFLICT DO NOTHING"


class PostgresStore:
    """
    A Store that several sidecars share: beside one master, or the masters of one cluster.

    password(): reads the password of the server; None: there is none. connections: most at once, beside one that stays. on_commit(seconds): something was stored. monotonic: measures that.
    """

    def __init__(
        self, url: str, password: Callable[[], bytes] | None, *, on_commit: Callable[[float], None], monotonic: Callable[[], float], connections: int = 8
    ) -> None:
        self._on_commit, self._monotonic = on_commit, monotonic
        self._size = 0
        self._is_ending = False
        self._lock = threading.Lock()
        self._bells: dict[str, list[threading.Event]] = {}  # by jid; guarded by _lock
        self._tell: Callable[[], None] = lambda: None
        self._link = ServerLink(url, password, MIGRATIONS, self._heard, connections)
        self.tokens = PostgresTokens(self._link)

    def intend(self, job: JobRecord, inputs: bytes | None = None) -> JobRecord | None:
        """See Store."""
        with self._writing() as db, db.transaction():
            if job.status != "queued" and (first := _first_of_group(db, job)) is not None:
                return first
            if db.execute(f"{_INSERT} ON CONFLICT DO NOTHING", self._row(job, len(inputs or b""))).rowcount:
                if inputs is not None:
                    db.execute("INSERT INTO input VALUES (%s, %s)", (job.jid, inputs))
                return None
            taken = _found(db, "owner = %s AND key = %s", job.owner, job.key)
        if taken is None:
            raise StorageUnavailable("another job has this jid, or the key was given back just now", retry_after_seconds=1)
        return taken

    def advance(self, job: JobRecord) -> bool:
        """See Store."""
        update = "UPDATE job SET status = %s, record = %s WHERE jid = %s AND status = 'queued' AND follower = %s"
        with self._writing() as db, db.transaction():
            values = (job.status, json.dumps(dataclasses.asdict(job)), job.jid, self._link.number)
            return _first_of_group(db, job) is None and bool(db.execute(update, values).rowcount)

    def save(self, changes: Iterable[Change]) -> set[str]:
        """See Store."""
        with self._writing() as db, db.transaction():
            return {change.job.jid for change in changes if not self._put(db, change)}

    def claim(self, jid: str) -> bool:
        """See Store."""
        ours = "follower = %s OR follower NOT IN (SELECT follower FROM living)"
        free = f"status = 'in_doubt' OR (status IN ('publishing', 'queued') AND ({ours})) OR needs_owner"
        taken = "follower = %s, needs_owner = false, status = CASE WHEN status IN ('queued', 'running') THEN status ELSE 'publishing' END"
        with self._writing() as db:
            me = self._link.number
            return bool(db.execute(f"UPDATE job SET {taken} WHERE jid = %s AND finished IS NULL AND ({free})", (me, jid, me)).rowcount)

    def wait(self, jid: str, is_news: Callable[[JobRecord], bool], seconds: float) -> None:
        """See Store."""
        ends = self._monotonic() + seconds
        with self._bell_of(jid) as bell:
            while True:
                # What rings from here on is heard: an end, as news are.
                bell.clear()
                if self._is_ending or (left := ends - self._monotonic()) <= 0:
                    return
                job = self.job(jid)
                if job is None or is_news(job):
                    return
                bell.wait(left)

    def end_waits(self) -> None:
        """See Store."""
        self._is_ending = True
        self._ring(None)

    def ask_to_end(self, jid: str, question: str) -> None:
        """See Store."""
        with self._writing() as db:
            db.execute("UPDATE job SET ends = array_append(ends, %s) WHERE jid = %s", (question, jid))
            db.execute("SELECT pg_notify(%s, %s)", (CHANNEL, AN_END))

    def ends_asked(self) -> dict[str, list[str]]:
        """See Store."""
        asked = "SELECT jid, ends FROM job WHERE finished IS NULL AND follower = %s AND ends <> '{}' FOR UPDATE"
        with self._link.connected() as db:
            return dict(
                db.execute(
                    f"WITH asked AS ({asked}) UPDATE job SET ends = '{{}}' FROM asked WHERE job.jid = asked.jid RETURNING asked.jid, asked.ends",
                    (self._link.number,),
                ).fetchall()
            )

    def on_news(self, tell: Callable[[], None]) -> None:
        """See Store."""
        self._tell = tell

    def job(self, jid: str) -> JobRecord | None:
        """See Store."""
        with self._link.connected() as db:
            return _found(db, "jid = %s", jid)

    def keyed(self, owner: str, key: str) -> JobRecord | None:
        """See Store."""
        with self._link.connected() as db:
            return _found(db, "owner = %s AND key = %s", owner, key)

    def inputs(self, jid: str) -> bytes | None:
        """See Store."""
        with self._link.connected() as db:
            row = db.execute("SELECT body FROM input WHERE jid = %s", (jid,)).fetchone()
        return row[0] if row else None

    def parts(self, jid: str, *, bodies: bool) -> dict[str, PartRecord]:
        """See Store."""
        wanted = "SELECT minion, record, CASE WHEN %s THEN body END FROM part WHERE jid = %s ORDER BY minion"
        with self._link.connected() as db:
            return {minion: _part(record, body) for minion, record, body in db.execute(wanted, (bodies, jid))}

    def part(self, jid: str, minion: str) -> PartRecord | None:
        """See Store."""
        with self._link.connected() as db:
            row = db.execute("SELECT record, body FROM part WHERE jid = %s AND minion = %s", (jid, minion)).fetchone()
        return _part(*row) if row else None

    def happenings(self, jid: str, after: int, limit: int) -> list[Happening]:
        """See Store."""
        wanted = "SELECT record FROM happening WHERE jid = %s AND seq > %s ORDER BY seq LIMIT %s"
        with self._link.connected() as db:
            return [Happening(**json.loads(record)) for (record,) in db.execute(wanted, (jid, after, limit))]

    def notices(self, limit: int) -> list[str]:
        """See Store."""
        orphans = "jid IN (SELECT jid FROM notice) AND follower <> %s AND follower NOT IN (SELECT follower FROM living)"
        with self._link.connected() as db:
            me = self._link.number
            db.execute(f"UPDATE job SET follower = %s WHERE {orphans}", (me, me))
            ours = "SELECT jid FROM notice JOIN job USING (jid) WHERE follower = %s ORDER BY at, jid LIMIT %s"
            return [jid for (jid,) in db.execute(ours, (me, limit))]

    def noticed(self, jids: Sequence[str]) -> None:
        """See Store."""
        with self._writing() as db:
            db.execute("DELETE FROM notice WHERE jid = ANY(%s)", (list(jids),))

    def search(self, search: Search) -> list[JobRecord]:
        """See Store."""
        where, values = conditions_of(search, "%s")
        with self._link.connected() as db:
            return [_job(*row) for row in db.execute(f"{_JOBS} WHERE {where} ORDER BY since DESC, jid DESC LIMIT %s", [*values, search.limit])]

    def unfinished(self) -> list[JobRecord]:
        """See Store."""
        orphans = "finished IS NULL AND follower <> %s AND follower NOT IN (SELECT follower FROM living)"
        with self._link.connected() as db:
            me = self._link.number
            # Of a publish whose sidecar is gone nobody knows: so whoever is asked for it again, here or elsewhere, may take it in hand.
            doubted = "CASE WHEN status = 'publishing' THEN 'in_doubt' ELSE status END"
            db.execute(f"UPDATE job SET follower = %s, status = {doubted} WHERE {orphans}", (me, me))
            return [_job(*row) for row in db.execute(f"{_JOBS} WHERE finished IS NULL AND follower = %s ORDER BY since", (me,))]

    def offer(self, jids: Sequence[str]) -> set[str]:
        """See Store. A job that is offered has the number of its sidecar with a minus, which nobody who lives has."""
        ours = "jid = ANY(%s) AND follower IN (%s, %s)"
        with self._writing() as db, db.transaction():
            me = self._link.number
            if db.execute("UPDATE job SET follower = %s WHERE jid = ANY(%s) AND finished IS NULL AND follower = %s", (-me, [*jids], me)).rowcount:
                db.execute("SELECT pg_notify(%s, %s)", (CHANNEL, AN_END))
            return {*jids} - {jid for (jid,) in db.execute(f"SELECT jid FROM job WHERE {ours}", ([*jids], me, -me))}

    def correctable(self, since: float) -> list[JobRecord]:
        """See Store."""
        orphans = "finished >= %s AND status = ANY(%s) AND follower <> %s AND follower NOT IN (SELECT follower FROM living)"
        with self._link.connected() as db:
            me = self._link.number
            taken = db.execute(f"UPDATE job SET follower = %s WHERE {orphans} RETURNING record, status", (me, since, [*CORRECTABLE], me))
            return sorted((_job(*row) for row in taken), key=lambda job: job.since)

    def prune(self, before: float, most_bytes: int) -> int:
        """See Store."""
        old = "SELECT jid FROM job WHERE finished < %s LIMIT %s FOR UPDATE SKIP LOCKED"
        freed = "SELECT jid, sum(bytes) OVER (ORDER BY finished, jid) - bytes AS freed FROM job WHERE finished IS NOT NULL"
        with self._writing() as db:
            removed = db.execute(f"DELETE FROM job WHERE jid IN ({old})", (before, MOST_PRUNED)).rowcount
            excess = _bytes_of(db) - most_bytes
            if excess > 0:
                removed += db.execute(
                    f"DELETE FROM job WHERE jid IN (SELECT jid FROM ({freed}) AS old WHERE freed < %s LIMIT %s)", (excess, MOST_PRUNED)
                ).rowcount
            self._size = _bytes_of(db)
        return removed

    def size_bytes(self) -> int:
        """Return how much room all took when `prune` last ran: the metrics ask, which must not wait for a server."""
        return self._size

    def takes_jobs(self) -> bool:
        """See Store."""
        return self._link.is_up

    def close(self) -> None:
        """See Store."""
        self.end_waits()
        self._link.close()

    @contextlib.contextmanager
    def _bell_of(self, jid: str) -> Iterator[threading.Event]:
        """Lend an event that is set when something of a job was stored."""
        bell = threading.Event()
        with self._lock:
            self._bells.setdefault(jid, []).append(bell)
        try:
            yield bell
        finally:
            with self._lock:
                self._bells[jid].remove(bell)
                if not self._bells[jid]:
                    del self._bells[jid]

    def _heard(self, news: str | None) -> None:
        """Hear of a job that was stored, of an end that was asked for, or that we may have missed some of that."""
        if news in {AN_END, None}:
            self._tell()
        if news != AN_END:
            self._ring(news)

    def _ring(self, jid: str | None) -> None:
        """Wake who waits for news of a job; all, if we may have missed some."""
        with self._lock:
            bells = [bell for waiting in self._bells.values() for bell in waiting] if jid is None else [*self._bells.get(jid, ())]
        for bell in bells:
            bell.set()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[Database]:
        started = self._monotonic()
        with self._link.connected() as db:
            yield db
        self._on_commit(self._monotonic() - started)

    def _row(self, job: JobRecord, inputs_bytes: int = 0) -> tuple[Any, ...]:
        record = json.dumps(dataclasses.asdict(job))
        columns = (job.jid, job.owner, job.key, job.since, job.status, job.finished, self._link.number, len(record) + ROW_BYTES + inputs_bytes, record)
        # The column `needs_owner` says whether `claim` may take it from a sidecar that lives. Of queued jobs it says no more than the record does.
        return (*columns, job.concurrency_group, job.lacks_owner, job.token)

    def _put(self, db: Database, change: Change) -> bool:
        """Store what has changed of a job that is ours, and tell the others; return whether it is."""
        job = change.job
        new = ", ".join(f"{column} = excluded.{column}" for column in ("key", "status", "finished", "follower", "record", "needs_owner"))
        upsert = f"{_INSERT} ON CONFLICT (jid) DO UPDATE SET {new} WHERE job.follower IN (excluded.follower, -excluded.follower)"
        stored = db.execute(f"{upsert} RETURNING bytes", self._row(job)).fetchone()
        if stored is None:
            return False
        parts, size = _part_rows(job.jid, change.parts, JOB_LIMIT_BYTES - stored[0])
        happenings = [(job.jid, one.seq, text_of(dataclasses.asdict(one))) for one in change.happenings]
        size += sum(len(record) + ROW_BYTES for _, _, record in happenings)
        with db.cursor() as cursor:
            for put, rows in ((_PUT_PART, parts), (_PUT_HAPPENING, happenings)):
                if rows:
                    cursor.executemany(put, rows)
        db.execute("UPDATE job SET bytes = bytes + %s WHERE jid = %s", (size, job.jid))
        if change.notice:
            db.execute("INSERT INTO notice VALUES (%s, %s) ON CONFLICT DO NOTHING", (job.jid, job.finished))
        db.execute("SELECT pg_notify(%s, %s)", (CHANNEL, job.jid))
        return True


def _part_rows(jid: str, parts: Mapping[str, PartRecord], room: int) -> tuple[list[tuple[Any, ...]], int]:
    """Return what is stored of minions, with the bodies that fit into the room, and how much that is."""
    rows, size = [], 0
    for minion, part in parts.items():
        record = text_of(dataclasses.asdict(dataclasses.replace(part, body=None)))
        body = packed(part.body) if part.body is not None and part.size <= BODY_LIMIT_BYTES else None
        if body is not None and size + len(body) > room:
            body = None
        size += len(record) + len(body or b"") + ROW_BYTES
        rows.append((jid, minion, record, body))
    return rows, size


def _bytes_of(db: Database) -> int:
    row = db.execute("SELECT coalesce(sum(bytes), 0) FROM job").fetchone()
    return int(row[0]) if row else 0


def _found(db: Database, where: str, *values: str | float | None) -> JobRecord | None:
    row = db.execute(f"{_JOBS} WHERE {where}", values).fetchone()
    return _job(*row) if row else None


def _first_of_group(db: Database, job: JobRecord) -> JobRecord | None:
    """Return the job that goes first in a job's group, None if that is the job itself; until the transaction ends nobody else asks that of the group."""
    if job.concurrency_group is None:
        return None
    db.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (job.concurrency_group,))
    earlier = "(status <> 'queued' OR (NOT needs_owner AND (since, jid) < (%s, %s))) ORDER BY status = 'queued', since, jid"
    return _found(db, f"concurrency_group = %s AND finished IS NULL AND jid <> %s AND {earlier}", job.concurrency_group, job.jid, job.since, job.jid)


def _job(record: str, status: str) -> JobRecord:
    return JobRecord(**{**json.loads(record), "status": status})


def _part(record: str, body: bytes | None) -> PartRecord:
    return PartRecord(**{**json.loads(record), "body": body and unpacked(body)})
