"""A process in the place of one that was killed: it follows again what was not over."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from service.errors import NoSuchJob
from service.jobs.running.inquiries import Cached
from service.jobs.stores.sqlite_store import SqliteStore
from tests.unit.jobs.kept import JID, job
from tests.unit.jobs.process import PATIENCE_SECONDS, TOKEN, Sidecar


def recovered(folder: Path, **options: Any) -> Sidecar:
    again = Sidecar(folder, **options)
    again.jobs.start()
    again.until(lambda: again.report.recovered == [1])
    return again


def test_a_job_whose_publish_a_kill_interrupted_counts_as_in_doubt(tmp_path: Path) -> None:
    sidecar = Sidecar(tmp_path)
    sidecar.store.intend(job())
    sidecar.jobs.begin(job(), TOKEN)
    assert sidecar.jobs.watched.open_by_status()["publishing"] == 1
    sidecar.kill()
    again = recovered(tmp_path, now=1010.0)

    assert again.jobs.watched.open_by_status() == {"queued": 0, "publishing": 0, "in_doubt": 1, "running": 0}
    again.jobs.stop()
    again.kill()


@pytest.mark.parametrize(("complete", "status"), [(True, ("failed", "missing")), (False, ("unknown", None))])
def test_after_a_kill_the_job_cache_says_what_was_missed(tmp_path: Path, complete: bool, status: tuple[str, str | None]) -> None:
    sidecar = Sidecar(tmp_path)
    sidecar.begin("a", "b")
    sidecar.kill()
    again = recovered(tmp_path, may_look=True, now=1010.0)
    again.until(lambda: again.asked.look_ups)
    again.asked.look_ups[0](Cached(known=True, minions=["a", "b"], returns={"a": {"return": "a", "retcode": 0, "success": True}}, complete=complete))
    again.question(1)
    again.answers("b", {})
    again.now += 50
    again.until(lambda: len(again.asked.questions) == 2)
    again.answers("b", {})
    again.until(lambda: len(again.asked.look_ups) == 2)
    again.asked.look_ups[1](Cached(known=True, complete=complete))
    again.until(lambda: again.status == status)

    part = again.store.part(JID, "a")
    assert part is not None
    assert (part.status, part.source) == ("ok", "job_cache")
    again.jobs.stop()
    again.kill()


def test_after_a_kill_the_bus_goes_on_telling_and_the_owner_lends_a_token(tmp_path: Path) -> None:
    sidecar = Sidecar(tmp_path)
    sidecar.begin("a", "b")
    sidecar.returns("a")
    sidecar.until(lambda: sidecar.statuses()["a"] == "ok")
    sidecar.kill()
    again = recovered(tmp_path, now=1010.0)
    again.lend(TOKEN)
    assert again.asked.look_ups
    again.returns("b")
    again.jobs.watched.wait(JID, PATIENCE_SECONDS)

    assert again.status == ("succeeded", None)
    again.jobs.stop()
    again.kill()


@pytest.mark.parametrize(("seconds", "end"), [(3500, ("succeeded", None)), (3700, ("failed", "missing"))])
def test_a_return_that_is_late_by_a_restart_too_corrects_the_end(tmp_path: Path, seconds: float, end: tuple[str, str | None]) -> None:
    sidecar = Sidecar(tmp_path)
    sidecar.begin("a", "b", ends_at=1100.0)
    sidecar.returns("a", fun="test.ping")
    sidecar.returns("a")
    sidecar.now += 101
    sidecar.until(lambda: sidecar.status == ("failed", "missing"))
    sidecar.kill()
    again = Sidecar(tmp_path, now=1101.0 + seconds)
    again.jobs.start()
    again.begin("a", jid="1" * 20, ends_at=1e9)  # Once that is done, so is the start.
    again.returns("b")
    again.begin("a", jid="2" * 20, ends_at=1e9)

    assert again.status == end
    record = again.store.job(JID)
    assert record is not None
    assert record.strays == 1
    assert again.report.recovered == []
    assert again.report.ends == ([("succeeded", True)] if end[0] == "succeeded" else [])
    again.jobs.stop()
    again.kill()


def test_a_deadline_survives_a_restart_of_process_and_machine(tmp_path: Path) -> None:
    sidecar = Sidecar(tmp_path)
    sidecar.begin("a", deadline=1100.0, ends_at=1100.0)
    sidecar.kill()
    again = recovered(tmp_path, boot="another", now=1099.0)
    assert again.status == ("running", None)
    again.now = 1101.0
    again.until(lambda: again.status[0] != "running")
    again.jobs.stop()
    again.kill()


def test_what_was_being_published_when_we_were_killed_is_found_or_stays_in_the_open(tmp_path: Path) -> None:
    first = Sidecar(tmp_path)
    first.store.intend(job(key="k"))
    first.kill()
    again = recovered(tmp_path, may_look=True)
    again.until(lambda: again.asked.look_ups)
    again.asked.look_ups[0](Cached(known=False))
    assert again.status == ("publishing", None)
    record = again.store.job(JID)
    assert record is not None
    assert again.jobs.claim(record, TOKEN)
    assert not again.jobs.claim(record, TOKEN)
    again.jobs.published(JID, ["a"])
    again.returns("a")
    again.until(lambda: again.status == ("succeeded", None))
    again.jobs.stop()
    again.kill()


def leave_a_runner(folder: Path) -> None:
    """Let a process die while the master runs a function for it."""
    sidecar = Sidecar(folder)
    sidecar.store.intend(job(request={"client": "runner", "fun": "test.arg"}))
    sidecar.jobs.begin(job(request={"client": "runner", "fun": "test.arg"}), TOKEN)
    sidecar.jobs.started(JID, "7" * 20)
    sidecar.kill()


def test_what_a_runner_came_to_while_we_were_away_is_looked_up_until_it_is_there(tmp_path: Path) -> None:
    leave_a_runner(tmp_path)
    again = recovered(tmp_path, may_look=True, now=1010.0)
    again.until(lambda: again.asked.look_ups)
    again.asked.look_ups[0](Cached(known=False, complete=True))  # It still runs.
    again.now += 31
    again.until(lambda: len(again.asked.look_ups) == 2)
    data = {"fun": "runner.test.arg", "jid": "7" * 20, "return": "x", "success": True}
    again.asked.look_ups[1](Cached(known=True, minions=["m_master"], returns={"m_master": {"return": data}}, complete=True))
    again.until(lambda: again.status == ("succeeded", None))

    part = again.store.part(JID, "master")
    assert part is not None
    assert (part.source, part.body) == ("job_cache", b'"x"')
    assert again.asked.looked_for == ["7" * 20] * 2
    again.jobs.stop()
    again.kill()


def test_a_runner_of_which_the_job_cache_has_nothing_is_unknown_and_not_missing(tmp_path: Path) -> None:
    leave_a_runner(tmp_path)
    again = recovered(tmp_path, may_look=True, now=1010.0)
    again.until(lambda: again.asked.look_ups)
    again.asked.look_ups[0](Cached(known=False, complete=True))
    again.now += 61
    again.until(lambda: len(again.asked.look_ups) == 2)
    again.asked.look_ups[1](None)
    again.until(lambda: again.status == ("unknown", None))

    part = again.store.part(JID, "master")
    assert part is not None
    assert part.why == "bus_interrupted"
    again.jobs.stop()
    again.kill()


def test_a_runner_that_may_have_been_announced_while_we_were_away_is_unknown(tmp_path: Path) -> None:
    leave_a_runner(tmp_path)
    again = recovered(tmp_path, now=1010.0)
    again.now += 61
    again.until(lambda: again.status == ("unknown", None))
    again.runs("7" * 20, "ret")
    again.until(lambda: again.status == ("succeeded", None))
    again.jobs.stop()
    again.kill()


class SharedStore(SqliteStore):
    """A store with another sidecar, which takes what a test says."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.offers: list[list[str]] = []
        self.taken: set[str] = set()

    def offer(self, jids: Sequence[str]) -> set[str]:
        self.offers.append([*jids])
        return self.taken & {*jids}


def away(sidecar: Sidecar, seconds: float) -> SharedStore:
    """Let the bus be away, and time pass; return the store when that has been seen."""
    sidecar.bus = False
    sidecar.now += seconds
    sidecar.jobs.published(JID, ())
    sidecar.jobs.published(JID, ())
    assert isinstance(sidecar.store, SharedStore)
    return sidecar.store


def test_a_job_is_offered_to_others_once_the_bus_is_away_for_long_and_let_go_when_one_has_taken_it(tmp_path: Path) -> None:
    sidecar = Sidecar(tmp_path, may_look=True, store=SharedStore)
    sidecar.begin("a")
    store = away(sidecar, 29)
    soon = [*store.offers]
    sidecar.now += 2
    sidecar.until(lambda: store.offers)
    kept = sidecar.jobs.watched.get(JID)
    store.taken = {JID}
    sidecar.now += 5
    sidecar.until(lambda: sidecar.report.handed_over == [1])

    assert (soon, store.offers[0], kept is not None, sidecar.jobs.watched.get(JID)) == ([], [JID], True, None)
    sidecar.jobs.stop()
    sidecar.kill()


def test_while_the_bus_is_away_for_long_no_job_is_taken_up(tmp_path: Path) -> None:
    sidecar = Sidecar(tmp_path, may_look=True, store=SharedStore)
    sidecar.begin("a")
    store = away(sidecar, 31)
    sidecar.until(lambda: store.offers)
    store.taken = {JID}
    sidecar.now += 60
    sidecar.until(lambda: sidecar.report.handed_over == [1])
    sidecar.jobs.start()
    # Its turn comes after what `start` has asked for.
    with pytest.raises(NoSuchJob):
        sidecar.jobs.published(JID, ())
    recovered = [*sidecar.report.recovered]
    sidecar.bus = True
    sidecar.now += 60
    sidecar.until(lambda: sidecar.report.recovered == [1])

    assert recovered == []
    sidecar.jobs.stop()
    sidecar.kill()


@pytest.mark.parametrize("may_look", [True, False])
def test_a_job_for_which_more_is_to_do_than_to_hear_of_its_minions_is_not_offered(tmp_path: Path, may_look: bool) -> None:
    sidecar = Sidecar(tmp_path, may_look=may_look, store=SharedStore)
    if may_look:
        sidecar.roll(["a"], ["b"])
    else:
        sidecar.begin("a")  # and nobody could look up what it has returned meanwhile
    store = away(sidecar, 100)
    away(sidecar, 100)

    assert (store.offers, sidecar.jobs.watched.get(JID) is not None) == ([], True)
    sidecar.jobs.stop()
    sidecar.kill()
