"""Runners and wheels: what is sent, what comes back, and how a caller hears that it will not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from service.errors import JobTimeout, MasterRefused, MasterTimeout, MasterUnreachable, Unauthenticated, UnknownFunction
from service.gateway.clients.gathering import BUS_GRACE_SECONDS, LOOK_UP_SECONDS
from service.gateway.clients.result import LowResult
from service.gateway.clients.runner_wheel import RUNNER_START_SECONDS, WHEEL_ASYNC_SECONDS, MasterFunctions
from service.gateway.clients.signatures import Signatures
from tests.unit.gateway.clients.world import AUTHENTICATION_ERROR, JID, TOKEN, World, low, options_with

RUN = f"salt/run/{JID}"
ANNOUNCED = {"tag": RUN, "jid": JID}
OTHER_JID = "20260101000000000099"


def active(display_progress: object = False) -> None:  # noqa: FBT002 - a runner's signature
    """Stand for jobs.active."""


def anything(*args: object, **kwargs: object) -> None:
    """Stand for a runner that takes every keyword."""


class Functions(World):
    """A world with runners and wheels."""

    def master(self, **options: Any) -> MasterFunctions:
        runners: dict[str, Callable[..., None]] = {"jobs.active": active, "test.arg": anything}
        wheels: dict[str, Callable[..., None]] = {"key.list": lambda match: None}
        return MasterFunctions(
            self,
            self.hub,
            options_with(**options),
            runners=Signatures(lambda: runners),
            wheels=Signatures(lambda: wheels),
            new_jid=lambda: OTHER_JID,
            master_up=lambda: self.up,
            monotonic=self.monotonic,
        )

    def runner(self, *, deadline: float = 1000.0, **fields: Any) -> LowResult:
        return self.master().runner(low("runner", **{"fun": "jobs.active", **fields}), self.request(deadline=deadline))

    def wheel(self, client: str = "wheel", **fields: Any) -> LowResult:
        job = low(client, **{"fun": "key.list", **fields})
        return self.master().wheel(job, self.request()) if client == "wheel" else self.master().wheel_async(job, self.request())

    def ends(self, seconds: float, value: object, **more: object) -> None:
        self.fires(seconds, f"{RUN}/ret", {"return": value, "success": True, "jid": JID, **more})


@pytest.fixture
def world() -> Functions:
    world = Functions()
    world.replies = [ANNOUNCED]
    return world


def test_a_runner_gives_what_it_returned(world: Functions) -> None:
    world.fires(0.5, f"{RUN}/new", {"fun": "runner.jobs.active"})
    world.ends(2, {"x": 1})

    assert world.runner() == LowResult({"x": 1}, "ok", JID)
    assert (world.now, world.accepted) == (2, 1)


def test_a_runners_full_return_has_its_tag_and_event(world: Functions) -> None:
    world.ends(2, "x")
    result = world.runner(full_return=True)

    assert result.value == {"tag": f"{RUN}/ret", "data": {"return": "x", "success": True, "jid": JID}}
    assert "full_return" not in str(world.loads)


def test_a_runner_that_failed_is_failed(world: Functions) -> None:
    world.ends(2, "Exception occurred", success=False)
    result = world.runner()

    assert (result.value, result.outcome) == ("Exception occurred", "failed")


def test_a_runner_gets_its_arguments_and_the_master_the_credentials(world: Functions) -> None:
    world.ends(1, None)
    world.runner(fun="test.arg", arg=["a", "b=1"], kwarg={"c": 2}, d=[3], timeout=5)

    assert world.loads == [{"cmd": "runner", "fun": "test.arg", "kwarg": {"arg": ["a"], "kwarg": {"b": 1, "c": 2, "d": [3]}}, "token": TOKEN}]


def test_stray_fields_do_not_reach_a_runner_that_does_not_take_them(world: Functions) -> None:
    world.ends(1, None)
    world.runner(tgt="*", display_progress=True, user="me", key="k")

    assert world.loads[0]["kwarg"] == {"arg": [], "kwarg": {"display_progress": True}}


def test_a_return_before_the_acknowledgement_counts(world: Functions) -> None:
    def start(_load: dict[str, Any]) -> dict[str, str]:
        world.ends(0, "early")
        world.wait(0, lambda: False)
        return ANNOUNCED

    world.replies = [start]

    assert world.runner().value == "early"


@pytest.mark.parametrize(("fields", "deadline", "end"), [({}, 1000, 300), ({"timeout": 7}, 1000, 7), ({"timeout": 7}, 3, 3), ({"timeout": 0}, 3, 0)])
def test_a_runner_that_takes_too_long_is_a_timeout_with_its_jid(world: Functions, fields: dict[str, Any], deadline: float, end: float) -> None:
    with pytest.raises(JobTimeout, match=f"RunnerClient job '{JID}' timed out") as caught:
        world.runner(deadline=deadline, **fields)

    assert (caught.value.details, world.now) == ({"jid": JID}, end)


def test_a_runner_that_nobody_has_and_the_master_does_not_announce_is_unknown(world: Functions) -> None:
    with pytest.raises(UnknownFunction, match=r"^'no\.such' is not available\.$") as caught:
        world.runner(fun="no.such")

    assert RUNNER_START_SECONDS <= world.now <= RUNNER_START_SECONDS + LOOK_UP_SECONDS
    assert caught.value.details == {"field": "fun", "jid": JID}


def test_a_runner_that_only_the_master_has_is_waited_for(world: Functions) -> None:
    world.fires(1, f"{RUN}/new", {})
    world.ends(60, "custom")

    assert world.runner(fun="custom.fun", odd="kept").value == "custom"
    assert world.loads[0]["kwarg"]["kwarg"] == {"odd": "kept"}


def test_a_traceback_instead_of_an_unknown_runner_is_told_as_unknown(world: Functions) -> None:
    world.ends(0.1, "Traceback", success=False)

    with pytest.raises(UnknownFunction):
        world.runner(fun="no.such")


def test_a_bus_that_stays_away_makes_a_runners_outcome_unknown_after_a_grace(world: Functions) -> None:
    world.cut(2)
    with pytest.raises(MasterUnreachable, match=f"the outcome of runner job {JID} is unknown") as caught:
        world.runner()

    assert 2 + BUS_GRACE_SECONDS < world.now <= 2 + BUS_GRACE_SECONDS + 2 * LOOK_UP_SECONDS
    assert caught.value.details == {"jid": JID}


def test_a_bus_that_goes_with_its_master_ends_the_wait_soon(world: Functions) -> None:
    world.cut(2)
    world.up = False
    with pytest.raises(MasterUnreachable):
        world.runner()

    assert world.now <= 2 + LOOK_UP_SECONDS


def test_a_bus_that_comes_back_lets_a_runner_go_on(world: Functions) -> None:
    world.cut(2)
    world.mend(3)
    world.ends(20, "done")

    assert world.runner().value == "done"


def test_a_runner_is_not_started_without_the_bus(world: Functions) -> None:
    world.hub.interrupted()
    with pytest.raises(MasterUnreachable):
        world.runner()

    assert world.loads == []


def test_an_asynchronous_runner_gives_its_tag_and_jid(world: Functions) -> None:
    result = world.master().runner_async(low("runner_async", fun="jobs.active"), world.request())

    assert result == LowResult({"tag": RUN, "jid": JID}, "ok", JID)
    assert world.now == 0


@pytest.mark.parametrize(
    ("reply", "fault", "accepted"),
    [
        (AUTHENTICATION_ERROR, Unauthenticated, 0),
        ("", Unauthenticated, 0),
        ({"jid": JID}, MasterRefused, 1),
        ({"jid": [], "tag": RUN}, MasterRefused, 1),
        ([], MasterRefused, 1),
    ],
)
def test_a_runner_call_that_the_master_does_not_take_is_a_fault(world: Functions, reply: Any, fault: type[Exception], accepted: int) -> None:
    world.replies = [reply]
    with pytest.raises(fault):
        world.runner()

    assert world.accepted == accepted


WHEEL_REPLY = {"tag": f"salt/wheel/{JID}", "data": {"return": {"minions": ["a"]}, "success": True, "jid": JID}}


def test_a_wheel_gives_the_masters_answer_and_goes_the_slow_way(world: Functions) -> None:
    world.replies = [WHEEL_REPLY]

    assert world.wheel(match="all") == LowResult(WHEEL_REPLY, "ok", JID)
    assert world.loads == [{"cmd": "wheel", "fun": "key.list", "match": "all", "token": TOKEN}]
    assert (world.calls, world.accepted) == ([(None, True)], 1)


def test_a_wheel_that_failed_is_failed(world: Functions) -> None:
    world.replies = [{**WHEEL_REPLY, "data": {"success": False, "return": "Exception"}}]

    assert world.wheel().outcome == "failed"


def test_a_wheel_that_refused_its_arguments_is_failed_whatever_the_master_says(world: Functions) -> None:
    world.replies = [{**WHEEL_REPLY, "data": {"success": True, "return": "\nPassed invalid arguments: argument of type 'int' is not iterable"}}]
    result = world.wheel()

    assert (result.outcome, result.reasons) == ("failed", {"bad_arguments": 1})


def test_stray_fields_do_not_reach_a_wheel_that_does_not_take_them_nor_can_they_change_the_command(world: Functions) -> None:
    world.replies = [WHEEL_REPLY, WHEEL_REPLY]
    world.wheel(match="all", odd=1, cmd="runner", arg=["x"], full_return=True)
    world.wheel(fun="custom.wheel", odd=1, cmd="runner", full_return=False)

    assert world.loads[0] == {"cmd": "wheel", "fun": "key.list", "match": "all", "arg": ["x"], "token": TOKEN}
    assert world.loads[1] == {"cmd": "wheel", "fun": "custom.wheel", "odd": 1, "token": TOKEN}


def test_an_asynchronous_wheel_gives_the_masters_jid(world: Functions) -> None:
    world.replies = [WHEEL_REPLY, {"tag": f"salt/wheel/{JID}", "data": {}}]

    assert [world.wheel("wheel_async").value for _ in range(2)] == [{"tag": f"salt/wheel/{JID}", "jid": JID}] * 2
    assert world.calls[0] == (WHEEL_ASYNC_SECONDS, True)


def test_an_asynchronous_wheel_that_takes_long_gets_a_jid_of_ours(world: Functions) -> None:
    world.replies = [MasterTimeout("slow")]

    assert world.wheel("wheel_async") == LowResult({"tag": f"salt/wheel/{OTHER_JID}", "jid": OTHER_JID}, "ok", OTHER_JID)


@pytest.mark.parametrize("client", ["wheel", "wheel_async"])
@pytest.mark.parametrize(
    ("reply", "fault"),
    [
        (AUTHENTICATION_ERROR, Unauthenticated),
        ({"tag": "t"}, MasterRefused),
        ({"tag": "t", "data": 5}, MasterRefused),
        ({"tag": 5, "data": {}}, MasterRefused),
        ([], MasterRefused),
    ],
)
def test_a_wheel_call_that_the_master_does_not_take_is_a_fault(world: Functions, client: str, reply: Any, fault: type[Exception]) -> None:
    world.replies = [reply]

    with pytest.raises(fault):
        world.wheel(client)
