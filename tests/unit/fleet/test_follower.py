"""The job metrics: every job on the bus is followed from its announcement to its last return, and nothing is counted that nobody knows."""

from __future__ import annotations

from typing import Any

import pytest
from structlog.testing import capture_logs

from service.fleet.job_tracker import LIMITS, Limits
from service.routes import API_TEMPLATES
from tests.unit.fleet.following import JID, Following, packed

STATES = {
    "a_|-x_|-x_|-installed": {"result": True, "changes": {}, "duration": 1500.0, "__run_num__": 0},
    "b_|-x_|-x_|-installed": {"result": True, "changes": {"new": 1}, "duration": "250.5 ms", "__run_num__": 1},
    "c_|-x_|-x_|-installed": {"result": None, "changes": {}, "duration": float("nan"), "__run_num__": 2},
}
FAILED = {**STATES, "d_|-x_|-x_|-installed": {"result": False, "changes": {}, "__run_num__": 3}}


@pytest.fixture
def bus() -> Following:
    return Following()


def test_a_job_is_followed_from_its_announcement_to_its_last_return(bus: Following) -> None:
    bus.announce("m1", "m2", missing=["m9"])
    assert (bus.value("salt_jobs_in_progress"), bus.value("salt_job_returns_outstanding")) == (1, 2)
    # A failure that comes first must be a rise from 0.
    assert bus.value("salt_job_returns_total", function="test.ping", result="failure", origin="published") == 0
    bus.now += 2
    bus.answer("m1")
    bus.answer("m1")
    bus.now += 3
    with capture_logs() as lines:
        bus.answer("m2", retcode=1)

    assert bus.values("salt_jobs_started_total") == {"test.ping,other": 1}
    assert bus.values("salt_job_targeted_minions_total") == {"test.ping": 2}
    assert bus.values("salt_job_returns_total") == {"test.ping,success,published": 1, "test.ping,failure,published": 1}
    assert bus.values("salt_job_missing_returns_total") == {"test.ping,not_connected": 1}
    assert bus.value("salt_job_return_latency_seconds_sum", kind="exec") == 7
    assert bus.value("salt_job_completion_seconds_sum", outcome="complete") == 5
    assert (bus.value("salt_jobs_in_progress"), bus.value("salt_job_returns_outstanding")) == (0, 0)
    (line,) = lines
    assert (line["event"], line["log_level"], line["jid"], line["salt.fun"], line["origin"]) == ("salt.job.completed", "debug", JID, "test.ping", "other")
    assert (line["returned"], line["failed"], line["missing"], line["completion_s"], line["tainted"]) == (2, 1, 0, 5.0, False)


def test_who_has_not_returned_when_the_window_closes_is_missing_and_later_late(bus: Following) -> None:
    bus.announce("m1", "m2", "m3")
    bus.announce("m1", jid="2", fun="state.apply")
    bus.answer("m1")
    with capture_logs() as lines:
        bus.wait(901)
    bus.answer("m2")
    bus.answer("m2")

    assert bus.values("salt_job_missing_returns_total") == {"test.ping,no_return": 2}
    assert bus.values("salt_job_late_returns_total") == {"": 1}
    assert bus.values("salt_job_returns_total") == {"test.ping,success,published": 2}
    assert bus.value("salt_job_completion_seconds_count", outcome="incomplete") == 1
    assert [(line["log_level"], line["missing"], line["missing_sample"]) for line in lines] == [("warning", 2, ["m2", "m3"])]
    assert bus.value("salt_jobs_in_progress") == 1  # states have an hour
    bus.wait(2700)
    assert bus.value("salt_job_missing_returns_total", function="state.apply", reason="no_return") == 1


def test_what_was_not_heard_is_not_missing(bus: Following) -> None:
    bus.announce("m1", "m2")
    bus.hub.interrupted()
    bus.hub.opened()
    bus.announce("m1", jid="2")
    bus.answer("m1")
    with capture_logs() as lines:
        bus.wait(1000)

    assert bus.values("salt_job_missing_returns_total") == {"test.ping,no_return": 1}  # of the job after the cut
    assert {line["jid"]: (line["missing"], line["tainted"]) for line in lines} == {JID: (1, True), "2": (1, False)}


@pytest.mark.parametrize("announced_first", [True, False])
def test_a_job_of_ours_is_told_from_others_whichever_comes_first(bus: Following, announced_first: bool) -> None:
    with bus.follower.publishing():
        if announced_first:
            bus.announce("m1", "m2")
            bus.announce("m1", jid="2")
            bus.answer("m1", jid="2")
        bus.follower.published(JID, "test.ping", 2, 0, 0.1)
        if not announced_first:
            bus.announce("m1", "m2")
            bus.announce("m1", jid="2")
    with capture_logs() as lines:
        bus.wait(1)
        bus.wait(1)
        bus.answer("m1")
        bus.answer("m2")

    assert bus.values("salt_jobs_started_total") == {"test.ping,api": 1, "test.ping,other": 1}
    assert bus.published == [(JID, "test.ping", 2, 0)]
    told = {line["jid"]: (line["log_level"], line["origin"]) for line in lines}
    assert told[JID] == ("info", "api")
    assert told.get("2", ("debug", "other")) == ("debug", "other")


def test_a_claim_that_comes_while_the_announcement_is_handled_is_heard(bus: Following, monkeypatch: pytest.MonkeyPatch) -> None:
    announced, publishing = bus.tracker.announced, bus.follower.publishing()

    def and_meanwhile_the_master_acknowledges(*args: Any, **more: Any) -> None:
        announced(*args, **more)
        bus.follower.published(JID, "test.ping", 1, 0, 0.1)
        publishing.__exit__(None, None, None)
        bus.now += 1

    monkeypatch.setattr(bus.tracker, "announced", and_meanwhile_the_master_acknowledges)
    bus.wait(0)
    publishing.__enter__()
    bus.announce("m1")
    bus.wait(1)

    assert bus.values("salt_jobs_started_total") == {"test.ping,api": 1}


def test_a_job_that_nobody_claims_while_we_publish_all_the_time_is_not_ours(bus: Following) -> None:
    with bus.follower.publishing():
        bus.announce("m1")
        assert bus.values("salt_jobs_started_total") == {}
        bus.wait(11)

    assert bus.values("salt_jobs_started_total") == {"test.ping,other": 1}


def test_the_window_of_a_job_that_we_wait_for_is_our_requests(bus: Following) -> None:
    bus.announce("m1", "m2")
    bus.follower.waits(JID, 7200)
    bus.wait(3000)
    assert bus.values("salt_job_missing_returns_total") == {}
    bus.answer("m1")
    bus.follower.ended(JID)
    bus.wait(0)

    assert bus.values("salt_job_missing_returns_total") == {"test.ping,no_return": 1}


def test_the_groups_of_a_batch_are_one_job(bus: Following) -> None:
    bus.announce("m1", fun="cmd.run")
    bus.follower.waits(JID, 7200)
    bus.answer("m1", fun="cmd.run")
    bus.announce("m2", fun="cmd.run")
    bus.announce("x1", jid="2")
    bus.answer("x1", jid="2")
    bus.announce("x2", jid="2")  # of somebody else's batch: it looked complete
    bus.now += 5
    bus.answer("m2", fun="cmd.run")
    with capture_logs() as lines:
        bus.follower.ended(JID)
        bus.wait(0)

    assert bus.values("salt_jobs_started_total") == {"cmd.run,other": 1, "test.ping,other": 1}
    assert bus.values("salt_job_targeted_minions_total") == {"cmd.run": 2, "test.ping": 2}
    assert [(line["jid"], line["returned"]) for line in lines] == [(JID, 2)]


def test_questions_about_jobs_are_nobodys_jobs(bus: Following) -> None:
    bus.follower.published(JID, "saltutil.find_job", 1, 0, 0.1)
    bus.announce("m1", fun="saltutil.find_job")
    bus.answer("m1", fun="saltutil.find_job")

    assert (bus.values("salt_jobs_started_total"), bus.values("salt_job_returns_total"), bus.published) == ({}, {}, [])
    assert bus.value("salt_minions_seen", window="5m") == 1


def test_a_minion_behind_a_syndic_counts_once(bus: Following) -> None:
    bus = Following(syndics=True)
    bus.announce("m1")
    for minion in ("m1", "below", "below"):
        bus.answer(minion)
        bus.hear(f"syndic/s/salt/job/{JID}/ret/{minion}", {"id": minion, "jid": JID, "fun": "test.ping", "return": True})

    assert bus.values("salt_job_returns_total") == {"test.ping,success,published": 2}
    bus.wait(1000)
    assert bus.values("salt_job_missing_returns_total") == {}


FAILURES: list[dict[str, Any]] = [
    {"retcode": 1},
    {"success": False},
    {"retcode": [0, 2], "fun": ["test.ping", "cmd.run"]},
    {"retcode": {"test.ping": 0, "cmd.run": 1}, "success": {"test.ping": True, "cmd.run": True}, "fun": ["test.ping", "cmd.run"]},
    {"success": [True, False], "fun": ["test.ping", "cmd.run"]},
    {"fun": "state.apply", "ret": FAILED},
    {"fun": "cmd.run", "ret": "x" * 5000 + " : Timed out after 2 seconds", "retcode": 0, "success": True},
    {"fun": ["test.ping", "state.apply"], "ret": {"test.ping": True, "state.apply": FAILED}},
]
SUCCESSES: list[dict[str, Any]] = [
    {},
    {"fun": "cmd.run", "ret": {"x": {"result": False, "changes": {}}}},
    {"fun": "state.apply", "ret": STATES},
    {"fun": ["test.ping", "cmd.run"], "retcode": {"test.ping": 0, "cmd.run": 0}},
    {"retcode": None, "success": None},
    {"fun": "state.show_sls", "ret": {"a": {"pkg": ["installed"]}}},
]


@pytest.mark.costly
def test_what_went_wrong_is_told_from_what_went_well() -> None:
    for sayings, expected in ((FAILURES, "failure"), (SUCCESSES, "success")):
        for saying in sayings:
            bus = Following()
            bus.announce("m1", fun=saying.get("fun", "test.ping"))
            bus.answer("m1", **saying)

            (counted,) = bus.values("salt_job_returns_total")
            assert counted.split(",")[1] == expected, saying
            assert bus.crashes == 0


def test_states_are_counted_in_seconds(bus: Following) -> None:
    bus.announce("m1", "m2", fun="state.apply")
    bus.answer("m1", fun="state.apply", ret=FAILED)
    bus.answer("m2", fun="state.apply", ret=["Rendering SLS failed"], retcode=1)

    assert bus.values("salt_job_state_results_total") == {"unchanged": 1, "changed": 1, "failed": 1, "test": 1}
    assert (bus.value("salt_job_state_run_seconds_count"), bus.value("salt_job_state_run_seconds_sum")) == (1, 1.7505)
    assert bus.value("salt_job_return_latency_seconds_count", kind="state") == 2


def test_returns_of_no_announced_job_cannot_name_functions(bus: Following) -> None:
    bus.announce("m1", fun="state.apply")
    bus.answer("m1", jid="7", fun="state.apply")
    bus.answer("m1", jid="8", fun="evil.name")
    bus.answer("m1", jid="9", fun="state.apply", schedule="hourly", retcode=2)
    bus.answer("m1", jid="10", fun="evil.name", schedule="hourly")

    assert bus.values("salt_job_returns_total") == {
        "other,success,unsolicited": 2,
        "state.apply,failure,scheduled": 1,
        "other,success,scheduled": 1,
    }
    assert bus.values("salt_api_label_overflow_total") == {}


def test_runners_and_batches_are_counted(bus: Following) -> None:
    bus.hear("salt/run/1/new", {"fun": "runner.jobs.list_jobs", "jid": "1"})
    assert bus.value("salt_runner_jobs_total", function="jobs.list_jobs", result="failure") == 0
    bus.now += 4
    bus.hear("salt/run/1/ret", {"fun": "runner.jobs.list_jobs", "jid": "1", "return": {}, "success": True})
    bus.hear("salt/run/2/ret", {"fun": "runner.evil", "jid": "2", "return": {}, "success": False})
    bus.hear("salt/batch/1/complete", b"never decoded")

    assert bus.values("salt_runner_jobs_total") == {"jobs.list_jobs,success": 1, "other,failure": 1}
    assert (bus.value("salt_runner_job_duration_seconds_count"), bus.value("salt_runner_job_duration_seconds_sum")) == (1, 4)
    assert bus.values("salt_batch_jobs_total") == {"complete": 1}


NONSENSE: list[tuple[bytes, Any]] = [
    (b"", {}),
    (b"salt", {}),
    (b"salt/job", {}),
    (b"salt/job/new", {"fun": "test.ping"}),
    (b"salt/job/error", {"fun": "test.ping"}),
    (b"salt/job/1/ret", {"fun": "test.ping"}),
    (b"salt/job/" + b"x" * 10_000 + b"/new", {"fun": "test.ping", "minions": ["m1"]}),
    (b"salt/job/\xff\xfe/new", {"fun": b"\xff", "minions": [1, None, {}], "missing": 3}),
    (b"salt/job/1/new", {"fun": {"a": 1}, "minions": {"m1": 1}}),
    (b"salt/job/3/new", b"\x82\xa3fun\xa2\xff\xfe\xa7minions\x91\xa1m"),
    (b"salt/job/2/new", b""),
    (b"salt/job/2/new", b"\xc1"),
    (b"salt/job/2/new", b"\x81"),
    (b"salt/job/2/new", [1, 2]),
    (b"salt/job/2/ret/m1", {"id": 5, "return": 1}),
    (b"salt/job/2/ret/m1", {"id": "m1"}),
    (b"salt/job/2/ret/m1", {"id": "m1", "fun": None, "return": None, "retcode": "x", "success": "no"}),
    (b"salt/job/2/ret/m1", {"id": "m1", "fun": "state.apply", "return": {"a": {"result": 1, "changes": 1, "duration": []}}, "fun_args": "x"}),
    (b"salt/job/2/ret/m1", {"id": "m1", "fun": "state.highstate", "return": {1: {"result": True, "changes": {}}}, "fun_args": [{1: 2}, None]}),
    (b"salt/run/1/new", {"fun": 5}),
    (b"salt/run/9/ret", {"fun": [], "success": 0}),
    (b"salt/auth", {"act": 5, "id": None, "result": "x"}),
    (b"salt/presence/present", {"present": 5}),
    (b"salt/presence/change", {"new": None}),
    (b"salt/stats/w", {"stats": {5: None, "x": {"runs": "a", "mean": float("nan")}, "y": {"runs": 1e300, "mean": -1}}}),
    (b"salt/minion//start", {}),
    (b"salt/beacon/", {}),
    (b"minion/refresh", {}),
]


def test_nonsense_on_the_bus_breaks_nothing(bus: Following) -> None:
    for tag, data in NONSENSE:
        bus.hear(tag, data)
    bus.wait(10_000)
    bus.series()

    assert bus.crashes == 0
    assert len(bus.undecodable) == 4
    assert bus.values("salt_event_odd_total") == {"tag": 3, "identity": 1, "field": 9}
    bus.announce("m1", jid="77", fun="pillar.items")
    assert bus.value("salt_jobs_started_total", function="pillar.items", origin="other") == 1


def test_a_return_of_a_megabyte_is_a_return(bus: Following) -> None:
    bus.announce("m1", "m2", fun="cmd.run")
    bus.answer("m1", fun="cmd.run", ret="x" * 2**20)
    bus.answer("m2", fun="cmd.run", ret="VALUE_TRIMMED", _stamp="2099-01-01T00:00:00")
    bus.hear(f"salt/job/{JID}/ret/m3", b"\x82\xa2id\xa2m3\xa1x" + b"\xc1" * 2**20)

    assert len(bus.undecodable) == 1
    assert bus.values("salt_job_returns_total") == {"cmd.run,success,published": 2}
    assert bus.values("salt_event_bus_trimmed_events_total") == {"": 1}


def flood(bus: Following) -> None:
    """Let ten thousand minions return from five thousand jobs with as many functions."""
    for number in range(5000):
        fun = f"mod{number}.fun"
        bus.hub.deliver(
            packed(f"salt/job/{number}/new", {"fun": fun, "minions": [f"m{number}", f"m{number + 5000}"], "missing": ["x"]}),
        )
        bus.hub.deliver(packed(f"salt/job/{number}/ret/m{number}", {"id": f"m{number}", "fun": fun, "return": 1, "retcode": number % 2}))
        bus.hub.deliver(packed(f"salt/job/9{number}/ret/m{number + 5000}", {"id": f"m{number + 5000}", "fun": f"evil{number}", "return": 1}))
        bus.hub.deliver(packed(f"salt/run/{number}/new", {"fun": f"runner.{fun}"}))
        bus.hub.deliver(packed(f"salt/run/{number}/ret", {"fun": f"runner.{fun}", "success": True}))
        bus.hub.deliver(packed(f"salt/stats/w{number % 5}", {"stats": {f"cmd{number}": {"runs": 1, "mean": 0.1}}}))
        if number % 100 == 0:
            bus.follower.handle_waiting()
    bus.follower.handle_waiting()


@pytest.mark.slow
def test_a_url_costs_58_series() -> None:
    assert Following(routes=API_TEMPLATES).series() - Following(routes=()).series() <= 58 * len(API_TEMPLATES)


@pytest.mark.slow
def test_ten_thousand_minions_and_five_thousand_functions_stay_below_2100_series() -> None:
    bus = Following(routes=())
    with capture_logs() as lines:
        flood(bus)

    told = [line["metric"] for line in lines if line["event"] == "label.overflow"]
    assert sorted(told) == sorted(set(told))
    assert {"salt_jobs_started_total", "salt_job_returns_total", "salt_runner_jobs_total", "salt_master_worker_requests_total"} <= set(told)
    assert bus.series() < 2100
    assert bus.value("salt_jobs_started_total", function="other", origin="other") == 4900
    assert bus.value("salt_api_label_overflow_total", metric="salt_jobs_started_total") == 4900
    assert bus.value("salt_minions_seen", window="24h") == 10_000
    assert bus.value("salt_job_tracker_evictions_total", reason="capacity") == 5000 - LIMITS.jobs


def test_the_limits_of_the_tracker_hold() -> None:
    limits = Limits(jobs=3, minions=10, closed=5, late=4, windows=4)
    bus = Following(limits=limits)
    for number in range(20):
        bus.announce(*(f"m{one}" for one in range(4)), jid=str(number))
        held = bus.tracker.held()
        assert all(getattr(held, name) <= most for name, most in vars(limits).items()), held
    assert bus.value("salt_job_returns_outstanding") == 8
    evicted = bus.values("salt_job_tracker_evictions_total")
    assert evicted["memory"] == 18
    bus.answer("m1", jid="17")  # no longer followed, but a return of an announced job
    bus.wait(1000)
    for number in (18, 19):
        bus.answer("m1", jid=str(number))

    assert bus.values("salt_job_returns_total") == {"test.ping,success,published": 3}
    assert bus.values("salt_job_missing_returns_total") == {"test.ping,no_return": 8}
    assert bus.values("salt_job_late_returns_total") == {"": 1}  # of one it is known who was missing
    assert (bus.tracker.held().closed, bus.tracker.held().windows) == (5, 0)
