"""The rules are valid, and each alert fires when it should and only then: promtool runs config/prometheus/tests."""

from __future__ import annotations

import pytest

from tests.observe.promtool import CONFIG, RULES, promtool

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
