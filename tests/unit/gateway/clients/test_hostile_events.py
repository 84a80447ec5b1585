"""A hostile minion: whatever it puts on the bus, calls end as they would have ended, and the other minions' returns are theirs."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.gateway.clients.batch import Batches
from service.gateway.clients.result import LowResult
from tests.hostile import MALLORY, Fired, events, packed
from tests.unit.gateway.clients.test_runner_wheel import ANNOUNCED, RUN, Functions
from tests.unit.gateway.clients.world import JID, QUESTION, World, low, published

PING = "20260101000000000002"
LIST = "20260101000000000003"
JIDS = {"saltutil.find_job": QUESTION, "test.ping": PING, "sys.list_functions": LIST, "test.echo": JID}
DELAYS = {"a": 1.0, "b": 8.0}  # `b` returns after the question whether it still runs the job
OTHERS = st.sampled_from(["cmd.run", "test.ping", "saltutil.find_job", "sys.list_functions", "", ["test.echo"], ["test.echo", "cmd.run"], "test.echo2"])
FOREIGN = st.lists(st.tuples(st.integers(0, 20), st.sampled_from([*DELAYS, MALLORY]), OTHERS), max_size=8)
HOSTILE = st.lists(st.tuples(st.integers(0, 20), events([*JIDS.values()], ["a", "b"])), max_size=8)


SIZES: dict[str, dict[str, int]] = {"local": {}, "local_subset": {"sub": 3}, "local_batch": {"batch": 3}}


def answered(value: Any) -> dict[str, Any]:
    """Return the returns in an answer, a batch's too."""
    return {name: ret for one in value for name, ret in one.items()} if isinstance(value, list) else value


def besiege(world: World, hostile: list[tuple[int, Fired]]) -> None:
    """Let hostile events come over the bus, each at its time."""
    for seconds, fired in hostile:
        world.at(seconds, partial(world.hub.deliver, packed(fired)))


class Besieged(World):
    """A master with the minions `a` and `b`, which do as they are told, and one that does as it likes."""

    def __init__(self, hostile: list[tuple[int, Fired]]) -> None:
        super().__init__()
        self.replies = [self.answered] * 1000
        besiege(self, hostile)

    def answered(self, load: dict[str, Any]) -> dict[str, Any]:
        asked = load["tgt"] if isinstance(load["tgt"], list) else [*DELAYS, MALLORY]
        jid = JIDS[load["fun"]]
        for minion in set(asked) & DELAYS.keys():
            self.returns(self.now + (DELAYS[minion] if jid == JID else 0.5), minion, self.value(load["fun"], minion), jid=jid, fun=load["fun"])
        return published(*asked, jid=jid)

    def value(self, fun: str, minion: str) -> Any:
        return {"test.echo": minion, "test.ping": True, "sys.list_functions": ["test.echo"], "saltutil.find_job": {"jid": JID}}[fun]

    def run(self, client: str, **fields: Any) -> LowResult:
        job, request = low(client, fun="test.echo", **fields), self.request(deadline=200.0)
        jobs = self.jobs()
        return {"local": jobs.run, "local_subset": jobs.run_on_subset, "local_batch": Batches(jobs, failhard=False).run}[client](job, request)


@pytest.mark.slow
@given(HOSTILE)
def test_the_others_returns_are_theirs_and_nobody_else_is_in_the_answer(hostile: list[tuple[int, Fired]]) -> None:
    value = Besieged(hostile).run("local", full_return=True).value

    assert {name: value[name]["ret"] for name in DELAYS} == {"a": "a", "b": "b"}
    assert value.keys() == {"a", "b", MALLORY}


@pytest.mark.slow
@given(HOSTILE)
def test_a_subset_has_the_others(hostile: list[tuple[int, Fired]]) -> None:
    value = Besieged(hostile).run("local_subset", sub=3).value

    assert {name: value[name] for name in DELAYS} == {"a": "a", "b": "b"}
    assert value.keys() <= {"a", "b", MALLORY}


@pytest.mark.slow
@given(HOSTILE)
def test_a_batch_has_the_others(hostile: list[tuple[int, Fired]]) -> None:
    value = Besieged(hostile).run("local_batch", batch=3).value

    assert {"a": "a"} in value
    assert {"b": "b"} in value
    assert {name for one in value for name in one} <= {"a", "b", MALLORY}


@pytest.mark.slow
@given(st.lists(st.tuples(st.integers(0, 5), events([JID], ["a"])), max_size=8))
def test_a_runner_returns_what_it_returned(hostile: list[tuple[int, Fired]]) -> None:
    world = Functions()
    world.replies = [ANNOUNCED]
    besiege(world, hostile)
    world.fires(0, f"{RUN}/new", {"fun": "runner.jobs.active", "jid": JID})
    world.ends(3, {"x": 1}, fun="runner.jobs.active")

    assert world.runner() == LowResult({"x": 1}, "ok", JID)


@pytest.mark.slow
@given(FOREIGN, st.sampled_from(["local", "local_subset", "local_batch"]))
def test_returns_of_a_job_that_shares_the_jid_are_in_no_answer(foreign: list[tuple[int, str, Any]], client: str) -> None:
    world = Besieged([])
    for second, minion, fun in foreign:
        world.returns(second, minion, "another job's", jid=JID, fun=fun)
    value = world.run(client, **SIZES[client]).value

    assert {"a": "a", "b": "b"}.items() <= answered(value).items()
    assert "another job's" not in answered(value).values()


ATTACKS: dict[str, Fired] = {
    "a refusal of a job that runs": (f"salt/job/{JID}/error", {"error": {"name": "AuthorizationError"}}),
    "an error in a return": (f"salt/job/{JID}/ret/{MALLORY}", {"id": MALLORY, "return": 1, "error": "x"}),
    "minions that are no list": (f"salt/job/{JID}/ret/{MALLORY}", {"id": MALLORY, "return": 1, "minions": 5}),
    "a return that names further minions": (f"salt/job/{JID}/ret/{MALLORY}", {"id": MALLORY, "return": 1, "minions": ["stranger"]}),
    "targets that are no texts": (f"salt/job/{JID}/new", {"minions": [], "missing": [{}]}),
    "an announcement of minions that nobody asked": (f"salt/job/{JID}/new", {"minions": ["stranger"]}),
    "a stranger's return": (f"salt/job/{JID}/ret/stranger", {"id": "stranger", "return": 1}),
    "a return in another's name": (f"salt/job/{JID}/ret/{MALLORY}", {"id": "b", "return": "not b's"}),
    "a return for another's resource": (f"salt/job/{JID}/ret/{MALLORY}", {"id": MALLORY, "resource_id": "b", "return": "not b's"}),
    "a return of another job": (f"salt/job/{JID}/ret/b", {"id": "b", "jid": PING, "return": "not b's"}),
    "an announcement in a return's jid": (f"salt/job/{JID}/new/ret/{MALLORY}", {"id": MALLORY, "return": 1, "minions": ["stranger"]}),
    "an answer for another": (f"salt/job/{QUESTION}/ret/{MALLORY}", {"id": "b", "return": "", "retcode": 1}),
    "an answer of a stranger": (f"salt/job/{QUESTION}/ret/stranger", {"id": "stranger", "return": {"jid": JID}}),
    "functions that are no texts": (f"salt/job/{LIST}/ret/{MALLORY}", {"id": MALLORY, "return": [[], {}]}),
}


@pytest.mark.parametrize("client", ["local", "local_subset", "local_batch"])
@pytest.mark.parametrize("attack", ATTACKS)
def test_known_attacks_change_nothing(attack: str, client: str) -> None:
    hostile = [(second, ATTACKS[attack]) for second in range(8)]
    returns = answered(Besieged(hostile).run(client, **SIZES[client]).value)

    assert (returns["a"], returns["b"]) == ("a", "b")
    assert returns.keys() <= {"a", "b", MALLORY}


@pytest.mark.parametrize(("fun", "arg"), [("test.ping", []), (["test.ping", "test.echo"], [[], ["x"]])])
def test_a_return_of_another_function_is_not_booked_and_counted(fun: str | list[str], arg: list[Any]) -> None:
    world = World()
    world.replies = [published("a", "b")]
    for second, other in enumerate(("cmd.run", ["cmd.run"], ["test.echo", "test.ping"], "")):
        world.returns(second, "a", "another job's", fun=other)
    world.returns(4, "a", "mine", fun=fun)
    world.returns(4, "b", "of a lower master, which need not say")

    assert world.jobs().run(low(fun=fun, arg=arg), world.request()).value == {"a": "mine", "b": "of a lower master, which need not say"}
    assert world.others == 4


def test_an_answer_to_another_question_says_nothing() -> None:
    world = World()
    world.replies = [published("a"), published("a", jid=QUESTION)]
    world.returns(6, "a", {"jid": JID}, jid=QUESTION, fun="test.arg")

    assert (world.jobs().run(low(), world.request()).outcome, world.now) == ("partial", 5 + 10)


def test_what_runs_in_the_place_of_a_function_counts_where_salt_ssh_does_it() -> None:
    world = World()
    world.replies = [published("a")]
    world.returns(1, "a", "applied", fun="state.pkg")

    assert world.jobs(enable_ssh_minions=True).run(low(fun="state.apply"), world.request()).value == {"a": "applied"}
