"""How a job in waves is begun, and what lets it go on after the process has died."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.auth.identity import Identity
from service.errors import Forbidden, MasterTimeout
from service.gateway.clients.batch import Present
from service.http.request_info import new_info
from service.jobs.running.inquiries import Cached
from service.jobs.stores.store import Change
from tests.unit.jobs.test_submission import FOUND, SESSION, UNKNOWN, Desk, Killed


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.close()


def test_a_job_in_waves_begins_with_the_first_after_all_are_planned(desk: Desk) -> None:
    desk.pings = [Present(["b", "a"], ["s"], ["x"])]
    jid, status, _ = desk.submit(batch=[1, 2])

    assert (status, desk.targets) == ("running", [["a"]])
    parts = desk.sidecar.store.parts(jid, bodies=False)
    assert {minion: (part.status, part.wave) for minion, part in parts.items()} == {
        "a": ("waiting", 1),
        "b": ("waiting", 2),
        "s": ("no_return", None),
        "x": ("no_key", None),
    }
    assert desk.submit(batch=[1, 2]) == (jid, "running", True)
    assert desk.pinged == ["*"]


@pytest.mark.parametrize(("timeout", "waits"), [(None, None), (5, 5), (600, 30)])
def test_the_caller_does_not_wait_long_for_a_ping(desk: Desk, timeout: float | None, waits: float | None) -> None:
    desk.submit(batch=1, timeout=timeout)

    assert desk.ping_seconds == waits


def test_where_nobody_is_there_nothing_is_published(desk: Desk) -> None:
    desk.pings = [Present([], [], []), Present([], ["a"], [])]

    assert desk.submit("one", batch=1)[1] == "no_match"
    assert desk.submit("two", batch=1)[1] == "failed"
    assert desk.executed == []


@pytest.mark.parametrize("fault", [MasterTimeout("no answer"), Forbidden("no")])
def test_a_job_whose_minions_could_not_be_pinged_was_not_published(desk: Desk, fault: Exception) -> None:
    desk.pings = [fault]
    with pytest.raises(type(fault)):
        desk.submit(batch=1)

    assert desk.submit(batch=1)[1:] == ("running", False)
    assert len(desk.executed) == 1


@pytest.mark.parametrize(("planned", "cache", "executed"), [(False, None, 1), (True, None, 0), (True, UNKNOWN, 1), (True, FOUND, 0)])
def test_after_a_kill_the_first_wave_is_published_once_and_by_the_plan(tmp_path: Path, planned: bool, cache: Cached | None, executed: int) -> None:
    desk = Desk(tmp_path, Killed())
    desk.pings = [Present(["a", "b"], [], []) if planned else Killed()]
    with pytest.raises(Killed):
        desk.submit(batch=1)
    desk = desk.crash(tmp_path, cache)
    jid, status, _ = desk.submit(batch=1)

    assert (desk.executed, len(desk.pinged)) == ([jid] * executed, 0 if planned else 1)
    assert status == ("running" if executed or cache is FOUND else "in_doubt")
    assert {part.wave for part in desk.sidecar.store.parts(jid, bodies=False).values()} == ({1, 2} if planned else {1})
    desk.close()


@pytest.mark.parametrize(("arg", "goes_on"), [("a", True), ("token=hunter2", False)])
def test_after_a_kill_the_owner_who_looks_at_a_job_lets_its_waves_go_on_if_the_arguments_were_kept(tmp_path: Path, arg: str, goes_on: bool) -> None:
    desk = Desk(tmp_path)
    desk.pings = [Present(["a", "b"], [], [])]
    jid, _, _ = desk.submit(batch=1, arg=[arg])
    desk = desk.crash(tmp_path)
    desk.sidecar.until(lambda: desk.sidecar.report.recovered == [1])
    record = desk.desk.of(jid, SESSION.identity)
    stranger = dataclasses.replace(SESSION, identity=Identity("ann", "pam", (), [], sees_everything=True))
    desk.desk.lend(record, stranger)
    assert desk.sidecar.jobs.waves.lacks_request(jid)
    desk.desk.lend(record, SESSION)

    assert desk.sidecar.jobs.waves.lacks_request(jid) is not goes_on
    desk.close()


def test_who_takes_a_job_over_for_its_owner_knows_what_its_waves_run(tmp_path: Path) -> None:
    first = Desk(tmp_path)
    first.pings = [Present(["a", "b"], [], [])]
    jid, _, _ = first.submit(batch=1)
    record = dataclasses.replace(first.desk.of(jid, SESSION.identity), without_token=True)
    first.sidecar.kill()
    desk = Desk(tmp_path)
    desk.sidecar.store.save([Change(record, {})])
    desk.desk.lend(record, SESSION)

    assert desk.sidecar.jobs.watched.get(jid) is not None
    assert not desk.sidecar.jobs.waves.lacks_request(jid)
    desk.close()


def test_a_job_is_cancelled_between_two_waves(desk: Desk) -> None:
    desk.pings = [Present(["a", "b"], [], [])]
    jid, _, _ = desk.submit(batch=1, batch_wait=60)
    desk.sidecar.returns("a", jid=jid)
    desk.sidecar.until(lambda: not desk.sidecar.jobs.watched.awaited(jid))
    record = desk.sidecar.store.job(jid)
    assert record is not None

    assert desk.desk.cancelling.cancel(record, SESSION, new_info({"REQUEST_METHOD": "DELETE"})).status == "cancelled"
    assert len(desk.executed) == 1
