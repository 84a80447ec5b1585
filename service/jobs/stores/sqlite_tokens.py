"""Scoped tokens in the file of SQLite that has the jobs."""

from __future__ import annotations

import dataclasses
import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol

from service.jobs.stores.sqlite_rows import marks
from service.jobs.stores.token_shelf import TokenRecord

_FIELDS = tuple(field.name for field in dataclasses.fields(TokenRecord))
_SELECT = f"SELECT {', '.join(_FIELDS)} FROM token"


class WriterThread(Protocol):
    """Has the thread that writes run something, in a transaction, and returns what it gives; see SqliteStore."""

    def __call__(self, run: Callable[[sqlite3.Connection], Any], *, durable: bool) -> Any: ...


class SqliteTokens:
    """A TokenShelf."""

    def __init__(self, written: WriterThread, reading: Callable[[], AbstractContextManager[sqlite3.Connection]]) -> None:
        """reading(): lends a connection."""
        self._written, self._reading = written, reading

    def put(self, record: TokenRecord, most: int) -> bool:
        """See TokenShelf."""

        def insert(db: sqlite3.Connection) -> bool:
            db.execute("DELETE FROM token WHERE expires <= ?", (record.since,))
            if db.execute("SELECT count(*) FROM token WHERE owner = ?", (record.owner,)).fetchone()[0] >= most:
                return False
            row = dataclasses.asdict(record) | {"scope": " ".join(record.scope)}
            db.execute(f"INSERT INTO token VALUES ({marks(_FIELDS)})", tuple(row[name] for name in _FIELDS))
            return True

        kept: bool = self._written(insert, durable=True)
        return kept

    def find(self, digest: str) -> TokenRecord | None:
        """See TokenShelf."""
        with self._reading() as db:
            row = db.execute(f"{_SELECT} WHERE digest = ?", (digest,)).fetchone()
        return _token_of(row) if row else None

    def of(self, owner: str) -> list[TokenRecord]:
        """See TokenShelf."""
        with self._reading() as db:
            return [_token_of(row) for row in db.execute(f"{_SELECT} WHERE owner = ? ORDER BY since DESC, id", (owner,))]

    def use(self, id_: str, now: float) -> bool:
        """See TokenShelf."""
        count = "UPDATE token SET uses = uses + 1, used_at = ? WHERE id = ? AND uses < coalesce(max_uses, uses + 1)"
        counted: int = self._written(lambda db: db.execute(count, (now, id_)).rowcount, durable=True)
        return bool(counted)

    def drop(self, id_: str, owner: str) -> bool:
        """See TokenShelf."""
        dropped: int = self._written(lambda db: db.execute("DELETE FROM token WHERE id = ? AND owner = ?", (id_, owner)).rowcount, durable=True)
        return bool(dropped)


def _token_of(row: tuple[Any, ...]) -> TokenRecord:
    fields = dict(zip(_FIELDS, row, strict=True))
    return TokenRecord(**fields | {"scope": tuple(fields["scope"].split(" "))})
