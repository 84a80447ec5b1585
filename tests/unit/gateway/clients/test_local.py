"""Jobs: published, gathered, asked about and answered as LocalClient does, in a time that the tests move."""

from __future__ import annotations

from typing import Any

import pytest

from service.errors import Fault, Forbidden, MasterTimeout, MasterUnreachable, Overloaded, Unauthenticated
from service.gateway.clients.gathering import BUS_GRACE_SECONDS, LOOK_UP_SECONDS, Ask, GivenUp, Over, Returned
from service.gateway.clients.local import Request
from service.gateway.clients.publish import Job
from service.gateway.clients.result import SILENT, LowResult
from service.gateway.low import Low
from tests.unit.gateway.clients.world import AUTHENTICATION_ERROR, AUTHORIZATION_ERROR, JID, NO_MATCH, QUESTION, TOKEN, World, low, published

ASKED = 5.0  # seconds, Salt's default `timeout`
GATHERED = 10.0  # and its `gather_job_timeout`


@pytest.fixture
def world() -> World:
    return World()


def run(world: World, job: Low | None = None, *, deadline: float = 1000.0, **options: Any) -> LowResult:
    return world.jobs(**options).run(job or low(), world.request(deadline=deadline))


def test_a_job_is_done_when_all_minions_have_returned(world: World) -> None:
    world.replies = [published("a", "b")]
    world.returns(0.1, "b", {"x": 1})
    world.returns(0.2, "a")
    result = run(world)

    assert result == LowResult({"b": {"x": 1}, "a": True}, "ok", JID, 2, 2, 0, 0)
    assert (world.now, world.accepted) == (0.2, 1)


def test_returns_that_come_before_the_acknowledgement_count(world: World) -> None:
    def publish(_load: dict[str, Any]) -> dict[str, Any]:
        world.returns(0, "a", "early")
        world.wait(0, lambda: False)
        return published("a")

    world.replies = [publish]

    assert run(world).value == {"a": "early"}


def test_nobody_matched_is_an_empty_value(world: World) -> None:
    world.replies = [NO_MATCH, NO_MATCH]

    assert run(world) == LowResult({}, "no_match")
    assert world.jobs().start(low("local_async"), world.request()) == LowResult({}, "no_match")
    assert world.accepted == 2


def test_starting_a_job_does_not_wait_for_it(world: World) -> None:
    world.replies = [published("a", "b")]
    result = world.jobs().start(low("local_async"), world.request())

    assert result == LowResult({"jid": JID, "minions": ["a", "b"]}, "ok", JID, expected=2)
    assert world.now == 0


def test_a_silent_minion_is_asked_and_given_up(world: World) -> None:
    world.replies = [published("a", "dead"), published("dead", jid=QUESTION)]
    world.returns(1, "a")
    result = run(world)

    assert (result.value["a"], result.outcome, result.missing, world.now) == (True, "partial", 1, ASKED + GATHERED)
    assert result.value["dead"].startswith("Minion did not return. [No response]\nThe minions may not have all finished running")
    assert f"salt-run jobs.lookup_jid {JID}" in result.value["dead"]
    question = world.loads[1]
    assert (question["fun"], question["arg"], question["tgt"], question["tgt_type"]) == ("saltutil.find_job", [JID], ["dead"], "list")
    assert question["kwargs"] == {"token": TOKEN}


def test_a_slow_minion_is_waited_for_as_long_as_it_says_it_runs(world: World) -> None:
    world.replies = [published("a"), published("a", jid=QUESTION), published("a", jid="20260101000000000002")]
    world.returns(6, "a", {"jid": JID, "fun": "state.apply"}, jid=QUESTION)
    world.returns(16, "a", {"jid": JID}, jid="20260101000000000002")
    world.returns(22, "a", "done")

    assert run(world).value == {"a": "done"}
    assert (world.now, [load["fun"] for load in world.loads]) == (22, ["test.ping", "saltutil.find_job", "saltutil.find_job"])


def test_a_minion_that_does_not_run_the_job_any_more_is_given_up(world: World) -> None:
    world.replies = [published("a"), published("a", jid=QUESTION)]
    world.returns(6, "a", {}, jid=QUESTION)
    world.returns(7, "a", "an error as text", jid=QUESTION)

    assert run(world).outcome == "partial"
    assert world.now == ASKED + GATHERED


def test_a_minion_that_cannot_answer_the_question_is_false(world: World) -> None:
    world.replies = [published("a", "odd"), published("odd", jid=QUESTION)]
    world.returns(1, "a")
    world.returns(6, "odd", "no such function", jid=QUESTION, retcode=254)
    result = run(world)

    assert (result.value, result.outcome, result.missing, world.now) == ({"a": True, "odd": False}, "partial", 1, 6)


def test_what_is_no_answer_to_the_question_is_ignored(world: World) -> None:
    world.replies = [published("a"), published("a", jid=QUESTION)]
    world.fires(6, f"salt/job/{QUESTION}/new", {"id": "a", "minions": ["a"], "return": {"jid": JID}})
    world.fires(6, f"salt/job/{QUESTION}/ret/a", {"id": 5, "return": {"jid": JID}})

    assert run(world).outcome == "partial"
    assert world.now == ASKED + GATHERED


@pytest.mark.parametrize("refusal", [NO_MATCH, AUTHENTICATION_ERROR, MasterUnreachable("down")], ids=["no match", "refused", "down"])
def test_a_question_that_cannot_be_asked_costs_no_returns(world: World, refusal: Any) -> None:
    world.replies = [published("a", "b"), refusal]
    world.returns(1, "a")
    world.returns(8, "b")

    assert run(world).value == {"a": True, "b": True}


@pytest.mark.parametrize(
    ("refusal", "word"),
    [
        (NO_MATCH, "No response"),
        (AUTHENTICATION_ERROR, "Refused"),
        (AUTHORIZATION_ERROR, "Refused"),
        (MasterUnreachable("down"), "Unknown"),
        (MasterTimeout("slow"), "Unknown"),
    ],
)
@pytest.mark.parametrize("full_return", [False, True])
def test_a_minion_that_could_not_be_asked_is_not_called_silent(world: World, refusal: Any, word: str, full_return: bool) -> None:
    world.replies = [published("a"), refusal, MasterUnreachable("down by now")]
    value = run(world, low(full_return=full_return)).value["a"]
    text = value["ret"] if full_return else value

    assert text.startswith(f"Minion did not return. [{word}]\n")
    assert text.endswith(f"salt-run jobs.lookup_jid {JID}")


@pytest.mark.parametrize("busy", [MasterTimeout("slow"), Overloaded("many wait")])
def test_a_master_that_is_too_busy_for_the_question_is_asked_again_as_long_as_it_is_up(world: World, busy: Fault) -> None:
    world.replies = [published("a"), busy, busy, published("a", jid=QUESTION)]
    world.returns(30, "a", "late")

    assert (run(world).value, len(world.loads)) == ({"a": "late"}, 4)


def test_a_busy_master_that_counts_as_down_by_then_is_not_asked_again(world: World) -> None:
    world.replies = [published("a"), MasterTimeout("slow"), MasterTimeout("slow")]
    world.at(ASKED + 1, lambda: setattr(world, "up", False))

    assert "[Unknown]" in run(world).value["a"]
    assert len(world.loads) == 3


def test_a_later_question_that_was_asked_says_what_silence_means(world: World) -> None:
    world.replies = [published("a"), published("a", jid=QUESTION), MasterTimeout("slow"), published("a", jid="20260101000000000002")]
    world.returns(6, "a", {"jid": JID}, jid=QUESTION)
    world.returns(16, "a", {"jid": JID}, jid=QUESTION)

    assert "[No response]" in run(world).value["a"]
    assert len(world.loads) == 4


def test_timeouts_come_from_the_low_else_from_the_master(world: World) -> None:
    world.replies = [published("a"), NO_MATCH, published("a"), NO_MATCH]
    run(world, timeout=2, gather_job_timeout=3)
    assert world.now == 5
    run(world, low(timeout=1, gather_job_timeout=1.5))

    assert world.now == 7.5


def test_targets_without_a_key_are_told_as_silent(world: World) -> None:
    world.replies = [published("a", missing=("ghost",))]
    world.returns(1, "a")
    result = run(world, low(tgt=["a", "ghost"], tgt_type="list"))

    assert (list(result.value), result.expected, result.returned, result.outcome) == (["a", "ghost"], 2, 1, "partial")


def test_the_full_return_has_retcode_and_jid(world: World) -> None:
    world.replies = [published("a", "dead"), NO_MATCH]
    world.returns(1, "a", "no", retcode=2, out="highstate")
    result = run(world, low(full_return=True))

    assert result.value["a"] == {"ret": "no", "out": "highstate", "retcode": 2, "jid": JID}
    assert (result.value["dead"]["out"], result.value["dead"]["retcode"], result.failed) == ("no_return", 1, 1)


@pytest.mark.parametrize(
    ("more", "outcome"), [({}, "ok"), ({"retcode": 1}, "failed"), ({"success": False}, "failed"), ({"retcode": {"a.b": 0, "c.d": 1}}, "failed")]
)
def test_a_failing_minion_makes_the_job_failed(world: World, more: dict[str, Any], outcome: str) -> None:
    world.replies = [published("a")]
    world.returns(1, "a", **more)

    assert run(world).outcome == outcome


def test_second_returns_and_events_that_are_none_change_nothing(world: World) -> None:
    world.replies = [published("a", "b")]
    world.returns(1, "a", "first")
    world.returns(2, "a", "second")
    world.fires(3, f"salt/job/{JID}/prog/a/0", {"id": "a", "return": "progress"})
    world.fires(3, f"salt/job/{JID}/ret/b", {"id": "b"})
    world.fires(3, f"salt/job/{JID}/ret/b", {"return": "nobody's"})
    world.fires(3, f"salt/job/{JID}/ret/b", ["no mapping"])
    world.returns(4, "b")

    assert run(world).value == {"a": "first", "b": True}


def test_a_resource_is_told_apart_from_its_minion(world: World) -> None:
    world.replies = [published("a", "a-disk")]
    world.returns(1, "a")
    world.fires(2, f"salt/job/{JID}/ret/a-disk", {"id": "a", "resource_id": "a-disk", "return": "spinning"})

    assert run(world).value == {"a": True, "a-disk": "spinning"}


def test_a_refusal_on_the_bus_is_not_of_a_job_that_the_master_has_taken(world: World) -> None:
    world.replies = [published("a")]
    world.fires(1, f"salt/job/{JID}/error", {"error": {"name": "AuthorizationError"}})
    world.returns(2, "a")

    assert run(world).value == {"a": True}


@pytest.mark.parametrize(
    ("reply", "fault"), [(AUTHENTICATION_ERROR, Unauthenticated), (AUTHORIZATION_ERROR, Forbidden), (MasterUnreachable("x"), MasterUnreachable)]
)
def test_a_refused_publish_is_a_fault_and_nothing_was_accepted(world: World, reply: Any, fault: type[Exception]) -> None:
    world.replies = [reply]
    with pytest.raises(fault):
        run(world)

    assert world.accepted == 0
    assert world.hub.is_idle


def test_without_the_bus_nothing_is_published(world: World) -> None:
    world.hub.interrupted()
    with pytest.raises(MasterUnreachable, match="bus is not connected"):
        run(world)

    assert world.loads == []


def test_the_deadline_ends_the_wait_whatever_the_minions_say(world: World) -> None:
    world.replies = [published("a", "b"), published("b", jid=QUESTION)]
    world.returns(1, "a")
    world.returns(6, "b", {"jid": JID}, jid=QUESTION)
    result = run(world, deadline=8.5)

    assert (world.now, result.value["a"], result.jid, result.outcome) == (8.5, True, JID, "partial")
    assert result.value["b"].startswith("Minion did not return. [Deadline]")


@pytest.mark.parametrize("since", [1, ASKED + 1], ids=["before the question", "after it"])
def test_what_came_while_the_process_stood_still_is_read_before_minions_are_given_up(world: World, since: float) -> None:
    world.replies = [published("a", "b"), published("a", "b", jid=QUESTION)]
    world.stands_still(since, until=100)
    world.returns(50, "a")
    world.returns(50, "b")

    assert run(world).outcome == "ok"
    assert len(world.loads) == (1 if since < ASKED else 2)


def test_a_bus_that_comes_back_at_once_is_forgiven_and_the_silent_are_asked(world: World) -> None:
    world.replies = [published("a", "b", "c"), published("b", "c", jid=QUESTION), NO_MATCH]
    world.returns(1, "a")
    world.cut(1.5)
    world.mend(1.6)
    world.returns(3, "b", {"jid": JID}, jid=QUESTION)
    world.returns(4, "c", {}, jid=QUESTION)
    world.returns(5, "b", "late")
    result = run(world)

    assert [load["tgt"] for load in world.loads[1:]] == [["b", "c"], ["c"]]
    assert (result.value["a"], result.value["b"]) == (True, "late")
    assert result.value["c"].startswith("Minion did not return. [Unknown]\nThe event bus was interrupted")


def test_a_bus_that_stays_away_ends_the_wait_after_a_grace(world: World) -> None:
    world.replies = [published("a", "b"), NO_MATCH]
    world.returns(1, "a")
    world.cut(2)
    result = run(world, timeout=60)

    assert 2 + BUS_GRACE_SECONDS < world.now <= 2 + BUS_GRACE_SECONDS + LOOK_UP_SECONDS
    assert (result.value["a"], result.outcome) == (True, "partial")
    assert "[Unknown]" in result.value["b"]


def test_a_bus_that_goes_with_its_master_ends_the_wait_at_once(world: World) -> None:
    world.replies = [published("a")]
    world.cut(2)
    world.up = False

    assert run(world).outcome == "partial"
    assert world.now == 2


def test_lower_masters_may_name_further_minions(world: World) -> None:
    world.replies = [published("a")]
    world.returns(1, "a")
    world.fires(2, f"syndic/lower/{JID}", {"minions": ["below"], "missing": ["gone"]})
    world.fires(3, f"syndic/lower/salt/job/{JID}/ret/below", {"id": "below", "return": 1})
    result = run(world, order_masters=True, syndic_wait=5)

    assert (result.value["a"], result.value["below"], world.now) == (True, 1, 5)
    assert "[No response]" in result.value["gone"]


def test_whoever_follows_a_job_hears_of_each_step_when_it_happens(world: World) -> None:
    world.replies = [published("a", "odd", "dead"), published("odd", "dead", jid=QUESTION)]
    world.returns(1, "a")
    world.returns(6, "odd", "no such function", jid=QUESTION, retcode=254)
    heard = [(world.now, step) for step in world.jobs().follow(low(), world.request())]
    _, over = heard.pop()

    assert [when for when, _ in heard] == [0, 1, ASKED, 6]
    assert [step for _, step in heard if not isinstance(step, Returned)] == [Job(JID, ["a", "odd", "dead"], []), Ask(["dead", "odd"]), GivenUp("odd")]
    assert [(step.minion, step.data["return"]) for _, step in heard if isinstance(step, Returned)] == [("a", True)]
    assert isinstance(over, Over)
    assert (world.now, over.group.missing, over.why) == (ASKED + GATHERED, {"dead"}, SILENT)


def test_whoever_follows_a_job_that_nobody_matched_hears_nothing(world: World) -> None:
    world.replies = [NO_MATCH]

    assert list(world.jobs().follow(low(), world.request())) == []


def test_whoever_stops_following_is_not_waited_for_any_more(world: World) -> None:
    world.replies = [published("a", "b")]
    world.returns(1, "a")
    request = world.request()
    steps = world.jobs().follow(low(), request)
    assert [type(next(steps)), type(next(steps))] == [Job, Returned]
    steps.close()

    assert (world.now, [stage.name for stage in request.timeline.stages]) == (1, ["publish", "gather"])


def test_a_subset_is_drawn_from_the_minions_that_have_the_function(world: World) -> None:
    world.replies = [published("a", "b", "c", "d"), published("d", "c", jid=QUESTION)]
    world.returns(1, "a", ["test.ping"])
    world.returns(1, "b", ["other.fun"])
    world.returns(1, "c", ["test.ping", "other.fun"])
    world.returns(1, "d", {"test.ping": None})
    world.returns(2, "c", jid=QUESTION)
    world.returns(2, "d", jid=QUESTION)
    job = low("local_subset", sub=2, arg=[1], kwarg={"x": 1}, ret="mysql", jid=JID, full_return=True)
    result = world.jobs().run_on_subset(job, world.request())

    asking, running = world.loads
    assert (asking["fun"], asking["arg"], asking["ret"], asking["jid"], asking["tgt"]) == ("sys.list_functions", [], "", "", "*")
    assert (running["fun"], running["tgt"], running["tgt_type"], running["ret"], running["jid"]) == ("test.ping", ["d", "c"], "list", "mysql", JID)
    assert "sub" not in running["kwargs"]
    assert result.value["c"] == {"ret": True, "retcode": 0, "jid": QUESTION}


def test_a_subset_of_minions_none_of_which_has_the_function_is_no_match(world: World) -> None:
    world.replies = [published("a")]
    world.returns(1, "a", "sys is not available")

    assert world.jobs().run_on_subset(low("local_subset"), world.request()) == LowResult({}, "no_match")


def test_a_subset_for_several_functions_has_them_all(world: World) -> None:
    world.replies = [published("a", "b"), published("b", jid=QUESTION)]
    world.returns(1, "a", ["test.ping"])
    world.returns(1, "b", ["test.ping", "test.echo"])
    world.returns(2, "b", {"test.ping": True, "test.echo": 1}, jid=QUESTION)
    world.jobs().run_on_subset(low("local_subset", fun=["test.ping", "test.echo"], arg=[[], [1]]), world.request())

    assert world.loads[1]["tgt"] == ["b"]


@pytest.mark.parametrize(("metadata", "sent"), [(True, {"request_id": "request-1"}), (False, None)])
def test_the_request_id_travels_in_the_jobs_metadata_if_wanted(world: World, metadata: bool, sent: Any) -> None:
    world.replies = [published("a")]
    world.returns(1, "a")
    world.jobs().run(low(), world.request(metadata=metadata))

    assert world.loads[0]["kwargs"].get("metadata") == sent


def test_a_request_without_an_id_adds_no_metadata() -> None:
    assert Request("", 0.0).job_metadata() == {}
