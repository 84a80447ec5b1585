"""What people get wrong with the image: each gets one line that names the fix, and exit code 78."""

from __future__ import annotations

import json
from pathlib import Path

from tests.e2e.engine import Engine
from tests.e2e.images import BARE, SIDECAR
from tests.e2e.report import Report
from tests.e2e.shell import require

EX_CONFIG = 78
MASTER = ("--env", "SALT_MASTER_CONFIG=/given/master")


def refused(engine: Engine, report: Report) -> None:
    """Start the image with everything that cannot work."""
    given = _files(engine.work / "given")
    mount = ("--volume", f"{given}:/given:ro")
    cases = {
        "SALT_MASTER_CONFIG is JSON": (("--env", 'SALT_MASTER_CONFIG={"id": "x"}'), (), "SALT_MASTER_CONFIG: holds JSON"),
        "... is missing": (("--env", "SALT_MASTER_CONFIG=/nowhere"), (), "mount it there"),
        "... cannot be read": ((*mount, "--env", "SALT_MASTER_CONFIG=/given/closed"), (), "cannot be read by uid 450"),
        "... is a directory": ((*mount, "--env", "SALT_MASTER_CONFIG=/given"), (), "such as /given/master"),
        "a uid without a name": ((*mount, *MASTER, "--user=12345:12345"), (), "run as a user that exists"),
        "an unknown setting": ((*mount, *MASTER, "--env", "SIDECAR_API_PROT=1"), (), "SIDECAR_API_PROT: no such option"),
        "a port that needs a right": (
            (*mount, *MASTER, "--sysctl=net.ipv4.ip_unprivileged_port_start=1024", "--env", "SIDECAR_API_PORT=80"),
            (),
            "api.port: port 80 needs a right",
        ),
        "a port that is taken": ((*mount, *MASTER, "--env", "SIDECAR_OPS_PORT=8001"), (), "ops.port: port 8001 on 127.0.0.1 is taken"),
        "check: no socket": ((*mount, *MASTER), ("check",), "the event bus' socket does not exist"),
        "check: a volume of another owner": (
            (*mount, *MASTER, "--volume", f"{given / 'run'}:/run/salt"),
            ("check",),
            "uid 450 may not connect to the event bus",
        ),
    }
    for what, (options, command, words) in cases.items():
        lines = _start(engine, *options, SIDECAR, *command)
        found = [line for line in lines if words in line]
        require(len(found) == 1, f"{what}: no line, or more than one, says `{words}`: {lines}")
        require(bool(command) or len(lines) == 1, f"{what}: more than one line: {lines}")
        report.found(what, f"exit code 78; {found[0]}")


def _start(engine: Engine, *args: str) -> list[str]:
    """Run the image until it ends with 78; return its faults as `where: problem. Fix: fix`."""
    output = engine.docker("run", "--rm", *BARE, *args, timeout=150, ok=(EX_CONFIG,))
    lines = []
    for line in output.splitlines():
        if line.startswith("{"):
            fault = json.loads(line)
            lines.append(f"{fault['where']}: {fault['problem']}. Fix: {fault['fix']}")
        else:
            lines.append(line.removeprefix("FAULT  "))
    return lines


def _files(given: Path) -> Path:
    """Make what is mounted. Root owns it, as it owns the folders that Kubernetes and `docker run -v` make."""
    sockets = given / "run" / "master"
    sockets.mkdir(parents=True)
    for name, mode in (("master", 0o644), ("closed", 0o600)):
        path = given / name
        path.write_text("id: master\nlog_file: /dev/null\n")
        path.chmod(mode)
    sockets.chmod(0o700)
    return given
