"""The thread that follows jobs: what it asks, what it stores, what it makes of a start in the middle. Minutes pass by a clock that the tests move."""

from __future__ import annotations

import dataclasses
import threading
from pathlib import Path
from typing import Any

import pytest

from service.errors import Fault, StorageFull
from service.jobs.running.inquiries import Cached
from service.jobs.running.opened import MOST_HAPPENINGS
from service.jobs.stores.store import PartRecord
from tests.unit.jobs.kept import JID, job
from tests.unit.jobs.process import PATIENCE_SECONDS, TOKEN, Sidecar


def test_a_job_is_over_with_its_last_return_and_its_waiters_are_woken(sidecar: Sidecar) -> None:
    sidecar.begin("a", "b")
    sidecar.returns("a")
    sidecar.returns("b", {"x": 1}, retcode=2, success=False)
    sidecar.jobs.watched.wait(JID, PATIENCE_SECONDS)

    assert sidecar.status == ("failed", None)
    assert sidecar.statuses() == {"a": "ok", "b": "failed"}
    assert sidecar.store.part(JID, "b") == PartRecord("failed", "exit_code", None, "bus", 2, {}, 1000.0, 7, b'{"x":1}')
    assert sidecar.report.ends == [("failed", False)]


def test_returns_that_come_before_the_masters_answer_count(sidecar: Sidecar) -> None:
    record = job()
    sidecar.store.intend(record)
    sidecar.jobs.begin(record, TOKEN)
    sidecar.returns("a")
    sidecar.returns("stranger")

    assert sidecar.jobs.published(JID, ["a"]).status == "succeeded"
    assert sidecar.statuses() == {"a": "ok"}


def test_returns_that_come_one_by_one_are_stored_together_and_no_request_waits_for_that(tmp_path: Path) -> None:
    sidecar = Sidecar(tmp_path, pace_seconds=3600)
    sidecar.begin("a", "b", "c")
    before = len(sidecar.commits)
    for minion in ("a", "b", "c"):
        sidecar.returns(minion)

    assert sidecar.jobs.published(JID, ()).status == "succeeded"
    assert len(sidecar.commits) == before + 1
    sidecar.jobs.stop()
    sidecar.kill()


def test_what_was_not_stored_yet_is_stored_at_the_end(tmp_path: Path) -> None:
    sidecar = Sidecar(tmp_path, pace_seconds=3600)
    sidecar.begin("a")
    sidecar.returns("a")
    sidecar.jobs.stop(PATIENCE_SECONDS)

    assert sidecar.status == ("succeeded", None)
    sidecar.kill()


def test_a_return_that_cannot_be_written_counts(sidecar: Sidecar) -> None:
    deep: Any = "x"
    for _ in range(400):
        deep = [deep]
    sidecar.begin("a", "b")
    sidecar.returns("a", {"x": deep, 5: {"result": False, "changes": {}}})
    sidecar.returns("b", fun_args=[deep])
    sidecar.returns("b")
    sidecar.jobs.watched.wait(JID, PATIENCE_SECONDS)

    assert sidecar.statuses() == {"a": "ok", "b": "ok"}
    assert sidecar.report.foreign == [f"{JID} b"]


def test_how_long_a_job_was_in_each_status_is_told_once_it_has_left_it(sidecar: Sidecar) -> None:
    record = job()
    sidecar.store.intend(record)
    sidecar.jobs.begin(record, TOKEN)
    sidecar.now += 2
    sidecar.jobs.in_doubt(JID)
    assert sidecar.jobs.watched.open_by_status() == {"queued": 0, "publishing": 0, "in_doubt": 1, "running": 0}
    sidecar.now += 3
    sidecar.jobs.published(JID, ["a"])
    sidecar.now += 1
    sidecar.returns("a")
    sidecar.until(lambda: sidecar.report.ends)

    assert sidecar.report.left == [("publishing", 2), ("in_doubt", 3), ("running", 1)]


def test_a_job_that_begins_while_the_bus_is_away_may_miss_returns(sidecar: Sidecar) -> None:
    sidecar.bus = False
    sidecar.begin("a", ends_at=1100.0)
    sidecar.now += 101
    sidecar.until(lambda: sidecar.status == ("unknown", None))


def test_a_forged_return_is_told_and_does_not_count(sidecar: Sidecar) -> None:
    sidecar.begin("a")
    sidecar.returns("a", fun="test.ping", fun_args=[])
    sidecar.until(lambda: sidecar.report.foreign == [f"{JID} a"])

    assert sidecar.statuses() == {"a": "waiting"}
    sidecar.returns("a")
    sidecar.until(lambda: sidecar.status == ("succeeded", None))
    record = sidecar.store.job(JID)
    assert record is not None
    assert record.strays == 1


def test_the_silent_are_asked_and_one_that_denies_twice_is_lost(sidecar: Sidecar) -> None:
    sidecar.begin("a", "b")
    sidecar.returns("b")
    sidecar.now += 5
    sidecar.question(1)
    question, credentials, _ = sidecar.asked.questions[0]
    assert (question.fun, question.minions, credentials) == ("saltutil.find_job", ["a"], TOKEN)
    sidecar.answers("a", {})
    sidecar.now += 50
    sidecar.question(2)
    sidecar.answers("a", {})
    sidecar.until(lambda: sidecar.status == ("failed", "missing"))

    assert sidecar.statuses() == {"a": "lost", "b": "ok"}
    sidecar.returns("a")
    sidecar.until(lambda: sidecar.status == ("succeeded", None))
    sidecar.until(lambda: sidecar.report.ends == [("failed", False), ("succeeded", True)])


def test_at_the_deadline_who_runs_the_job_has_timed_out_and_who_was_silent_is_missing(sidecar: Sidecar) -> None:
    sidecar.begin("a", "b", ends_at=1100.0)
    sidecar.now += 5
    sidecar.question(1)
    sidecar.answers("a", {"pid": 1, "jid": JID})
    sidecar.until(lambda: sidecar.statuses()["a"] == "running")
    sidecar.now += 100
    sidecar.until(lambda: sidecar.status == ("failed", None) or sidecar.status[0] != "running")

    assert sidecar.statuses() == {"a": "running", "b": "no_return"}


def test_nobody_is_given_up_before_the_job_cache_was_asked_since(tmp_path: Path) -> None:
    sidecar = Sidecar(tmp_path, may_look=True)
    sidecar.begin("a", "b", ends_at=1100.0)
    sidecar.now += 5
    sidecar.question(1)
    sidecar.answers("a", {})
    sidecar.now += 50
    sidecar.question(2)
    sidecar.answers("a", {})
    sidecar.until(lambda: len(sidecar.asked.look_ups) == 1)
    sidecar.asked.look_ups[0](Cached(known=True, minions=["a", "b"], returns={"a": {"return": "a", "retcode": 0, "success": True}}, complete=True))
    sidecar.until(lambda: sidecar.statuses() == {"a": "ok", "b": "waiting"})
    sidecar.now += 50
    sidecar.until(lambda: len(sidecar.asked.look_ups) == 2)
    assert sidecar.status == ("running", None)
    sidecar.asked.look_ups[1](Cached(known=True, minions=["a", "b"], complete=True))
    sidecar.until(lambda: sidecar.status == ("failed", "missing"))

    assert sidecar.statuses() == {"a": "ok", "b": "no_return"}
    sidecar.jobs.stop()
    sidecar.kill()


def test_without_credentials_silence_is_unknown(sidecar: Sidecar) -> None:
    sidecar.begin("a", ends_at=1100.0)
    sidecar.now += 5
    sidecar.question(1)
    sidecar.asked.questions[0][2](False)
    sidecar.now += 100
    sidecar.until(lambda: sidecar.status == ("unknown", None))

    part = sidecar.store.part(JID, "a")
    assert part is not None
    assert (part.status, part.why) == ("unknown", "credentials")


def test_after_the_bus_was_cut_a_return_may_have_been_missed(sidecar: Sidecar) -> None:
    sidecar.begin("a")
    sidecar.jobs.cut()
    sidecar.question(1)
    sidecar.answers("a", {})
    sidecar.now += 50
    sidecar.question(2)
    sidecar.answers("a", {})
    sidecar.until(lambda: sidecar.status == ("unknown", None))


def test_a_job_that_was_stopped_is_cancelled_and_one_that_goes_on_is_killed(sidecar: Sidecar) -> None:
    sidecar.begin("a", "b", "c")
    sidecar.jobs.cancel(JID, "8" * 20, TOKEN)
    sidecar.returns("a", "Signal 15 sent to job 1 at pid 2", "8" * 20, fun="saltutil.term_job", fun_args=[JID])
    sidecar.returns("b", "", "8" * 20, fun="saltutil.term_job", fun_args=[JID])
    sidecar.returns("b")
    sidecar.jobs.published(JID, ())
    sidecar.now += 11
    sidecar.until(lambda: any(question.fun == "saltutil.kill_job" and question.minions == ["c"] for question, _, _ in sidecar.asked.questions))
    killing = next(question.jid for question, _, _ in sidecar.asked.questions if question.fun == "saltutil.kill_job")
    sidecar.returns("c", "Signal 9 sent to job 1 at pid 2", killing, fun="saltutil.kill_job", fun_args=[JID])
    sidecar.jobs.published(JID, ())
    sidecar.now += 6
    sidecar.until(lambda: sidecar.status == ("cancelled", None))

    assert sidecar.statuses() == {"a": "cancelled", "b": "ok", "c": "cancelled"}
    sidecar.returns("a")
    sidecar.returns("c")
    sidecar.until(lambda: sidecar.status == ("succeeded", None))


def test_who_says_long_after_others_that_it_has_stopped_the_job_is_cancelled_and_not_lost(sidecar: Sidecar) -> None:
    sidecar.begin("a")
    sidecar.jobs.cancel(JID, "8" * 20, TOKEN)
    for number in range(1, 5):
        sidecar.now += 120
        sidecar.until(lambda number=number: sum(question.fun == "saltutil.find_job" for question, _, _ in sidecar.asked.questions) == number)  # type: ignore[misc]
    sidecar.answers("a", {})
    sidecar.returns("a", "Signal 15 sent to job 1 at pid 2", "8" * 20, fun="saltutil.term_job", fun_args=[JID])
    sidecar.jobs.published(JID, ())
    sidecar.now += 4.9
    sidecar.answers("a", {})
    sidecar.now += 0.2
    sidecar.until(lambda: sidecar.status == ("cancelled", None))

    assert sidecar.statuses() == {"a": "cancelled"}


def test_a_runner_is_awaited_under_the_masters_own_id(sidecar: Sidecar) -> None:
    sidecar.store.intend(job(request={"client": "runner", "fun": "test.arg"}))
    sidecar.jobs.begin(job(request={"client": "runner", "fun": "test.arg"}), TOKEN)
    for other in ("7" * 20, "5" * 20):
        sidecar.runs(other, "new")
    sidecar.runs("7" * 20, "ret")
    sidecar.jobs.started(JID, "7" * 20)

    assert sidecar.status == ("succeeded", None)
    assert sidecar.statuses() == {"master": "ok"}
    assert sidecar.asked.questions == []


def test_a_runner_that_the_master_never_announces_is_missing(sidecar: Sidecar) -> None:
    sidecar.store.intend(job(request={"client": "runner", "fun": "no.such"}))
    sidecar.jobs.begin(job(request={"client": "runner", "fun": "no.such"}), TOKEN)
    sidecar.jobs.started(JID, "7" * 20)
    sidecar.now += 61
    sidecar.until(lambda: sidecar.status == ("failed", "missing"))
    sidecar.runs("7" * 20, "ret", success=False, **{"return": "Exception occurred in runner no.such: x"})
    sidecar.until(lambda: sidecar.status == ("failed", None))


def test_a_runner_that_runs_at_the_deadline_has_timed_out(sidecar: Sidecar) -> None:
    sidecar.store.intend(job(request={"client": "runner", "fun": "test.arg"}, ends_at=1100.0))
    sidecar.jobs.begin(job(request={"client": "runner", "fun": "test.arg"}, ends_at=1100.0), TOKEN)
    sidecar.jobs.started(JID, "7" * 20)
    sidecar.runs("7" * 20, "new")
    sidecar.now += 101
    sidecar.until(lambda: sidecar.status == ("timed_out", None))


def test_nobody_waits_for_a_job_while_the_process_stops(sidecar: Sidecar) -> None:
    sidecar.begin("a")
    waiting = threading.Thread(target=sidecar.jobs.watched.wait, args=(JID, 60))
    waiting.start()
    sidecar.jobs.watched.end_waits()
    waiting.join(PATIENCE_SECONDS)
    sidecar.jobs.watched.wait(JID, 60)

    assert not waiting.is_alive()
    assert sidecar.status == ("running", None)


def test_what_the_caller_was_refused_gives_its_key_back(sidecar: Sidecar) -> None:
    sidecar.store.intend(job(key="k"))
    sidecar.jobs.begin(job(key="k"), TOKEN)

    assert sidecar.jobs.refused(JID).status == "refused"
    assert sidecar.store.keyed("pam:ci", "k") is None


def test_the_token_of_a_job_is_not_shown(sidecar: Sidecar) -> None:
    sidecar.begin("a")

    assert TOKEN["token"] not in repr(sidecar.jobs.watched.all())


def test_what_was_heard_of_a_job_in_doubt_counts_when_it_is_found(sidecar: Sidecar) -> None:
    sidecar.store.intend(job())
    sidecar.jobs.begin(job(), TOKEN)
    sidecar.jobs.in_doubt(JID)
    sidecar.returns("a")

    assert sidecar.jobs.found(JID, Cached(known=True, minions=["a"])).status == "succeeded"


def test_what_cannot_be_stored_now_is_stored_later(sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch) -> None:
    save = sidecar.store.save
    sidecar.begin("a")
    failing = [True]

    def refuse(changes: Any) -> set[str]:
        if failing[0]:
            raise StorageFull("full", retry_after_seconds=1)
        return save(changes)

    monkeypatch.setattr(sidecar.store, "save", refuse)
    sidecar.returns("a")
    sidecar.until(lambda: sidecar.report.not_stored)
    assert sidecar.status == ("running", None)
    assert sidecar.report.ends == []
    failing[0] = False
    sidecar.until(lambda: sidecar.report.ends == [("succeeded", False)])

    assert dataclasses.asdict(sidecar.store.part(JID, "a") or PartRecord("unknown"))["body"] == b'"a"'


@pytest.mark.slow
def test_of_too_many_happenings_a_gap_and_the_end_are_told(sidecar: Sidecar) -> None:
    minions = [f"m{number}" for number in range(MOST_HAPPENINGS + 5)]
    sidecar.begin("a", no_key=tuple(minions))
    sidecar.returns("a")
    sidecar.until(lambda: sidecar.status[0] == "failed")
    last = sidecar.store.happenings(JID, MOST_HAPPENINGS - 1, 10)

    assert [one.kind for one in last] == ["minion", "gap", "status"]


def test_who_asked_for_something_hears_at_once_of_a_bug(tmp_path: Path) -> None:
    sidecar = Sidecar(tmp_path)
    sidecar.begin("m1")

    with pytest.raises(Fault, match="a fault of the sidecar itself"):
        sidecar.jobs.ran(JID, None)  # type: ignore[arg-type]

    sidecar.returns("m1")
    sidecar.until(lambda: sidecar.status[0] == "succeeded")
    assert sidecar.report.crashes == 1
    sidecar.jobs.stop()
    sidecar.kill()
