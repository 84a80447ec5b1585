"""Scoped tokens in the database that has the jobs: a token that one sidecar has made or revoked is so for all."""

from __future__ import annotations

import dataclasses
from typing import Any

from service.jobs.stores.postgres.server_link import ServerLink
from service.jobs.stores.token_shelf import TokenRecord

_FIELDS = tuple(field.name for field in dataclasses.fields(TokenRecord))
_SELECT = f"SELECT {', '.join(_FIELDS)} FROM token"
_INSERT = f"INSERT INTO token ({', '.join(_FIELDS)}) VALUES ({', '.join(['%s'] * len(_FIELDS))})"


class PostgresTokens:
    """A TokenShelf."""

    def __init__(self, link: ServerLink) -> None:
        self._link = link

    def put(self, record: TokenRecord, most: int) -> bool:
        """See TokenShelf."""
        with self._link.connected() as db, db.transaction():
            db.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 1))", (record.owner,))
            db.execute("DELETE FROM token WHERE expires <= %s", (record.since,))
            count = db.execute("SELECT count(*) FROM token WHERE owner = %s", (record.owner,)).fetchone()
            if count is None or count[0] >= most:
                return False
            row = dataclasses.asdict(record) | {"scope": list(record.scope)}
            db.execute(_INSERT, [row[name] for name in _FIELDS])
            return True

    def find(self, digest: str) -> TokenRecord | None:
        """See TokenShelf."""
        with self._link.connected() as db:
            row = db.execute(f"{_SELECT} WHERE digest = %s", (digest,)).fetchone()
        return _token_of(row) if row else None

    def of(self, owner: str) -> list[TokenRecord]:
        """See TokenShelf."""
        with self._link.connected() as db:
            return [_token_of(row) for row in db.execute(f"{_SELECT} WHERE owner = %s ORDER BY since DESC, id", (owner,))]

    def use(self, id_: str, now: float) -> bool:
        """See TokenShelf."""
        count = "UPDATE token SET uses = uses + 1, used_at = %s WHERE id = %s AND uses < coalesce(max_uses, uses + 1)"
        with self._link.connected() as db:
            return bool(db.execute(count, (now, id_)).rowcount)

    def drop(self, id_: str, owner: str) -> bool:
        """See TokenShelf."""
        with self._link.connected() as db:
            return bool(db.execute("DELETE FROM token WHERE id = %s AND owner = %s", (id_, owner)).rowcount)


def _token_of(row: tuple[Any, ...]) -> TokenRecord:
    fields = dict(zip(_FIELDS, row, strict=True))
    return TokenRecord(**fields | {"scope": tuple(fields["scope"])})
