"""The Services to the outside are told what a cluster's network needs to know."""

from __future__ import annotations

from typing import Any

from tests.helm.accepting import check
from tests.helm.rendering import RELEASE, render

BALANCED = {
    "type": "LoadBalancer",
    "labels": {"exposed": "yes"},
    "annotations": {"example.org/tier": "internal"},
    "loadBalancerIP": "192.0.2.7",
    "loadBalancerClass": "example.org/internal",
    "loadBalancerSourceRanges": ["192.0.2.0/24"],
    "externalTrafficPolicy": "Local",
    "ipFamilyPolicy": "PreferDualStack",
}


def test_both_services_take_what_a_load_balancer_needs() -> None:
    rendered = render({"service": {**BALANCED, "nodePort": 30080}, "master": {"service": {**BALANCED, "nodePorts": {"publish": 30505, "ret": 30506}}}})
    api, master = (rendered.of("Service", f"{RELEASE}-salt-sidecar{suffix}") for suffix in ("", "-master"))

    check(rendered)
    for service in (api, master):
        assert {name: service["spec"][name] for name in BALANCED if name not in {"labels", "annotations"}} == {
            name: value for name, value in BALANCED.items() if name not in {"labels", "annotations"}
        }
        assert service["metadata"]["labels"]["exposed"] == "yes"
        assert service["metadata"]["annotations"] == BALANCED["annotations"]
    assert [port["nodePort"] for service in (api, master) for port in service["spec"]["ports"]] == [30080, 30505, 30506]


def test_the_masters_port_on_the_nodes_is_the_same_after_a_reinstallation() -> None:
    values: dict[str, Any] = {"master": {"service": {"type": "NodePort", "nodePorts": {"publish": 30505, "ret": 30506}}}}
    services = [render(values, release="salt").of("Service", "salt-salt-sidecar-master") for _ in range(2)]

    assert services[0] == services[1]
    assert [port["nodePort"] for port in services[0]["spec"]["ports"]] == [30505, 30506]


def test_without_a_wish_the_cluster_chooses() -> None:
    rendered = render({"service": {"type": "NodePort"}})

    assert "nodePort" not in rendered.of("Service", f"{RELEASE}-salt-sidecar")["spec"]["ports"][0]
