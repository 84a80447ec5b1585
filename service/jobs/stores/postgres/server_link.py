"""The way to the server: a bounded pool, and one connection that stays, by which the others see that we live and we hear of their jobs."""

from __future__ import annotations

import contextlib
import logging
import select
import socket
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, NoReturn, TypeVar

import psycopg
from psycopg_pool import ConnectionPool, PoolTimeout

from service.errors import ConfigFault, InvalidConfiguration, StorageFull, StorageUnavailable

T = TypeVar("T")

CONNECT_SECONDS = 5
STATEMENT_SECONDS = 10
LOCK_SECONDS = 5
# A request waits this long for a connection of the pool, and for the first contact with the server.
PATIENCE_SECONDS = 5.0
RETRY_SECONDS = 1.0
# Long enough for a wait to see that we are closing. An attempt to connect cannot be called back, and holds nothing: it is left behind.
CLOSE_SECONDS = 1.0
MOST_WAITING = 200
# Silence of the server in which a connection is given up, and in which one is that nobody uses yet.
SILENCE_SECONDS = STATEMENT_SECONDS + 2.0
IDLE_SILENCE_SECONDS = 3.0
# So often the connection that stays asks whether the server still answers. It is not given up sooner than others: our jobs could be taken over then.
BEAT_SECONDS = 5.0
# Silence in which either side finds out that the other's machine is gone.
SILENT_SECONDS, PROBE_SECONDS, PROBES = 10, 5, 3
# The first half of the names of our advisory locks; the second is a sidecar's number, or 0 for who changes the tables.
LOCKS = 0x53414C54
CHANNEL = "salt_sidecar_job"


class Database(psycopg.Connection[tuple[Any, ...]]):
    """A connection whose every wait has an end: a frozen server holds its sockets open, and runs none of its own deadlines."""

    silence_seconds = SILENCE_SECONDS
    # When it is set, whoever waits has lost.
    given_up: threading.Event | None = None

    def wait(self, gen: Generator[Any, Any, T], *args: Any, **kwargs: Any) -> T:
        """Wait as psycopg does, until the server was silent for too long or the connection is given up."""
        return super().wait(self._impatient(gen), *args, **kwargs)

    def _impatient(self, gen: Generator[Any, Any, T]) -> Generator[Any, Any, T]:
        """Pass on what psycopg's generator waits for; it is told every tenth of a second, with nothing, that nothing came."""
        heard_at, ready = time.monotonic(), None
        try:
            while True:
                ready = yield gen.send(ready)
                now = time.monotonic()
                if ready:
                    heard_at = now
                elif self.given_up and self.given_up.is_set():
                    self._lose("the connection was given up")
                elif now - heard_at > self.silence_seconds:
                    self._lose(f"the server has answered nothing for {self.silence_seconds:g} s")
        except StopIteration as end:
            result: T = end.value
            return result

    def _lose(self, why: str) -> NoReturn:
        self.pgconn.finish()
        raise psycopg.OperationalError(why)

    def check(self) -> None:
        """See whether the server answers at once. Raises psycopg.Error."""
        self.silence_seconds = IDLE_SILENCE_SECONDS
        self.execute("")
        del self.silence_seconds


class ServerLink:
    """
    Connections to one database: one that stays, and at most *most* others. migrations: by version; a new one is added, none is changed.

    password(): reads it, for each connection anew; raises InvalidConfiguration. on_news(jid): something of a job was stored, by any sidecar; None: that may have been missed.
    """

    def __init__(self, url: str, password: Callable[[], bytes] | None, migrations: Sequence[str], on_news: Callable[[str | None], None], most: int) -> None:
        self._url, self._password, self._migrations, self._on_news = url, password, migrations, on_news
        self._number: int | None = None
        self._fault: str | None = "the server was not reached yet"
        self._tried = threading.Event()
        self._closing = threading.Event()
        self._waker, self._bell = socket.socketpair()
        # What its own logger says, our faults say too.
        logging.getLogger("psycopg.pool").setLevel(logging.CRITICAL)
        self._pool = ConnectionPool(
            url,
            connection_class=Database,
            kwargs=self._options,
            min_size=0,
            max_size=most,
            max_waiting=MOST_WAITING,
            timeout=PATIENCE_SECONDS,
            reconnect_timeout=PATIENCE_SECONDS,
            configure=bound,
            check=Database.check,
            open=True,
        )
        self._thread = threading.Thread(target=self._stay, name="store", daemon=True)
        self._thread.start()

    @property
    def is_up(self) -> bool:
        """Whether the server knew at last that we live."""
        return self._fault is None

    @property
    def number(self) -> int:
        """Which of the sidecars of this database we are. Inside `connected` only."""
        if self._number is None:
            raise StorageUnavailable("the server of `jobs.store` was not reached yet", retry_after_seconds=1)
        return self._number

    @contextlib.contextmanager
    def connected(self) -> Iterator[Database]:
        """Lend a connection that commits each statement. Raises StorageUnavailable while others may think that we are dead, and StorageFull."""
        self._tried.wait(PATIENCE_SECONDS)
        if self._fault is not None:
            raise StorageUnavailable(f"the database of `jobs.store` cannot be used: {self._fault}", retry_after_seconds=1)
        try:
            with self._pool.connection() as db:
                yield db
        except psycopg.errors.DiskFull:
            raise StorageFull("the volume of the database of `jobs.store` is full", retry_after_seconds=60) from None
        except psycopg.Error as exc:
            # The pool says only that it has waited in vain; by now the connection that stays may know why.
            why = said(exc) if self.is_up or not isinstance(exc, PoolTimeout) else self._fault
            raise StorageUnavailable(f"the database of `jobs.store` has failed: {why}", retry_after_seconds=1) from None

    def close(self) -> None:
        """Let all connections go; for the other sidecars we are dead then. A second time does nothing."""
        if self._closing.is_set():
            return
        # In this order: the thread closes both ends of the bell as soon as it sees that we are closing.
        self._bell.send(b"\0")
        self._closing.set()
        self._thread.join(CLOSE_SECONDS)
        self._pool.close(CLOSE_SECONDS)

    def _options(self) -> dict[str, Any]:
        return options(self._password)

    # The thread.

    def _stay(self) -> None:
        with self._waker, self._bell:
            self._stay_connected()

    def _stay_connected(self) -> None:
        while not self._closing.is_set():
            try:
                with Database.connect(self._url, **self._options()) as db:
                    db.given_up = self._closing
                    self._begin(db)
                    self._hear(db)
            except (psycopg.Error, InvalidConfiguration) as exc:
                self._fault = said(exc)
            self._tried.set()
            self._closing.wait(RETRY_SECONDS)

    def _begin(self, db: Database) -> None:
        bound(db)
        self._migrate(db)
        if self._number is None:
            self._number = _free_number(db)
        elif not _is_locked(db, self._number):
            raise psycopg.OperationalError("the server has not noticed yet that our last connection is gone")
        db.execute(f"LISTEN {CHANNEL}")
        self._fault = None
        self._tried.set()
        self._on_news(None)

    def _migrate(self, db: Database) -> None:
        with db.transaction():
            db.execute("SELECT pg_advisory_xact_lock(%s, 0)", (LOCKS,))
            db.execute("CREATE TABLE IF NOT EXISTS schema_version (version integer NOT NULL)")
            version = _one(db, "SELECT coalesce(max(version), 0) FROM schema_version")
            if version > len(self._migrations):
                raise psycopg.NotSupportedError(f"a newer salt-sidecar made its tables (version {version}, ours is {len(self._migrations)}): install that")
            for number, script in enumerate(self._migrations[version:], version + 1):
                db.execute(script)
                db.execute("INSERT INTO schema_version VALUES (%s)", (number,))

    def _hear(self, db: Database) -> None:
        poller = select.poll()
        for file in (db.fileno(), self._waker.fileno()):
            poller.register(file, select.POLLIN)
        while not self._closing.is_set():
            if not poller.poll(BEAT_SECONDS * 1000):
                db.execute("")
            for note in db.notifies(timeout=0):
                self._on_news(note.payload)


def probe(url: str, password: Callable[[], bytes] | None) -> None:
    """See whether jobs could be kept there. Raises InvalidConfiguration if not."""
    try:
        with Database.connect(url, **options(password)) as db:
            bound(db)
            may_create = _one(db, "SELECT has_schema_privilege(current_schema(), 'CREATE')")
    except psycopg.Error as exc:
        fix = "start the server, or correct address, database and user there, and the password in `jobs.store_password_file`"
        raise InvalidConfiguration([ConfigFault("jobs.store", f"the database cannot be used: {said(exc)}", fix)]) from None
    if not may_create:
        raise InvalidConfiguration([ConfigFault("jobs.store", "its user may not create tables in the database", "make the user the owner of the database")])


def options(password: Callable[[], bytes] | None) -> dict[str, Any]:
    """Return how to connect."""
    secret = {} if password is None else {"password": password().decode()}
    keepalives = {"keepalives_idle": SILENT_SECONDS, "keepalives_interval": PROBE_SECONDS, "keepalives_count": PROBES}
    waits = {"connect_timeout": CONNECT_SECONDS, "tcp_user_timeout": STATEMENT_SECONDS * 1000}
    return {"autocommit": True, "application_name": "salt-sidecar", **waits, **keepalives, **secret}


def bound(db: Database) -> None:
    """Give each statement a deadline, let the server notice when we are gone, and have each commit on its disk, whatever is usual there."""
    bounds = {"statement_timeout": f"{STATEMENT_SECONDS}s", "lock_timeout": f"{LOCK_SECONDS}s", "idle_in_transaction_session_timeout": "30s"}
    bounds |= {"tcp_keepalives_idle": str(SILENT_SECONDS), "tcp_keepalives_interval": str(PROBE_SECONDS), "tcp_keepalives_count": str(PROBES)}
    for name, value in bounds.items():
        db.execute("SELECT set_config(%s, %s, false)", (name, value))
    db.execute("SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') NOT IN ('on', 'remote_apply')")


def said(exc: Exception) -> str:
    """Return what went wrong, on one line."""
    return " ".join(str(exc).split())


def _one(db: Database, query: str, *values: Any) -> Any:
    row = db.execute(query, values).fetchone()
    return row[0] if row else None


def _free_number(db: Database) -> int:
    """Take the next number, locked; one that a living sidecar has is passed over: it is older than the backup from which the database was restored."""
    while not _is_locked(db, number := _one(db, "SELECT nextval('follower')")):
        pass
    return int(number)


def _is_locked(db: Database, number: int) -> bool:
    return bool(_one(db, "SELECT pg_try_advisory_lock(%s, %s)", LOCKS, number))
