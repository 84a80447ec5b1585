"""Several releases under one Prometheus: each alerts of itself, once, whatever the others do."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.helm.rendering import render

MONITORED = {"metrics": {"prometheusRule": {"enabled": True}, "serviceMonitor": {"enabled": True}}}
# One is busy and well, the second fails, and the third, of the same name in another namespace, has vanished.
RELEASES = (("a", "salt"), ("b", "salt"), ("b", "other"), ("c", "salt"))
REQUESTS = "salt_api_client_requests_total"


def series(release: tuple[str, str], metric: str, values: str, **labels: str) -> dict[str, str]:
    namespace, name = release
    told = {"job": "salt-sidecar", "namespace": namespace, "release": name, "instance": "10.0.0.1:9175", **labels}
    return {"series": f"{metric}{{{','.join(f'{label}={json.dumps(value)}' for label, value in told.items())}}}", "values": values}


def promtool(tests: dict[str, Any], folder: Path) -> str:
    """Run rule tests over the rules of all releases; return what promtool says of those that failed."""
    found = shutil.which("promtool")
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("there is no promtool: apt-get install --no-install-recommends prometheus")
        pytest.skip("there is no promtool")
    files = []
    for namespace, name in RELEASES:
        rules = render(MONITORED, release=name, namespace=namespace).of("PrometheusRule")["spec"]
        # As the operator does: groups of two rules of one name are different groups in different files.
        files.append(folder / f"{namespace}-{name}.yaml")
        files[-1].write_text(json.dumps(rules))
    (folder / "tests.yaml").write_text(json.dumps({"rule_files": [str(file) for file in files], "evaluation_interval": "30s", **tests}))
    ended = subprocess.run([found, "test", "rules", folder / "tests.yaml"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300, check=False)
    return "" if ended.returncode == 0 else ended.stdout.decode()


def test_each_release_alerts_of_itself_and_once(tmp_path: Path) -> None:
    busy, failing, same_name, vanished = RELEASES
    up = [series(one, "up", "1x60") for one in (busy, failing, same_name)] + [series(vanished, "up", "1x10 _x50")]
    masters = [series(busy, "salt_master_up", "1x60"), series(failing, "salt_master_up", "1x10 0x50")]
    # Ten thousand good calls a minute at one do not hide that the other fails all of its own.
    calls = [series(busy, REQUESTS, "0+10000x60", outcome="ok", client="local"), series(failing, REQUESTS, "0+20x60", outcome="error", client="local")]
    expected = [("SaltAPIDown", 5, []), ("SaltAPIDown", 30, [vanished]), ("SaltMasterUnreachable", 30, [failing]), ("SaltAPIErrorBudgetBurn", 30, [failing])]
    queries = [
        {
            "eval_time": f"{minute}m",
            "expr": f'count by (namespace, release) (ALERTS{{alertname="{alert}",alertstate="firing"}})',
            "exp_samples": [{"labels": f'{{namespace="{namespace}",release="{name}"}}', "value": 1} for namespace, name in whose],
        }
        for alert, minute, whose in expected
    ]

    assert promtool({"tests": [{"interval": "1m", "input_series": up + masters + calls, "promql_expr_test": queries}]}, tmp_path) == ""


def test_a_release_names_itself_at_the_scrape() -> None:
    (endpoint,) = render(MONITORED, release="salt", namespace="b").of("ServiceMonitor")["spec"]["endpoints"]

    assert {one["targetLabel"]: one["replacement"] for one in endpoint["relabelings"]} == {"job": "salt-sidecar", "release": "salt"}


def test_no_rule_of_a_release_looks_at_another() -> None:
    rules = [rule for group in render(MONITORED, release="salt", namespace="b").of("PrometheusRule")["spec"]["groups"] for rule in group["rules"]]

    assert rules
    for rule in rules:
        assert 'namespace="b",release="salt"' in rule["expr"], rule
        assert "OF_RELEASE" not in rule["expr"]
