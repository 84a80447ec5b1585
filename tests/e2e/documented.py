"""What the documentation says to type, typed: on the Compose project as it runs, and in the chart's pod."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.documented.commands import Command, definitions, run_by
from tests.documented.shell import Shell, program
from tests.e2e import images
from tests.e2e.engine import Engine
from tests.e2e.kubelet import Pod
from tests.e2e.release import NAME
from tests.e2e.report import Report
from tests.e2e.shell import require
from tests.e2e.stack import Stack

# A minion that is not there, and a job that nobody gave.
NOBODY = {"MINION": "nobody", "JID": "20260101000000000000"}


def under_compose(stack: Stack, report: Report) -> None:
    """Run what is documented for Compose, and the runbooks; a new secret at the end, because one of the commands removes the old one."""
    before = stack.secret()
    shell = _shell(stack)
    _run(shell, run_by("compose"), "install-compose.md, operations.md", report)
    _run(dataclasses.replace(shell, definitions=definitions("compose")), run_by("runbook"), "runbooks, Compose", report)
    stack.up()
    stack.compose("restart", "salt-master")
    stack.await_minions(stack.api())
    require(stack.secret() != before, "the secret that was removed is there again")
    report.found("a secret that was removed", "made anew by the next start, and taken by the master after its restart")


def with_identities(stack: Stack) -> Iterator[str]:
    """Run what is documented for a stack with config/compose/identities.yaml, block after block; give what each printed."""
    yield from map(_shell(stack).run, run_by("identities"))


def in_a_pod(engine: Engine, pod: Pod, notes: str, report: Report) -> None:
    """Run the runbooks, and what is documented for Kubernetes, with a `kubectl` that knows this one pod. notes: what the installation printed."""
    folder = engine.work / "documented-pod"
    program(folder / "bin", "kubectl", _kubectl(engine, pod))
    shell = Shell(folder, folder / "bin", engine.environ, reader={"POD": f"{NAME}-0", "salt-salt-sidecar": NAME, **NOBODY})
    printed = [Command("NOTES.txt", number, line.strip(), "") for number, line in enumerate(notes.splitlines(), 1) if " exec " in line]
    require(bool(printed), f"no command for the pod in: {notes}")
    _run(shell, [*printed, *run_by("kubernetes")], "install-kubernetes.md, NOTES.txt", report)
    _run(dataclasses.replace(shell, definitions=definitions("kubernetes")), run_by("runbook"), "runbooks, Kubernetes", report)


def _run(shell: Shell, commands: Iterable[Command], what: str, report: Report) -> None:
    done = [shell.run(command) for command in commands]
    report.found(what, f"{len(done)} commands and blocks, as they stand there")


def _shell(stack: Stack) -> Shell:
    folder = stack.engine.work / "documented"
    folder.mkdir(exist_ok=True)
    environ = {
        "COMPOSE_FILE": str(images.ROOT / "compose.yaml"),
        **stack.environ,
        "COMPOSE_PROJECT_NAME": stack.project,
        "COMPOSE_PROFILES": ",".join(stack.profiles),
    }
    return Shell(folder, _programs(stack), environ, reader=NOBODY)


def _programs(stack: Stack) -> Path:
    """Make `docker compose` and `docker` ours, and send a curl to the documented ports to those of this project."""
    programs = stack.programs()
    program(programs, "curl", f'exec /usr/bin/curl --fail --connect-to localhost:8001:127.0.0.1:{stack.ports["API_PORT"]} "$@"')
    return programs


def _kubectl(engine: Engine, pod: Pod) -> str:
    """Return `kubectl [-n NAMESPACE] exec|logs POD -c CONTAINER [-- COMMAND]` for this pod."""
    return f"""
while [ $# -gt 0 ]; do
    case $1 in
    -n) shift 2 ;;
    -c) container=$2 && shift 2 ;;
    --) shift && break ;;
    exec | logs) verb=$1 && shift ;;
    {NAME}-0) shift ;;
    *) echo "not known here: $1" >&2 && exit 1 ;;
    esac
done
exec {engine.client} "$verb" "{pod.container("$container")}" "$@"
"""
