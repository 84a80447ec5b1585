"""The environment of docs/install-package.md that has a Salt of its own; what the lock files bring is kept for the next run."""

from __future__ import annotations

import time
from pathlib import Path

from tests.e2e.images import ROOT
from tests.e2e.kept import kept, mark_of
from tests.e2e.report import Report
from tests.e2e.systemd import TYPING_SECONDS, Machine, documented

HEADING = "Install: with a Salt of its own"
LOCKS = ("build.txt", "runtime-3008.txt")


def install(machine: Machine, report: Report) -> None:
    """Type what the page says. Its last command installs our wheel, those before make the environment: a minute of work that the cache may have."""
    *environment, wheel = documented(HEADING).splitlines()
    began = time.monotonic()

    def make(part: Path) -> None:
        machine.sh("\n".join(environment), timeout=TYPING_SECONDS)
        machine.sh("tar --directory / --create --file /var/tmp/own-salt.tar opt/salt-sidecar")
        machine.fetch("/var/tmp/own-salt.tar", part)

    tar, found = kept("own-salt", mark_of(*environment, *((ROOT / "requirements" / lock).read_bytes() for lock in LOCKS)), make)
    if found:
        machine.copy(tar, "/var/tmp/own-salt.tar")
        machine.sh("tar --directory / --extract --file /var/tmp/own-salt.tar")
    else:
        report.found("with a Salt of its own", f"made in {time.monotonic() - began:.0f} s")
    machine.sh(f"rm /var/tmp/own-salt.tar\n{wheel}")
