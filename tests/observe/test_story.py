"""A real Prometheus scrapes the running sidecar, and the story of `make observe` makes the right alerts fire, and no others; Alertmanager tells whom it should."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from service.demo.embedded import EmbeddedSalt
from tests.observe.faster import RELEASE
from tests.observe.promql import rules_of
from tests.observe.promtool import RULES, needed, promtool
from tests.observe.server import Prometheus, first_line
from tests.observe.story import EXPECTED, Story, observed
from tests.real.sidecar import Sidecar

pytestmark = [pytest.mark.master, pytest.mark.slow]

# Who is to be told of each.
ALERTS = {rule["alert"]: "pager" if rule["labels"]["severity"] == "critical" else "tickets" for rule in rules_of(RULES / "alerts.yaml") if "alert" in rule}
Observed = tuple[Story, Sidecar, Prometheus]


@pytest.fixture
def world(own_salt: EmbeddedSalt, tmp_path: Path) -> Iterator[Observed]:
    needed("prometheus")
    needed("prometheus-alertmanager")
    with own_salt, observed(own_salt, tmp_path / "observed", print) as everything:
        yield everything


def test_prometheus_scrapes_takes_the_rules_and_alarms_for_what_the_story_does(world: Observed) -> None:
    story, sidecar, prometheus = world
    story.calm()
    targets = prometheus.targets()
    page = sidecar.ops("/metrics")
    linted = promtool("check", "metrics", given=page.body)
    rules = prometheus.rules()

    assert [(target["health"], target["labels"]["job"]) for target in targets] == [("up", "salt-sidecar")]
    assert (linted.returncode, linted.stdout.decode()) == (0, "")
    assert sorted(rule["name"] for rule in rules if rule["type"] == "alerting") == sorted(ALERTS)
    assert sorted(rule["name"] for rule in rules if rule.get("alerts") is not None) == sorted(ALERTS)
    assert {rule["name"]: rule["lastError"] for rule in rules if rule["health"] != "ok"} == {}

    story.bad_logins()
    told_of = {labels["request_id"] for labels in prometheus.exemplars("salt_api_http_request_duration_seconds_bucket")}
    logged = {line["request_id"] for line in sidecar.lines("http.request")}

    assert story.fired == {"SaltAPIAuthFailureSpike"}
    assert told_of
    assert told_of <= logged
    assert prometheus.runbooks() == {"SaltAPIAuthFailureSpike": "# SaltAPIAuthFailureSpike"}

    told = story.notice("tickets", "SaltAPIAuthFailureSpike")

    assert first_line(told.runbook) == "# SaltAPIAuthFailureSpike"
    assert told.group == RELEASE

    for act in story.acts[2:]:
        act()

    assert story.fired == set(EXPECTED)
    assert story.notice("pager", "SaltMasterUnreachable", "resolved")
    for alert in EXPECTED:
        assert story.notice(ALERTS[alert], alert)
    assert {notice.alert for notice in story.notices() if notice.receiver != ALERTS[notice.alert]} == set()
