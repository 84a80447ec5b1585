"""The job and fleet metrics beside a real master: what minions do is counted, what was not heard is not."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from service.demo.embedded import SCRIPTS, EmbeddedSalt
from tests.compat.browser import browser
from tests.compat.ui_steps import log_in, see
from tests.real.conftest import MakeSidecar
from tests.real.relay import Relay
from tests.real.sidecar import Sidecar

pytestmark = [pytest.mark.master, pytest.mark.slow]
# What the metrics of fleet and workers need of a master.
TALKATIVE = {"presence_events": True, "master_stats": True, "master_stats_event_iter": 1, "loop_interval": 2}
# What the table of the page says of each minion.
ROWS = """async () => [...document.querySelectorAll(".minions tbody tr")].map((row) => [...row.cells].map((cell) => cell.innerText))"""


@pytest.fixture(scope="module")
def talkative() -> Iterator[EmbeddedSalt]:
    # pytest's own folders may be too long for the sockets.
    with tempfile.TemporaryDirectory() as folder, EmbeddedSalt(Path(folder), threads=True, master=TALKATIVE) as salt:
        yield salt


@pytest.fixture
def sidecar(talkative: EmbeddedSalt, make_sidecar: MakeSidecar) -> Sidecar:
    settings = {"LOG_LEVEL": "debug", "METRICS_PER_MINION": '{"enabled": true}'}
    return make_sidecar(talkative.master_config, **settings).__enter__()


def wait_for(sidecar: Sidecar, count: float, name: str, **labels: str) -> None:
    sidecar.wait(lambda: sidecar.metric(name, **labels) == count, f"{count} {name} {labels}")


def test_jobs_of_ours_and_of_others_are_counted_with_their_ends(talkative: EmbeddedSalt, sidecar: Sidecar) -> None:
    ours = {**talkative.credentials, "client": "local", "tgt": "*"}
    sidecar.post({**ours, "fun": "test.ping"}, {**ours, "fun": "cmd.run", "arg": ["exit 3"]}, {**ours, "fun": "state.apply", "arg": ["failing"]})
    sidecar.post({**ours, "tgt": ["minion-1", "unheard-of"], "tgt_type": "list", "fun": "test.version"})
    sidecar.post({**talkative.credentials, "client": "runner", "fun": "jobs.list_jobs"})
    subprocess.run([SCRIPTS / "salt", "-c", talkative.master_config.parent, "minion-2", "test.ping"], check=True, capture_output=True, timeout=180)

    wait_for(sidecar, 1, "salt_jobs_started_total", function="test.ping", origin="other")
    wait_for(sidecar, 1, "salt_jobs_started_total", function="test.ping", origin="api")
    wait_for(sidecar, 3, "salt_job_targeted_minions_total", function="test.ping")
    wait_for(sidecar, 3, "salt_job_returns_total", function="test.ping", result="success", origin="published")
    wait_for(sidecar, 2, "salt_job_returns_total", function="cmd.run", result="failure", origin="published")
    wait_for(sidecar, 2, "salt_job_returns_total", function="state.apply", result="failure", origin="published")
    assert sidecar.metric("salt_job_state_results_total", result="failed") >= 2
    wait_for(sidecar, 1, "salt_job_missing_returns_total", function="test.version", reason="not_connected")
    wait_for(sidecar, 1, "salt_runner_jobs_total", function="jobs.list_jobs", result="success")
    wait_for(sidecar, 0, "salt_jobs_in_progress")
    assert sidecar.metric("salt_job_missing_returns_total", reason="no_return") == 0
    assert sidecar.metric("salt_jobs_started_total") == 5  # neither questions nor runners
    published = sidecar.lines("salt.job.published")
    sidecar.wait(lambda: sum(line["origin"] == "api" for line in sidecar.lines("salt.job.completed")) == len(published), "completed")
    assert {line["request_id"] for line in published} <= {line["request_id"] for line in sidecar.lines("http.request")}
    assert {line["jid"] for line in published} == {line["jid"] for line in sidecar.lines("salt.job.completed") if line["origin"] == "api"}


def test_a_minion_that_is_held_up_is_missing_and_then_late(talkative: EmbeddedSalt, sidecar: Sidecar) -> None:
    held = talkative.pids["minion-2"]
    os.kill(held, signal.SIGSTOP)
    try:
        low = {"client": "local", "tgt": "minion-2", "fun": "test.ping", "timeout": 1, "gather_job_timeout": 1}
        answer = sidecar.post({**talkative.credentials, **low})
        assert answer.value["minion-2"] is False or "did not return" in str(answer.value["minion-2"])
        wait_for(sidecar, 1, "salt_job_missing_returns_total", function="test.ping", reason="no_return")
        assert sidecar.metric("salt_job_late_returns_total") == 0
    finally:
        os.kill(held, signal.SIGCONT)

    wait_for(sidecar, 1, "salt_job_late_returns_total")
    wait_for(sidecar, 1, "salt_job_returns_total", function="test.ping", result="success", origin="published")
    sidecar.wait_for_line("salt.job.completed")
    (line,) = sidecar.lines("salt.job.completed")
    assert (line["level"], line["missing_sample"], line["tainted"]) == ("warning", ["minion-2"], False)


def test_the_fleet_is_known_from_the_bus_and_the_key_folders(talkative: EmbeddedSalt, sidecar: Sidecar) -> None:
    sidecar.post({**talkative.credentials, "client": "local", "tgt": "*", "fun": "state.highstate"})
    wait_for(sidecar, 2, "salt_minion_keys", state="accepted")
    wait_for(sidecar, 2, "salt_minions_connected")
    wait_for(sidecar, 2, "salt_minions_seen", window="5m")
    sidecar.wait(lambda: sidecar.metric("salt_master_worker_requests_total") > 0, "worker stats")
    sidecar.wait(lambda: sidecar.metric("salt_minion_last_seen_timestamp_seconds", minion="minion-1") > 0, "minion-1 seen")
    # That it is lost cannot be seen here: the master tells minions apart by their address, and the other one has the same.
    talkative.stop_minion("minion-2")
    talkative.start_minion("minion-2")

    sidecar.wait(lambda: sidecar.metric("salt_minion_starts_total") >= 1, "started")
    sidecar.wait(lambda: sidecar.metric("salt_minion_auth_events_total", act="accept", result="true") >= 1, "authenticated")


def test_people_see_the_fleet_as_it_is(talkative: EmbeddedSalt, sidecar: Sidecar, program: Callable[[str, str], str], tmp_path: Path) -> None:
    states = talkative.master_config.parents[1] / "files" / "states"
    (states / "top.sls").write_text("base: {minion-1: [good], minion-2: [failing]}")
    sidecar.post({**talkative.credentials, "client": "local", "tgt": "*", "fun": "state.highstate"})
    wait_for(sidecar, 2, "salt_minions_connected")
    wait_for(sidecar, 1, "salt_minions_state_status", status="failure")
    (states / "top.sls").unlink()
    with browser(program("chromedriver", "chromium-driver"), program("chromium", "chromium"), tmp_path) as window:
        log_in(window, f"http://127.0.0.1:{sidecar.api_port}", talkative.credentials, "/ui/minions")
        see(window, ".minions td", "minion-2")
        rows = window.call(ROWS)

    assert [(minion, connected, highstate) for minion, connected, _heard, highstate in rows] == [("minion-1", "yes", "ok"), ("minion-2", "yes", "failed")]
    assert all(re.search(r"\d", heard) for _, _, heard, _ in rows)


def test_what_a_cut_of_the_bus_hid_is_logged_and_not_counted(talkative: EmbeddedSalt, make_sidecar: MakeSidecar) -> None:
    settings = {"JOBS_TRACKING_WINDOW_SECONDS": 8}
    with tempfile.TemporaryDirectory() as folder, Relay(talkative, Path(folder)) as relay, make_sidecar(relay.master_config, **settings) as sidecar:
        sidecar.post({**talkative.credentials, "client": "local_async", "tgt": "*", "fun": "demo.sleep", "arg": [20]})
        wait_for(sidecar, 1, "salt_jobs_started_total", function="demo.sleep", origin="api")
        relay.cut()
        line = sidecar.wait_for_line("salt.job.completed")

        assert (line["missing"], line["missing_sample"], line["tainted"]) == (2, ["minion-1", "minion-2"], True)
        assert sidecar.metric("salt_job_missing_returns_total", reason="no_return") == 0
        assert sidecar.metric("salt_event_bus_connected") == 0
        assert sidecar.metric("salt_event_bus_disconnected_seconds_total") > 0
        relay.mend()
        wait_for(sidecar, 1, "salt_event_bus_reconnects_total", reason="eof")
