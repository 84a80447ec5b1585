"""Views: which events a reader sees, and when those of its own jobs come."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from service.events.owners import Owner, Owners
from service.streaming.readers import View
from tests.unit.streaming.streams import Make, fire, owner, until


def test_a_reader_of_one_user_sees_that_users_jobs_only(make: Make) -> None:
    fan_out = make()
    reader = fan_out.open(View(owner("alice")))

    for jid, user in (("1", "alice"), ("2", "bob"), ("3", "alice")):
        fire(fan_out, f"salt/job/{jid}/new", user=user)
    for jid in ("2", "9", "1", "3"):
        fire(fan_out, f"salt/job/{jid}/ret/m")
    fire(fan_out, "salt/auth")
    fire(fan_out, "salt/job/3/ret/last")

    tags = [event.tag for event in until(reader, "salt/job/3/ret/last")]
    assert tags == ["salt/job/1/new", "salt/job/3/new", "salt/job/1/ret/m", "salt/job/3/ret/m", "salt/job/3/ret/last"]


def test_a_user_cannot_claim_a_job_that_another_started(make: Make) -> None:
    fan_out = make()
    reader = fan_out.open(View(owner("mallory")))

    fire(fan_out, "salt/job/1/new", user="alice")
    fire(fan_out, "salt/job/1/new", user="mallory")
    fire(fan_out, "salt/job/1/ret/m")
    fire(fan_out, "salt/job/2/new", user="mallory")

    assert [event.tag for event in until(reader, "salt/job/2/new")] == ["salt/job/2/new"]


@pytest.mark.parametrize("of_name", [None, owner])
def test_an_announcement_says_nothing_of_a_job_that_we_started(make: Make, of_name: Callable[[str], Owner] | None) -> None:
    owners = Owners(of_name)
    fan_out = make(owners)
    theirs, ours = fan_out.open(View(Owner("file", "mallory"))), fan_out.open(View(Owner("pam", "ann")))
    owners.started("1", Owner("pam", "ann"))
    owners.started("2", Owner("file", "mallory"))

    for jid in ("1", "2"):
        fire(fan_out, f"salt/job/{jid}/new", user="mallory")
        fire(fan_out, f"salt/job/{jid}/ret/m")

    assert [event.tag for event in until(ours, "salt/job/1/ret/m")] == ["salt/job/1/new", "salt/job/1/ret/m"]
    assert [event.tag for event in until(theirs, "salt/job/2/ret/m")] == ["salt/job/2/new", "salt/job/2/ret/m"]


def test_events_that_come_before_the_masters_answer_wait_for_it_and_keep_their_order(make: Make) -> None:
    owners = Owners()
    fan_out = make(owners)
    mine, everything = fan_out.open(View(owner("ann"), ids=True)), fan_out.open(View())
    owners.started("0", owner("ann"))

    with owners.starting():
        fire(fan_out, "salt/job/1/new", user="ann")
        fire(fan_out, "salt/job/0/ret/m")
        # Who sees everything need not wait.
        until(everything, "salt/job/0/ret/m")
        early = mine.next(0)
        owners.started("1", owner("ann"))

    events = until(mine, "salt/job/0/ret/m")
    assert early is None
    assert [event.tag for event in events] == ["salt/job/1/new", "salt/job/0/ret/m"]
    assert [event.id for event in events] == sorted(str(event.id) for event in events)


def test_a_start_that_began_later_keeps_nothing_back(make: Make) -> None:
    owners = Owners()
    fan_out = make(owners)
    everything, mine = fan_out.open(View()), fan_out.open(View(owner("ann")))
    fire(fan_out, "salt/job/1/new", user="ann")
    owners.started("2", owner("ann"))

    with owners.starting():
        fire(fan_out, "salt/job/2/new", user="ann")

        assert [event.tag for event in until(mine, "salt/job/2/new")] == ["salt/job/2/new"]
    until(everything, "salt/job/2/new")


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_master_that_answers_too_late_keeps_nothing_back_for_ever(make: Make) -> None:
    owners, clock = Owners(), Clock()
    fan_out = make(owners, monotonic=clock)
    mine = fan_out.open(View(owner("ann")))
    owners.started("2", owner("ann"))

    with owners.starting():
        fire(fan_out, "salt/job/1/new", user="ann")
        fire(fan_out, "salt/job/2/new", user="ann")
        clock.now += 11

        assert [event.tag for event in until(mine, "salt/job/2/new")] == ["salt/job/2/new"]


@pytest.mark.slow
def test_what_waits_is_bounded(make: Make) -> None:
    owners = Owners()
    fan_out = make(owners, queue_events=10_000)
    mine, everything = fan_out.open(View(owner("ann"))), fan_out.open(View())
    owners.started("mine", owner("ann"))

    with owners.starting():
        fire(fan_out, "salt/job/mine/ret/first")
        for number in range(5100):
            fire(fan_out, f"salt/job/{number}/new", user="ann")
        fire(fan_out, "salt/job/mine/ret/last")
        until(everything, "salt/job/mine/ret/last")
    seen = [event.tag for event in until(mine, "salt/job/mine/ret/last")]

    assert seen == ["salt/job/mine/ret/first", "salt/job/mine/ret/last"]


def test_who_comes_back_while_a_job_is_being_started_gets_its_events_once(make: Make) -> None:
    owners = Owners()
    fan_out = make(owners)
    view = View(owner("ann"), ids=True)
    everything = fan_out.open(View())
    reader = fan_out.open(view)
    owners.started("0", owner("ann"))
    fire(fan_out, "salt/job/0/new")
    last = until(reader, "salt/job/0/new")[-1].id

    with owners.starting():
        fire(fan_out, "salt/job/1/new")
        until(everything, "salt/job/1/new")
        fan_out.close(reader)
        again = fan_out.open(view, last)
        owners.started("1", owner("ann"))
    fire(fan_out, "salt/job/1/ret/m")

    assert [event.tag for event in until(again, "salt/job/1/ret/m")] == ["salt/job/1/new", "salt/job/1/ret/m"]


@pytest.mark.parametrize(
    ("globs", "expected"),
    [
        (("a/*",), ["a/1", "a/b/2"]),
        (("a/?",), ["a/1"]),
        (("[ab]/*", "c"), ["a/1", "a/b/2", "b/1", "c"]),
        (("A/*",), []),
        (("",), []),
        (("[", "(", "*+$"), []),
    ],
)
def test_globs_select_tags_as_a_shell_would(make: Make, globs: tuple[str, ...], expected: list[str]) -> None:
    fan_out = make()
    reader = fan_out.open(View(globs=(*globs, "end")))

    for tag in ("a/1", "a/b/2", "b/1", "c", "end"):
        fire(fan_out, tag)

    assert [event.tag for event in until(reader, "end")] == [*expected, "end"]
