"""What a cluster's habits ask of a chart: registries, monitors in other namespaces, rules of one's own, claims for a certain volume."""

from __future__ import annotations

import re
from typing import Any

from tests.helm.accepting import check
from tests.helm.rendering import RELEASE, ci, containers, render

RELABELING = {"action": "replace", "targetLabel": "cluster", "replacement": "eu-1"}
OWN = {"name": "ours", "rules": [{"alert": "SaltQuiet", "expr": "up == 0", "for": "5m"}]}


def test_every_image_comes_from_the_registry_for_all() -> None:
    values = {**ci("tls"), "global": {"imageRegistry": "registry.example.org"}}
    images = [container["image"] for pod in render(values).pods() for container in containers(pod)]

    assert len(images) > 3
    assert all(image.startswith("registry.example.org/") for image in images), images
    own = render({**values, "image": {"registry": "other.example.org"}}).of("StatefulSet")["spec"]["template"]["spec"]["containers"]
    assert next(container["image"] for container in own if container["name"] == "salt-sidecar").startswith("other.example.org/")


def nginx(image: dict[str, str]) -> str:
    """Return the image that nginx's container has."""
    pod = render({"tls": {"image": image}}).of("StatefulSet")["spec"]["template"]["spec"]
    found: str = next(container["image"] for container in pod["containers"] if container["name"] == "tls")
    return found


def test_nginx_is_named_by_tag_and_digest_unless_somebody_says_otherwise() -> None:
    digest = f"sha256:{'0' * 64}"

    assert re.fullmatch(r"nginxinc/nginx-unprivileged:[\w.-]+@sha256:[0-9a-f]{64}", nginx({}))
    assert nginx({"tag": "1.31-alpine"}) == "nginxinc/nginx-unprivileged:1.31-alpine"
    assert nginx({"tag": f"1.31@{digest}", "registry": "registry.example.org"}) == f"registry.example.org/nginxinc/nginx-unprivileged:1.31@{digest}"
    assert nginx({"digest": digest}) == f"nginxinc/nginx-unprivileged@{digest}"


def test_monitors_are_where_prometheus_looks_and_change_labels() -> None:
    monitor = {"enabled": True, "namespace": "monitoring", "relabelings": [RELABELING], "metricRelabelings": [RELABELING]}
    for name, kind, endpoints in (("serviceMonitor", "ServiceMonitor", "endpoints"), ("podMonitor", "PodMonitor", "podMetricsEndpoints")):
        rendered = render({"metrics": {name: monitor}})
        made = rendered.of(kind)

        check(rendered)
        assert made["metadata"]["namespace"] == "monitoring"
        assert made["spec"]["namespaceSelector"] == {"matchNames": ["prod"]}
        assert made["spec"][endpoints][0]["relabelings"][-1] == RELABELING
        assert made["spec"][endpoints][0]["metricRelabelings"] == [RELABELING]


def test_rules_are_left_out_and_added() -> None:
    def rules(**values: Any) -> list[dict[str, Any]]:
        rendered = render({"metrics": {"prometheusRule": {"enabled": True, **values}}})
        check(rendered)
        return [rule for group in rendered.of("PrometheusRule")["spec"]["groups"] for rule in group["rules"]]

    before, after = rules(), rules(disabled=["SaltAPIDown"], additionalGroups=[OWN])

    assert [rule for rule in before if rule.get("alert") != "SaltAPIDown"] == after[:-1]
    assert len(after) == len(before)
    assert after[-1] == OWN["rules"][0]


def test_claims_bind_to_the_volume_that_is_named() -> None:
    claim = {"labels": {"tier": "gold"}, "selector": {"disk": "ssd"}, "volumeName": "pv-7"}
    rendered = render({"master": {"persistence": {"pki": claim, "cache": claim}}, "jobs": {"persistence": {"enabled": True, **claim}}})
    made = [*rendered.of("StatefulSet")["spec"]["volumeClaimTemplates"], rendered.of("PersistentVolumeClaim", f"{RELEASE}-salt-sidecar-jobs")]

    check(rendered)
    for one in made:
        assert one["metadata"]["labels"]["tier"] == "gold"
        assert one["spec"]["selector"] == {"matchLabels": {"disk": "ssd"}}
        assert one["spec"]["volumeName"] == "pv-7"


def test_once_somebody_is_named_nobody_else_gets_in() -> None:
    caller = {"podSelector": {"matchLabels": {"app": "pipeline"}}}

    def ingress(**values: Any) -> dict[Any, Any]:
        rendered = render({"networkPolicy": values})
        check(rendered)
        return {tuple(port["port"] for port in rule["ports"]): rule.get("from") for rule in rendered.of("NetworkPolicy")["spec"]["ingress"]}

    only_minions = {(4505, 4506): [caller]}
    named = ingress(apiFrom=[caller])

    assert ingress() == {("https",): None, ("ops",): None, (4505, 4506): None}
    assert set(named) == {("https",), ("ops",)}
    assert named["https",][0] == caller
    assert [peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"] for peer in (named["https",][1], *named["ops",])] == ["test", "test"]
    without_test = render({"networkPolicy": {"minionsFrom": [caller]}, "tests": {"enabled": False}}).of("NetworkPolicy")["spec"]["ingress"]
    assert {tuple(port["port"] for port in rule["ports"]): rule["from"] for rule in without_test} == only_minions
