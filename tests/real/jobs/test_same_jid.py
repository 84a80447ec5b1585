"""What `/v1/jobs` rests on when it publishes a second time: a minion runs a jid once, as long as it remembers it."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.demo.embedded import EmbeddedSalt
from service.jobs.names import Jids
from tests.real.sidecar import Sidecar

pytestmark = [pytest.mark.master, pytest.mark.slow]


def test_a_minion_runs_a_jid_twice_only_if_it_was_restarted_in_between(salt_master: EmbeddedSalt, sidecar: Sidecar, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    low = {**salt_master.credentials, "tgt": "minion-2"}
    job = {**low, "client": "local_async", "fun": "cmd.run", "arg": [f"echo run >> {ran}"], "jid": Jids().new()}

    def publish(runs: int) -> int:
        assert sidecar.post(job).value["jid"] == job["jid"]
        sidecar.wait(lambda: ran.exists() and len(ran.read_text().splitlines()) >= runs, f"run {runs} times")
        # The minion takes what is published in its order: it has had the job when it answers this.
        assert sidecar.post({**low, "client": "local", "fun": "test.ping"}).value == {"minion-2": True}
        return len(ran.read_text().splitlines())

    assert [publish(1), publish(1)] == [1, 1]
    salt_master.stop_minion("minion-2")
    salt_master.start_minion("minion-2")
    assert publish(2) == 2
