"""The simulated fleet on a real master: the sidecar gets every return, and says of each bad minion what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import running
from benchmarks.behaviour import names
from service.demo.embedded import EmbeddedSalt
from tests.real.conftest import MakeSidecar

pytestmark = [pytest.mark.master, pytest.mark.slow]


@pytest.fixture(scope="module")
def lonely_master(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedSalt]:
    """A master without minions, impatient: the suite's own must not get to know minions that are silent."""
    with EmbeddedSalt(tmp_path_factory.mktemp("salt"), minions=0, master={"timeout": 2, "gather_job_timeout": 8}) as salt:
        yield salt


def test_a_call_gets_every_return_and_the_bad_ones_are_named(lonely_master: EmbeddedSalt, tmp_path: Path, make_sidecar: MakeSidecar) -> None:
    # One minion of ten of each bad kind, in this order.
    silent, failing, late, duplicate, *good = names(10)
    behaviour = {"silent": 0.1, "failing": 0.1, "late": 0.1, "duplicate": 0.1, "late_seconds": 4.0}
    with running.fleet(lonely_master.master_config, tmp_path / "fleet", 10, **behaviour) as fleet, make_sidecar(lonely_master.master_config) as sidecar:
        low = {**lonely_master.credentials, "client": "local", "fun": "test.echo", "arg": ["hello"]}
        some = sidecar.post({**low, "tgt": good[:2], "tgt_type": "list"}).value
        everybody = sidecar.post({**low, "tgt": "sim-*", "full_return": True}).value
        account = sidecar.wait_for_line("http.request", 2)["salt.lows"][0]
    counts = fleet.said("over")

    assert some == dict.fromkeys(good[:2], "hello")
    assert {name: everybody[name]["ret"] for name in (*good, late, duplicate)} == dict.fromkeys((*good, late, duplicate), "hello")
    assert everybody[failing]["retcode"] == 1
    assert (everybody[silent]["out"], everybody[silent]["retcode"]) == ("no_return", 1)
    assert (account["minions_expected"], account["minions_returned"], account["minions_failed"], account["minions_missing"]) == (10, 9, 1, 1)
    assert counts is not None
    assert counts["failed"] == counts["dropped"] == 0
