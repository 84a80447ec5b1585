"""The environment of docs/install-package.md that has a Salt of its own; what the lock files bring is kept for the next run."""

from __future__ import annotations

import hashlib
import time

from tests.e2e import standins
from tests.e2e.images import ROOT
from tests.e2e.report import Report
from tests.e2e.systemd import TYPING_SECONDS, Machine, documented

HEADING = "Install: with a Salt of its own"
LOCKS = ("build.txt", "runtime-3008.txt")


def install(machine: Machine, report: Report) -> None:
    """Type what the page says. Its last command installs our wheel, those before make the environment: a minute of work that the cache may have."""
    *environment, wheel = documented(HEADING).splitlines()
    parts = [*(line.encode() for line in environment), *((ROOT / "requirements" / lock).read_bytes() for lock in LOCKS)]
    mark = hashlib.sha256(b"\0".join(parts)).hexdigest()[:12]
    cached = standins.cache() / f"own-salt-{mark}.tar"
    began = time.monotonic()
    if cached.exists():
        machine.copy(cached, "/var/tmp/own-salt.tar")
        machine.sh("tar --directory / --extract --file /var/tmp/own-salt.tar")
    else:
        machine.sh("\n".join(environment), timeout=TYPING_SECONDS)
        machine.sh("tar --directory / --create --file /var/tmp/own-salt.tar opt/salt-sidecar")
        machine.fetch("/var/tmp/own-salt.tar", cached.with_suffix(".part"))
        cached.with_suffix(".part").rename(cached)
        report.found("with a Salt of its own", f"made in {time.monotonic() - began:.0f} s")
    machine.sh(f"rm /var/tmp/own-salt.tar\n{wheel}")
