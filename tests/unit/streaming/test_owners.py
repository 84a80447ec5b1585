"""Owners: whose a job is, and who may see an event."""

from __future__ import annotations

import pytest

from service.streaming.owners import Owners, View
from tests.unit.streaming.streams import Make, event, fire, until

JID = "20261123085604306179"


def test_the_first_to_announce_a_job_is_its_owner() -> None:
    owners = Owners()
    owners.learn(event(f"salt/job/{JID}/new", {"user": "alice"}))
    owners.learn(event(f"salt/job/{JID}/new", {"user": "mallory"}))
    owners.learn(event(f"salt/job/{JID}/ret/m", {"user": "mallory"}))

    assert owners.of(JID) == "alice"


@pytest.mark.parametrize("user", [None, "", 5, ["alice"]])
def test_a_job_without_a_user_is_nobodys(user: object) -> None:
    owners = Owners()
    owners.learn(event(f"salt/run/{JID}/new", {"user": user}))

    assert owners.of(JID) is None


def test_at_least_half_of_the_owners_are_remembered() -> None:
    owners = Owners(most=4)
    for number in range(5):
        owners.learn(event(f"salt/job/{number}/new", {"user": "alice"}))
    owners.learn(event("salt/job/2/new", {"user": "mallory"}))

    assert [owners.of(str(number)) for number in range(5)] == [None, None, "alice", "alice", "alice"]


def test_a_reader_of_one_user_sees_that_users_jobs_only(make: Make) -> None:
    fan_out = make()
    reader = fan_out.open(View(user="alice"))

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
    reader = fan_out.open(View(user="mallory"))

    fire(fan_out, "salt/job/1/new", user="alice")
    fire(fan_out, "salt/job/1/new", user="mallory")
    fire(fan_out, "salt/job/1/ret/m")
    fire(fan_out, "salt/job/2/new", user="mallory")

    assert [event.tag for event in until(reader, "salt/job/2/new")] == ["salt/job/2/new"]


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
