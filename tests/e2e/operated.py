"""compose.yaml as its operators treat it: reloaded, crashed, upgraded under load, stopped, and started on a machine that is much too slow."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from typing import Any

from tests.e2e import images
from tests.e2e.images import ROOT
from tests.e2e.load import HONEST, Api, Load
from tests.e2e.report import Report
from tests.e2e.shell import StepFailed, eventually, require, run
from tests.e2e.stack import MINIONS, Stack

PATIENCE_SECONDS = 300.0
UPGRADE = ROOT / "config" / "compose" / "upgrade"
# Of one core, for the master and for the sidecar.
SLOW_CPUS = 0.2
MOUNTED = ("/etc/salt", "/run/salt", "/var/lib/salt", "/var/lib/salt-sidecar", "/run/secrets", "/tmp")


def keeps_from_the_sidecar(stack: Stack, report: Report) -> None:
    """Show that the secret is in none of the volumes that the sidecar has."""
    script = f"grep -rlsF -f - {' '.join(MOUNTED)} || true"
    for service, found in (("salt-master", True), ("sidecar", False)):
        files = stack.compose("exec", "-T", service, "sh", "-c", script, text=stack.secret() + "\n").split()
        require(bool(files) is found, f"files with the secret in {service}: {files}")
    report.found("the eauth secret", "in the master's container, in no file of the sidecar's")


def reload(stack: Stack, report: Report) -> None:
    """Reload as docs/operations.md says; then the process dies, and Docker brings it back."""
    before = _reloads(stack)
    stack.compose("exec", "-T", "sidecar", "sh", "-c", "kill -HUP 1")
    eventually("the reload is in the log", lambda: _reloads(stack) == before + 1, PATIENCE_SECONDS)
    restarts = stack.container("sidecar")["RestartCount"]
    stack.kill("sidecar")
    seconds = eventually("a crashed sidecar is started again", lambda: stack.container("sidecar")["RestartCount"] > restarts, PATIENCE_SECONDS)
    stack.await_minions(stack.api())
    report.found("reload, then a crash", f"config.loaded; started again after {seconds:.1f} s")


def _reloads(stack: Stack) -> int:
    """Return how often the settings were read again; at the start the line names a source."""
    lines = [json.loads(line) for line in stack.compose("logs", "--no-color", "--no-log-prefix", "sidecar").splitlines() if line.startswith("{")]
    return sum(line.get("event") == "config.loaded" and "applied" in line for line in lines)


def upgrade(stack: Stack, api: Api, report: Report) -> None:
    """Upgrade under load through nginx, with one command; go back, only the sidecars; and be stopped by a sidecar that finds a fault."""
    newer = _newer(stack)
    network = stack.container("network")["Id"]
    load, took = _upgraded_under_load(stack, api, newer)
    require(load.good() > 0 and set(load.counts) <= HONEST, f"an upgrade: {load}")
    report.found("upgrade of the master and both sidecars, under load", f"{load}; {took:.1f} s")
    load, took = _upgraded_under_load(stack, api, {**newer, "SIDECAR_IMAGE": images.SIDECAR})
    require(load.good() == load.total(), f"replacing the sidecars lost requests: {load}; {load.refused}")
    report.found("both sidecars back to the older image, under load", f"{load}; {took:.1f} s")
    _refused(stack, {"SALT_IMAGE": images.SALT, "SIDECAR_IMAGE": _derived(stack, images.SIDECAR, "ENV SIDECAR_LOG_LEVEL=loud")}, newer["SALT_IMAGE"])
    require(stack.container("network")["Id"] == network, "the network was replaced")
    report.found("upgrade to a sidecar that finds a fault", "nothing was replaced, and it says how to go back")
    stack.environ["SALT_IMAGE"] = newer["SALT_IMAGE"]


def upgraded(stack: Stack) -> Mapping[str, str]:
    """Upgrade a stack to other images with the one command; return them."""
    newer = _newer(stack)
    _upgrade(stack, newer)
    return newer


def _newer(stack: Stack) -> dict[str, str]:
    return {"SALT_IMAGE": _derived(stack, images.SALT, "LABEL newer=1"), "SIDECAR_IMAGE": _derived(stack, images.SIDECAR, "LABEL newer=1")}


def _upgraded_under_load(stack: Stack, api: Api, environ: Mapping[str, str]) -> tuple[Load, float]:
    with Load(api, len(MINIONS)) as load:
        began = time.monotonic()
        _upgrade(stack, environ)
        took = time.monotonic() - began
        stack.await_minions(api)
    for service, image in (("salt-master", "SALT_IMAGE"), ("minion-1", "SALT_IMAGE"), ("sidecar", "SIDECAR_IMAGE"), ("sidecar-2", "SIDECAR_IMAGE")):
        runs = stack.container(service)["Config"]["Image"]
        require(runs == environ[image], f"{service} runs {runs} after the upgrade")
    return load, took


def _upgrade(stack: Stack, environ: Mapping[str, str]) -> str:
    typed = {"COMPOSE_PROJECT_NAME": stack.project, "PATH": f"{stack.programs()}:{os.environ['PATH']}"}
    return run(UPGRADE, "--no-build", timeout=900, environ={**stack.environ, **typed, **environ})


def _refused(stack: Stack, environ: Mapping[str, str], salt: str) -> None:
    before = {service: stack.container(service)["Id"] for service in ("salt-master", "sidecar", "sidecar-2")}
    try:
        _upgrade(stack, environ)
    except StepFailed as exc:
        require("log.level" in str(exc) and f"SALT_IMAGE={salt} SIDECAR_IMAGE={images.SIDECAR} config/compose/upgrade" in str(exc), str(exc))
    else:
        raise StepFailed("a sidecar that finds a fault was taken")
    require({service: stack.container(service)["Id"] for service in before} == before, "something was replaced")


def _derived(stack: Stack, image: str, line: str) -> str:
    """Return an image that is another one by a line."""
    tag = f"{image}-{line.rsplit(maxsplit=1)[-1].lower().replace('=', '-')}"
    stack.engine.docker("build", "--tag", tag, "-", text=f"FROM {image}\n{line}\n")
    return tag


def stop_and_start_slowly(stack: Stack, report: Report) -> None:
    """Stop all profiles as documented; what is kept is there at the next start, on a machine with little of a core."""
    stack.profiles = ["*"]
    stack.compose("stop", timeout=200)
    running = stack.engine.docker("ps", "--quiet")
    require(not running, f"running after stop: {running}")
    stack.compose("down", timeout=200)
    left = stack.engine.docker("ps", "--all", "--quiet")
    kept = stack.engine.docker("volume", "ls", "--quiet").split()
    require(not left and f"{stack.project}_pki" in kept, f"after down: {left}, {kept}")
    report.found("docker compose --profile '*' stop, then down", f"no container runs, none is left, {len(kept)} volumes are")
    limits = {"services": {service: {"cpus": SLOW_CPUS} for service in ("salt-master", "sidecar")}}
    override = stack.engine.work / "slow.json"
    override.write_text(json.dumps(limits))
    stack.environ["COMPOSE_FILE"] = f"{ROOT / 'compose.yaml'}:{override}"
    stack.profiles = []
    seconds = stack.up()
    began = time.monotonic()
    status, answer = stack.api().call(client="wheel", fun="key.list_all")
    require(status == 200 and sorted(MINIONS) == sorted(_accepted(answer)), f"the first call: {status} {answer}")
    report.found(
        f"up --wait with {SLOW_CPUS} of a core each",
        f"well after {seconds:.0f} s; the first call after it: 200 in {time.monotonic() - began:.1f} s, with the keys of before",
    )


def _accepted(answer: Any) -> list[str]:
    keys: list[str] = answer["return"][0]["data"]["return"]["minions"]
    return keys
