"""Both masters of a Salt master cluster have ended, and start again: docs/scale-out.md says what gets them going."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.demo.embedded import SCRIPTS, until
from service.demo.ports import free_ports
from tests.real.conftest import kill_master
from tests.real.jobs.cluster import START_SECONDS, ClusterMaster

pytestmark = [pytest.mark.master, pytest.mark.slow, pytest.mark.timeout(1800)]

# Each of them costs seconds of a processor, on a machine that has to start two masters too.
PAUSE_SECONDS = 20.0
PAGE = Path(__file__).parents[3] / "docs" / "scale-out.md"
COMMAND = "salt-run cluster.route_clear data_type=unused"


@pytest.fixture
def masters(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ClusterMaster, ClusterMaster]]:
    """Start two masters for the first time, and wait until they are one cluster."""
    folder = tmp_path_factory.mktemp("c")
    shared, ports = folder / "shared", free_ports(1) * 2
    one = ClusterMaster(folder / "1", shared, ports, 1)
    one.configure()
    two = ClusterMaster(folder / "2", shared, ports, 2, one)
    two.configure()
    try:
        one.launch()
        assert any((shared / "pki" / "cluster.pem").exists() for _ in until(START_SECONDS))
        two.launch()
        for master in (one, two):
            master.wait_joined()
        yield one, two
    finally:
        one.stop()
        two.stop()


def answers(master: ClusterMaster, seconds: float) -> bool:
    return any(master.is_taken_in() for _ in until(seconds))


def test_masters_that_were_all_killed_are_a_cluster_again_after_the_command_of_the_documentation(masters: tuple[ClusterMaster, ClusterMaster]) -> None:
    for master in masters:
        kill_master(master)
    for master in masters:
        master.launch()
    for _ in until(START_SECONDS):
        subprocess.run(
            [SCRIPTS / "salt-run", "-c", masters[0].master_config.parent, *COMMAND.split()[1:]], check=False, capture_output=True, timeout=START_SECONDS
        )
        if all(answers(master, PAUSE_SECONDS) for master in masters):
            break

    assert all(master.is_taken_in() for master in masters)
    assert COMMAND in PAGE.read_text(encoding="utf-8")
