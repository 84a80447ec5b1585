"""States that minions tell of while they run: each is shown once, and whatever they tell, what their job comes to is not touched by it."""

from __future__ import annotations

import json
from typing import Any

import pytest
import salt.payload
from hypothesis import given
from hypothesis import strategies as st

from service.batcher import Batcher
from service.events.event import Event, read
from service.jobs.followers import line_of
from service.jobs.job_request import policy_of
from service.jobs.running.account import JobAccount, Waits
from service.jobs.running.opened import EARLY_BYTES, MOST_HAPPENINGS, OpenJob
from service.jobs.running.state_events import KEPT_FOR_A_MINION, LONGEST_COMMENT, MOST_OF_A_MINION, STATE_BYTES, StateEvents
from service.jobs.stores.store import Happening, text_of
from tests.unit.jobs.kept import JID, job
from tests.unit.jobs.process import TOKEN, Heard, Sidecar

CHUNK = {"__id__": "app", "__sls__": "web", "name": "nginx", "result": True, "changes": {}, "comment": "All is well", "duration": 120.4, "__run_num__": 0}


def said(minion: str = "a", number: object = 0, *, by: str | None = None, jid: str = JID, data: object = None, before: str = "", **chunk: Any) -> Event:
    """Return what a minion says of a state. by: another one that says so. data: in the place of it all. before: what syndics put before the tag."""
    told = {"ret": {**CHUNK, "__run_num__": number, **chunk}, "len": 3} if data is None else data
    fields = {"cmd": "_minion_event", "id": by or minion, "jid": jid, "data": told}
    return read(f"{before}salt/job/{jid}/prog/{minion}/{number}".encode() + b"\n\n" + salt.payload.dumps(fields))


def told(sidecar: Sidecar) -> list[Any]:
    """Wait until all that was said is handled; return whose state was told of, with its number and how it ended."""
    sidecar.jobs.published(JID, ())
    return [(one["minion"], one["number"], one["result"]) for one in sidecar.happened() if one["event"] == "state"]


def test_each_state_is_told_once_between_the_beginning_and_the_minions_return(sidecar: Sidecar) -> None:
    # Of the second minion the job goes on: a job that is over is forgotten at once.
    sidecar.begin("a", "b")
    for one in (said(), said(), said(number=1, result=False, comment="No\nsuch service"), said(number=2, result=True, changes={"pid": 1})):
        sidecar.jobs.take(one)
    sidecar.returns("a")
    sidecar.jobs.take(said(number=3))
    sidecar.jobs.published(JID, ())
    sidecar.returns("b")
    sidecar.until(lambda: sidecar.status == ("succeeded", None))

    first, *others = sidecar.happened()
    assert (first["event"], first["status"]) == ("status", "running")
    web = {"event": "state", "minion": "a", "of": 3, "id": "app", "sls": "web", "name": "nginx", "seconds": 0.12}
    assert others[:3] == [
        {**web, "number": 0, "result": "unchanged"},
        {**web, "number": 1, "result": "failed", "comment": "No\nsuch service"},
        {**web, "number": 2, "result": "changed", "comment": "All is well"},
    ]
    assert [(one["event"], one["status"]) for one in others[3:]] == [("minion", "ok"), ("minion", "ok"), ("status", "succeeded")]
    assert sidecar.report.states == ["told", "repeated", "told", "told", "late"]


def test_one_that_comes_before_the_masters_answer_is_told_after_the_beginning(sidecar: Sidecar) -> None:
    record = job()
    sidecar.store.intend(record)
    sidecar.jobs.begin(record, TOKEN)
    sidecar.jobs.take(said())
    sidecar.jobs.published(JID, ["a"])

    assert [one["event"] for one in sidecar.happened()] == ["status", "state"]


@pytest.mark.parametrize(
    ("event", "odd"),
    [
        (said(by="b"), "identity"),
        (said("stranger"), "unexpected"),
        (said(number="x"), "tag"),
        (said(number="1/2"), "tag"),
        (said(number=5, __run_num__=6), "identity"),
        (said(data=[]), "field"),
        (said(data={"ret": 5}), "field"),
        (said(result="yes"), "field"),
        (read(f"salt/job/{JID}/prog/a/0\n\n\xc1".encode("latin-1")), "field"),
        (read(f"salt/job/{JID}/prog".encode()), "tag"),
    ],
)
def test_what_cannot_be_believed_is_counted_and_not_told(sidecar: Sidecar, event: Event, odd: str) -> None:
    sidecar.begin("a", "b")
    sidecar.jobs.take(event)

    assert told(sidecar) == []
    assert (sidecar.report.states, sidecar.report.odd) == (["odd"], [odd])


def test_whose_turn_has_not_come_tells_of_no_states(sidecar: Sidecar) -> None:
    sidecar.roll(["a"], ["b"])
    for minion in ("a", "b"):
        sidecar.jobs.take(said(minion))

    assert told(sidecar) == [("a", 0, "unchanged")]
    assert [one["event"] for one in sidecar.happened()][-2:] == ["wave", "state"]


def test_a_state_that_a_syndic_forwarded_counts(sidecar: Sidecar) -> None:
    sidecar.begin("a")
    sidecar.jobs.take(said(before="syndic/lower/"))

    assert told(sidecar) == [("a", 0, "unchanged")]


@pytest.mark.parametrize(
    ("chunk", "result"),
    [
        ({"result": None, "changes": {"x": 1}}, "would_change"),
        ({"result": None, "comment": "Started in a separate process"}, "started"),
        ({"result": None, "comment": "Waiting to be started in a separate process, max_parallel hit"}, "started"),
        ({"result": False, "__state_ran__": False}, "not_run"),
    ],
)
def test_how_a_state_ended(sidecar: Sidecar, chunk: dict[str, Any], result: str) -> None:
    sidecar.begin("a")
    sidecar.jobs.take(said(**chunk))

    assert told(sidecar) == [("a", 0, result)]


def test_secrets_are_masked_and_texts_are_cut(sidecar: Sidecar) -> None:
    sidecar.begin("a")
    sidecar.jobs.take(
        said(result=False, name="login --password=hunter2", comment="token: hunter2 " + "x" * 2 * LONGEST_COMMENT, __id__=["no text"], duration=float("nan"))
    )
    sidecar.jobs.published(JID, ())

    (shown,) = (one for one in sidecar.happened() if one["event"] == "state")
    assert "hunter2" not in json.dumps(shown)
    assert len(shown["comment"]) <= LONGEST_COMMENT
    assert "id" not in shown
    assert "seconds" not in shown


def test_a_minion_that_tells_too_much_leaves_room_for_the_others_and_for_every_end() -> None:
    report, open_job = Heard(), opened("a", "b")
    states = StateEvents(report, set())
    open_job.states_told["a"] = set(range(MOST_OF_A_MINION))
    states.take(open_job, said("a", MOST_OF_A_MINION), 1000.0)
    states.take(open_job, said("b"), 1000.0)
    open_job.happened = MOST_HAPPENINGS - 2 * KEPT_FOR_A_MINION - 1
    states.take(open_job, said("b", 1), 1000.0)
    states.take(open_job, said("b", 2), 1000.0)

    assert report.states == ["dropped", "told", "told", "dropped"]
    assert open_job.happened == MOST_HAPPENINGS - 2 * KEPT_FOR_A_MINION


def test_states_may_fill_a_part_of_the_queue_only_and_no_larger_one_is_decoded() -> None:
    report = Heard()
    states = StateEvents(report, set())
    queue: Batcher[Event] = Batcher("test", lambda _batch: None, limit_items=8, on_crash=lambda _batch: None, lazy=False)

    assert states.fits(said(), queue)
    assert not states.fits(said(comment="x" * STATE_BYTES), queue)
    queue.put(said())
    queue.put(said())
    assert not states.fits(said(), queue)
    assert states.fits(read(b"salt/job/1/ret/a\n\n"), queue)
    assert report.states == ["dropped", "dropped"]


def test_what_comes_before_the_masters_answer_leaves_room_for_returns() -> None:
    states, open_job = StateEvents(Heard(), set()), OpenJob(job(), policy_of(job().request), 4600.0)
    large = said(comment="x" * (STATE_BYTES - 1000))
    for _ in range(2 * EARLY_BYTES // STATE_BYTES):
        states.take(open_job, large, 1000.0)

    assert 0 < open_job.early_bytes <= EARLY_BYTES / 4
    assert not open_job.interrupted


def test_a_line_for_people_stays_one_line() -> None:
    body = {"number": 4, "result": "failed", "id": "a\n12:00:00 job: succeeded", "name": "b", "seconds": 0.12}

    assert line_of(Happening(1, "state", 0.0, body, "web1")) == b"00:00:00 web1: state 4 failed: a 12:00:00 job: succeeded: b (0.1 s)\n"


def opened(*minions: str) -> OpenJob:
    """Return a job that these run."""
    account = JobAccount("test.echo", "", Waits(5, 10, 45), now=0.0)
    account.expect(minions)
    return OpenJob(job(status="running"), policy_of(job().request), 4600.0, account=account)


anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12) | st.integers(0, 5), inner, max_size=3),
    max_leaves=8,
)
names = st.sampled_from(
    ["id", "jid", "data", "ret", "len", "result", "name", "comment", "duration", "__id__", "__sls__", "__run_num__", "changes", "__state_ran__"]
)
chunks = st.fixed_dictionaries({"ret": anything | st.dictionaries(names, anything) | st.just(CHUNK), "len": anything})
payloads = st.dictionaries(names, anything) | st.fixed_dictionaries({"id": st.sampled_from(["a", "b"]), "data": chunks | anything})
places = st.sampled_from(["a/0", "a/1", "b/0", "a", "a/0/1", "a/", "/0", "a/٣", "a/1111111", "stranger/0"])


@pytest.mark.slow
@given(st.lists(st.tuples(places, payloads.map(salt.payload.dumps) | st.binary(max_size=20)), max_size=5))
def test_whatever_is_said_is_handled_told_in_bounds_and_changes_nothing(events: list[tuple[str, bytes]]) -> None:
    report, open_job = Heard(), opened("a", "b")
    states = StateEvents(report, set())
    before = (open_job.record, dict(open_job.account.parts if open_job.account else {}))
    for place, payload in events:
        states.take(open_job, read(f"salt/job/{JID}/prog/{place}".encode() + b"\n\n" + payload), 1000.0)

    assert (open_job.record, open_job.account and open_job.account.parts) == before
    assert len(report.states) == len(events)
    for one in open_job.unstored:
        assert len(text_of(one.body)) < 40_000
        assert one.kind == "status" or {type(one.body["number"]), type(one.body["result"])} == {int, str}
        assert line_of(one).count(b"\n") == 1
