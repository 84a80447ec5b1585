"""Gathering: which minions are waited for, and how long, by a clock that the tests move."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from service.gateway.clients.gathering import LONGEST_PAUSE_SECONDS, Gathering, Step, question_pause

TIMEOUT = 5.0
ASK = 10.0
RETURN: dict[str, Any] = {"return": True}


def gathering(*minions: str, syndic_wait: float | None = None) -> Gathering:
    return Gathering(minions, now=0.0, timeout=TIMEOUT, ask_timeout=ASK, syndic_wait=syndic_wait)


def asked(*minions: str, now: float = TIMEOUT) -> Gathering:
    """Return a gathering that has just asked its silent minions."""
    job = gathering(*minions)
    job.asked(now=now)
    return job


def test_a_job_is_done_when_every_minion_has_returned() -> None:
    job = gathering("a", "b")

    assert job.step(now=0) is Step.WAIT
    job.returned("a", RETURN)
    assert (job.step(now=1), job.pending) == (Step.WAIT, {"b"})
    job.returned("b", RETURN)
    assert (job.step(now=1), job.missing) == (Step.DONE, set())


def test_a_job_without_minions_is_done_at_once() -> None:
    assert gathering().step(now=0) is Step.DONE


def test_the_silent_are_asked_when_the_timeout_has_passed() -> None:
    job = gathering("a")

    assert job.wake_at(now=0) == TIMEOUT
    assert job.step(now=TIMEOUT - 0.1) is Step.WAIT
    assert job.step(now=TIMEOUT) is Step.ASK


def test_minions_that_do_not_say_they_run_end_the_job_when_the_answers_had_their_time() -> None:
    job = asked("a", now=TIMEOUT)

    assert job.wake_at(now=TIMEOUT) == TIMEOUT + ASK
    assert job.step(now=TIMEOUT + ASK - 0.1) is Step.WAIT
    assert job.step(now=TIMEOUT + ASK) is Step.DONE
    assert job.missing == {"a"}


def test_a_minion_that_runs_the_job_prolongs_it_and_is_asked_again() -> None:
    job = asked("a", "b", now=TIMEOUT)
    job.runs("a", now=6)

    assert job.step(now=TIMEOUT + ASK - 0.1) is Step.WAIT
    assert job.step(now=TIMEOUT + ASK) is Step.ASK


def questions(job: Gathering, *, running: str, over: int) -> list[int]:
    """Return when the silent are asked, second by second, of whom one says each time that it runs the job."""
    made = []
    for now in range(over):
        if job.step(now=now) is Step.ASK:
            made.append(now)
            job.asked(now=now)
            job.runs(running, now=now)
    return made


def test_who_runs_the_job_is_asked_less_often_the_longer_it_takes() -> None:
    made = questions(gathering("a"), running="a", over=600)

    # LocalClient asks at 5, 15, 25, ... 595 s.
    assert made[:4] == [5, 15, 25, 38]
    assert len(made) < 60 / 3
    assert made[-1] - made[-2] == LONGEST_PAUSE_SECONDS


def test_the_verdict_on_the_silent_waits_for_nobody_who_has_returned() -> None:
    job = gathering("a", "silent")
    *_, last = questions(job, running="a", over=300)
    job.returned("a", RETURN)

    assert job.step(now=last + ASK - 0.1) is Step.WAIT
    assert job.wake_at(now=last + ASK - 0.1) == last + ASK
    assert job.step(now=last + ASK) is Step.ASK
    job.asked(now=last + ASK)
    assert job.step(now=last + 2 * ASK) is Step.DONE


def test_after_an_interruption_of_the_bus_who_runs_a_long_job_is_asked_at_once() -> None:
    job = gathering("a")
    *_, last = questions(job, running="a", over=300)
    job.ask_soon(now=last + 1)

    assert job.step(now=last + 1) is Step.ASK


def test_every_silent_minion_keeps_its_patience() -> None:
    job = asked("a", now=TIMEOUT)
    job.runs("a", now=14)
    job.asked(now=15)
    job.expect(["late"], (), now=24)

    assert job.step(now=25) is Step.WAIT
    assert job.wake_at(now=25) == 24 + TIMEOUT
    assert job.step(now=24 + TIMEOUT) is Step.DONE


def test_a_minion_that_says_it_runs_is_awaited_though_nobody_named_it() -> None:
    job = asked("a", now=TIMEOUT)
    job.runs("stranger", now=6)

    assert job.pending == {"a", "stranger"}


def test_a_second_return_of_a_minion_is_not_one() -> None:
    job = gathering("a")

    assert job.returned("a", RETURN) is True
    assert job.returned("a", {"return": False}) is False
    assert job.returns == {"a": RETURN}


def test_a_return_of_an_unexpected_minion_is_kept_and_ends_nothing() -> None:
    job = gathering("a")
    job.returned("b", RETURN)

    assert (job.step(now=0), job.pending, set(job.returns)) == (Step.WAIT, {"a"}, {"b"})


def test_a_minion_that_cannot_answer_is_given_up() -> None:
    job = gathering("a", "b")
    job.returned("a", RETURN)
    job.give_up_on("b")

    assert (job.step(now=0), job.missing) == (Step.DONE, set())


def test_targets_without_a_key_are_missing_but_not_awaited() -> None:
    job = gathering("a")
    job.expect([], ["ghost", "a"], now=0)
    job.returned("a", RETURN)

    assert (job.step(now=0), job.missing) == (Step.DONE, {"ghost"})


def test_a_master_of_masters_waits_for_the_lists_of_lower_masters() -> None:
    job = gathering("a", syndic_wait=3.0)
    job.returned("a", RETURN)

    assert (job.step(now=2.9), job.wake_at(now=2.9)) == (Step.WAIT, 3.0)
    job.expect(["below"], (), now=2.9)
    assert job.step(now=3.0) is Step.WAIT
    job.returned("below", RETURN)
    assert job.step(now=3.0) is Step.DONE


def test_a_master_of_masters_gives_answers_more_time() -> None:
    job = gathering("a", syndic_wait=3.0)
    job.asked(now=TIMEOUT)

    assert job.step(now=TIMEOUT + ASK) is Step.WAIT
    assert job.step(now=TIMEOUT + ASK + 3.0) is Step.DONE


def test_a_group_that_is_closed_takes_neither_returns_nor_words_of_others() -> None:
    job = Gathering(["a"], now=0.0, timeout=TIMEOUT, ask_timeout=ASK, closed=True)
    job.expect(["b"], ["ghost"], now=0)
    job.runs("b", now=0)

    assert job.returned("b", RETURN) is False
    assert ({*job.pending}, job.missing, job.returned("a", RETURN)) == ({"a"}, {"a"}, True)


def test_being_named_again_does_not_prolong_the_wait_for_a_minion() -> None:
    job = asked("a", now=TIMEOUT)
    job.expect(["a"], (), now=14)

    assert job.step(now=TIMEOUT + ASK) is Step.DONE


def test_after_the_bus_was_lost_the_silent_are_asked_at_once() -> None:
    job = asked("a", now=TIMEOUT)
    job.ask_soon(now=6)

    assert job.wake_at(now=6) == 6
    assert job.step(now=6) is Step.ASK


@dataclasses.dataclass
class Model:
    """LocalClient.get_iter_returns as it is written, without its sockets; but who says that it runs the job is asked less often (decision 41)."""

    minions: set[str]
    now: float = 0.0
    found: set[str] = dataclasses.field(default_factory=set)
    minions_running: bool = True
    timeout_at: float = TIMEOUT
    minion_timeouts: dict[str, float] = dataclasses.field(default_factory=dict)
    runners: set[str] = dataclasses.field(default_factory=set)
    question_at: float = TIMEOUT

    @property
    def due_at(self) -> float:
        return max(self.timeout_at, self.question_at) if self.runners & (self.minions - self.found) else self.timeout_at

    def start_timeouts(self) -> None:
        for minion in self.minions - self.found:
            self.minion_timeouts.setdefault(minion, self.now + TIMEOUT)

    def step(self) -> Step:
        self.start_timeouts()
        if len(self.found & self.minions) >= len(self.minions):
            return Step.DONE
        if self.now >= self.due_at and self.minions_running:
            return Step.ASK
        over = self.now >= self.due_at and not self.minions_running
        return Step.DONE if over and all(self.now >= self.minion_timeouts[minion] for minion in self.minions - self.found) else Step.WAIT

    def asked(self) -> None:
        self.minions_running = False
        self.timeout_at = self.now + ASK
        self.runners.clear()
        self.question_at = self.now + question_pause(self.now, ASK)

    def runs(self, minion: str) -> None:
        self.minions.add(minion)
        self.minion_timeouts[minion] = self.now + TIMEOUT
        self.minions_running = True
        self.runners.add(minion)

    def give_up_on(self, minion: str) -> None:
        self.minions.discard(minion)
        self.runners.discard(minion)


NAMES = st.sampled_from(["a", "b", "c", "d"])
EVENTS = st.lists(st.tuples(st.integers(0, 7), st.sampled_from(["return", "runs", "expect", "give up"]), NAMES), max_size=25)


def book(job: Gathering, model: Model, kind: str, minion: str) -> None:
    """Tell both the same event."""
    if kind == "return":
        job.returned(minion, RETURN)
        model.found.add(minion)
    elif kind == "runs":
        job.runs(minion, now=model.now)
        model.runs(minion)
    elif kind == "expect":
        job.expect([minion], (), now=model.now)
        model.minions.add(minion)
        model.start_timeouts()
    else:
        job.give_up_on(minion)
        model.give_up_on(minion)


def agreed_step(job: Gathering, model: Model) -> Step:
    step = job.step(now=model.now)
    assert step is model.step()
    if step is Step.ASK:
        job.asked(now=model.now)
        model.asked()
    return step


def run_until_done(job: Gathering, model: Model) -> None:
    """Let nobody say anything any more; every wake-up must lead somewhere."""
    for _ in range(10):
        if agreed_step(job, model) is Step.DONE:
            return
        wake = job.wake_at(now=model.now)
        assert wake > model.now
        model.now = wake
    raise AssertionError("the job never ends")


@given(st.sets(NAMES), EVENTS)
def test_any_history_goes_as_local_client_has_it_and_ends_once_no_minion_runs(minions: Iterable[str], events: list[tuple[int, str, str]]) -> None:
    job, model = gathering(*minions), Model(set(minions))
    model.start_timeouts()
    for pause, kind, minion in events:
        model.now += pause
        book(job, model, kind, minion)
        if agreed_step(job, model) is Step.DONE:
            break

    run_until_done(job, model)
    assert job.missing == model.minions - model.found
