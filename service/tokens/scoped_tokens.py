"""
Makes, opens, lists and ends scoped tokens; the store of jobs keeps them, and a thief of it gets nothing.

A digest finds a token, and the Salt token behind it is sealed so that only the scoped token opens it.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cryptography.fernet import Fernet, InvalidToken

from service.auth.identity import Scope, Session
from service.errors import Conflict, NoSuchToken
from service.gateway.low import session_over
from service.jobs.names import owner_of
from service.jobs.stores.token_shelf import TokenRecord, TokenShelf
from service.tokens.token_scope import TokenScope, rules_of

# Of one owner, at one time.
MOST_TOKENS = 100
PREFIX = "saltscope_"
# Two ways of hashing one token, so that what finds it does not open anything.
_FINDS, _OPENS = b"salt-sidecar find\0", b"salt-sidecar open\0"


class ScopedTokens:
    """
    The scoped tokens. Called from request threads.

    shelf(): where they are kept; raises StorageUnavailable. on_refused(rule, asked): hears of calls that no scope covers. now(): seconds since 1970.
    """

    def __init__(self, shelf: Callable[[], TokenShelf], on_refused: Callable[[str, Mapping[str, Any]], None], now: Callable[[], float] = time.time) -> None:
        self._shelf, self._on_refused, self._now = shelf, on_refused, now

    def issue(self, session: Session, scope: Sequence[str], seconds: float | None, max_uses: int | None) -> tuple[str, TokenRecord]:
        """
        Make a token with a part of a session's rights; return it, and what is kept of it.

        seconds: its life, None: the session's, beyond which it never lives. Raises Unprocessable for a scope that says nothing, Conflict if the owner has too many, StorageUnavailable.
        """
        rules_of(scope)
        token, now = new_token(), self._now()
        expires = session.expire if seconds is None else min(session.expire, now + seconds)
        record = TokenRecord(
            secrets.token_hex(8), digest_of(token), owner_of(session.identity), tuple(scope), seal(token, session.token), now, expires, max_uses
        )
        if not self._shelf().put(record, MOST_TOKENS):
            raise Conflict(f"you have {MOST_TOKENS} scoped tokens; revoke some first (DELETE /v1/tokens/ID)")
        return token, record

    def opened(self, token: str) -> tuple[str, Scope, float]:
        """Return the Salt token behind one, what it is for, and when it expires. Raises Unauthenticated, StorageUnavailable."""
        shelf = self._shelf()
        record = shelf.find(digest_of(token))
        if record is None or record.expires <= self._now():
            raise session_over()
        try:
            inner = unseal(token, record.sealed)
        except InvalidToken:
            raise session_over() from None
        return inner, self._scope(shelf, record), record.expires

    def of(self, session: Session) -> list[TokenRecord]:
        """Return the tokens of a session's user that live, the newest first. Raises StorageUnavailable."""
        now = self._now()
        return [record for record in self._shelf().of(owner_of(session.identity)) if record.expires > now]

    def revoke(self, session: Session, id_: str) -> None:
        """End one of the tokens of a session's user. Raises NoSuchToken, StorageUnavailable."""
        if not self._shelf().drop(id_, owner_of(session.identity)):
            raise NoSuchToken("you have no such token")

    def _scope(self, shelf: TokenShelf, record: TokenRecord) -> TokenScope:
        return TokenScope(
            record.id,
            record.scope,
            use=lambda: shelf.use(record.id, self._now()),
            revoke=lambda: shelf.drop(record.id, record.owner),
            on_refused=self._on_refused,
        )


def new_token() -> str:
    """Return a token with 256 random bits; see SCOPED_TOKEN."""
    return f"{PREFIX}{secrets.token_urlsafe(32)}"


def digest_of(token: str) -> str:
    """Return what a token is found by. No key and no work factor: nobody can guess 256 bits."""
    return hashlib.sha256(_FINDS + token.encode()).hexdigest()


def seal(token: str, inner: str) -> bytes:
    """Return a Salt token as it is kept. Source: the Fernet specification, AES-128 in CBC mode with an HMAC."""
    return _box(token).encrypt(inner.encode())


def unseal(token: str, sealed: bytes) -> str:
    """Return the Salt token. Raises cryptography.fernet.InvalidToken for what was changed meanwhile, or sealed for another token."""
    return _box(token).decrypt(sealed).decode()


def _box(token: str) -> Fernet:
    return Fernet(base64.urlsafe_b64encode(hashlib.sha256(_OPENS + token.encode()).digest()))
