"""Batches: a few minions at one time, each return in its order, and no minion lost from the answer."""

from __future__ import annotations

from typing import Any

import pytest

from service.errors import Unauthenticated
from service.gateway.clients.batch import Batches, batch_size
from service.gateway.clients.result import LowResult
from tests.unit.gateway.clients.world import AUTHENTICATION_ERROR, NO_MATCH, QUESTION, World, low, published

PING = "20260101000000000010"
BATCH = "20260101000000000011"


class Fleet(World):
    """A world whose minions all answer the ping at once, and the batch a second after they were called."""

    def __init__(self, *minions: str) -> None:
        super().__init__()
        self.minions = minions
        self.running: list[list[str]] = []
        self.times: list[float] = []
        self.dead: set[str] = set()
        self.values: dict[str, Any] = {}
        self.codes: dict[str, int] = {}
        self.questions = 0
        self.replies = [self.answer] * 40

    def answer(self, load: dict[str, Any]) -> dict[str, Any]:
        if load["fun"] == "test.ping":
            for minion in self.minions:
                self.returns(self.now, minion, jid=PING)
            return published(*self.minions, jid=PING)
        if load["fun"] == "saltutil.find_job":
            self.questions += 1
            return NO_MATCH
        self.running.append(load["tgt"])
        self.times.append(self.now)
        for minion in load["tgt"]:
            if minion not in self.dead:
                self.returns(self.now + 1, minion, self.values.get(minion, minion), jid=BATCH, retcode=self.codes.get(minion, 0))
        return published(*load["tgt"], jid=load["jid"] or BATCH)

    def run(self, masters_failhard: bool = False, /, *, deadline: float = 1000.0, **fields: Any) -> LowResult:  # noqa: FBT002 - the low's own is a field
        batches = Batches(self.jobs(), failhard=masters_failhard)
        return batches.run(low("local_batch", **{"fun": "test.echo", "arg": ["hi"], **fields}), self.request(deadline=deadline))


@pytest.mark.parametrize(
    ("spec", "minions", "size"),
    [(2, 10, 2), ("3", 10, 3), ("10%", 100, 10), ("25%", 10, 2), ("10%", 5, 1), ("1%", 50, 1), ("0.5%", 1000, 5), ("100%", 7, 7), ("50%", 3, 1), (5, 2, 5)],
)
def test_a_share_rounds_down_but_never_to_none(spec: str | int, minions: int, size: int) -> None:
    assert batch_size(spec, minions) == size


def test_minions_run_a_few_at_a_time_and_all_answer() -> None:
    fleet = Fleet("a", "b", "c", "d", "e")
    result = fleet.run(batch=2)

    assert fleet.running[0] == ["a", "b"]
    assert [min(one) for one in result.value] == ["a", "b", "c", "d", "e"]
    assert all(len(one) <= 2 for one in fleet.running)
    assert (result.outcome, result.jid, result.expected, result.returned, result.missing) == ("ok", BATCH, 5, 5, 0)
    assert fleet.now == pytest.approx(3)


def test_a_minion_is_called_as_soon_as_one_is_done() -> None:
    fleet = Fleet("a", "b", "c")
    fleet.dead = {"a"}
    fleet.run(batch=2)

    assert (fleet.running, fleet.times) == ([["a", "b"], ["c"]], [0, 1])


def test_all_publishes_of_a_batch_share_one_jid_and_the_callers_options_but_the_ping_does_not() -> None:
    fleet = Fleet("a", "b")
    fleet.run(batch=1, ret="mysql", kwarg={"x": 1})
    ping, first, second = fleet.loads

    assert (ping["arg"], ping["ret"], ping["jid"]) == ([], "", "")
    assert (first["jid"], second["jid"], first["ret"]) == ("", BATCH, "mysql")
    assert first["arg"] == ["hi", {"x": 1, "__kwarg__": True}]
    assert "batch" not in first["kwargs"]


def test_a_callers_jid_is_the_batches_and_not_the_pings() -> None:
    fleet = Fleet("a")
    result = fleet.run(jid=BATCH)

    assert [load["jid"] for load in fleet.loads] == ["", BATCH]
    assert result.jid == BATCH


def test_the_default_is_a_tenth() -> None:
    fleet = Fleet(*(f"m{number:02}" for number in range(20)))
    fleet.run()

    assert len(fleet.running[0]) == 2


def test_minions_that_do_not_answer_the_ping_are_left_out() -> None:
    fleet = Fleet("a", "b")
    ping = published("a", "b", "down", jid=PING)

    def answer(load: dict[str, Any]) -> dict[str, Any]:
        fleet.answer(load)
        return ping

    fleet.replies[0] = answer

    assert [*fleet.run(batch=3).value] == [{"a": "a"}, {"b": "b"}]
    assert fleet.running == [["a", "b"]]


def test_nobody_matched_or_answered_is_an_empty_list() -> None:
    fleet = Fleet()
    fleet.replies = [NO_MATCH]

    assert fleet.run() == LowResult([], "no_match")


def test_raw_answers_the_events_as_the_bus_had_them() -> None:
    fleet = Fleet("a", "dead")
    fleet.dead = {"dead"}
    answered, silent = fleet.run(batch=2, raw=True).value

    assert answered["tag"] == f"salt/job/{BATCH}/ret/a"
    assert (answered["data"]["id"], answered["data"]["return"], answered["data"]["jid"]) == ("a", "a", BATCH)
    assert silent == {"data": {"id": "dead", "return": {}, "retcode": 0}}


def test_a_minion_that_falls_silent_is_asked_and_answered_for_with_nothing() -> None:
    fleet = Fleet("a", "dead", "c")
    fleet.dead = {"dead"}
    result = fleet.run(batch=1)

    assert result.value == [{"a": "a"}, {"dead": {}}, {"c": "c"}]
    assert (result.outcome, result.returned, result.missing, fleet.questions) == ("partial", 2, 1, 1)


def test_an_empty_return_is_a_return() -> None:
    fleet = Fleet("a")
    fleet.values = {"a": {}}
    result = fleet.run()

    assert (result.value, result.outcome, result.returned) == ([{"a": {}}], "ok", 1)


def test_a_minion_that_says_it_runs_is_waited_for() -> None:
    fleet = Fleet("slow")
    fleet.dead = {"slow"}
    fleet.replies[2] = published("slow", jid=QUESTION)
    fleet.returns(6, "slow", {"jid": BATCH}, jid=QUESTION)
    fleet.returns(17, "slow", "done", jid=BATCH)

    assert fleet.run().value == [{"slow": "done"}]


def test_every_group_of_a_batch_is_asked_and_heard_for_itself() -> None:
    fleet = Fleet("dead", "b", "slow")
    fleet.dead = {"dead", "slow"}
    fleet.replies[4] = published("slow", jid=QUESTION)
    fleet.returns(7, "slow", {"jid": BATCH}, jid=QUESTION)
    fleet.returns(18, "slow", "done", jid=BATCH)
    result = fleet.run(batch=2)

    assert result.value == [{"b": "b"}, {"dead": {}}, {"slow": "done"}]
    assert [load["tgt"] for load in fleet.loads if load["fun"] == "saltutil.find_job"][:2] == [["dead"], ["slow"]]


def test_a_minion_that_cannot_answer_is_given_up_and_is_in_the_answer() -> None:
    fleet = Fleet("odd", "b")
    fleet.dead = {"odd"}
    fleet.replies[2] = published("odd", jid=QUESTION)
    fleet.returns(6, "odd", "no such function", jid=QUESTION, retcode=1)
    result = fleet.run(batch=1)

    assert (result.value, result.missing) == ([{"odd": {}}, {"b": "b"}], 1)
    assert fleet.now == 7


def test_a_batch_wait_lets_a_slot_rest() -> None:
    fleet = Fleet("a", "b", "c")
    fleet.run(batch=1, batch_wait=3)

    assert fleet.times == [0, 4, 8]


@pytest.mark.parametrize(("master", "fields"), [(True, {}), (False, {"failhard": True})])
def test_failhard_stops_at_the_first_failure(master: bool, fields: dict[str, Any]) -> None:
    fleet = Fleet("a", "b", "c")
    fleet.codes = {"a": 1}
    result = fleet.run(master, batch=1, **fields)

    assert (result.value, result.failed, result.outcome, fleet.running) == ([{"a": "a"}], 1, "partial", [["a"]])


def test_failhard_goes_by_what_salt_takes_for_a_failure() -> None:
    fleet = Fleet("a", "b")
    fleet.values = {"a": " : Timed out after 2 seconds"}
    result = fleet.run(batch=1, failhard=True, fun="cmd.run")

    assert (fleet.running, result.outcome, result.reasons) == ([["a"], ["b"]], "failed", {"timed_out_on_minion": 1})


def test_a_low_can_go_on_after_failures_though_the_master_says_failhard() -> None:
    fleet = Fleet("a", "b")
    fleet.codes = {"a": 1}
    result = fleet.run(True, batch=1, failhard=False)

    assert (len(result.value), result.outcome) == (2, "failed")


def test_the_deadline_answers_for_every_minion() -> None:
    fleet = Fleet("a", "dead", "c")
    fleet.dead = {"dead"}
    result = fleet.run(batch=1, deadline=4)

    assert result.value == [{"a": "a"}, {"dead": {}}, {"c": {}}]
    assert (result.outcome, result.missing, fleet.now) == ("partial", 2, 4)


def test_a_bus_that_is_cut_for_good_answers_for_every_minion() -> None:
    fleet = Fleet("a", "b")
    fleet.dead = {"b"}
    fleet.cut(2)
    result = fleet.run(batch=1, timeout=60)

    assert result.value == [{"a": "a"}, {"b": {}}]
    assert fleet.now < 10


def test_a_bus_that_comes_back_has_every_group_asked() -> None:
    fleet = Fleet("a", "b")
    fleet.dead = {"a"}
    fleet.cut(0.5)
    fleet.mend(0.6)
    fleet.run(batch=2)

    assert fleet.questions == 1
    assert fleet.now < 14


def test_announcements_and_late_returns_change_nothing() -> None:
    fleet = Fleet("a", "b")
    fleet.fires(0.5, f"salt/job/{BATCH}/new", {"minions": ["a", "b", "stranger"]})
    fleet.returns(0.6, "stranger", jid=BATCH)
    fleet.returns(1.5, "a", "again", jid=BATCH)

    assert fleet.run(batch=1).value == [{"a": "a"}, {"b": "b"}]


def test_minions_that_the_master_has_lost_since_the_ping_are_in_the_answer() -> None:
    fleet = Fleet("a", "b")
    fleet.replies[1] = NO_MATCH
    result = fleet.run(batch=1)

    assert (result.value, result.jid) == ([{"a": {}}, {"b": "b"}], BATCH)


def test_a_refusal_in_mid_batch_is_a_fault() -> None:
    fleet = Fleet("a", "b")
    fleet.replies[2] = AUTHENTICATION_ERROR

    with pytest.raises(Unauthenticated, match="Authentication error occurred") as caught:
        fleet.run(batch=1)

    assert caught.value.details == {"jid": BATCH}


def test_a_token_that_dies_in_mid_batch_does_not_make_its_minions_silent() -> None:
    fleet = Fleet("a", "slow")
    fleet.dead = {"slow"}
    fleet.replies[2] = AUTHENTICATION_ERROR

    with pytest.raises(Unauthenticated, match="may go on") as caught:
        fleet.run(batch=2)

    assert caught.value.details == {"jid": BATCH}


def test_a_minion_that_could_not_be_asked_may_still_return_in_time() -> None:
    fleet = Fleet("a", "slow")
    fleet.dead = {"slow"}
    fleet.replies[2] = AUTHENTICATION_ERROR
    fleet.returns(9, "slow", "done", jid=BATCH)

    assert fleet.run(batch=2).value == [{"a": "a"}, {"slow": "done"}]


def starved(fleet: Fleet, *minions: str, since: float, until: float) -> None:
    """Let minions return, and our thread see nothing of it for a long time: the machine is busy."""
    for minion in minions:
        fleet.returns(since, minion, minion, jid=BATCH)
    fleet.at(since, lambda: setattr(fleet, "now", until))


def test_returns_that_wait_count_although_their_time_is_over() -> None:
    fleet = Fleet("a", "b", "c")
    fleet.dead = {"a", "b", "c"}
    starved(fleet, "a", "b", "c", since=6, until=100)

    result = fleet.run(batch=3)

    assert result.value == [{"a": "a"}, {"b": "b"}, {"c": "c"}]
    assert (result.missing, fleet.questions) == (0, 1)


def test_minions_whose_returns_wait_are_not_asked() -> None:
    fleet = Fleet("a", "b")
    fleet.dead = {"a", "b"}
    starved(fleet, "a", "b", since=1, until=100)

    assert fleet.run(batch=2).value == [{"a": "a"}, {"b": "b"}]
    assert fleet.questions == 0


def test_returns_that_wait_count_although_the_requests_time_is_over() -> None:
    fleet = Fleet("a", "b", "c")
    fleet.dead = {"a", "b", "c"}
    starved(fleet, "a", "b", since=1, until=100)

    assert fleet.run(batch=2, deadline=50.0).value == [{"a": "a"}, {"b": "b"}, {"c": {}}]


def test_a_failure_ends_the_batch_whatever_waits_behind_it() -> None:
    fleet = Fleet("a", "b")
    fleet.dead = {"a", "b"}
    fleet.returns(1, "a", "a", jid=BATCH, retcode=1)
    fleet.returns(1, "b", "b", jid=BATCH)

    assert fleet.run(batch=2, failhard=True).value == [{"a": "a"}]
