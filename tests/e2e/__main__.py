"""`make e2e`: everything that ships, run for real, on an engine of its own; the evidence as a table."""

from __future__ import annotations

import argparse
import dataclasses
import os
import shutil
import signal
import sys
import tempfile
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.e2e import attached, audited, bad_input, chart, clustered, composed, dist, eauth, fresh, images, kubernetes, labels, machine, packaged, rollout
from tests.e2e.engine import Engine
from tests.e2e.report import Report
from tests.e2e.shell import StepFailed, require
from tests.e2e.twice import until_done


@dataclasses.dataclass(frozen=True)
class Step:
    """Something to prove. Images are built and the engine runs when its turn comes."""

    name: str
    run: Callable[[Engine, Report], None]


STEPS = (
    Step("look inside the images", images.look_inside),
    Step("look at the labels", labels.labelled),
    Step("look at the dates", labels.undated),
    Step("look at a second build", labels.built_again),
    Step("sbom", images.list_packages),
    Step("the master's image with git", labels.with_git),
    Step("start and stop", images.measure_start),
    Step("bad input", bad_input.refused),
    Step("eauth: PAM and LDAP; gitfs", eauth.lets_in),
    Step("package: make dist", dist.check),
    Step("package: make audit", audited.audited),
    Step("package: beside a master under systemd", packaged.everything),
    Step("compose", composed.everything),
    Step("compose: a cluster of two masters", clustered.everything),
    Step("fresh machines", fresh.everything),
    Step("helm: lint, render, refuse", chart.check),
    Step("helm: a kubelet's volumes and signals", kubernetes.under_a_kubelet),
    Step("helm: a rollback", rollout.rolled_back),
    Step("helm: attached to a master", attached.beside_a_master),
    Step("helm: a pod under podman", kubernetes.under_podman),
)


def main() -> int:
    """Run the steps in order; stop everything, whatever happens; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.e2e", description=__doc__)
    parser.add_argument("--only", metavar="WORD", help="only the steps whose name has this word, after the engine and the images")
    chosen = [step for step in STEPS if (parser.parse_args().only or "") in step.name]
    # So that `finally` runs when somebody ends us.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    report = Report()
    try:
        until_done(partial(everything, deque(chosen), report), report)
    except StepFailed as exc:
        print(f"\n{report.table()}\n\nFAILED: {exc}", flush=True)
        return 1
    print(f"\n{report.table()}\n\nall of it works", flush=True)
    return 0


def everything(steps: deque[Step], report: Report) -> None:
    """Start the engine, build the images, run the steps, stop the engine. A step leaves the row when it is done."""
    with report.step("machine"):
        report.found("installed", ", ".join(machine.prepare()) or "nothing was missing")
        images.lint(report)
    # Short: a Unix socket's path holds 107 characters.
    engine = Engine(Path(tempfile.mkdtemp(prefix="e2e-", dir="/var/tmp")), machine.docker_client())
    try:
        with report.step("engine"):
            engine.start()
            report.found("docker", engine.docker("version", "--format", "{{.Server.Version}}, {{.Server.Os}}/{{.Server.Arch}}").strip())
        with report.step("images"):
            images.build(engine, report)
        while steps:
            with report.step(steps[0].name):
                steps[0].run(engine, report)
            steps.popleft()
    finally:
        stop(engine, report)


def stop(engine: Engine, report: Report) -> None:
    """Stop the engine and show that nothing of it is left."""
    with report.step("stop"):
        engine.stop()
        left = engine.mounts()
        require(not left and not engine.work.exists(), f"left behind: {left or engine.work}")
        report.found("left behind", "nothing: no container, no daemon, no mount, no file")


if __name__ == "__main__":
    if shutil.which("apt-get") is None:
        sys.exit("make e2e needs Debian or Ubuntu: it installs its programs with apt-get")
    if os.geteuid() != 0:
        sys.exit("make e2e starts a Docker engine of its own: run it as root")
    sys.exit(main())
