"""The account of a job: returns, questions and silence, in a time that the tests move."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.gateway.clients.gathering import LONGEST_PAUSE_SECONDS
from service.jobs.job_request import digest_of
from service.jobs.outcome import SuccessPolicy, conclude
from service.jobs.running.account import JobAccount, Waits

ARGUMENTS = digest_of(["a"])
GOOD = {"fun": "test.echo", "return": "a", "retcode": 0, "success": True}


def opened(*minions: str, no_key: tuple[str, ...] = (), **options: Any) -> JobAccount:
    account = JobAccount("test.echo", ARGUMENTS, Waits(first=5, answer=10, lost=45), now=0, **options)
    account.expect(minions, no_key)
    return account


def statuses(account: JobAccount) -> dict[str, str]:
    return {minion: part.status for minion, part in account.parts.items()}


def test_the_first_return_of_each_minion_counts() -> None:
    account = opened("a", "b", no_key=("ghost",))

    assert account.returned("a", GOOD, ARGUMENTS) == "counted"
    assert account.returned("a", {**GOOD, "retcode": 1}, ARGUMENTS) == "again"
    assert account.returned("b", {**GOOD, "retcode": 1}, ARGUMENTS) == "counted"
    assert account.returned("c", GOOD, ARGUMENTS) == "stranger"
    assert statuses(account) == {"a": "ok", "b": "failed", "ghost": "no_key"}
    assert account.is_done(0)


@pytest.mark.parametrize(
    ("event", "arguments"), [({**GOOD, "fun": "test.ping"}, ARGUMENTS), (GOOD, digest_of(["b"])), ({**GOOD, "fun": ["test.echo"]}, ARGUMENTS)]
)
def test_a_return_of_something_else_under_the_jobs_id_is_not_the_jobs(event: dict[str, Any], arguments: str) -> None:
    account = opened("a")

    assert account.returned("a", event, arguments) == "foreign"
    assert (account.strays, statuses(account)) == (1, {"a": "waiting"})
    assert account.returned("a", GOOD, ARGUMENTS) == "counted"


def test_a_bare_false_fails_only_where_that_is_asked_for() -> None:
    for wanted, status in ((False, "ok"), (True, "failed")):
        account = opened("a", fail_on_false=wanted)
        account.returned("a", {**GOOD, "return": False}, ARGUMENTS)

        assert statuses(account) == {"a": status}


def test_the_silent_are_asked_and_the_longer_it_takes_the_less_often() -> None:
    account = opened("a", "b")
    account.returned("b", GOOD, ARGUMENTS)
    asked = []
    for now in range(1000):
        if account.to_ask(now):
            asked.append(now)
            account.asked(now)

    assert account.to_ask(2000) == ["a"]
    assert asked[:3] == [5, 15, 25]
    assert asked[-1] - asked[-2] == LONGEST_PAUSE_SECONDS


def test_a_return_is_lost_when_its_minion_denies_the_job_twice_long_enough_apart() -> None:
    account = opened("a")
    for now, lost in ((5, []), (49, []), (50, ["a"])):
        account.idles("a", now)
        assert account.seem_lost() == lost
    account.lose(account.seem_lost(), None)

    assert statuses(account) == {"a": "lost"}
    assert account.returned("a", GOOD, ARGUMENTS) == "revised"
    assert statuses(account) == {"a": "ok"}


def test_who_says_that_it_runs_the_job_after_all_is_not_lost() -> None:
    account = opened("a")
    account.idles("a", 5)
    account.runs("a")
    account.idles("a", 60)

    assert account.seem_lost() == []
    assert statuses(account) == {"a": "running"}


def test_who_may_queue_the_job_never_seems_lost() -> None:
    account = opened("a", queues=True)
    account.idles("a", 5)
    account.idles("a", 500)

    assert account.seem_lost() == []
    account.overdue(None, None)
    assert statuses(account) == {"a": "lost"}


def test_who_has_stopped_the_job_does_not_seem_lost_before_it_counts_as_cancelled() -> None:
    account = opened("a", "b")
    for minion in "ab":
        account.idles(minion, 0)
    account.stopped("a", 44)
    for minion in "ab":
        account.idles(minion, 46)
    assert account.seem_lost() == ["b"]
    account.cancel_stopped(49)

    assert statuses(account) == {"a": "cancelled", "b": "waiting"}


def test_at_the_deadline_each_silence_is_called_what_it_is() -> None:
    account = opened("dead", "idle", "busy")
    account.idles("idle", 5)
    account.runs("busy")
    account.overdue(None, None)

    assert statuses(account) == {"dead": "no_return", "idle": "lost", "busy": "running"}


def test_what_may_have_been_missed_is_unknown_and_not_missing() -> None:
    account = opened("dead", "idle")
    account.idles("idle", 5)
    account.overdue("bus_interrupted", "credentials")

    assert {minion: part.why for minion, part in account.parts.items()} == {"dead": "credentials", "idle": "bus_interrupted"}
    assert set(statuses(account).values()) == {"unknown"}


def test_who_was_silent_while_returns_were_missed_may_have_returned() -> None:
    account = opened("silent")
    account.overdue("bus_interrupted", None)

    assert (statuses(account), account.parts["silent"].why) == ({"silent": "unknown"}, "bus_interrupted")


def test_below_a_master_of_masters_whoever_returns_belongs_to_the_job() -> None:
    account = opened(open_until=10)

    assert not account.is_done(9)
    assert account.returned("below", GOOD, ARGUMENTS) == "counted"
    assert account.is_done(10)


happenings = st.lists(
    st.tuples(
        st.sampled_from(["good", "bad", "foreign", "runs", "idles", "lose", "overdue", "cut"]),
        st.sampled_from(["a", "b", "c"]),
        st.sampled_from([None, "bus_interrupted"]),
    ),
    max_size=20,
)


@given(happenings, st.sampled_from([SuccessPolicy(), SuccessPolicy("all"), SuccessPolicy("none", "ignore", "50%")]))
def test_whatever_happens_only_good_returns_make_a_success(happened: list[tuple[str, str, Any]], policy: SuccessPolicy) -> None:
    account = opened("a", "b")
    first: dict[str, str] = {}
    for now, (what, minion, why) in enumerate(happened):
        doings: dict[str, Any] = {
            "good": lambda minion=minion: account.returned(minion, GOOD, ARGUMENTS),
            "bad": lambda minion=minion: account.returned(minion, {**GOOD, "retcode": 1}, ARGUMENTS),
            "foreign": lambda minion=minion: account.returned(minion, {**GOOD, "fun": "x.y"}, ARGUMENTS),
            "runs": lambda minion=minion: account.runs(minion),
            "idles": lambda minion=minion, now=now: account.idles(minion, now * 30.0),
            "lose": lambda why=why: account.lose(account.seem_lost(), why),
            "overdue": lambda why=why: account.overdue(why, why),
            "cut": lambda now=now: account.cut(now),
        }
        if doings[what]() in {"counted", "revised"}:
            first[minion] = what
    good = {minion for minion, what in first.items() if what == "good"}

    assert {minion for minion, part in account.parts.items() if part.status == "ok"} == good
    assert (conclude(policy, account.counts).status == "succeeded") == (good == {"a", "b"})
    assert account.is_done(0) == (not account.awaited)
