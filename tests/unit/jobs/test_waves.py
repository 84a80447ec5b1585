"""Jobs in waves: when the next one begins, what ends them, and what becomes of one whose publish nobody answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from service.errors import MasterTimeout, Overloaded, Unauthenticated
from service.jobs.job_request import parse
from service.jobs.running.inquiries import Cached
from tests.unit.jobs.kept import JID
from tests.unit.jobs.process import OTHER, TOKEN, Sidecar


def why(sidecar: Sidecar, minion: str) -> tuple[str, str | None]:
    part = sidecar.store.part(JID, minion)
    assert part is not None
    return part.status, part.why


def needs_owner(sidecar: Sidecar) -> bool:
    record = sidecar.store.job(JID)
    assert record is not None
    return record.needs_owner


def test_a_wave_begins_when_the_one_before_it_is_over(sidecar: Sidecar) -> None:
    sidecar.roll(["a"], ["b", "c"], silent=("s",), no_key=("x",), missing="ignore")
    assert sidecar.statuses() == {"a": "waiting", "b": "waiting", "c": "waiting", "s": "no_return", "x": "no_key"}
    assert sidecar.asked.publishes == []
    sidecar.returns("b")  # Nobody has asked it.
    sidecar.returns("a")
    assert sidecar.publish(1) == ["b", "c"]
    sidecar.take()
    sidecar.returns("b")
    sidecar.returns("c")
    sidecar.until(lambda: sidecar.status == ("partial", None))

    assert sidecar.report.waves == [(1, 2, 1), (2, 2, 2)]
    sidecar.until(lambda: sidecar.report.wave_ends == ["ok", "ok"])
    assert sidecar.report.not_run == []
    told = sidecar.happened()
    assert [one["event"] for one in told] == ["status", "minion", "minion", "status", "wave", "minion", "wave", "minion", "minion", "status"]
    assert [one for one in told if one["event"] == "wave"] == [
        {"event": "wave", "wave": 1, "of": 2, "minions": 1},
        {"event": "wave", "wave": 2, "of": 2, "minions": 2},
    ]
    assert {minion: part.wave for minion, part in sidecar.store.parts(JID, bodies=False).items()} == {"a": 1, "b": 2, "c": 2, "s": None, "x": None}


def test_between_two_waves_it_waits(sidecar: Sidecar) -> None:
    sidecar.roll(["a"], ["b"], batch_wait=30)
    sidecar.returns("a")
    rolling = sidecar.jobs.watched.all()[0].rolling
    assert rolling is not None
    sidecar.until(lambda: rolling.over_at == 1000.0)
    sidecar.now += 29
    sidecar.jobs.published(JID, ())
    assert sidecar.asked.publishes == []
    sidecar.now += 2
    assert sidecar.publish(1) == ["b"]


def test_a_canary_that_fails_ends_the_job(sidecar: Sidecar) -> None:
    sidecar.roll(["a"], ["b"], ["c"], stop_after_failures=1, fail_on="none")
    sidecar.returns("a", retcode=1, success=False)
    sidecar.until(lambda: sidecar.status == ("failed", "stopped"))

    assert sidecar.statuses() == {"a": "failed", "b": "not_run", "c": "not_run"}
    assert why(sidecar, "b") == ("not_run", "stopped_by_failures")
    assert sidecar.asked.publishes == []
    record = sidecar.store.job(JID)
    assert record is not None
    assert (record.waves, record.wave, record.taken, record.expected) == (3, 1, 1, 3)
    sidecar.until(lambda: sidecar.report.wave_ends == ["stopped"])
    assert sidecar.report.not_run == [("stopped_by_failures", 2)]


def test_a_wave_that_went_ill_and_was_tolerated_is_reported_as_such(sidecar: Sidecar) -> None:
    sidecar.roll(["a"], ["b"], stop_after_failures=2, fail_on="none")
    sidecar.returns("a", retcode=1, success=False)
    sidecar.publish(1)
    sidecar.take()
    sidecar.returns("b")
    sidecar.until(lambda: sidecar.report.wave_ends == ["failed", "ok"])
    assert sidecar.report.not_run == []


def test_only_those_whose_turn_has_come_are_asked(sidecar: Sidecar) -> None:
    sidecar.roll(["a"], ["b"], stop_after_failures=1)
    sidecar.now += 5
    sidecar.question(1)
    assert sidecar.asked.questions[0][0].minions == ["a"]
    sidecar.answers("a", {})
    sidecar.now += 50
    sidecar.question(2)
    sidecar.answers("a", {})
    sidecar.until(lambda: sidecar.status == ("failed", "stopped"))

    assert sidecar.statuses() == {"a": "lost", "b": "not_run"}
    # What was said too late corrects the minion, and brings no turn back.
    sidecar.returns("a")
    sidecar.until(lambda: sidecar.statuses()["a"] == "ok")
    assert sidecar.status == ("failed", "stopped")


def test_at_the_deadline_of_the_whole_job_no_turn_is_left(sidecar: Sidecar) -> None:
    sidecar.roll(["a"], ["b"], deadline=100)
    sidecar.now += 5
    sidecar.question(1)
    sidecar.answers("a", {"pid": 1})
    sidecar.until(lambda: sidecar.statuses()["a"] == "running")
    sidecar.now += 100
    sidecar.until(lambda: sidecar.status == ("timed_out", None))

    assert why(sidecar, "b") == ("not_run", "deadline")
    sidecar.until(lambda: sidecar.report.wave_ends == ["failed"])
    assert sidecar.report.not_run == [("deadline", 1)]


def test_who_is_cancelled_has_no_turn_any_more(sidecar: Sidecar) -> None:
    sidecar.roll(["a"], ["b"], batch_wait=60)
    sidecar.jobs.cancel(JID, "8" * 20, TOKEN)
    sidecar.returns("a")
    sidecar.until(lambda: sidecar.status == ("cancelled", None))

    assert why(sidecar, "b") == ("not_run", "cancelled")
    assert sidecar.asked.publishes == []


def test_a_key_that_is_gone_by_then_is_missing(sidecar: Sidecar) -> None:
    sidecar.roll(["a"], ["b", "c"])
    sidecar.returns("a")
    sidecar.publish(1)
    sidecar.take("b")
    sidecar.returns("b")
    sidecar.until(lambda: sidecar.status == ("failed", "missing"))

    assert sidecar.statuses()["c"] == "no_key"


def test_a_token_that_dies_between_two_waves_is_asked_for(sidecar: Sidecar) -> None:
    sidecar.roll(["a"], ["b"])
    sidecar.returns("a")
    sidecar.publish(1)
    sidecar.asked.publishes[0][2](Unauthenticated("dead"))
    sidecar.until(lambda: needs_owner(sidecar))
    sidecar.lend(TOKEN)
    sidecar.now += 60
    sidecar.until(lambda: sidecar.happened()[-1] == {"event": "wave", "wave": 2, "of": 2, "needs_owner": True})
    assert len(sidecar.asked.publishes) == 1
    assert sidecar.status == ("running", None)
    sidecar.lend(OTHER)
    assert sidecar.publish(2) == ["b"]
    assert sidecar.asked.publishes[1][1] == OTHER
    sidecar.take()
    sidecar.returns("b")
    sidecar.until(lambda: sidecar.status == ("succeeded", None))
    assert not needs_owner(sidecar)


def test_whose_owner_never_comes_is_not_run(sidecar: Sidecar) -> None:
    sidecar.roll(["a"], ["b"], deadline=100)
    sidecar.returns("a")
    sidecar.publish(1)
    sidecar.asked.publishes[0][2](Unauthenticated("dead"))
    sidecar.until(lambda: needs_owner(sidecar))
    sidecar.now += 101
    sidecar.until(lambda: sidecar.status == ("timed_out", None))

    assert why(sidecar, "b") == ("not_run", "needs_owner")


def test_a_wave_that_had_no_place_in_our_queue_is_tried_again(sidecar: Sidecar) -> None:
    sidecar.roll(["a"], ["b"])
    sidecar.returns("a")
    sidecar.publish(1)
    sidecar.asked.publishes[0][2](Overloaded("full", retry_after_seconds=1))
    sidecar.until(lambda: (record := sidecar.store.job(JID)) is not None and record.wave == 1)
    assert len(sidecar.asked.publishes) == 1
    sidecar.now += 6
    assert sidecar.publish(2) == ["b"]


def doubted(sidecar: Sidecar, **asked: Any) -> None:
    """Let the answer to the publish of the second wave be lost."""
    sidecar.roll(["a"], ["b", "c"], ["d"], **asked)
    sidecar.returns("a")
    sidecar.publish(1)
    sidecar.asked.publishes[0][2](MasterTimeout("no answer"))
    sidecar.until(lambda: sidecar.report.doubted == [2])


def look(sidecar: Sidecar, found: Cached | None) -> None:
    """Let the wave be looked up."""
    sidecar.now += 6
    sidecar.until(lambda: sidecar.asked.look_ups)
    sidecar.asked.look_ups.pop()(found)


def test_a_wave_of_which_nobody_knows_is_taken_when_one_of_it_returns(sidecar: Sidecar) -> None:
    doubted(sidecar)
    sidecar.returns("c")
    sidecar.until(lambda: sidecar.report.waves == [(1, 3, 1), (2, 3, 2)])
    sidecar.returns("b")

    assert sidecar.publish(2) == ["d"]


def test_or_when_the_master_names_it(sidecar: Sidecar) -> None:
    doubted(sidecar)
    look(sidecar, Cached(known=True, minions=["a", "b", "c"], complete=True))
    sidecar.until(lambda: sidecar.report.waves == [(1, 3, 1), (2, 3, 2)])

    assert len(sidecar.asked.publishes) == 1


def test_a_wave_that_the_master_does_not_have_is_published_again(sidecar: Sidecar) -> None:
    doubted(sidecar)
    look(sidecar, Cached(known=True, minions=["a"], complete=True))

    assert sidecar.publish(2) == ["b", "c"]


@pytest.mark.parametrize(("on_doubt", "publishes"), [("refuse", 1), ("republish", 2)])
@pytest.mark.parametrize("found", [None, Cached(known=False)])
def test_a_wave_that_nobody_may_look_up_is_published_again_only_if_that_is_asked_for(
    sidecar: Sidecar, on_doubt: str, publishes: int, found: Cached | None
) -> None:
    doubted(sidecar, on_doubt=on_doubt, deadline=100)
    look(sidecar, found)
    sidecar.until(lambda: len(sidecar.asked.publishes) == (publishes if found is None else 1))
    sidecar.now += 101
    sidecar.until(lambda: sidecar.status[0] != "running")

    if len(sidecar.asked.publishes) == 1:
        assert (why(sidecar, "b"), why(sidecar, "d")) == (("unknown", "in_doubt"), ("not_run", "deadline"))


def test_a_first_wave_that_is_refused_ran_nowhere(sidecar: Sidecar) -> None:
    sidecar.roll(["a"], ["b"], taken=False)
    sidecar.jobs.waves.forget(JID)

    assert sidecar.jobs.refused(JID).status == "refused"
    assert (why(sidecar, "a"), why(sidecar, "b")) == (("not_run", "refused"), ("not_run", "refused"))


def test_a_first_wave_of_which_nothing_is_heard_until_the_deadline_is_unknown(sidecar: Sidecar) -> None:
    sidecar.roll(["a"], ["b"], taken=False, deadline=100)
    sidecar.jobs.in_doubt(JID)
    sidecar.now += 101
    sidecar.until(lambda: sidecar.status[0] not in {"in_doubt", "running"})

    assert (why(sidecar, "a"), why(sidecar, "b")) == (("unknown", "in_doubt"), ("not_run", "deadline"))


def test_nobody_who_answers_is_missing_at_once(sidecar: Sidecar) -> None:
    sidecar.roll(silent=("a", "b"), taken=False)
    sidecar.jobs.published(JID, [])
    sidecar.until(lambda: sidecar.status == ("failed", "missing"))


@pytest.mark.parametrize("when", ["running", "begun", "taken"])
def test_after_a_kill_the_owner_brings_token_and_arguments_and_it_goes_on(tmp_path: Path, when: str) -> None:
    sidecar = Sidecar(tmp_path)
    sidecar.roll(["a"], ["b"], ["c"])
    if when != "running":
        sidecar.returns("a")
        sidecar.publish(1)
    if when == "taken":
        sidecar.take()
        sidecar.until(lambda: len(sidecar.report.waves) == 2)
    sidecar.kill()
    again = Sidecar(tmp_path, now=1010.0)
    again.jobs.start()
    again.until(lambda: again.report.recovered == [1])
    assert again.owned == [(JID, "pam:ci")]
    ended = ["ok"] * len(sidecar.report.wave_ends)
    assert sidecar.report.wave_ends == ended
    last = "a" if when == "running" else "b"
    again.returns(last)
    again.until(lambda: needs_owner(again))
    again.lend(TOKEN)
    again.asked.look_ups.pop()(None)
    assert again.asked.publishes == []
    again.lend(TOKEN, parse({"tgt": "*", "fun": "test.echo", "arg": ["a"], "batch": 1}))
    again.asked.look_ups.pop()(None)
    assert again.publish(1) == (["b"] if when == "running" else ["c"])
    for number, minion in enumerate("bc" if when == "running" else "c", 1):
        again.publish(number)
        again.take()
        again.returns(minion)
    again.until(lambda: again.status == ("succeeded", None))
    # Each end is reported once, by the process that has seen it.
    again.until(lambda: [*ended, *again.report.wave_ends] == ["ok"] * 3)
    again.jobs.stop()
    again.kill()


def test_a_wave_that_was_never_sent_is_sent_after_a_kill(tmp_path: Path) -> None:
    sidecar = Sidecar(tmp_path)
    sidecar.roll(["a"], ["b"])
    sidecar.returns("a")
    sidecar.publish(1)
    sidecar.kill()
    again = Sidecar(tmp_path, now=1010.0)
    again.jobs.start()
    again.until(lambda: again.report.recovered == [1])
    again.lend(TOKEN, parse({"tgt": "*", "fun": "test.echo", "arg": ["a"], "batch": 1}))
    again.asked.look_ups.pop()(Cached(known=True, minions=["a"]))  # Too early: it may wait at the master.
    look(again, Cached(known=True, minions=["a"]))
    assert again.publish(1) == ["b"]
    again.jobs.stop()
    again.kill()
