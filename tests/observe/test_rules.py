"""The rules are valid, and each alert fires when it should and only then: promtool runs config/prometheus/tests."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from config.grafana import build
from tests.observe.faster import with_addresses
from tests.observe.promql import promql_lines, variables_filled
from tests.observe.promtool import CONFIG, ROOT, RULES, amtool, promtool

pytestmark = pytest.mark.slow


def test_prometheus_takes_the_rules_and_the_example_configuration() -> None:
    rules = promtool("check", "rules", *sorted(RULES.glob("*.yaml")))
    config = promtool("check", "config", CONFIG / "prometheus.yml")

    assert (rules.returncode, config.returncode) == (0, 0), (rules.stdout + config.stdout).decode()


def test_every_alert_fires_when_it_should_and_only_then() -> None:
    stories = sorted((CONFIG / "tests").glob("*.yaml"))
    ended = promtool("test", "rules", *stories)

    assert ended.returncode == 0, ended.stdout.decode()
    assert ended.stdout.count(b"SUCCESS") == len(stories) > 0


def test_prometheus_understands_every_query_of_the_dashboards_and_runbooks(tmp_path: Path) -> None:
    runbooks = [line for page in sorted((ROOT / "docs" / "runbooks").glob("*.md")) for line in promql_lines(page.read_text(encoding="utf-8"))]
    panels = [panel for text in build.files().values() for panel in json.loads(text)["panels"]]
    queries = runbooks + [variables_filled(target["expr"]) for panel in panels for target in panel.get("targets", ())]
    rules = tmp_path / "queries.yaml"
    rules.write_text(
        json.dumps({"groups": [{"name": "dashboards", "rules": [{"record": f"query_{number}", "expr": query} for number, query in enumerate(queries)]}]})
    )
    checked = promtool("check", "rules", rules)

    assert checked.returncode == 0, checked.stdout.decode()
    assert f"{len(queries)} rules found".encode() in checked.stdout


def test_alertmanager_takes_the_example_with_and_without_addresses_and_pages_for_what_is_critical(tmp_path: Path) -> None:
    example = CONFIG / "alertmanager.yml"
    addressed = tmp_path / "alertmanager.yml"
    addressed.write_text(with_addresses(example.read_text(encoding="utf-8")))
    checked = [amtool("check-config", path) for path in (example, addressed)]
    routed = [
        amtool("config", "routes", "test", f"--config.file={example}", f"--verify.receivers={receiver}", f"severity={severity}")
        for severity, receiver in (("critical", "pager"), ("warning", "tickets"))
    ]

    assert [done.returncode for done in (*checked, *routed)] == [0] * 4, b"".join(done.stdout for done in (*checked, *routed)).decode()
    assert addressed.read_text().count("\n      - url: https://") == 2
