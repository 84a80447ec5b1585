"""The store in SQLite: groups, a full volume, a second process, places where none can be."""

from __future__ import annotations

import contextlib
import json
import math
import sqlite3
import threading
import time
import zlib
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from service.demo.embedded import until
from service.errors import InvalidConfiguration, StorageFull, StorageUnavailable
from service.jobs.stores.place import MOUNTS, place_of
from service.jobs.stores.sqlite_rows import JOB_FIELDS, MIGRATIONS, job_row, marks, migrate, put_parts
from service.jobs.stores.sqlite_store import MOST_READERS, READER_CACHE_KIB, SqliteStore
from service.jobs.stores.store import JOB_LIMIT_BYTES, Change, PartRecord, answered, packed, text_of, unpacked
from service.wiring.durable import size_of
from tests.unit.jobs.kept import JID, job


def opened(folder: Path, **options: Any) -> SqliteStore:
    options = {"on_commit": lambda _seconds: None, "monotonic": time.monotonic, **options}
    return SqliteStore(folder / "jobs.db", **options)


def faults(url: str, mounts: Path = MOUNTS) -> str:
    with pytest.raises(InvalidConfiguration) as caught:
        place_of(url, mounts)
    return str(caught.value)


def test_a_place_that_cannot_keep_jobs_is_named_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert place_of(f"sqlite://{tmp_path}/jobs.db") == tmp_path / "jobs.db"
    assert "is empty" in faults("")
    assert "folder does not exist" in faults("sqlite:///nonexistent/jobs.db")
    assert "is no file but a database" in faults("postgresql://sidecar@db/jobs")
    monkeypatch.setattr("os.access", lambda _path, _mode: False)
    assert "may not write" in faults(f"sqlite://{tmp_path}/jobs.db")


@pytest.mark.parametrize(("kind", "network"), [("ext4", False), ("nfs4", True), ("cifs", True)])
def test_a_networks_file_system_is_refused(tmp_path: Path, kind: str, network: bool) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(f"proc /proc proc rw 0 0\nroot / ext4 rw 0 0\nx {tmp_path.resolve()} {kind} rw 0 0\n")

    if network:
        assert kind in faults(f"sqlite://{tmp_path}/jobs.db", mounts)
    else:
        place_of(f"sqlite://{tmp_path}/jobs.db", mounts)


def test_nobody_else_reads_it(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.intend(job())

    assert {path.stat().st_mode & 0o77 for path in tmp_path.glob("jobs.db*") if path.suffix not in {".lock", ".ballast"}} == {0}
    store.close()


def test_one_process_has_a_store_at_a_time(tmp_path: Path) -> None:
    first = opened(tmp_path)
    with pytest.raises(InvalidConfiguration, match="another process has it"):
        opened(tmp_path)
    first.close()

    opened(tmp_path).close()


def test_a_store_of_a_newer_version_or_no_store_at_all_is_left_alone(tmp_path: Path) -> None:
    opened(tmp_path).close()
    with sqlite3.connect(tmp_path / "jobs.db") as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(InvalidConfiguration, match="newer"):
        opened(tmp_path)
    (tmp_path / "jobs.db").write_text("this is no database, and it is long enough to be looked at" * 100)

    with pytest.raises(InvalidConfiguration, match="not a database"):
        opened(tmp_path)


def test_jobs_of_an_older_version_are_still_there(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "jobs.db")) as db:
        for script in MIGRATIONS[:3]:
            db.executescript(script)
        row = job_row(job(happened=7))[: JOB_FIELDS.index("parent")]
        db.execute(f"INSERT INTO job VALUES ({marks(row)})", row)
        db.execute("INSERT INTO part VALUES (?, 'a', 'waiting', NULL, NULL, NULL, 'null', '{}', NULL, 0, NULL)", (JID,))
        db.execute("PRAGMA user_version = 3")
        db.commit()
    store = opened(tmp_path)

    assert (store.unfinished(), store.inputs(JID), store.part(JID, "a")) == ([job(happened=7)], None, PartRecord("waiting"))
    store.save([Change(job(status="failed", finished=1001.0, parent="1" * 20), {})])
    assert store.job(JID) == job(status="failed", finished=1001.0, parent="1" * 20)
    store.close()


def test_an_intent_is_on_the_disk_before_its_job_is_published(tmp_path: Path) -> None:
    """SQLite waits for the disk at a commit that is FULL; what comes after it need not wait, since the master has it too."""
    said: list[str] = []

    def connect(*arguments: Any, **options: Any) -> sqlite3.Connection:
        db: sqlite3.Connection = sqlite3.connect(*arguments, **options)
        db.set_trace_callback(said.append)
        return db

    store = opened(tmp_path, connect=connect)
    said.clear()
    store.intend(job())
    store.save([Change(job(status="running"), {})])
    store.close()
    commits = [said[: end + 1] for end, statement in enumerate(said) if statement == "COMMIT"]

    assert [[one for one in until if one.startswith("PRAGMA synchronous")][-1] for until in commits] == [
        "PRAGMA synchronous = FULL",
        "PRAGMA synchronous = NORMAL",
    ]


def test_those_who_read_a_large_file_do_not_keep_it_in_memory_each(tmp_path: Path) -> None:
    made: list[sqlite3.Connection] = []

    def connect(*arguments: Any, **options: Any) -> sqlite3.Connection:
        made.append(sqlite3.connect(*arguments, **options))
        return made[-1]

    store = opened(tmp_path, connect=connect)
    store.intend(job())
    store.job(JID)
    caches = [db.execute("PRAGMA cache_size").fetchone()[0] for db in made[1:]]
    store.close()

    assert set(caches) == {-READER_CACHE_KIB}


@pytest.mark.parametrize("body", [b"null", b'"%b"' % (b"x" * 5000)])
def test_a_return_is_read_as_it_was_written_packed_or_not(body: bytes) -> None:
    assert unpacked(packed(body)) == unpacked(zlib.compress(body)) == body
    assert len(packed(body)) < 100


@pytest.mark.parametrize("value", [None, 0, 254, True, {}, {"a": 1}, [], "", 0.0, float("nan")])
def test_what_a_minion_sent_is_the_same_json_as_ever(value: object) -> None:
    assert text_of(value) == json.dumps(value)


@pytest.mark.costly
def test_writes_that_gather_share_one_commit(tmp_path: Path) -> None:
    commits: list[float] = []
    store = opened(tmp_path, on_commit=commits.append)
    threads = [threading.Thread(target=store.intend, args=(job(f"{number:020}"),)) for number in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stored = len(store.unfinished())
    store.close()

    assert stored == 64
    assert len(commits) < 64


@pytest.mark.parametrize("makes_room", ["prune", "the next job"])
def test_on_a_full_volume_jobs_are_closed_new_ones_refused_and_all_is_read(tmp_path: Path, makes_room: str) -> None:
    volume: set[str] = set()

    class OnVolume(sqlite3.Connection):
        """A database on a volume that is full while the ballast is there too."""

        def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
            if sql == "COMMIT" and "full" in volume and (tmp_path / "jobs.db.ballast").exists():
                raise sqlite3.OperationalError("database or disk is full")
            return super().execute(sql, *values)

    store = opened(
        tmp_path,
        ballast_bytes=8192,
        connect=lambda *args, **options: sqlite3.connect(*args, factory=OnVolume, **options),
        free_bytes=lambda _folder: 10_000 if volume else 20_000,
    )
    store.intend(job())
    volume.add("full")
    store.save([Change(job(status="failed", finished=1001.0), {"a": PartRecord("failed")})])

    with pytest.raises(StorageFull):
        store.intend(job("2" * 20))
    found = store.job(JID)
    assert found is not None
    assert found.status == "failed"
    assert not store.takes_jobs()
    store.prune(0.0, 10**9)
    assert not store.takes_jobs()
    volume.clear()
    if makes_room == "prune":
        store.prune(0.0, 10**9)
        assert store.takes_jobs()
    assert store.intend(job("2" * 20)) is None
    assert store.takes_jobs()
    store.close()


def test_a_store_that_cannot_be_read_has_no_size_and_costs_no_scrape(tmp_path: Path) -> None:
    store = opened(tmp_path)
    assert size_of(store) > 0
    store.close()
    (tmp_path / "jobs.db").write_text("this is no database, and it is long enough to be looked at" * 100)

    assert math.isnan(size_of(store))


def test_so_many_connections_read_at_once_and_no_more(tmp_path: Path) -> None:
    made, go = list[int](), threading.Event()

    def connect(*asked: Any, **options: Any) -> sqlite3.Connection:
        made.append(1)
        if len(made) > 1:  # than the writer's
            go.wait(60)
        db: sqlite3.Connection = sqlite3.connect(*asked, **options)
        return db

    store = opened(tmp_path, connect=connect, busy_seconds=0.0)
    readers = [threading.Thread(target=store.job, args=(JID,)) for _ in range(MOST_READERS)]
    for reader in readers:
        reader.start()
    for _ in until(60):
        if len(made) == 1 + MOST_READERS:
            break
    with pytest.raises(StorageUnavailable, match="too many wait to read"):
        store.job(JID)
    go.set()
    for reader in readers:
        reader.join()

    assert store.job(JID) is None
    assert len(made) == 1 + MOST_READERS
    store.close()


def test_who_waits_for_a_thread_that_does_not_answer_is_told_for_what() -> None:
    with pytest.raises(StorageUnavailable, match="job 5: nothing was stored"):
        answered(Future(), "job 5", 0.01)


def test_a_store_that_is_closed_takes_nothing(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.close()

    with pytest.raises(StorageUnavailable):
        store.intend(job())


def test_returns_are_kept_while_there_is_room_for_them() -> None:
    with contextlib.closing(sqlite3.connect(":memory:")) as db:
        migrate(db)
        sizes = {"first": 4, "large": 10, "last": 4}
        left = put_parts(db, JID, {name: PartRecord("ok", source="bus", size=size, body=b"x" * size) for name, size in sizes.items()}, 8)
        kept = [minion for (minion,) in db.execute("SELECT minion FROM part WHERE body IS NOT NULL ORDER BY minion")]

        assert (left, kept) == (0, ["first", "last"])
        assert put_parts(db, JID, {"silent": PartRecord("no_return")}, None) is None
        assert put_parts(db, JID, {"more": PartRecord("ok", source="bus", size=2, body=b"{}")}, None) == JOB_LIMIT_BYTES - 10
