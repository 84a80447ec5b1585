"""Owners: whose a job is, which jids are taken, and how long that may still change."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import Conflict
from service.events.hub import Hub
from service.events.owners import Owner, Owners
from tests.costs import kept_bytes_of
from tests.unit.streaming.streams import owner

JID = "20261123085604306179"
ANN, BOB = owner("ann"), Owner("pam", "ann")


def test_the_first_to_be_announced_is_the_owner_where_a_name_tells() -> None:
    owners = Owners(owner)
    owners.announced(JID, "ann")
    owners.announced(JID, "mallory")

    assert owners.of(JID) == ANN


@pytest.mark.parametrize("of_name", [None, lambda _name: None])
def test_where_a_name_does_not_tell_the_job_is_nobodys_for_good(of_name: Callable[[str], None] | None) -> None:
    owners = Owners(of_name)
    owners.announced(JID, "root")
    owners.of_name = owner
    owners.announced(JID, "mallory")

    assert owners.of(JID) is None
    assert owners.of(None) is None


def test_what_we_start_is_ours_whatever_was_announced() -> None:
    owners = Owners(owner)
    owners.announced(JID, "mallory")
    owners.started(JID, BOB)
    owners.announced(JID, "mallory")

    assert owners.of(JID) == BOB


def test_at_least_half_of_the_owners_are_remembered() -> None:
    owners = Owners(owner, most=4)
    for number in range(5):
        owners.announced(str(number), "ann")
    owners.announced("2", "mallory")

    assert [owners.of(str(number)) for number in range(5)] == [None, None, ANN, ANN, ANN]


@pytest.mark.costly
@pytest.mark.parametrize("tells_first", ["the bus", "the master"])
def test_a_job_of_ours_takes_no_more_memory_because_the_bus_tells_of_it_too(tells_first: str) -> None:
    alone, both = Owners(owner), Owners(owner)

    def start(owners: Owners, told: str) -> None:
        for number in range(2000):
            if told == "the bus":
                owners.announced(f"{JID}{number}", "ann")
            owners.started(f"{JID}{number}", ANN)
            if told == "the master":
                owners.announced(f"{JID}{number}", "ann")
                owners.exists(f"{JID}{number}")

    assert kept_bytes_of(lambda: start(both, tells_first)) < 1.1 * kept_bytes_of(lambda: start(alone, "nobody"))


def test_a_flood_of_jids_on_the_bus_takes_nothing_from_those_we_started() -> None:
    owners = Owners(owner, most=4)
    owners.started(JID, ANN)
    for number in range(100):
        owners.exists(str(number))

    assert owners.of(JID) == ANN


@pytest.mark.parametrize(
    ("tag", "taken"),
    [
        (f"salt/job/{JID}/new", True),
        (f"salt/job/{JID}/ret/m", True),
        (f"syndic/lower/salt/job/{JID}/ret/m", True),
        (f"salt/run/{JID}/new", True),
        (f"salt/job/{JID}/error", False),
        (f"salt/job/{JID}/whatever", False),
        (f"my/{JID}", False),
    ],
)
def test_a_jid_is_taken_once_the_bus_tells_of_its_job(tag: str, taken: bool) -> None:
    hub = Hub(early_limit_bytes=1, on_event=lambda _kind, _size: None, on_drop=lambda: None)
    hub.deliver(tag.encode() + b"\n\n\x80")

    with pytest.raises(Conflict) if taken else contextlib.nullcontext(), hub.owners.reserve(JID, ANN):
        pass


def test_a_jid_of_ones_own_may_be_used_again_but_not_while_it_is_waited_for() -> None:
    owners = Owners()
    with owners.reserve(JID, ANN):
        owners.exists(JID)
        owners.started(JID, ANN)
        with pytest.raises(Conflict, match=JID), owners.reserve(JID, ANN):
            pass

    with owners.reserve(JID, ANN):
        pass
    with pytest.raises(Conflict), owners.reserve(JID, BOB):
        pass


def test_a_jid_that_was_kept_for_a_job_that_was_refused_is_free_again() -> None:
    owners = Owners()
    with owners.reserve(JID, ANN):
        pass

    with owners.reserve(JID, BOB):
        pass


@given(st.lists(st.sampled_from(["begin", "end first", "end last", "event"]), max_size=20))
def test_an_event_is_settled_when_all_starts_that_had_begun_are_over(steps: list[str]) -> None:
    owners = Owners()
    under_way: list[contextlib.ExitStack] = []
    events: list[tuple[int, list[contextlib.ExitStack]]] = []
    for step in steps:
        if step == "begin":
            under_way.append(contextlib.ExitStack())
            under_way[-1].enter_context(owners.starting())
        elif step == "event":
            events.append((owners.begun, list(under_way)))
        elif under_way:
            under_way.pop(0 if step == "end first" else -1).close()
        for begun, before in events:
            assert owners.is_settled(JID, begun) is not any(one in under_way for one in before)
