"""Jobs in PostgreSQL that go from one sidecar to another: because it is gone, or because it offers them. On a real server."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from service.demo.embedded import until
from service.jobs.stores.postgres.postgres_store import PostgresStore
from service.jobs.stores.store import Change, JobRecord, PartRecord
from tests.unit.jobs.kept import JID, job

if TYPE_CHECKING:
    from tests.postgres_server import PostgresServer

pytestmark = pytest.mark.slow

PATIENCE_SECONDS = 60.0
Sidecars = tuple[PostgresStore, PostgresStore, PostgresStore]


@pytest.fixture
def sidecars(postgres_server: PostgresServer) -> Iterator[Sidecars]:
    """Give the stores of three sidecars of one database."""
    url, password = postgres_server.new_database(), postgres_server.password.encode
    one, two, three = (PostgresStore(url, password, on_commit=lambda _seconds: None, monotonic=time.monotonic) for _ in range(3))
    yield one, two, three
    for store in (one, two, three):
        store.close()


def jids(found: list[JobRecord]) -> list[str]:
    return [record.jid for record in found]


def test_a_publish_whose_sidecar_is_gone_may_be_taken_in_hand_by_any_though_one_follows_it_again(sidecars: Sidecars) -> None:
    dead, here, there = sidecars
    dead.intend(job())
    dead.close()
    for _ in until(PATIENCE_SECONDS):
        if jids(here.unfinished()) == [JID]:
            break

    assert here.unfinished() == [job(status="in_doubt")]
    assert (there.claim(JID), here.claim(JID)) == (True, False)
    assert here.save([Change(job(status="running"), {})]) == {JID}


def test_a_job_that_is_offered_stays_with_its_sidecar_until_another_takes_it(sidecars: Sidecars) -> None:
    here, there, third = sidecars
    here.intend(job())
    mine, other = JID, "2" * 20
    here.intend(job(other, key="k"))
    assert (here.offer([mine, other]), there.offer([mine])) == (set(), {mine})
    # What is stored of it takes it back.
    assert here.save([Change(job(other, key="k", status="running"), {})]) == set()

    assert jids(there.unfinished()) == [mine]
    assert (here.offer([mine, other]), third.unfinished()) == ({mine}, [job(other, key="k", status="running")])
    assert here.save([Change(job(status="unknown"), {}), Change(job(other, key="k", status="unknown"), {})]) == {mine, other}
    assert there.save([Change(job(status="running"), {"a": PartRecord("ok")})]) == set()
    assert (jids(here.unfinished()), jids(there.unfinished()), jids(third.unfinished())) == ([], [mine], [other])


def test_a_job_that_nobody_takes_is_its_sidecars_again_and_its_end_is_told_once(sidecars: Sidecars) -> None:
    here, there, _ = sidecars
    here.intend(job())
    news = threading.Event()
    there.on_news(news.set)
    news.clear()
    here.offer([JID])

    assert news.wait(PATIENCE_SECONDS)
    assert (jids(here.unfinished()), there.unfinished()) == ([JID], [])
    here.offer([JID])
    assert here.save([Change(job(status="succeeded", finished=2000.0), {}, notice=True)]) == set()
    assert (here.notices(9), there.notices(9), there.unfinished()) == ([JID], [], [])
