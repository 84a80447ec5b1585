"""The thread that follows jobs where others may follow them too: it takes over what nobody follows, and gives up what another does."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from service.errors import Conflict, StorageUnavailable
from service.jobs.job_request import parse
from service.jobs.running.running_jobs import PRUNE_SECONDS
from service.jobs.running.stops import KILL_SECONDS
from service.jobs.stores.sqlite_store import SqliteStore
from service.jobs.stores.store import Change, JobRecord, PartRecord
from tests.unit.jobs.kept import JID, job
from tests.unit.jobs.process import OTHER, PATIENCE_SECONDS, TOKEN, Sidecar


def test_a_job_that_nobody_follows_any_more_is_followed_within_a_minute(sidecar: Sidecar) -> None:
    sidecar.jobs.start()
    sidecar.until(lambda: sidecar.store.size_bytes() and not sidecar.jobs.watched.open_jobs)
    sidecar.store.intend(job())
    sidecar.now += PRUNE_SECONDS
    sidecar.until(lambda: sidecar.report.recovered == [1])

    assert sidecar.jobs.watched.get(JID) is not None


def test_a_job_that_another_sidecar_follows_by_now_is_dropped_and_not_reported(sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch) -> None:
    sidecar.begin("a")
    waiting = threading.Thread(target=sidecar.jobs.watched.wait, args=(JID, 60))
    waiting.start()
    monkeypatch.setattr(sidecar.store, "save", lambda changes: {change.job.jid for change in changes})
    sidecar.returns("a")
    sidecar.until(lambda: sidecar.jobs.watched.get(JID) is None)
    waiting.join(PATIENCE_SECONDS)

    assert not waiting.is_alive()
    assert (sidecar.status, sidecar.report.ends) == (("running", None), [])


def test_a_store_that_is_away_at_the_start_is_no_bug(sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch) -> None:
    def away() -> list[JobRecord]:
        raise StorageUnavailable("away")

    monkeypatch.setattr(sidecar.store, "unfinished", away)
    sidecar.jobs.start()

    sidecar.until(lambda: sidecar.report.not_stored == ["away"])


def test_the_end_that_was_asked_for_at_another_sidecar_is_heard_here_and_nothing_is_killed_here(sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch) -> None:
    tell: list[Callable[[], None]] = []
    asked: list[dict[str, list[str]]] = []
    monkeypatch.setattr(sidecar.store, "on_news", tell.append)
    monkeypatch.setattr(sidecar.store, "ends_asked", lambda: asked.pop() if asked else {})
    sidecar.begin("a", "b")
    sidecar.jobs.start()
    asked.append({JID: ["8" * 20], "another": ["7" * 20]})
    tell[0]()
    sidecar.until(lambda: stored(sidecar).cancelled)
    sidecar.returns("a", "Signal 15 sent to job 1 at pid 2", "8" * 20, fun="saltutil.term_job", fun_args=[JID])
    sidecar.returns("b")
    sidecar.jobs.published(JID, ())
    sidecar.now += KILL_SECONDS
    sidecar.until(lambda: sidecar.status == ("cancelled", None))

    assert sidecar.statuses() == {"a": "cancelled", "b": "ok"}
    assert not [question for question, _, _ in sidecar.asked.questions if question.fun == "saltutil.kill_job"]


def stored(sidecar: Sidecar) -> JobRecord:
    record = sidecar.store.job(JID)
    assert record is not None
    return record


def test_what_another_sidecar_follows_and_was_asked_here_to_end_is_killed_in_the_name_of_who_asked(sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    away = [StorageUnavailable("away")]

    def ask_to_end(jid: str, question: str) -> None:
        assert jid == JID
        if told and away:
            raise away.pop()
        told.append(question)

    monkeypatch.setattr(sidecar.store, "ask_to_end", ask_to_end)
    sidecar.store.save([Change(job(status="running"), {"a": PartRecord("waiting"), "b": PartRecord("ok"), "c": PartRecord("running")})])
    stops = sidecar.jobs.stops
    stops.ask_elsewhere(JID, "8" * 20, TOKEN)
    for seconds in (KILL_SECONDS - 1, KILL_SECONDS, 2 * KILL_SECONDS - 1):
        stops.kill_due(sidecar.now + seconds)
    assert (sidecar.asked.questions, away) == ([], [])
    stops.kill_due(sidecar.now + 2 * KILL_SECONDS)
    stops.kill_due(sidecar.now + 3 * KILL_SECONDS)
    ((question, credentials, on_asked),) = sidecar.asked.questions
    on_asked(True)

    assert (question.fun, question.minions, credentials) == ("saltutil.kill_job", ["a", "c"], TOKEN)
    assert told == ["8" * 20, question.jid]


def left_without_token(sidecar: Sidecar, **fields: Any) -> None:
    """Let another sidecar follow a job of which it can ask nobody."""
    sidecar.store.save([Change(job(status="running", without_token=True, **fields), {"a": PartRecord("waiting")})])


def test_a_job_is_taken_over_by_the_sidecar_that_its_owner_comes_to(sidecar: Sidecar) -> None:
    left_without_token(sidecar)
    sidecar.lend(TOKEN)
    sidecar.asked.look_ups.pop()(None)
    sidecar.question(1)
    assert sidecar.asked.questions[0][1] == TOKEN
    sidecar.until(lambda: not stored(sidecar).without_token)
    sidecar.returns("a")
    sidecar.until(lambda: sidecar.status == ("succeeded", None))


def test_with_a_token_that_did_not_help_it_is_not_taken_over_again(sidecar: Sidecar) -> None:
    left_without_token(sidecar)
    for token, follows in ((TOKEN, True), (TOKEN, False), (OTHER, True)):
        sidecar.lend(token)
        taken = sidecar.jobs.watched.get(JID)
        assert (taken is not None) is follows
        # The sidecar that its owner came to next has it now, and is refused as well.
        sidecar.jobs.watched.forget(JID)
        left_without_token(sidecar)


@pytest.mark.parametrize("fields", [{"without_token": False}, {"status": "failed", "finished": 1000.0}, {"status": "publishing"}])
def test_a_job_whose_follower_needs_nobody_is_left_to_it(sidecar: Sidecar, fields: dict[str, Any]) -> None:
    sidecar.store.save([Change(job(**{"status": "running", "without_token": True, **fields}), {"a": PartRecord("waiting")})])
    sidecar.lend(TOKEN)

    assert sidecar.jobs.watched.get(JID) is None


@pytest.mark.parametrize("follows", [True, False])
def test_rolling_on_takes_who_knows_what_is_run(sidecar: Sidecar, follows: bool) -> None:
    request = parse({"tgt": "*", "fun": "test.echo", "arg": ["a"], "batch": 1})
    waves = {"a": PartRecord("ok", wave=1), "b": PartRecord("waiting", wave=2)}
    sidecar.store.save([Change(job(status="running", needs_owner=True, request=request.kept(), waves=2, wave=1, taken=1), waves)])
    sidecar.lend(TOKEN, request if follows else None)

    assert (sidecar.jobs.watched.get(JID) is not None) is follows
    if follows:
        assert sidecar.publish(1) == ["b"]


def test_what_has_ended_meanwhile_is_not_killed(sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sidecar.store, "ask_to_end", lambda _jid, _question: None)
    sidecar.store.save([Change(job(status="cancelled", finished=1000.0), {"a": PartRecord("waiting")})])
    sidecar.jobs.stops.ask_elsewhere(JID, "8" * 20, TOKEN)
    sidecar.jobs.stops.kill_due(sidecar.now + KILL_SECONDS)

    assert sidecar.asked.questions == []


def test_in_a_file_nobody_else_can_be_told_of_an_end(tmp_path: Path, sidecar: Sidecar) -> None:
    assert isinstance(sidecar.store, SqliteStore)

    with pytest.raises(Conflict, match="about to be followed again"):
        sidecar.store.ask_to_end(JID, "8" * 20)
