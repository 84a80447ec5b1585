"""Attach mode changes nothing of somebody's master but what it says."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from tests.helm.patching import patched
from tests.helm.rendering import RELEASE, Rendered, ci, containers, render

LIVE: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "StatefulSet",
    "metadata": {"name": "salt-master"},
    "spec": {
        "selector": {"matchLabels": {"app": "salt-master"}},
        "serviceName": "salt-master",
        "template": {
            "metadata": {"labels": {"app": "salt-master"}, "annotations": {"owner": "platform"}},
            "spec": {
                "securityContext": {"runAsNonRoot": True},
                "containers": [
                    {"name": "salt-master", "image": "salt", "volumeMounts": [{"name": "run", "mountPath": "/run/salt"}]},
                    {"name": "exporter", "image": "exporter", "ports": [{"containerPort": 9100}]},
                ],
                "volumes": [{"name": "run", "emptyDir": {}}],
            },
        },
    },
}
TLS = {"enabled": True, "existingSecret": "certificate", "clientCASecret": "callers"}
SECRETS = {"tls": TLS, "metrics": {"token": {"existingSecret": "token"}}, "secretFiles": "hooks"}


def attached(rendered: Rendered) -> dict[str, Any]:
    """Return the template of the master's pods once the patch is applied."""
    template: dict[str, Any] = patched(LIVE, rendered.of("ConfigMap", f"{RELEASE}-salt-sidecar-patch")["data"]["patch.yaml"])["spec"]["template"]
    return template


@pytest.mark.parametrize(("name", "added"), [("attach", ["salt-sidecar", "tls"]), ("attach-cdalvaro", ["salt-sidecar", "tls"])])
def test_the_master_stays_the_first_container_and_the_default_one(name: str, added: list[str]) -> None:
    template = attached(render(ci(name)))

    assert [container["name"] for container in template["spec"]["containers"]] == ["salt-master", *added, "exporter"]
    assert template["metadata"]["annotations"]["kubectl.kubernetes.io/default-container"] == "salt-master"


def test_a_patch_adds_and_replaces_nothing_and_the_second_time_it_changes_nothing() -> None:
    rendered = render(ci("attach-cdalvaro"))
    live = copy.deepcopy(LIVE)
    once = attached(rendered)
    spec, before = once["spec"], live["spec"]["template"]["spec"]
    twice = patched({**live, "spec": {**live["spec"], "template": once}}, rendered.of("ConfigMap", f"{RELEASE}-salt-sidecar-patch")["data"]["patch.yaml"])

    assert once["metadata"]["labels"] == {"app": "salt-master"}
    assert once["metadata"]["annotations"].items() >= {"owner": "platform"}.items()
    assert spec["securityContext"] == before["securityContext"]
    assert before["volumes"][0] in spec["volumes"]
    master, exporter = (next(item for item in spec["containers"] if item["name"] == name) for name in ("salt-master", "exporter"))
    assert exporter == before["containers"][1]
    assert {**master, "volumeMounts": master["volumeMounts"][-1:]} == before["containers"][0]
    assert {"name": "salt-run", "mountPath": "/var/run/salt"} in master["volumeMounts"]
    assert twice["spec"]["template"] == once


def test_secrets_are_readable_in_a_pod_that_gives_its_volumes_to_no_group() -> None:
    spec = attached(render({**ci("attach-cdalvaro"), **SECRETS}))["spec"]
    secrets = {volume["name"]: volume["secret"]["defaultMode"] for volume in spec["volumes"] if "secret" in volume}
    others = [container for container in containers(spec) if container["name"] not in {"salt-sidecar", "tls"}]

    assert "fsGroup" not in spec["securityContext"]
    assert secrets
    assert set(secrets.values()) == {0o444}
    # The mode lets everybody in who mounts them, so nobody else does.
    assert not [mount for container in others for mount in container.get("volumeMounts", []) if mount["name"] in secrets]


def test_a_claim_for_jobs_comes_with_the_group_that_may_write_there() -> None:
    values = ci("attach-cdalvaro")
    values["attach"]["fsGroup"] = 1000
    spec = attached(render({**values, "jobs": {"persistence": {"enabled": True}}}))["spec"]

    assert spec["securityContext"] == {"runAsNonRoot": True, "fsGroup": 1000, "fsGroupChangePolicy": "OnRootMismatch"}


def test_no_port_of_the_master_is_closed_unasked() -> None:
    assert "NetworkPolicy" not in render(ci("attach-cdalvaro")).kinds()


def test_a_policy_beside_an_existing_master_keeps_its_minions_and_the_ports_that_are_named() -> None:
    policy = render(ci("attach")).of("NetworkPolicy")["spec"]
    _, _, minions, named = policy["ingress"]

    assert policy["podSelector"]["matchLabels"] == {"app": "salt-master"}
    assert [port["port"] for port in minions["ports"]] == [4505, 4506]
    assert named == {"ports": [{"port": 9100}, {"port": 8301, "protocol": "UDP"}]}
