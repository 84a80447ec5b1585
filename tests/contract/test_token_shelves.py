"""One suite for what every store of jobs promises of scoped tokens."""

from __future__ import annotations

import dataclasses
import threading

from service.jobs.stores.store import Store
from service.jobs.stores.token_shelf import TokenRecord
from tests.contract.conftest import Open

RECORD = TokenRecord("id-1", "d1", "file:ci", ("local:test.*@web*", "runner:jobs.active"), b"sealed\0", 1000.0, 2000.0, max_uses=2)


def another(number: int, **fields: object) -> TokenRecord:
    return dataclasses.replace(RECORD, **{"id": f"id-{number}", "digest": f"d{number}", "since": 1000.0 + number, **fields})  # type: ignore[arg-type]


def test_a_token_is_there_after_a_restart(reopen: Open) -> None:
    store = reopen()
    assert store.tokens.put(RECORD, 5)
    store.close()
    again = reopen()

    assert again.tokens.find("d1") == RECORD
    assert again.tokens.of("file:ci") == [RECORD]
    assert (again.tokens.find("d2"), again.tokens.of("file:other")) == (None, [])
    again.close()


def test_an_owner_has_so_many_and_those_that_expired_do_not_count(store: Store) -> None:
    shelf = store.tokens

    assert [shelf.put(another(number), 2) for number in (1, 2, 3)] == [True, True, False]
    assert shelf.put(another(4, owner="file:other"), 2)
    assert [record.id for record in shelf.of("file:ci")] == ["id-2", "id-1"]
    assert shelf.put(another(5, since=2000.0, expires=3000.0), 2)
    assert [record.id for record in shelf.of("file:ci")] == ["id-5"]


def test_uses_at_one_time_are_no_more_than_there_are(store: Store) -> None:
    store.tokens.put(another(1, max_uses=5), 9)
    store.tokens.put(another(2, max_uses=None), 9)
    passed: list[bool] = []
    threads = [threading.Thread(target=lambda: passed.append(store.tokens.use("id-1", 1500.0))) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(passed) == [False] * 7 + [True] * 5
    assert all(store.tokens.use("id-2", 1500.0 + number) for number in range(3))
    assert not store.tokens.use("no such one", 1500.0)
    found = store.tokens.find("d2")
    assert found is not None
    assert (found.uses, found.used_at) == (3, 1502.0)


def test_only_its_owner_ends_a_token(store: Store) -> None:
    store.tokens.put(RECORD, 5)

    assert [store.tokens.drop("id-1", owner) for owner in ("file:other", "file:ci", "file:ci")] == [False, True, False]
    assert store.tokens.find("d1") is None
