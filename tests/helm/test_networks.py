"""Who reaches what through the chart's NetworkPolicies, reckoned from what is rendered: tables, not rules."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import pytest

from tests.helm.accepting import workload
from tests.helm.networks import Object, Peer, passes, pod
from tests.helm.rendering import NAMESPACE, Rendered, ci, render

PORTS = {"https": 8443, "api": 8001, "websocket": 8003, "ops": 9175, "publish": 4505, "ret": 4506, "cluster": 4520, "ssh": 22}
PUBLIC = {"https", "ops", "publish", "ret"}
# Where somebody may listen whom the pod could call.
NUMBERS = {53, 80, 443, 636, 4506, 4520, 5432, 8080}
STRANGER = Peer("10.1.0.9", NAMESPACE, {"app": "web"})
INGRESS = Peer("10.1.1.1", "ingress", {"app": "nginx"})
PROMETHEUS = Peer("10.1.2.1", "monitoring", {"app": "prometheus"})
DNS = Peer("10.1.3.1", "kube-system", {"k8s-app": "kube-dns"})
SYSTEM = Peer("10.1.3.2", "kube-system", {"k8s-app": "metrics-server"})
DATABASE = Peer("10.1.4.1", "data", {"app": "postgres"})
MINION, DIRECTORY, OUTSIDE, METADATA = Peer("192.0.2.5"), Peer("198.51.100.7"), Peer("203.0.113.9"), Peer("169.254.169.254")
OTHERS = {
    "stranger": STRANGER,
    "ingress": INGRESS,
    "prometheus": PROMETHEUS,
    "dns": DNS,
    "system": SYSTEM,
    "database": DATABASE,
    "minion": MINION,
    "directory": DIRECTORY,
    "outside": OUTSIDE,
    "metadata": METADATA,
}


class Network:
    """The pod of a release among the others: its own of `helm test`, another of its kind, and OTHERS."""

    def __init__(self, values: dict[str, Any]) -> None:
        rendered = render(values)
        self._policies = [item for item in rendered.objects if item["kind"] == "NetworkPolicy"]
        self._pod, twin = (pod(_template(rendered), NAMESPACE, f"10.1.0.{number}") for number in (1, 2))
        self._others = {**OTHERS, "twin": twin, "test": pod(rendered.of("Pod"), NAMESPACE, "10.1.0.3")}

    def reaches(self, name: str) -> set[str]:
        """Return the ports of the pod that somebody reaches."""
        return {port for port, number in PORTS.items() if passes(self._policies, self._others[name], self._pod, number)}

    def reached(self) -> dict[str, set[str]]:
        """Return by whom which ports are reached."""
        return {name: ports for name in self._others if (ports := self.reaches(name))}

    def called(self, protocol: str, numbers: Iterable[int] = NUMBERS) -> dict[str, set[int]]:
        """Return whom the pod may call, and at which ports."""
        found = {name: {port for port in numbers if passes(self._policies, self._pod, other, port, protocol)} for name, other in self._others.items()}
        return {name: ports for name, ports in found.items() if ports}


def _template(rendered: Rendered) -> Object:
    template: Object = (rendered.of("StatefulSet") if "StatefulSet" in rendered.kinds() else workload(rendered))["spec"]["template"]
    return template


def everybody(ports: set[Any]) -> dict[str, set[Any]]:
    """Return the same for all but the pod's own kind, which is under the same policy at both ends."""
    return dict.fromkeys([*OTHERS, "test"], ports)


def attach(policy: dict[str, Any]) -> dict[str, Any]:
    """Return values for a master of somebody's."""
    values = ci("attach")
    return {**values, "attach": {**values["attach"], "networkPolicy": policy}}


# What a network plugin does with pods that have their nodes' addresses is not said anywhere.
CLUSTER = {**ci("cluster"), "cluster": {**ci("cluster")["cluster"], "hostNetwork": False}}
ALL = set(PORTS)
MINIONS_ALONE = {"networkPolicy": {"minionsFrom": [{"ipBlock": {"cidr": "192.0.2.0/24"}}]}}


@pytest.mark.parametrize(
    ("values", "reached"),
    [
        ({}, everybody(PUBLIC)),
        ({"tls": {"enabled": False}}, everybody(PUBLIC - {"https"} | {"api"})),
        ({"networkPolicy": {"restrictEgress": False}}, {**everybody(PUBLIC), "twin": PUBLIC}),
        ({"networkPolicy": {"enabled": False}}, {**everybody(ALL), "twin": ALL}),
        (ci("production"), {"ingress": {"api"}, "prometheus": {"ops"}, "minion": {"publish", "ret"}, "test": {"api", "ops"}}),
        (MINIONS_ALONE, {"minion": {"publish", "ret"}, "test": {"https", "ops"}}),
        (CLUSTER, {**everybody(PUBLIC), "twin": {"cluster"}}),
        ({**CLUSTER, **MINIONS_ALONE}, {"minion": {"publish", "ret"}, "test": {"https", "ops"}, "twin": {"cluster"}}),
        (attach({"enabled": True}), everybody(PUBLIC)),
        (attach({"enabled": True, "ports": [{"port": 20, "endPort": 30}]}), everybody(PUBLIC | {"ssh"})),
        (attach({}), {**everybody(ALL), "twin": ALL}),
    ],
    ids=[
        "default",
        "plain",
        "open egress",
        "none",
        "production",
        "minions alone",
        "cluster",
        "closed cluster",
        "attach",
        "attach with ports",
        "attach without",
    ],
)
def test_who_reaches_which_port(values: dict[str, Any], reached: dict[str, set[str]]) -> None:
    assert Network(values).reached() == reached


def database(host: str) -> dict[str, Any]:
    return {"jobs": {"database": {"url": f"postgresql://a@{host}/jobs", "existingSecret": "x"}}}


@pytest.mark.parametrize(
    ("values", "called"),
    [
        ({}, everybody({53})),
        ({"networkPolicy": {"restrictEgress": False}}, {**everybody(NUMBERS), "twin": {4506}}),
        (ci("production"), {"dns": {53}, "directory": {636}}),
        (ci("tls"), everybody({53, 443, 5432})),
        (CLUSTER, {**everybody({53, 5432}), "twin": {4520}}),
        (database("db.data.svc"), {**everybody({53}), "database": NUMBERS}),
        (database("db"), {**everybody({53}), "stranger": NUMBERS, "test": NUMBERS, "twin": {4506}}),
        (database("192.0.2.5"), {**everybody({53}), "minion": {53, 5432}}),
        ({"jobs": {"notify": {"urls": ["https://203.0.113.9/hooks/"], "existingSecret": "x"}}}, {**everybody({53}), "outside": {53, 443}}),
        ({"config": {"master": {"uri": "tcp://192.0.2.5:4506"}}}, {**everybody({53}), "minion": {53, 4506}}),
        (attach({"enabled": True}), everybody({53})),
        (attach({}), {**everybody(NUMBERS), "twin": NUMBERS}),
    ],
    ids=["default", "open", "production", "tls", "cluster", "other namespace", "own namespace", "address", "notices", "master", "attach", "attach without"],
)
def test_whom_the_pod_may_call(values: dict[str, Any], called: dict[str, set[int]]) -> None:
    network = Network(values)

    assert network.called("TCP") == called
    # Over UDP there is DNS, where nobody has opened all.
    assert {name: ports & {53} for name, ports in called.items() if 53 in ports} == network.called("UDP", {53})


GROUPS = {"apiFrom": {"https"}, "metricsFrom": {"ops"}, "minionsFrom": {"publish", "ret"}}
CHOICES: list[dict[str, Object]] = [
    {},
    {"ingress": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ingress"}}}},
    {"stranger": {"podSelector": {"matchExpressions": [{"key": "app", "operator": "Exists"}]}}, "minion": {"ipBlock": {"cidr": "192.0.2.5/32"}}},
]


@pytest.mark.parametrize("choice", list(itertools.product(CHOICES, repeat=len(GROUPS))), ids=lambda choice: "; ".join("+".join(named) for named in choice))
def test_once_somebody_is_named_nobody_else_comes_in(choice: tuple[dict[str, Object], ...]) -> None:
    named = dict(zip(GROUPS, choice, strict=True))
    reached = Network({"networkPolicy": {group: list(peers.values()) for group, peers in named.items()}}).reached()

    if any(choice):
        expected = {name: {port for group, peers in named.items() if name in peers for port in GROUPS[group]} for name in OTHERS}
        assert reached == {"test": {"https", "ops"}, **{name: ports for name, ports in expected.items() if ports}}
    else:
        assert reached == everybody(PUBLIC)


def policy(types: list[str], **rules: Any) -> Object:
    return {"metadata": {"namespace": NAMESPACE}, "spec": {"podSelector": {"matchLabels": {"app": "web"}}, "policyTypes": types, **rules}}


WEB = Peer("10.1.0.9", NAMESPACE, {"app": "web"}, {"http": 8080})


@pytest.mark.parametrize(
    ("rule", "reaching"),
    [
        ({}, {"ingress", "prometheus", "dns", "minion"}),
        ({"from": []}, {"ingress", "prometheus", "dns", "minion"}),
        ({"from": [{"podSelector": {}}]}, set()),
        ({"from": [{"namespaceSelector": {}}]}, {"ingress", "prometheus", "dns"}),
        ({"from": [{"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "nginx"}}}]}, {"ingress"}),
        ({"from": [{"namespaceSelector": {}}, {"podSelector": {"matchLabels": {"app": "nginx"}}}]}, {"ingress", "prometheus", "dns"}),
        ({"from": [{"namespaceSelector": {"matchExpressions": [{"key": "team", "operator": "DoesNotExist"}]}}]}, {"ingress", "prometheus", "dns"}),
        ({"from": [{"namespaceSelector": {}, "podSelector": {"matchExpressions": [{"key": "app", "operator": "In", "values": ["nginx"]}]}}]}, {"ingress"}),
        (
            {"from": [{"namespaceSelector": {}, "podSelector": {"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["nginx"]}]}}]},
            {"prometheus", "dns"},
        ),
        ({"from": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8"]}}]}, {"minion"}),
        ({"ports": [{"port": "http"}]}, {"ingress", "prometheus", "dns", "minion"}),
        ({"ports": [{"port": "https"}]}, set()),
        ({"ports": [{"port": 8000, "endPort": 8080}]}, {"ingress", "prometheus", "dns", "minion"}),
        ({"ports": [{"port": 8080, "protocol": "UDP"}]}, set()),
        ({"ports": [{"protocol": "TCP"}]}, {"ingress", "prometheus", "dns", "minion"}),
    ],
    ids=str,
)
def test_a_rule_means_what_kubernetes_says_that_it_means(rule: Object, reaching: set[str]) -> None:
    policies = [policy(["Ingress"], ingress=[rule])]

    assert {name for name in ("ingress", "prometheus", "dns", "minion") if passes(policies, OTHERS[name], WEB, 8080)} == reaching


def test_what_no_policy_selects_is_open_and_what_one_selects_is_closed_in_its_direction() -> None:
    closed = [policy(["Ingress", "Egress"])]

    assert passes(closed, INGRESS, PROMETHEUS, 9090)
    assert passes(closed, WEB, WEB, 8080), "a pod reaches itself"
    assert not passes(closed, INGRESS, WEB, 8080)
    assert not passes(closed, WEB, INGRESS, 80)
    assert passes([policy(["Ingress"])], WEB, INGRESS, 80)
    assert passes([*closed, policy(["Ingress"], ingress=[{}])], INGRESS, WEB, 8080), "of several policies one is enough"
