"""A busy master is not a down master: who waits, who is told what, and when it counts as down after all."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
import yaml

from service.demo.embedded import EmbeddedSalt
from tests.real.callers import Callers, frozen, master_pids, worker_pids
from tests.real.conftest import MakeSidecar, kill_master
from tests.real.held import Held
from tests.real.relay import Gate
from tests.real.sidecar import Sidecar

pytestmark = [pytest.mark.master, pytest.mark.slow]

# What the tests wait for; the product's own are 60 s and 30 s.
SOON = {"MASTER_BUSY_SECONDS": 4, "MASTER_RPC_TIMEOUT_SECONDS": 10}
# Longer than any machine needs to thaw a master.
PATIENT = {"MASTER_BUSY_SECONDS": 300, "MASTER_RPC_TIMEOUT_SECONDS": 120, "EVENTS_HEARTBEAT_SECONDS": 1}


def started(sidecar: Sidecar, salt: EmbeddedSalt) -> Callers:
    """Start a sidecar and its callers, once jobs are answered."""
    sidecar.__enter__()
    callers = Callers(sidecar.api_port, salt)
    sidecar.wait(lambda: callers.local().result(180).status == 200, "at work")
    return callers


@pytest.mark.parametrize("seconds", [2, 5, 15])
def test_while_all_workers_are_busy_everybody_waits_and_is_answered(salt: EmbeddedSalt, make_sidecar: MakeSidecar, seconds: int) -> None:
    sidecar = make_sidecar(salt.master_config, **PATIENT)
    callers = started(sidecar, salt)
    with frozen(worker_pids(salt)):
        in_flight = callers.local()
        if seconds > 2:
            reason = sidecar.wait_for_line("master.busy")["reason"]
            ready = sidecar.ops("/readyz")
            busy, up = (sidecar.metric(name) for name in ("salt_master_busy", "salt_master_up"))
            assert (ready.status, ready.json()["checks"]["master"]["ok"], busy, up) == (200, True, 1, 1)
            assert reason.startswith("busy: ")
            assert "busy" in ready.json()["checks"]["master"]["reason"]
        later = [callers.local(), callers.login(), callers.stats()]
        threading.Event().wait(seconds)

    outcomes = [call.result(180) for call in (in_flight, *later)]
    sidecar.wait(lambda: sidecar.metric("salt_master_busy") == 0, "up again")
    heard = len(callers.stream.read)
    sidecar.wait(lambda: callers.local().result(180).status == 200 and b"salt/job/" in callers.stream.read[heard:], "heard in the stream")

    assert [outcome.status for outcome in outcomes] == [200] * 4, outcomes
    assert callers.stream.ended_at is None
    assert sidecar.lines("master.down") == []
    callers.close()


def test_a_job_in_flight_outlives_the_questions_that_a_busy_master_does_not_take(salt: EmbeddedSalt, make_sidecar: MakeSidecar, held: Held) -> None:
    sidecar = make_sidecar(salt.master_config, MASTER_BUSY_SECONDS=300, MASTER_RPC_TIMEOUT_SECONDS=3)
    callers = started(sidecar, salt)
    in_flight = callers.local({**held.low, "timeout": 1, "gather_job_timeout": 5})
    sidecar.wait(lambda: held.running == len(salt.minions), "begun")
    with frozen(worker_pids(salt)):
        held.let_go()
        sidecar.wait(lambda: sidecar.metric("salt_api_master_rpc_failures_total", cmd="publish", reason="timeout") >= 2, "asking in vain")

    outcome = in_flight.result(180)
    assert json.loads(outcome.body) == {"return": [dict.fromkeys(salt.minions, "let go")]}
    callers.close()


def test_a_master_that_is_frozen_for_good_is_called_down_and_comes_back(salt: EmbeddedSalt, make_sidecar: MakeSidecar) -> None:
    sidecar = make_sidecar(salt.master_config, **SOON)
    callers = started(sidecar, salt)
    with frozen(master_pids(salt)):
        in_flight = callers.local()
        sidecar.wait_not_ready()
        new = callers.local().result(180)
        first = in_flight.result(180)
        assert (sidecar.metric("salt_master_busy"), sidecar.metric("salt_master_up")) == (0, 0)
        assert "does not answer" in sidecar.lines("master.down")[0]["reason"]

    sidecar.wait_ready()
    sidecar.wait(lambda: callers.local().result(180).status == 200, "at work again")
    # Who was in flight kept its deadline, and who came later was told at once.
    assert (first.status, new.status) == (504, 503), (first, new)
    assert new.seconds < first.seconds
    assert len(sidecar.lines("master.busy")) >= 1
    callers.close()


def test_a_busy_master_that_is_killed_is_down_at_once_and_ends_the_calls_in_flight(salt: EmbeddedSalt, make_sidecar: MakeSidecar) -> None:
    sidecar = make_sidecar(salt.master_config, **PATIENT)
    callers = started(sidecar, salt)
    with frozen(worker_pids(salt)):
        in_flight = callers.local()
        sidecar.wait_for_line("master.busy")
        kill_master(salt)
    first = in_flight.result(180)
    sidecar.wait_not_ready()
    new = callers.local().result(180)
    stats = callers.stats().result(180)

    assert (first.status, new.status, stats.status) == (503, 503, 200), (first, new, stats)
    assert b"whether it took it is unknown" in first.body
    assert "refused" in sidecar.lines("master.down")[0]["reason"]
    assert callers.stream.ended_at is None
    callers.close()


def test_a_master_behind_a_filter_is_busy_and_then_down_and_comes_back(salt: EmbeddedSalt, make_sidecar: MakeSidecar, tmp_path: Path) -> None:
    with Gate(salt, tmp_path) as gate:
        sidecar = make_sidecar(gate.master_config, **SOON)
        callers = started(sidecar, salt)
        gate.shut()
        in_flight = callers.local()
        sidecar.wait_not_ready()
        new, stats = callers.local().result(180), callers.stats().result(180)
        first = in_flight.result(180)
        gate.open()
        sidecar.wait_ready()
        sidecar.wait(lambda: callers.local().result(180).status == 200, "at work again")
        callers.close()

    assert (first.status, new.status, stats.status) == (504, 503, 200), (first, new, stats)
    assert new.seconds < first.seconds
    assert len(sidecar.lines("master.busy")) >= 1
    assert callers.stream.read


def test_who_logs_out_of_a_master_that_is_away_is_logged_out_there_when_it_is_back(salt: EmbeddedSalt, make_sidecar: MakeSidecar, tmp_path: Path) -> None:
    # A sidecar that does not share the master's disk has to ask it.
    apart = tmp_path / "master"
    apart.write_text(yaml.safe_dump({**yaml.safe_load(salt.master_config.read_text()), "cachedir": str(tmp_path)}))
    sidecar = make_sidecar(apart, **PATIENT)
    callers = started(sidecar, salt)
    kill_master(salt)
    sidecar.wait_not_ready()

    assert callers.logout().result(180).status == 200
    assert callers.stats().result(180).status == 401
    assert sidecar.wait_for_line("auth.token.revoked")["by"] == "later"
    salt.start_master()
    assert sidecar.wait_for_line("auth.token.revoked", 2)["by"] == "runner"
    callers.close()
