"""The tables in a file of SQLite, and how jobs are written into them and read."""

from __future__ import annotations

import dataclasses
import json
import operator
import sqlite3
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from service.jobs.stores.store import BODY_LIMIT_BYTES, JOB_LIMIT_BYTES, JobRecord, PartRecord, packed, text_of, unpacked

# By version, which is `user_version`; a new one is added, none is changed.
MIGRATIONS = (
    """
    CREATE TABLE job (
        jid TEXT PRIMARY KEY, owner TEXT NOT NULL, key TEXT, fingerprint TEXT NOT NULL, request TEXT NOT NULL, arguments TEXT NOT NULL,
        since REAL NOT NULL, deadline REAL NOT NULL, boot TEXT NOT NULL, ends_at REAL NOT NULL, status TEXT NOT NULL, cause TEXT,
        expected INTEGER NOT NULL, strays INTEGER NOT NULL, finished REAL, revision INTEGER NOT NULL, UNIQUE (owner, key)
    ) WITHOUT ROWID;
    CREATE INDEX job_owner ON job (owner, since, jid);
    CREATE INDEX job_open ON job (since) WHERE finished IS NULL;
    CREATE TABLE part (
        jid TEXT NOT NULL, minion TEXT NOT NULL, status TEXT NOT NULL, reason TEXT, why TEXT, source TEXT, retcode TEXT NOT NULL, flags TEXT NOT NULL,
        at REAL, size INTEGER NOT NULL, body BLOB, PRIMARY KEY (jid, minion)
    );
    """,
    "ALTER TABLE job ADD COLUMN cancelled INTEGER NOT NULL DEFAULT 0; ALTER TABLE job ADD COLUMN master_jid TEXT;",
    """
    ALTER TABLE job ADD COLUMN happened INTEGER NOT NULL DEFAULT 0;
    CREATE TABLE happening (jid TEXT NOT NULL, seq INTEGER NOT NULL, kind TEXT NOT NULL, at REAL NOT NULL, body TEXT NOT NULL, minion TEXT, PRIMARY KEY (jid, seq));
    """,
    """
    ALTER TABLE job ADD COLUMN parent TEXT;
    CREATE TABLE input (jid TEXT PRIMARY KEY, body BLOB NOT NULL);
    """,
    "CREATE INDEX job_since ON job (since, jid);",
    "CREATE TABLE notice (jid TEXT PRIMARY KEY, at REAL NOT NULL);",
    """
    ALTER TABLE job ADD COLUMN concurrency_group TEXT;
    ALTER TABLE job ADD COLUMN needs_owner INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE job ADD COLUMN queued_seconds REAL NOT NULL DEFAULT 0;
    CREATE INDEX job_group ON job (concurrency_group) WHERE finished IS NULL;
    """,
    """
    ALTER TABLE job ADD COLUMN waves INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE job ADD COLUMN wave INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE job ADD COLUMN taken INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE part ADD COLUMN wave INTEGER;
    """,
    """
    ALTER TABLE job ADD COLUMN token TEXT;
    CREATE TABLE token (
        id TEXT PRIMARY KEY, digest TEXT NOT NULL UNIQUE, owner TEXT NOT NULL, scope TEXT NOT NULL, sealed BLOB NOT NULL,
        since REAL NOT NULL, expires REAL NOT NULL, max_uses INTEGER, uses INTEGER NOT NULL, used_at REAL
    );
    CREATE INDEX token_owner ON token (owner);
    """,
    "ALTER TABLE job ADD COLUMN without_token INTEGER NOT NULL DEFAULT 0;",
)


def marks(fields: Collection[str]) -> str:
    """Return a place for each value of a row."""
    return ", ".join("?" * len(fields))


def _taken_over(fields: Collection[str], but: Collection[str] = ()) -> str:
    return ", ".join(f"{name} = excluded.{name}" for name in fields if name not in but)


JOB_FIELDS = tuple(field.name for field in dataclasses.fields(JobRecord))
PART_FIELDS = tuple(field.name for field in dataclasses.fields(PartRecord))
SELECT = f"SELECT {', '.join(JOB_FIELDS)} FROM job"
# Not replaced as a whole: that writes every index again.
PUT_JOB = f"INSERT INTO job VALUES ({marks(JOB_FIELDS)}) ON CONFLICT (jid) DO UPDATE SET {_taken_over(JOB_FIELDS, but={'jid', 'owner', 'since'})}"
_PUT_PART = f"INSERT INTO part VALUES (?, ?, {marks(PART_FIELDS)}) ON CONFLICT (jid, minion) DO UPDATE SET {_taken_over(PART_FIELDS)}"
# Of minions of whom the same is known, and nothing was returned, in one step.
_PUT_ALIKE = f"""
    INSERT INTO part (jid, minion, status, reason, why, retcode, flags, size, wave) SELECT ?, value, ?, ?, ?, 'null', '{{}}', 0, ? FROM json_each(?) WHERE true
    ON CONFLICT (jid, minion) DO UPDATE SET {_taken_over(PART_FIELDS)}
"""
# Of one step of SQLite's, for each of which Python's lock goes to somebody else who waits for it.
FACTS_AT_ONCE = 500
# Without returns. A time has its microseconds: SQLite writes no float to the last digit.
_FACTS = ", ".join({"at": "CAST(round(at * 1000000) AS INTEGER)", "body": "NULL"}.get(name, name) for name in ("minion", *PART_FIELDS))
_SOME_FACTS = f"SELECT json_group_array(json_array({_FACTS})) FROM (SELECT * FROM part WHERE jid = ? AND minion > ? ORDER BY minion LIMIT {FACTS_AT_ONCE})"
_AT = PART_FIELDS.index("at")
_values_of = operator.attrgetter(*JOB_FIELDS)
_REQUEST = JOB_FIELDS.index("request")


def migrate(db: sqlite3.Connection) -> None:
    """Bring tables up to our version; in an empty file, make them. Raises sqlite3.DatabaseError if their version is newer."""
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version > len(MIGRATIONS):
        raise sqlite3.DatabaseError(f"a newer salt-sidecar wrote it (version {version}, ours is {len(MIGRATIONS)})")
    for number, script in enumerate(MIGRATIONS[version:], version + 1):
        db.executescript(f"BEGIN; {script} PRAGMA user_version = {number}; COMMIT;")


def remove_jobs(db: sqlite3.Connection, jids: Iterable[str]) -> None:
    """Remove jobs, with all that belongs to them."""
    rows = [(jid,) for jid in jids]
    for table in ("notice", "happening", "part", "input", "job"):
        db.executemany(f"DELETE FROM {table} WHERE jid = ?", rows)


def bytes_of(db: sqlite3.Connection) -> int:
    """Return how much room jobs take in a store."""
    pages, free, size = (db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size"))
    return int((pages - free) * size)


def oldest(db: sqlite3.Connection, since: float, excess: float) -> Iterator[str]:
    """Yield finished jobs, the oldest first, until they take as much room as is too much."""
    size = " + ".join(f"(SELECT total(length(body) + 200) FROM {table} WHERE {table}.jid = job.jid)" for table in ("part", "input"))
    for jid, taken in db.execute(f"SELECT jid, {size} FROM job WHERE finished >= ? ORDER BY finished", (since,)):
        if excess <= 0:
            return
        excess -= taken
        yield jid


def find_job(db: sqlite3.Connection, where: str, *values: str | float | None) -> JobRecord | None:
    """Return the job that a condition is true of, None if there is none."""
    row = db.execute(f"{SELECT} WHERE {where}", values).fetchone()
    return job_of(row) if row else None


def first_of_group(db: sqlite3.Connection, job: JobRecord) -> JobRecord | None:
    """Return the job that goes first in a job's group, None if that is the job itself."""
    earlier = "(status <> 'queued' OR (NOT needs_owner AND (since, jid) < (?, ?))) ORDER BY status = 'queued', since, jid"
    return find_job(db, f"concurrency_group = ? AND finished IS NULL AND jid <> ? AND {earlier}", job.concurrency_group, job.jid, job.since, job.jid)


def job_row(job: JobRecord) -> tuple[Any, ...]:
    """Return the row of a job."""
    values = _values_of(job)
    return (*values[:_REQUEST], text_of(job.request), *values[_REQUEST + 1 :])


def job_of(row: tuple[Any, ...]) -> JobRecord:
    """Return a job from its row."""
    fields = dict(zip(JOB_FIELDS, row, strict=True))
    flags = {name: bool(fields[name]) for name in ("cancelled", "needs_owner", "without_token")}
    return JobRecord(**{**fields, **flags, "request": json.loads(fields["request"])})


def put_parts(db: sqlite3.Connection, jid: str, parts: Mapping[str, PartRecord], room: float | None) -> float | None:
    """Write what is known of some minions, with the returns that still have room: *room* bytes, None if that has to be looked up. Return how many are left."""
    alike = defaultdict[tuple[str | int | None, ...], list[str]](list)
    rows = []
    if room is None and any(part.body is not None for part in parts.values()):
        (room,) = db.execute("SELECT ? - total(length(body)) FROM part WHERE jid = ?", (JOB_LIMIT_BYTES, jid)).fetchone()
    for minion, part in parts.items():
        if _has_said_nothing(part):
            alike[part.status, part.reason, part.why, part.wave].append(minion)
            continue
        body = packed(part.body) if part.body is not None and part.size <= BODY_LIMIT_BYTES else None
        fits = body is not None and room is not None and len(body) <= room
        room = room - len(body) if body is not None and room is not None and fits else room
        row = (
            jid,
            minion,
            part.status,
            part.reason,
            part.why,
            part.source,
            text_of(part.retcode),
            text_of(part.flags),
            part.at,
            part.size,
            body if fits else None,
            part.wave,
        )
        rows.append(row)
    db.executemany(_PUT_PART, rows)
    for facts, minions in alike.items():
        db.execute(_PUT_ALIKE, (jid, *facts, json.dumps(minions)))
    return room


def _has_said_nothing(part: PartRecord) -> bool:
    return (part.source, part.at, part.retcode, part.body, part.size) == (None, None, None, None, 0) and not part.flags


def facts_of(db: sqlite3.Connection, jid: str) -> Iterator[tuple[str, PartRecord]]:
    """Yield a job's minions in their order, without their returns."""
    minion, found = "", FACTS_AT_ONCE
    while found == FACTS_AT_ONCE:
        (text,) = db.execute(_SOME_FACTS, (jid, minion)).fetchone()
        rows = json.loads(text)
        for minion, *row in rows:
            row[_AT] = row[_AT] and row[_AT] / 1e6
            yield minion, part_of(row)
        found = len(rows)


def part_of(row: Sequence[Any]) -> PartRecord:
    """Return a minion's part in a job from its row."""
    status, reason, why, source, retcode, flags, at, size, body, wave = row
    told = {} if flags == "{}" else json.loads(flags)
    return PartRecord(status, reason, why, source, None if retcode == "null" else json.loads(retcode), told, at, size, body and unpacked(body), wave)
