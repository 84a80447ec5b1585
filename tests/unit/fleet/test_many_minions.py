"""What a return costs does not depend on how many minions there are, wherever it is handled; and a minion takes little memory."""

from __future__ import annotations

import functools
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from service.events.event import read
from service.events.hub import Hub
from service.gateway.clients.gathering import Gatherer, Gathering, Returned
from service.jobs.job_request import digest_of, policy_of
from service.jobs.running.account import JobAccount, Waits
from service.jobs.running.opened import OpenJob
from service.jobs.stores.sqlite_store import SqliteStore
from tests.costs import Cost, cost_of, kept_bytes_of
from tests.unit.fleet.following import Following, packed
from tests.unit.jobs.kept import JID, job
from tests.unit.jobs.process import Heard

FEW, MANY = 100, 10_000
RETURNS = 40
QUESTION = f"{JID}9"
# Of one minion, in bytes: its name, what was returned, and the places that it has in tables.
MOST_KEPT_BYTES = 1500


def named(count: int) -> list[str]:
    return [f"minion-{number:05}.example.com" for number in range(count)]


def ret(minion: str) -> bytes:
    data = {"jid": JID, "id": minion, "fun": "test.ping", "fun_args": [], "return": True, "retcode": 0, "success": True}
    return packed(f"salt/job/{JID}/ret/{minion}", data)


def of_a_request(minions: int) -> Cost:
    """Return what a return costs a request that waits for it, once the silent were asked: from then on it looks at each by itself."""
    hub = Hub(early_limit_bytes=2**20, on_event=lambda _kind, _bytes: None, on_drop=lambda: None)
    hub.opened()
    with hub.listen() as waiter:
        waiter.watch(JID)
        group = Gathering(named(minions), now=0.0, timeout=5.0, ask_timeout=10.0)
        gatherer = Gatherer(waiter, [group], hub, fun="test.ping", deadline=1e9, master_up=lambda: True, monotonic=lambda: 6.0)
        group.asked(now=6.0)
        gatherer.asked(QUESTION)
        steps = gatherer.steps()

        def take(minion: str) -> None:
            hub.deliver(ret(minion))
            assert isinstance(next(steps), Returned)

        return cost_of(functools.partial(take, minion) for minion in named(minions)[:RETURNS])


def of_the_metrics(minions: int) -> Cost:
    """Return what a return costs who follows all jobs for the metrics."""
    following = Following()
    following.hear(f"salt/job/{JID}/new", {"jid": JID, "fun": "test.ping", "minions": named(minions), "missing": []})

    def take(minion: str) -> None:
        following.hub.deliver(ret(minion))
        following.follower.handle_waiting()

    made = cost_of(functools.partial(take, minion) for minion in named(minions)[:RETURNS])
    assert following.tracker.under_way() == (1, minions - RETURNS)
    return made


def opened(minions: int) -> OpenJob:
    """Return a stored job that runs on so many minions."""
    record = job(status="running", expected=minions, arguments=digest_of([]), request={"fun": "test.ping"})
    account = JobAccount(record.request["fun"], record.arguments, Waits(5, 10, 45), now=0.0)
    account.expect(named(minions))
    return OpenJob(record, policy_of(record.request), 1e9, account=account)


def of_a_stored_job(minions: int, store: SqliteStore) -> Cost:
    """Return what a return costs a job that keeps it: it is judged, stored and told."""
    open_job, report = opened(minions), Heard()
    store.intend(open_job.record)
    store.save([open_job.take_changes(0.0)])
    open_job.stored(report)
    account = open_job.account
    assert account is not None

    def take(minion: str) -> None:
        assert open_job.take_return(read(ret(minion)), 1.0) == "counted"
        account.lose(account.seem_lost(), None)
        account.cancel_stopped(1.0)
        assert not account.to_ask(1.0)
        open_job.settle(1.0, 1.0)
        store.save([open_job.take_changes(1.0)])
        open_job.stored(report)

    return cost_of(functools.partial(take, minion) for minion in named(minions)[:RETURNS])


class Counted:
    """A store whose steps inside SQLite are counted: what a statement looks at is no call of ours."""

    def __init__(self, folder: Path) -> None:
        self.steps = 0
        self.store = SqliteStore(folder / "jobs.db", on_commit=lambda _seconds: None, monotonic=lambda: 0.0, connect=self._connect)

    def _connect(self, *args: Any, **options: Any) -> sqlite3.Connection:
        made: sqlite3.Connection = sqlite3.connect(*args, **options)
        made.set_progress_handler(self._step, 1)
        return made

    def _step(self) -> int:
        self.steps += 1
        return 0


@pytest.fixture
def counted(tmp_path: Path) -> Iterator[Callable[[str], Counted]]:
    made: list[Counted] = []

    def make(name: str) -> Counted:
        (tmp_path / name).mkdir()
        made.append(Counted(tmp_path / name))
        return made[-1]

    yield make
    for one in made:
        one.store.close()


@pytest.mark.parametrize("cost", [of_a_request, of_the_metrics])
def test_a_return_costs_the_same_with_a_hundred_minions_and_with_ten_thousand(cost: Callable[[int], Cost]) -> None:
    few, many = cost(FEW), cost(MANY)

    assert few.calls > 0
    assert many.is_about(few), (few, many)


@pytest.mark.costly
def test_a_return_costs_a_stored_job_the_same_with_a_hundred_minions_and_with_ten_thousand(counted: Callable[[str], Counted]) -> None:
    few_store, many_store = counted("few"), counted("many")
    few, many = of_a_stored_job(FEW, few_store.store), of_a_stored_job(MANY, many_store.store)

    assert few.calls > 0
    assert many.is_about(few), (few, many)


@pytest.mark.costly
def test_what_is_known_of_other_minions_is_not_read_to_store_a_return(counted: Callable[[str], Counted]) -> None:
    steps = []
    for minions in (FEW, MANY):
        made, open_job = counted(str(minions)), opened(minions)
        made.store.intend(open_job.record)
        made.store.save([open_job.take_changes(0.0)])
        open_job.stored(Heard())
        for minion in named(3):
            open_job.take_return(read(ret(minion)), 1.0)
            change = open_job.take_changes(1.0)
            before = made.steps
            made.store.save([change])
            open_job.stored(Heard())
        steps.append(made.steps - before)

    assert 0 < steps[1] <= 1.2 * steps[0]


@pytest.mark.slow
def test_a_minion_that_has_returned_takes_little_memory_wherever_it_is_known() -> None:
    minions, returns = named(2000), [ret(minion) for minion in named(2000)]
    following = Following()

    def follow() -> None:
        following.hear(f"salt/job/{JID}/new", {"jid": JID, "fun": "test.ping", "minions": minions, "missing": []})
        for one in returns:
            following.hub.deliver(one)
        following.follower.handle_waiting()

    def keep() -> OpenJob:
        open_job = opened(len(minions))
        for one in returns:
            open_job.take_return(read(one), 1.0)
        open_job.take_changes(1.0)
        open_job.stored(Heard())
        return open_job

    assert kept_bytes_of(follow) < MOST_KEPT_BYTES * len(minions)
    assert kept_bytes_of(keep) < MOST_KEPT_BYTES * len(minions)
