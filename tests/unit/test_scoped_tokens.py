"""Scoped tokens and their clock: how long each lives, and what is kept of it."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.auth.identity import SCOPED_TOKEN, Identity, Session
from service.errors import Unauthenticated
from service.jobs.stores.sqlite_store import SqliteStore
from service.jobs.stores.token_shelf import TokenRecord, TokenShelf
from service.tokens.scoped_tokens import ScopedTokens, digest_of

SESSION = Session(Identity("ci", "file", (), [".*"], sees_everything=True), "ab" * 32, "digest", 1000.0, 5000.0)


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[TokenShelf]:
    store = SqliteStore(tmp_path / "jobs.db", on_commit=lambda _seconds: None, monotonic=time.monotonic)
    yield store.tokens
    store.close()


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_token_lives_as_long_as_it_was_made_for_and_no_longer_than_its_session(shelf: TokenShelf) -> None:
    clock = Clock()
    tokens = ScopedTokens(lambda: shelf, lambda _rule, _asked: None, clock)
    (short, _), (long, _), (whole, _) = (tokens.issue(SESSION, ["local:test.ping"], seconds, None) for seconds in (60.0, 1e9, None))

    assert [tokens.opened(token)[2] for token in (short, long, whole)] == [1060.0, 5000.0, 5000.0]
    assert tokens.opened(short)[0] == SESSION.token
    clock.now = 1060.0
    with pytest.raises(Unauthenticated):
        tokens.opened(short)
    assert len(tokens.of(SESSION)) == 2


def test_a_token_opens_what_was_sealed_with_it_alone(shelf: TokenShelf) -> None:
    tokens = ScopedTokens(lambda: shelf, lambda _rule, _asked: None, Clock())
    (one, first), (other, second) = (tokens.issue(SESSION, ["local:test.ping"], None, None) for _ in range(2))
    shelf.drop(second.id, second.owner)
    shelf.put(dataclasses.replace(second, sealed=first.sealed), 9)

    assert SCOPED_TOKEN.fullmatch(one)
    assert tokens.opened(one)[0] == SESSION.token
    with pytest.raises(Unauthenticated):
        tokens.opened(other)
    kept: TokenRecord | None = shelf.find(digest_of(one))
    assert kept is not None
    assert not any(secret in repr(kept) for secret in (one, one.removeprefix("saltscope_"), SESSION.token))
