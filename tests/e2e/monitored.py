"""Monitoring, out of the box: on the running stack every panel shows something, every alert has what it compares, every link opens."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import urllib.parse
import urllib.request
from functools import partial
from typing import Any

from tests.e2e.images import ROOT
from tests.e2e.load import Api
from tests.e2e.report import Report
from tests.e2e.shell import eventually, require
from tests.e2e.stack import MINIONS, Stack
from tests.meanwhile import reading_events

# Presence events and the workers' figures come once a minute, scrapes every 15 s; a shared machine may be ten times as slow as usual.
PATIENCE_SECONDS = 600.0
# Until a reader of events that was cut off comes back.
PAUSE_SECONDS = 1.0
DASHBOARDS = ROOT / "config" / "grafana" / "dashboards"
# What Grafana asks for when it shows a day: long enough for what happens once, such as a minion's sign-in.
RATE_INTERVAL = "5m"
INSTANCES = ("sidecar:9175", "sidecar-2:9176")
# Panels that a healthy stack leaves empty, each with its reason; one of them that shows something is a fault too.
EMPTY_WHEN_WELL = {
    "Requests to the master that failed": "only commands that failed within the interval, by `> 0`",
    "Labels over the limit": "only metrics that ran out of label values, by `> 0`",
}
KEY_FOLDERS = ["minions", "minions_denied", "minions_pre", "minions_rejected"]


@dataclasses.dataclass(frozen=True)
class Question:
    """A query of a panel, as Grafana sends it."""

    panel: str
    expr: str


class Prometheus:
    """The stack's own."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}"

    def ask(self, what: str, **parameters: str) -> Any:
        """Return the data of an answer of the API."""
        return json.loads(self.fetch(f"{self._url}/api/v1/{what}?{urllib.parse.urlencode(parameters)}"))["data"]

    def fetch(self, address: str) -> str:
        with urllib.request.urlopen(address, timeout=10) as answer:
            text: str = answer.read().decode()
        return text

    def values(self, expr: str) -> list[float]:
        """Return the values of an expression's series now, but those that are no number: a quantile of nothing shows nothing."""
        found = [float(series["value"][1]) for series in self.ask("query", query=expr)["result"]]
        return [value for value in found if not math.isnan(value)]

    def targets(self) -> dict[str, str]:
        """Return the health of every target by its instance."""
        return {target["labels"]["instance"]: target["health"] for target in self.ask("targets")["activeTargets"]}

    def rules(self) -> list[dict[str, Any]]:
        return [rule for group in self.ask("rules")["groups"] for rule in group["rules"]]


def full(stack: Stack, report: Report) -> None:
    """Hold the stack, with all profiles but Grafana up, to what its dashboards and rules need."""
    _without_the_outages_before(stack)
    prometheus = Prometheus(stack.ports["PROMETHEUS_PORT"])
    seconds = eventually("both sidecars are scraped", lambda: prometheus.targets() == dict.fromkeys(INSTANCES, "up"), PATIENCE_SECONDS, 1)
    report.found("scraped", f"{', '.join(INSTANCES)}; after {seconds:.0f} s")
    _the_masters_key_is_not_there(stack, report)
    session = _session(stack.api())
    with reading_events(stack.ports["API_PORT"], lambda: session, PAUSE_SECONDS):
        _panels(stack, prometheus, report)
        _fleet(prometheus, report)
        _alerts(prometheus, report)
    _runbooks(prometheus, report)
    _alertmanager(stack, prometheus, report)
    _the_second_sidecar_is_given_up(stack, prometheus, report)


def _without_the_outages_before(stack: Stack) -> None:
    """Start Prometheus with an empty memory: alerts that judge hours would rightly fire for what this story broke on purpose."""
    stack.compose("rm", "--stop", "--force", "prometheus")
    stack.engine.docker("volume", "rm", f"{stack.project}_prometheus")
    stack.up("prometheus")


def questions() -> list[Question]:
    """Return every query of every panel; what is heard from the master, of each sidecar alone, as the dashboard asks."""
    found = []
    for path in sorted(DASHBOARDS.glob("*.json")):
        dashboard = json.loads(path.read_text(encoding="utf-8"))
        variables = {variable["name"]: variable for variable in dashboard["templating"]["list"]}
        for instance in (".+",) if variables["instance"]["includeAll"] else INSTANCES:
            fill = {**{f"${name}": ".*" for name in variables}, "$instance": instance, "$__rate_interval": RATE_INTERVAL, "$__range": "3h"}
            found += [Question(panel["title"], _filled(target["expr"], fill)) for panel in dashboard["panels"] for target in panel.get("targets", ())]
    return found


def _filled(expr: str, values: dict[str, str]) -> str:
    for name, value in values.items():
        expr = expr.replace(name, value)
    require("$" not in expr, f"a variable that nobody fills: {expr}")
    return expr


def _panels(stack: Stack, prometheus: Prometheus, report: Report) -> None:
    asked = questions()
    unknown = set(EMPTY_WHEN_WELL) - {question.panel for question in asked}
    require(not unknown, f"no such panels: {unknown}")
    wrong: list[str] = []
    api = stack.api()
    # A sign-in, a start, a change of presence; and returns that nobody asked for.
    stack.compose("restart", "minion-2")
    stack.await_minions(api)
    _scheduled(api, "schedule.add", function="test.ping", seconds=5)

    def as_declared() -> bool:
        _traffic(stack, api)
        wrong[:] = [f"{question.panel}: {question.expr}" for question in asked if bool(prometheus.values(question.expr)) == (question.panel in EMPTY_WHEN_WELL)]
        return not wrong

    try:
        seconds = eventually("every panel shows what it should", as_declared, PATIENCE_SECONDS, 1)
    finally:
        for line in wrong:
            print(f"    not as declared: {line}")
    _scheduled(api, "schedule.delete")
    report.found("panels", f"{len(asked)} queries show something, only those of {', '.join(EMPTY_WHEN_WELL)} nothing; after {seconds:.0f} s")


def _scheduled(api: Api, fun: str, **kwarg: Any) -> None:
    """Change the schedule of a minion, in its memory; on a busy machine its answer may come too late, but it is done."""

    def answered() -> bool:
        status, body = api.call(client="local", tgt="minion-1", fun=fun, arg=["e2e"], kwarg={**kwarg, "persist": False})
        return status == 200 and isinstance(body["return"][0].get("minion-1"), dict)

    eventually(fun, answered, PATIENCE_SECONDS, 1)


def _traffic(stack: Stack, api: Api) -> None:
    """Do what callers do, each once: every client, a state, a failure, a login, a wrong password, a webhook, a stored job."""
    ping = {"tgt": "minion-1", "fun": "test.ping"}
    for low in (
        {**ping, "client": "local"},
        {**ping, "client": "local_async"},
        {**ping, "client": "local_subset", "tgt": "*", "subset": 1},
        {**ping, "client": "local_batch", "tgt": "*", "batch": "1"},
        {"client": "local", "tgt": "*", "fun": "state.highstate"},
        {"client": "local", "tgt": "minion-1", "fun": "cmd.run", "arg": ["exit 3"]},
        {"client": "runner", "fun": "jobs.active"},
        {"client": "runner_async", "fun": "jobs.active"},
        {"client": "wheel", "fun": "key.list_all"},
        {"client": "wheel_async", "fun": "key.list_all"},
    ):
        status, body = api.call(**low)
        require(status == 200, f"{low}: {status} {body}")
    session = _session(api)
    api.request("POST", "/hook/e2e", {"text": "x"}, headers=session)
    for job in (ping, {"tgt": "minion-1", "fun": "state.highstate", "state_events": True}):
        status, body = api.request("POST", "/v1/jobs?wait=30", job, headers=session)
        require(status == 200, f"/v1/jobs: {status} {body}")
    api.request("GET", "/nowhere")
    Api(stack.ports["API_PORT"], "guessed").ping()


def _session(api: Api) -> dict[str, str]:
    status, body = api.login()
    require(status == 200, f"login: {status} {body}")
    return {"X-Auth-Token": str(body["return"][0]["token"])}


def _fleet(prometheus: Prometheus, report: Report) -> None:
    """Each sidecar knows both minions, by their keys and by the master's word on who is connected."""
    for expr in ('salt_minion_keys{state="accepted"}', "salt_minions_connected"):
        eventually(f"{expr} is {len(MINIONS)} for both sidecars", partial(_both_say, prometheus, expr), PATIENCE_SECONDS, 1)
    report.found("minions", f"{len(MINIONS)} keys accepted, {len(MINIONS)} connected, says each sidecar")


def _both_say(prometheus: Prometheus, expr: str) -> bool:
    return prometheus.values(expr) == [len(MINIONS)] * len(INSTANCES)


def _alerts(prometheus: Prometheus, report: Report) -> None:
    """Nothing fires, and no alert lacks what it compares."""
    rules = prometheus.rules()
    require({rule["health"] for rule in rules} <= {"ok"}, f"rules that fail: {[rule for rule in rules if rule['health'] != 'ok']}")
    names = {name for rule in rules for name in re.findall(r"[a-z_:]*\bsalt_[\w:]+", rule["query"])}

    def wrong() -> set[str]:
        return {name for name in names if not prometheus.values(f"count({name})")}

    eventually("rules have the series that they compare", lambda: not wrong(), PATIENCE_SECONDS, 1)
    firing = [rule["name"] for rule in prometheus.rules() if rule["type"] == "alerting" and rule["state"] == "firing"]
    require(not firing, f"alerts on a healthy stack: {firing}")
    report.found("rules", f"{len(rules)}, which compare {len(names)} metrics, all there; none fires")


def _runbooks(prometheus: Prometheus, report: Report) -> None:
    """The link of every alert opens, in the very Prometheus that raises it."""
    address = prometheus.ask("status/flags")["web.external-url"].rstrip("/")
    alerts = [rule for rule in prometheus.rules() if rule["type"] == "alerting"]
    for alert in alerts:
        page = prometheus.fetch(alert["annotations"]["runbook_url"].replace("{{ $externalURL }}", address))
        require(page.startswith(f"# {alert['name']}\n"), f"the runbook of {alert['name']}: {page[:200]}")
    report.found("runbooks", f"{len(alerts)} links open, below {address}/user/runbooks")


def _alertmanager(stack: Stack, prometheus: Prometheus, report: Report) -> None:
    """Alerts go to the stack's Alertmanager, which knows our receivers."""
    known = prometheus.ask("alertmanagers")["activeAlertmanagers"]
    require(known == [{"url": "http://alertmanager:9093/api/v2/alerts"}], f"alerts go to {known}")
    receivers = [receiver["name"] for receiver in json.loads(prometheus.fetch(f"http://127.0.0.1:{stack.ports['ALERTMANAGER_PORT']}/api/v2/receivers"))]
    require(receivers == ["pager", "tickets"], f"Alertmanager tells {receivers}")
    report.found("Alertmanager", f"takes the alerts, and has the receivers {' and '.join(receivers)}")


def _the_second_sidecar_is_given_up(stack: Stack, prometheus: Prometheus, report: Report) -> None:
    """Without the profile `tls` nobody waits for it, or SaltAPIDown would page for what was switched off."""
    stack.compose("rm", "--stop", "--force", "nginx", "sidecar-2")
    stack.profiles.remove("tls")
    stack.up("prometheus")
    seconds = eventually("one sidecar is scraped", lambda: prometheus.targets() == {INSTANCES[0]: "up"}, PATIENCE_SECONDS, 1)
    report.found("profile tls switched off", f"sidecar-2 is no target any more, {seconds:.0f} s after the next `up`")


def _the_masters_key_is_not_there(stack: Stack, report: Report) -> None:
    for sidecar in ("sidecar", "sidecar-2"):
        seen = stack.compose("exec", "-T", sidecar, "ls", "-A", "/etc/salt/pki/master").split()
        private = stack.compose("exec", "-T", sidecar, "find", "/etc/salt", "/run/salt", "/var/lib/salt", "-name", "*.pem")
        require((seen, private) == (KEY_FOLDERS, ""), f"{sidecar} sees {seen} {private}")
    report.found("keys", "the sidecars see who has one, and not the master's")
