"""The event bus is cut in mid-job: the caller gets what was heard, and is told what was not."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from service.demo.embedded import EmbeddedSalt
from service.gateway.clients.gathering import BUS_GRACE_SECONDS
from tests.real.conftest import MakeSidecar
from tests.real.held import Held
from tests.real.relay import Relay
from tests.real.sidecar import Answer, Sidecar

pytestmark = [pytest.mark.master, pytest.mark.slow]


@pytest.fixture
def relay(salt_master: EmbeddedSalt) -> Iterator[Relay]:
    # pytest's own folders may be too long for a socket.
    with tempfile.TemporaryDirectory() as folder, Relay(salt_master, Path(folder)) as made:
        yield made


@pytest.fixture
def sidecar(relay: Relay, make_sidecar: MakeSidecar) -> Sidecar:
    return make_sidecar(relay.master_config).__enter__()


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as pool:
        yield pool


def start(sidecar: Sidecar, relay: Relay, threads: ThreadPoolExecutor, **low: object) -> Future[Answer]:
    """Send a low and wait until the master has announced its job."""
    answer = threads.submit(sidecar.post, low)
    sidecar.wait(lambda: relay.passed(b"/new\n\n"), "announced")
    return answer


def test_minions_that_were_not_heard_are_unknown_and_the_job_is_named(
    salt_master: EmbeddedSalt, sidecar: Sidecar, relay: Relay, threads: ThreadPoolExecutor, held: Held
) -> None:
    waiting = start(sidecar, relay, threads, **salt_master.credentials, **held.low, tgt="*")
    relay.cut()
    answer = waiting.result(180)

    assert sorted(answer.value) == ["minion-1", "minion-2"]
    line = sidecar.wait_for_line("http.request")
    (low,) = line["salt.lows"]
    assert (low["outcome"], low["minions_missing"]) == ("partial", 2)
    for said in answer.value.values():
        assert said.startswith("Minion did not return. [Unknown]")
        assert said.endswith(f"salt-run jobs.lookup_jid {low['jid']}")


def test_returns_from_before_the_cut_are_kept(salt_master: EmbeddedSalt, sidecar: Sidecar, relay: Relay, threads: ThreadPoolExecutor) -> None:
    # The grain says who is quick: one minion is asked to sleep 0 s, the other 20.
    template = "{% if grains['role'] == 'web' %}0{% else %}20{% endif %}"
    low = {"client": "local", "tgt": "*", "fun": ["test.ping", "cmd.run"], "arg": [[], [f"sleep {template}", "template=jinja"]]}
    waiting = start(sidecar, relay, threads, **salt_master.credentials, **low)
    sidecar.wait(lambda: relay.passed(b"/ret/minion-1"), "returned")
    relay.cut()
    answer = waiting.result(180)

    assert answer.value["minion-1"] == {"test.ping": True, "cmd.run": ""}
    assert "[Unknown]" in answer.value["minion-2"]


def test_a_minion_still_at_work_when_the_bus_is_back_is_waited_for(
    salt_master: EmbeddedSalt, sidecar: Sidecar, relay: Relay, threads: ThreadPoolExecutor, held: Held
) -> None:
    waiting = start(sidecar, relay, threads, **salt_master.credentials, **held.low, tgt="*")
    relay.cut()
    relay.mend()
    sidecar.wait(lambda: sidecar.metric("salt_event_bus_reconnects_total") >= 1, "connected again")
    held.let_go()

    assert waiting.result(180).value == {"minion-1": "let go", "minion-2": "let go"}


def test_a_runner_whose_end_was_not_heard_is_unknown_and_named(salt_master: EmbeddedSalt, sidecar: Sidecar, relay: Relay, threads: ThreadPoolExecutor) -> None:
    waiting = start(sidecar, relay, threads, **salt_master.credentials, client="runner", fun="test.sleep", arg=[20])
    relay.cut()
    answer = waiting.result(180)

    assert answer.status == 503
    assert answer.json()["jid"] in answer.json()["return"]
    assert "unknown" in answer.json()["return"]


def test_without_a_bus_nothing_is_published(salt_master: EmbeddedSalt, sidecar: Sidecar, relay: Relay) -> None:
    relay.cut()
    sidecar.wait_not_ready()
    local = sidecar.post({**salt_master.credentials, "client": "local", "tgt": "*", "fun": "test.ping"})
    unheard = sidecar.post({**salt_master.credentials, "client": "local_async", "tgt": "*", "fun": "test.ping"})

    assert (local.status, local.headers["retry-after"]) == (503, "1")
    # A job under way would have been given BUS_GRACE_SECONDS.
    assert local.seconds < BUS_GRACE_SECONDS
    assert sorted(unheard.value) == ["jid", "minions"]
