"""The master goes away and comes back: nobody hangs, nobody is told a lie, and nothing has to be restarted."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from service.demo.embedded import EmbeddedSalt
from tests.real.callers import frozen, master_pids
from tests.real.conftest import MakeSidecar, kill_master
from tests.real.load import Load
from tests.real.sidecar import Sidecar

pytestmark = [pytest.mark.master, pytest.mark.slow]

BOTH = {"minion-1": True, "minion-2": True}
CALLERS = 8
LASTS_SECONDS = 60
# Half of `master.rpc_timeout_seconds`, the shortest of the waits that nobody is to have.
AT_ONCE_SECONDS = 15


@pytest.fixture
def sidecar(salt: EmbeddedSalt, make_sidecar: MakeSidecar) -> Sidecar:
    """A sidecar of the test's own."""
    return make_sidecar(salt.master_config).__enter__()


def ping(salt: EmbeddedSalt) -> dict[str, object]:
    return {**salt.credentials, "client": "local", "tgt": "*", "fun": "test.ping"}


def wait_until_it_works(sidecar: Sidecar, salt: EmbeddedSalt) -> None:
    """Wait until a ping of both minions is answered right."""
    sidecar.wait(lambda: (answer := sidecar.post(ping(salt))).status == 200 and answer.value == BOTH, "right")


@pytest.mark.parametrize("end_master", [EmbeddedSalt.stop_master, kill_master], ids=["stopped", "killed"])
def test_callers_at_work_are_told_at_once_and_work_again_without_a_restart(
    salt: EmbeddedSalt, sidecar: Sidecar, end_master: Callable[[EmbeddedSalt], None]
) -> None:
    load = Load(sidecar, ping(salt), CALLERS)
    with load.running():
        sidecar.wait(lambda: load.statuses().count(200) >= 2 * CALLERS, "at work")
        end_master(salt)
        gone = time.monotonic()

        sidecar.wait_not_ready()
        sidecar.wait(lambda: len([call for call in load.calls if call.began > gone and call.status == 503]) > 5 * CALLERS, "refusing")
        refused = sidecar.post(ping(salt))
        assert sidecar.probe("/livez") == 200

        salt.start_master()
        sidecar.wait_ready()
        wait_until_it_works(sidecar, salt)
        runner = sidecar.post({**salt.credentials, "client": "runner", "fun": "test.arg", "arg": ["x"]})

    first = min((call for call in load.calls if call.status == 503), key=lambda call: call.ended)
    assert (refused.status, refused.headers["retry-after"]) == (503, "1")
    # Nobody waited for what a job may take, or a request to the master.
    assert refused.seconds < AT_ONCE_SECONDS
    assert first.answer.seconds < AT_ONCE_SECONDS
    assert {call.status for call in load.calls} <= {200, 503}
    assert runner.value["args"] == ["x"]
    assert load.calls[-1].status == 200
    assert sidecar.stderr() == ""


def test_a_master_that_stands_still_is_noticed_and_calls_end_in_time(salt: EmbeddedSalt, make_sidecar: MakeSidecar) -> None:
    sidecar = make_sidecar(salt.master_config, MASTER_RPC_TIMEOUT_SECONDS=5, MASTER_BUSY_SECONDS=4).__enter__()
    load = Load(sidecar, ping(salt), CALLERS)
    with load.running():
        sidecar.wait(lambda: load.statuses().count(200) >= 2 * CALLERS, "at work")
        with frozen(master_pids(salt)):
            still = time.monotonic()
            sidecar.wait_not_ready()
            sidecar.wait(lambda: len([status for status in load.statuses(since=still) if status in {503, 504}]) > CALLERS, "refusing")

    during = [call for call in load.calls if call.ended > still]
    assert {call.status for call in load.calls} <= {200, 503, 504}
    assert max(call.answer.seconds for call in during) < 60
    sidecar.wait_ready()
    wait_until_it_works(sidecar, salt)


def test_a_job_in_flight_when_the_master_dies_answers_what_it_has(salt: EmbeddedSalt, sidecar: Sidecar) -> None:
    low = {**salt.credentials, "client": "local", "tgt": "*", "fun": "demo.sleep", "arg": [LASTS_SECONDS]}
    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(sidecar.post, low)
        sidecar.wait(lambda: sidecar.metric("salt_event_bus_events_total", type="job_new") > 0, "published")
        kill_master(salt)
        killed = time.monotonic()
        answer = waiting.result(180)
    took = time.monotonic() - killed

    assert took < LASTS_SECONDS / 2, "\n".join(map(str, sidecar.lines()))
    assert sorted(answer.value) == ["minion-1", "minion-2"]
    for said in answer.value.values():
        assert "[Unknown]" in said
        assert "jobs.lookup_jid 20" in said


def test_a_sidecar_that_starts_before_its_master_waits_for_it(salt: EmbeddedSalt, make_sidecar: MakeSidecar) -> None:
    kill_master(salt)
    sidecar = make_sidecar(salt.master_config).start()
    alone = sidecar.ops("/readyz")
    refused = sidecar.post(ping(salt))

    salt.start_master()

    assert (alone.status, refused.status) == (503, 503)
    assert alone.json()["checks"]["master"]["ok"] is False
    sidecar.wait_ready()
    wait_until_it_works(sidecar, salt)
