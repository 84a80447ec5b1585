"""compose.yaml, run: started, called, disturbed under load, watched, and behind TLS."""

from __future__ import annotations

import json
import ssl
import time
import urllib.request
from collections.abc import Iterable
from functools import partial
from typing import Any

from tests.e2e import documented, monitored, operated, registry, shared, upgraded
from tests.e2e.engine import Engine
from tests.e2e.load import HONEST, Api, Load
from tests.e2e.report import Report
from tests.e2e.shell import StepFailed, eventually, require
from tests.e2e.stack import MINIONS, Stack, certificates

STEADY_SECONDS = 3.0
# A shared machine may be ten times as slow as usual.
PATIENCE_SECONDS = 180.0
# CapEff of nobody who may do anything; Seccomp 2 is a filter.
CONFINED = ("CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2")


def everything(engine: Engine, report: Report) -> None:
    """Run the profiles one after the other on one project; take it down whatever happens."""
    # What is left afterwards is looked at, and nothing but Compose's may be there.
    registry.stop(engine)
    secrets = certificates(engine.work / "certificates")
    stack = Stack(
        engine, "demo", TLS_CERTIFICATE_FILE=str(secrets["server.crt"]), TLS_KEY_FILE=str(secrets["server.key"]), TLS_CLIENT_CA_FILE=str(secrets["ca.crt"])
    )
    try:
        start(stack, report)
        calls(stack, report)
        confinement(stack, report, "network", "salt-master", "sidecar", "minion-1")
        operated.keeps_from_the_sidecar(stack, report)
        documented.under_compose(stack, report)
        outages(stack, report)
        operated.reload(stack, report)
        monitoring(stack, report)
        trusting = behind_tls(stack, report, secrets)
        monitored.full(stack, report)
        shared.everything(stack, trusting, report)
        operated.stop_and_start_slowly(stack, report)
    finally:
        stack.down()
    left = engine.docker("volume", "ls", "--quiet") + engine.docker("ps", "--all", "--quiet")
    require(not left, f"left behind: {left}")


def start(stack: Stack, report: Report) -> None:
    """Bring up a master, two minions and the sidecar; a second start keeps the secret."""
    stack.compose("config", "--quiet")
    report.found("compose up --wait, profile demo", f"{stack.up():.1f} s")
    secret = stack.secret()
    require(len(secret) >= 40, "the secret is short")
    report.found("both minions answer", f"{stack.await_minions(stack.api()):.1f} s later")
    stack.up()
    require(stack.secret() == secret, "a second start made another secret")
    report.found("secret", f"generated, {len(secret)} characters, kept by a second start")
    said = stack.compose("logs", "--no-color")
    require(secret not in said, "the secret is in the logs")
    ports = stack.container("network")["HostConfig"]["PortBindings"]
    require({binding["HostIp"] for bindings in ports.values() for binding in bindings} == {"127.0.0.1"}, f"published: {ports}")
    report.found("published on", "127.0.0.1 only")


def calls(stack: Stack, report: Report) -> None:
    """Send the three calls of docs/install-compose.md over the published port, and one that must be refused."""
    api = stack.api()
    stack.await_minions(api)
    eventually("state.apply on both minions", lambda: _applied(*api.call(client="local", tgt="*", fun="state.apply", arg=["hello"])), PATIENCE_SECONDS)
    eventually("manage.up names both minions", lambda: _named(*api.call(client="runner", fun="manage.up")), PATIENCE_SECONDS)
    status, _ = Api(stack.ports["API_PORT"], "guessed").ping()
    require(status == 401, f"a wrong secret was answered {status}")
    pipeline(stack, report)
    report.found("test.ping, state.apply, manage.up", "200, from both minions; a wrong secret 401")


def _applied(status: int, body: Any) -> bool:
    """Say whether both minions applied the state. A busy one may be too slow for Salt's timeout, and then stands there as False."""
    minions = body["return"][0].values() if status == 200 else ()
    return [state["result"] for minion in minions if minion for state in minion.values()] == [True, True]


def _named(status: int, body: Any) -> bool:
    return status == 200 and sorted(body["return"][0]) == sorted(MINIONS)


def pipeline(stack: Stack, report: Report) -> None:
    """Run what pipelines run, as the API serves it; its exit code is the whole point."""
    environ = {"SALT_API_EAUTH": "sharedsecret", "SALT_API_USER": "admin", "SALT_API_PASSWORD": stack.secret()}
    for code, words in (
        (0, ("apply", "*", "hello")),
        (1, ("run", "*", "cmd.run", "exit 3")),
        (2, ("run", "nobody", "test.ping")),
    ):
        eventually(f"salt-ci ends with {code}", partial(stack.salt_ci, code, *words, **environ), PATIENCE_SECONDS)
    require(stack.salt_ci(11, "run", "*", "test.ping", **{**environ, "SALT_API_PASSWORD": "guessed"}), "a wrong secret is no exit code 11")
    report.found("salt-ci", "exit code 0 done, 1 failed, 2 no minion matched, 11 refused")


def confinement(stack: Stack, report: Report, *services: str) -> None:
    """Prove what compose.yaml says of every container, from inside."""
    for service in services:
        status = stack.compose("exec", "-T", service, "cat", "/proc/1/status")
        wrong = [fact for fact in CONFINED if fact not in status]
        require(not wrong and "Uid:\t0" not in status, f"{service} lacks {wrong}: {status}")
        try:
            stack.compose("exec", "-T", service, "touch", "/etc/here")
        except StepFailed as exc:
            require("Read-only file system" in str(exc), str(exc))
        else:
            raise StepFailed(f"{service} can write to its root")
        host = stack.container(service)["HostConfig"]
        require(host["Memory"] > 0 and host["PidsLimit"] > 0, f"{service} has no limits")
    report.found("confined", f"{', '.join(services)}: no root, no capability, no new privileges, seccomp, read-only, limits of memory and processes")


def outages(stack: Stack, report: Report) -> None:
    """Disturb the master and the sidecar while callers ask."""
    api = stack.api()
    before = stack.container("sidecar")["State"]["StartedAt"]
    for what, act in (
        ("master restarted", lambda: stack.compose("restart", "salt-master")),
        ("master killed (SIGKILL)", lambda: stack.kill("salt-master")),
        ("master container replaced", lambda: stack.up("--force-recreate", "--no-deps", "salt-master")),
    ):
        with Load(api, len(MINIONS)) as load:
            time.sleep(STEADY_SECONDS)
            act()
            back = stack.await_minions(api)
            time.sleep(STEADY_SECONDS)
        require(load.good() > 0 and set(load.counts) <= HONEST, f"{what}: {load}")
        report.found(f"{what}, under load", f"{load}; minions answer {back:.1f} s after")
    sidecar = stack.container("sidecar")
    require((sidecar["State"]["StartedAt"], sidecar["RestartCount"]) == (before, 0), "the sidecar was restarted")
    report.found("the sidecar meanwhile", "the same process, never restarted")
    with Load(api, len(MINIONS)) as load:
        time.sleep(STEADY_SECONDS)
        took = stack.up("--force-recreate", "--no-deps", "sidecar")
        stack.await_minions(api)
        time.sleep(STEADY_SECONDS)
    require(load.good() > 0 and not {"401", "500", "502"} & set(load.counts), f"the only sidecar replaced: {load}")
    report.found("the only sidecar replaced, under load", f"{load}; {took:.1f} s")


def monitoring(stack: Stack, report: Report) -> None:
    """Let Prometheus find the sidecar and load the rules. Grafana has no package in Debian: its files have tests of their own."""
    stack.profiles.append("monitoring")
    stack.up("prometheus")

    def query(path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{stack.ports['PROMETHEUS_PORT']}/api/v1/{path}", timeout=10) as answer:
            return json.load(answer)["data"]

    def up() -> bool:
        try:
            return [target["health"] for target in query("targets")["activeTargets"]] == ["up"]
        except (OSError, KeyError):
            return False

    seconds = eventually("Prometheus' target is up", up, PATIENCE_SECONDS, 1)
    rules = [rule for group in query("rules")["groups"] for rule in group["rules"]]
    require(bool(rules), "Prometheus has no rules")
    report.found("Prometheus", f"the sidecar's target is up after {seconds:.0f} s, {len(rules)} rules loaded")
    confinement(stack, report, "prometheus")


def behind_tls(stack: Stack, report: Report, secrets: dict[str, Any]) -> ssl.SSLContext:
    """Call through nginx, upgrade under load, then ask callers for certificates; return what a caller then needs."""
    stack.profiles.append("tls")
    stack.up("nginx")
    trusting = ssl.create_default_context(cafile=str(secrets["ca.crt"]))
    api = stack.api(trusting)
    stack.await_minions(api)
    report.found("TLS through nginx", "200, the certificate verified")
    confinement(stack, report, "nginx", "sidecar-2")
    upgraded.through_nginx(stack, api, trusting, report)
    shared.one_has_the_store(api, report)
    operated.upgrade(stack, api, report)
    stack.environ["NGINX_SITE"] = "mtls"
    stack.up("nginx")
    status, _ = _ping_when_up(api)
    require(status == 400, f"without a certificate: {status}")
    trusting.load_cert_chain(secrets["caller.crt"], secrets["caller.key"])
    stack.await_minions(api)
    report.found("mTLS through nginx", "400 without a certificate, 200 with one")
    _requests_are_logged_by_their_caller(stack, report)
    return trusting


def _ping_when_up(api: Api) -> tuple[int, Any]:
    answers: list[tuple[int, Any]] = []

    def answered() -> bool:
        try:
            answers.append(api.ping())
        except OSError:
            return False
        return True

    eventually("nginx answers", answered, PATIENCE_SECONDS)
    return answers[-1]


def _requests_are_logged_by_their_caller(stack: Stack, report: Report) -> None:
    """Show that nginx' word on its caller is believed: the caller is the bridge's gateway, and not nginx on loopback."""
    addresses = {
        line.get("client.address") for line in _lines(stack.compose("logs", "--no-color", "--no-log-prefix", "sidecar-2")) if line["event"] == "http.request"
    }
    require(bool(addresses) and "127.0.0.1" not in addresses, f"callers through nginx: {addresses}")
    report.found("callers in the log", "their own address, not nginx'")


def _lines(text: str) -> Iterable[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]
