"""config/compose/cluster.yaml, run: two masters of one Salt master cluster with a sidecar each, nginx over both; one master killed, then both."""

from __future__ import annotations

import json
import secrets
import ssl
import time
import urllib.request
from pathlib import Path

from service.demo.ports import free_ports
from tests.e2e import operated, standins
from tests.e2e.engine import Engine
from tests.e2e.images import ROOT
from tests.e2e.load import HONEST, Api, Load
from tests.e2e.report import Report
from tests.e2e.shared import Caller
from tests.e2e.shell import eventually, require
from tests.e2e.stack import MINIONS, UP_SECONDS, Stack, certificates

PATIENCE_SECONDS = 300.0
FILE = ROOT / "config" / "compose" / "cluster.yaml"
# The official image of nginx has a wget, and the stand-in has Python.
WGET = """#!/usr/bin/python3
import sys, urllib.request
urllib.request.urlopen(sys.argv[-1], timeout=5)
"""
# How often a minion has run it, as it returns it.
COUNTED = {"fun": "cmd.run", "arg": ["echo >>/tmp/ran; wc -l </tmp/ran"]}
# The masters, and the sidecar and the variable of the ops port of each.
MASTERS = {"salt-master": ("sidecar:8001", "OPS_PORT"), "salt-master-2": ("sidecar-2:8002", "OPS_PORT_2")}


class Clustered:
    """The stack with both masters, and who calls it: at each sidecar, and through nginx."""

    def __init__(self, engine: Engine) -> None:
        files = certificates(engine.work / "cluster-certificates")
        password = engine.work / "cluster.password"
        password.write_text(f"{secrets.token_hex(32)}\n")
        password.chmod(0o444)
        wget = engine.work / "wget"
        wget.write_text(WGET)
        wget.chmod(0o755)
        own = engine.work / "clustered.json"
        own.write_text(json.dumps({"services": {"nginx": {"volumes": [f"{wget}:/usr/local/bin/wget:ro"]}}}))
        self.ports = dict(zip(("API_PORT_2", "OPS_PORT_2"), map(str, free_ports(2)), strict=True))
        self.stack = Stack(
            engine,
            "demo",
            "tls",
            COMPOSE_FILE=f"{ROOT / 'compose.yaml'}:{FILE}:{own}",
            DATABASE_PASSWORD_FILE=str(password),
            POSTGRES_IMAGE=standins.POSTGRES,
            TLS_CERTIFICATE_FILE=str(files["server.crt"]),
            TLS_KEY_FILE=str(files["server.key"]),
            TLS_CLIENT_CA_FILE=str(files["ca.crt"]),
            **self.ports,
        )
        self._authority: Path = files["ca.crt"]

    def apis(self) -> tuple[Api, Api]:
        """Return the published ports of both sidecars."""
        return self.stack.api(), Api(int(self.ports["API_PORT_2"]), self.stack.secret())

    def through(self) -> Api:
        return self.stack.api(ssl.create_default_context(cafile=str(self._authority)))

    def is_ready(self, master: str) -> bool:
        """Say whether the sidecar of a master is ready."""
        port = self.stack.environ[MASTERS[master][1]]
        try:
            return bool(urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=30).status == 200)
        except OSError:
            return False

    def passed_over(self) -> list[str]:
        """Return the sidecars that nginx does not ask."""
        lines = self.stack.compose("exec", "-T", "nginx", "cat", "/tmp/sidecars.conf").splitlines()
        return [line.split()[1] for line in lines if line.endswith(" down;")]


def everything(engine: Engine, report: Report) -> None:
    """Bring the cluster up, send a job through it, kill one master, then both, upgrade; take it down whatever happens."""
    cluster = Clustered(engine)
    try:
        _start(cluster, report)
        _is_everywhere(cluster, report)
        _outlives(cluster, "salt-master", report)
        _starts_again(cluster, report)
        _is_upgraded(cluster, report)
    finally:
        cluster.stack.down()


def _start(cluster: Clustered, report: Report) -> None:
    stack = cluster.stack
    report.found("two masters, up --wait", f"well after {stack.up():.1f} s")
    for api in (*cluster.apis(), cluster.through()):
        stack.await_minions(api)
    require(stack.secret() == stack.compose("exec", "-T", "salt-master-2", "cat", "/etc/salt/secrets/eauth").strip(), "the masters have two secrets")
    report.found("both minions, which know both masters", "answer at each sidecar and through nginx")


def _is_everywhere(cluster: Clustered, report: Report) -> None:
    """Send a job through nginx; it is the same at both sidecars, and has run once though a minion hears of it from both masters. So is a session."""
    session = Caller(cluster.through())
    jid = session.runs("counted", **COUNTED)
    for api in cluster.apis():
        status, job = Caller(api).get(f"/{jid}?fields=status,minions,return")
        found = {minion: part["return"] for minion, part in job["minions"].items()}
        require((status, job["status"], found) == (200, "succeeded", dict.fromkeys(MINIONS, "1")), f"a job through nginx: {status} {job}")
    require(all(session.is_in(api) for api in cluster.apis()), "a session that began through nginx is refused by a sidecar")
    session.ends()
    eventually("the session is over at both", lambda: not any(session.is_in(api) for api in cluster.apis()), PATIENCE_SECONDS, 1)
    report.found("a job and a session through nginx", "the same at both sidecars; run once by each minion; after a logout over at both")


def _outlives(cluster: Clustered, master: str, report: Report) -> None:
    """Kill a master under load, go on at the other one, and start it again."""
    sidecar, _ = MASTERS[master]
    through = cluster.through()
    with Load(through, len(MINIONS)) as load:
        cluster.stack.compose("kill", master)
        seconds = eventually(f"nginx passes over {sidecar}", lambda: cluster.passed_over() == [sidecar], PATIENCE_SECONDS, 1)
    require(not cluster.is_ready(master) and set(load.counts) <= HONEST, f"{master} killed: {load}")
    # It reads what is written seconds later, and each of its processes asks the sidecars in turn.
    eventually("nginx asks the other one alone", lambda: all(through.ping()[0] == 200 for _ in range(8)), PATIENCE_SECONDS)
    with Load(through, len(MINIONS)) as alone:
        jid = Caller(through).runs(f"without-{master}")
    require(alone.good() > 0 and "503" not in alone.counts and set(alone.counts) <= HONEST, f"without {master}: {alone}")
    report.found(f"docker kill {master}, under load", f"{load}; passed over after {seconds:.0f} s")
    report.found(f"without {master}, under load", f"a job of /v1, and {alone}")
    report.found(f"{master} again", f"{_come_back(cluster, jid):.0f} s until both sidecars are ready, both minions answer at both, which know the job")


def _starts_again(cluster: Clustered, report: Report) -> None:
    """Kill both masters: none is left that knows what the cluster had agreed on."""
    through = cluster.through()
    jid = Caller(through).runs("before")
    cluster.stack.compose("kill", *MASTERS)
    eventually("no sidecar is ready", lambda: not any(map(cluster.is_ready, MASTERS)), PATIENCE_SECONDS, 1)
    status, said = through.ping()
    require(status == 503, f"without a master: {status} {said}")
    cluster.stack.compose("up", "--no-build", "init", "init-2")
    report.found("both masters killed", "503 through nginx")
    report.found("both masters again", f"{_come_back(cluster, jid):.0f} s until both sidecars are ready and both minions answer at both")


def _come_back(cluster: Clustered, jid: str) -> float:
    """Start the masters that do not run, and wait for all that a cluster has; return the seconds. jid: of a job that both have to know."""
    began = time.monotonic()
    # By name: without, Compose gives up where a service is unhealthy that another one needs, as a sidecar without its master is.
    cluster.stack.compose("up", "--detach", "--no-build", *MASTERS, timeout=UP_SECONDS)
    eventually("both sidecars are ready", lambda: all(map(cluster.is_ready, MASTERS)), PATIENCE_SECONDS, 1)
    eventually("nginx passes over none", lambda: cluster.passed_over() == [], PATIENCE_SECONDS, 1)
    for api in cluster.apis():
        cluster.stack.await_minions(api)
        require(Caller(api).get(f"/{jid}")[0] == 200, f"the job {jid} is not known")
    return time.monotonic() - began


def _is_upgraded(cluster: Clustered, report: Report) -> None:
    """Upgrade both masters and both sidecars with the one command, under load."""
    stack, through = cluster.stack, cluster.through()
    with Load(through, len(MINIONS)) as load:
        newer = operated.upgraded(stack)
        stack.await_minions(through)
    found = {service: stack.container(service)["Config"]["Image"] for service in (*MASTERS, "sidecar", "sidecar-2")}
    require(list(found.values()) == [newer["SALT_IMAGE"]] * 2 + [newer["SIDECAR_IMAGE"]] * 2, f"after the upgrade: {found}")
    require(load.good() > 0 and set(load.counts) <= HONEST, f"an upgrade: {load}")
    report.found("upgrade of both masters and both sidecars, under load", str(load))
