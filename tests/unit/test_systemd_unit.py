"""The systemd unit: its limits fit our settings, and systemd's own judgement of it; that it works is shown by `make e2e`."""

from __future__ import annotations

import configparser
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from service.server.runtime import NO_THREAD_CACHE
from service.settings.settings import Settings
from service.wiring.listeners import api_threads

UNIT = Path(__file__).parents[2] / "config" / "systemd" / "salt-sidecar.service"
# systemd's own scale: 0 is confined, 10 is not at all; it calls what is below 3 well.
MOST_EXPOSED = 3.0
INSTALLED = "/opt/salt-sidecar/bin/salt-sidecar"


def section(name: str) -> configparser.SectionProxy:
    # An option may be given several times, which adds up; none that is asked for here is.
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(UNIT.read_text(encoding="utf-8"))
    return unit[name]


def test_it_is_not_killed_before_its_drain_is_over() -> None:
    drain = Settings().drain

    assert int(section("Service")["TimeoutStopSec"]) > drain.notice_seconds + drain.drain_seconds + 5


def test_it_may_have_every_thread_and_every_connection_of_the_settings() -> None:
    ours = Settings()

    assert int(section("Service")["TasksMax"]) > api_threads(ours) + 100
    assert int(section("Service")["LimitNOFILE"]) > 3 * ours.api.connection_limit + 1000


def test_it_starts_with_the_memory_of_threads_shared_as_the_image_does() -> None:
    chosen = f"GLIBC_TUNABLES={NO_THREAD_CACHE}"

    assert section("Service")["Environment"] == chosen
    assert chosen in (UNIT.parents[2] / "Dockerfile").read_text(encoding="utf-8").partition(" AS sidecar\n")[2].split()


def test_a_configuration_that_cannot_work_is_not_tried_again() -> None:
    assert section("Service")["RestartPreventExitStatus"] == str(os.EX_CONFIG)


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run systemd-analyze; without it the test is skipped, and fails in CI."""
    if shutil.which("systemd-analyze") is None:
        missing = "there is no systemd-analyze: apt-get install --no-install-recommends systemd"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, encoding="utf-8", timeout=90, check=False)


@pytest.mark.slow
def test_systemd_finds_no_fault_in_it(tmp_path: Path) -> None:
    # What is not installed on this machine would be a fault: another program stands in.
    stand_in = tmp_path / UNIT.name
    stand_in.write_text(UNIT.read_text(encoding="utf-8").replace(INSTALLED, sys.executable), encoding="utf-8")

    verified = analyze("verify", stand_in)

    assert (verified.returncode, verified.stdout, verified.stderr) == (0, "", "")


@pytest.mark.slow
def test_systemd_finds_a_fault_where_there_is_one(tmp_path: Path) -> None:
    broken = tmp_path / UNIT.name
    broken.write_text(UNIT.read_text(encoding="utf-8").replace("ProtectHome=yes", "ProtectHome=perhaps"), encoding="utf-8")

    assert "protect home value, ignoring: perhaps" in analyze("verify", broken).stderr


@pytest.mark.slow
def test_it_is_confined() -> None:
    judged = analyze("security", "--offline=yes", f"--threshold={MOST_EXPOSED * 10:.0f}", UNIT)

    assert judged.returncode == 0, judged.stdout
