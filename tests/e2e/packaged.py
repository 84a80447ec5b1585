"""docs/install-package.md, typed on a machine with systemd as process 1, beside a salt-master as the official packages have it."""

from __future__ import annotations

import json
import shlex
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from tests.e2e import dist, own_salt
from tests.e2e.composed import CONFINED, PATIENCE_SECONDS
from tests.e2e.engine import Engine
from tests.e2e.report import Report
from tests.e2e.shell import StepFailed, eventually, require
from tests.e2e.systemd import Machine

PINGED = {"return": [{"minion-1": True}]}
ONEDIR = "/opt/saltstack/salt"
MASTER_KEY = "/etc/salt/pki/master/master.pem"
UNDER_WAY = """until [[ $(curl -s localhost:9175/metrics) == *'salt_api_client_requests_in_flight{client="local"} 1.0'* ]]; do sleep 0.1; done"""
VERSION = "import salt, salt.version; print(salt.__file__, salt.version.__version__)"


def everything(engine: Engine, report: Report) -> None:
    """Install, use, disturb, upgrade and uninstall it beside the packages' Salt; then in the two other ways of the page."""
    machine = Machine(engine)
    try:
        machine.start(dist.build(engine.work / "dist"))
        report.found("machine", f"{machine.sh('systemctl --version').splitlines()[0]} as process 1, salt-master and salt-minion as units")
        before, theirs = machine.files(), machine.contents(ONEDIR)
        machine.type_in("Install: with the master's own Salt")
        started(machine, report)
        for use in (documented_calls, confinement, reload, crash, upgrade, invalid, drain):
            use(machine, report)
        uninstalled(machine, before)
        require(machine.contents(ONEDIR) == theirs, "the onedir has changed")
        report.found("uninstall", "no file left; the onedir as it was")
        into_the_onedir(machine, report, before, theirs)
        own_salt.install(machine, report)
        started(machine, report)
        uninstalled(machine, before)
    except StepFailed as exc:
        raise StepFailed(f"{exc}\n{machine.last_words()}") from None
    finally:
        machine.remove()


def started(machine: Machine, report: Report) -> None:
    """Type what starts it; the master's answer to a ping shows that both belong together."""
    check = "runuser -u salt -- /opt/salt-sidecar/bin/salt-sidecar check || true"
    eventually("the master answers a ping", lambda: "all well" in machine.sh(check), PATIENCE_SECONDS)
    require("all well" in machine.type_in("Start"), "check found a fault")
    require(machine.property("ActiveState") == "active", "systemctl start returned before it was ready")
    eventually("the minion answers", lambda: call(machine, client="local", tgt="*", fun="test.ping") == PINGED, PATIENCE_SECONDS)
    where = machine.sh(f"/opt/salt-sidecar/bin/python -c {shlex.quote(VERSION)}").strip()
    report.found("installed, checked, started", f"test.ping answered; its Salt: {where}")


def uninstalled(machine: Machine, before: set[str]) -> None:
    machine.type_in("Uninstall")
    machine.sh("systemctl cat salt-sidecar 2>/dev/null", ok=(1,))
    require(machine.files() == before, f"left or lost: {machine.files() ^ before}")


def call(machine: Machine, **low: object) -> Any:
    """Send a low as curl does; return the body."""
    body = json.dumps([{"eauth": "sharedsecret", "username": "admin", "sharedsecret": machine.secret, **low}])
    return json.loads(machine.sh(f"curl -sS --max-time 150 localhost:8001 -H 'Content-Type: application/json' -d {shlex.quote(body)}", timeout=200))


def ready(machine: Machine) -> bool:
    return "200" in machine.sh("curl -s -o /dev/null -w '%{http_code}' localhost:9175/readyz || true")


def journal(machine: Machine) -> list[dict[str, Any]]:
    """Return our lines; all of them are JSON."""
    return [json.loads(line) for line in machine.sh("journalctl -t salt-sidecar -o cat --no-pager").splitlines()]


def said(machine: Machine, event: str) -> int:
    return sum(line["event"] == event for line in journal(machine))


def documented_calls(machine: Machine, report: Report) -> None:
    """Send rest_wsgi's three calls, fire an event as only the master's user can, and find the requests in the journal."""
    eventually("the first call", lambda: call(machine, client="local", tgt="*", fun="test.ping") == PINGED, PATIENCE_SECONDS)
    (job,) = call(machine, client="local_async", tgt="*", fun="test.ping")["return"]
    eventually("the job's return", lambda: call(machine, client="runner", fun="jobs.lookup_jid", jid=job["jid"]) == PINGED, PATIENCE_SECONDS)
    require(fire(machine) == "200", "/hook is refused")
    require(said(machine, "http.request") >= 4, f"in the journal: {journal(machine)}")
    report.found("rest_wsgi's three calls, /hook", "200; each request a JSON line in the journal")


def fire(machine: Machine) -> str:
    """Fire an event, which only the master's user can; return the status."""
    login = f"curl -sS localhost:8001/login -d eauth=sharedsecret -d username=admin -d sharedsecret={machine.secret}"
    token = json.loads(machine.sh(login))["return"][0]["token"]
    return machine.sh(f"curl -sS -o /dev/null -w '%{{http_code}}' -H 'X-Auth-Token: {token}' -d a=1 localhost:8001/hook/deployed")


def confinement(machine: Machine, report: Report) -> None:
    """Prove from inside what the unit promises."""
    pid = machine.property("MainPID")
    status = machine.sh(f"cat /proc/{pid}/status")
    wrong = [fact for fact in CONFINED if fact not in status]
    require(not wrong and "Uid:\t0" not in status, f"it lacks {wrong}: {status}")
    refused = machine.sh(f"nsenter --target {pid} --mount touch /etc/here 2>&1", ok=(1,))
    require("Read-only file system" in refused, f"touch said {refused}")
    machine.sh(f"runuser -u salt -- test -r {MASTER_KEY}")
    refused = machine.sh(f"nsenter --target {pid} --mount runuser -u salt -- cat {MASTER_KEY} 2>&1", ok=(1,))
    require("Permission denied" in refused, f"the master's key: {refused}")
    report.found("confined", "no root, no capability, no new privileges, seccomp, read-only; the master's key, which its user owns, is out of sight")


def reload(machine: Machine, report: Report) -> None:
    """Reload settings that can change, and settings that are wrong."""
    for settings, event in (("log: {level: debug}", "config.loaded"), ("log: {level: loud}", "config.invalid"), ("log: {level: info}", "config.loaded")):
        before = said(machine, event)
        machine.sh(f"echo {shlex.quote(settings)} >/etc/salt/sidecar.yaml && systemctl reload salt-sidecar")
        eventually(f"{event} after {settings}", partial(_said_more, machine, event, before), PATIENCE_SECONDS)
    machine.sh("rm /etc/salt/sidecar.yaml")
    report.found("systemctl reload salt-sidecar", "config.loaded; config.invalid for what is wrong, and it serves on")


def _said_more(machine: Machine, event: str, before: int) -> bool:
    return said(machine, event) > before


def crash(machine: Machine, report: Report) -> None:
    """Kill it after the reloads; systemd starts another."""
    pid = machine.property("MainPID")
    machine.sh(f"kill -9 {pid}")
    seconds = eventually("another process is ready", lambda: machine.property("MainPID") not in {pid, "0"} and ready(machine), PATIENCE_SECONDS)
    require(machine.property("NRestarts") == "1", "NRestarts")
    report.found("kill -9", f"started again, ready {seconds:.1f} s after")


def upgrade(machine: Machine, report: Report) -> None:
    """Install the same once more, as an upgrade does."""
    pid = machine.property("MainPID")
    machine.type_in("Upgrade")
    require(machine.property("MainPID") != pid, "it was not restarted")
    eventually("ready after the upgrade", lambda: ready(machine), PATIENCE_SECONDS)
    report.found("upgrade", "installed again, restarted, ready")


def invalid(machine: Machine, report: Report) -> None:
    """Start it with a configuration that cannot work: systemctl says so, and nobody tries again."""
    before = said(machine, "config.invalid")
    machine.sh("systemctl stop salt-sidecar && echo 'api: {prot: 1}' >/etc/salt/sidecar.yaml")
    machine.sh("systemctl start salt-sidecar", ok=(1,))
    require((machine.property("ExecMainStatus"), machine.property("ActiveState")) == ("78", "failed"), "it did not fail with 78")
    eventually("the journal says why", partial(_said_more, machine, "config.invalid", before), PATIENCE_SECONDS)
    machine.sh("rm /etc/salt/sidecar.yaml && systemctl start salt-sidecar")
    eventually("ready again", lambda: ready(machine), PATIENCE_SECONDS)
    report.found("a wrong configuration", "systemctl start fails, exit code 78, not started again; the journal says why")


def drain(machine: Machine, report: Report) -> None:
    """Stop it while a job runs: the caller gets the answer."""
    before = said(machine, "app.stop")
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(call, machine, client="local", tgt="*", fun="test.sleep", arg=[10])
        machine.sh(f"{UNDER_WAY}; systemctl stop salt-sidecar", timeout=PATIENCE_SECONDS)
        require(answer.result() == PINGED, f"the caller got {answer.result()}")
    eventually("the journal has its last word", partial(_said_more, machine, "app.stop", before), PATIENCE_SECONDS)
    (in_flight,) = [line["in_flight"] for line in journal(machine) if line["event"] == "app.draining"][-1:]
    ended = (machine.property("Result"), machine.property("ExecMainStatus"), in_flight)
    require(ended == ("success", "0", 1), f"stopped with {ended}")
    report.found("systemctl stop salt-sidecar, a job under way", "answered; exit code 0")


def into_the_onedir(machine: Machine, report: Report, before: set[str], theirs: str) -> None:
    """Install it where Salt's own salt-pip puts packages: the onedir's Salt stays the one that is imported."""
    require("all well" in machine.type_in("Into the onedir itself"), "check found a fault")
    where = machine.sh(f"{ONEDIR}/bin/python3 -c {shlex.quote(VERSION)}").strip()
    require(f"{ONEDIR}/lib/" in where and not machine.sh(f"find {ONEDIR}/extras-* -maxdepth 1 -iname 'salt-*' -o -maxdepth 1 -name salt"), f"Salt is {where}")
    machine.sh(f"salt-pip uninstall --yes salt-sidecar -r beside.txt; rm -rf {ONEDIR}/extras-*")
    require((machine.files(), machine.contents(ONEDIR)) == (before, theirs), f"left or lost: {machine.files() ^ before}")
    report.found("salt-pip", f"check is content; Salt stays {where}")
