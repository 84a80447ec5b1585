"""What NetworkPolicies let through, by the rules of Kubernetes: no network plugin is here that would enforce them."""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

Object = Mapping[str, Any]

OPERATORS: Mapping[str, Callable[[str | None, Sequence[str]], bool]] = {
    "In": lambda value, values: value in values,
    "NotIn": lambda value, values: value not in values,
    "Exists": lambda value, values: value is not None,
    "DoesNotExist": lambda value, values: value is None,
}


@dataclasses.dataclass(frozen=True)
class Peer:
    """
    Somebody who calls or is called: a pod, or an address that is none.

    namespace: empty for an address that is no pod's. labels: of the pod. ports: names of its container ports. A namespace has its name as a label, as Kubernetes gives it.
    """

    address: str
    namespace: str = ""
    labels: Mapping[str, str] = dataclasses.field(default_factory=dict)
    ports: Mapping[str, int] = dataclasses.field(default_factory=dict)

    @property
    def namespace_labels(self) -> Mapping[str, str]:
        return {"kubernetes.io/metadata.name": self.namespace}


def pod(template: Object, namespace: str, address: str) -> Peer:
    """Return the pod that a template makes, with the names of its ports."""
    ports = {port["name"]: port["containerPort"] for container in template["spec"]["containers"] for port in container.get("ports", []) if "name" in port}
    return Peer(address, namespace, template["metadata"]["labels"], ports)


def passes(policies: Iterable[Object], caller: Peer, called: Peer, port: int, protocol: str = "TCP") -> bool:
    """Say whether a connection is made: the caller's policies have to let it out, those of the called let it in. A pod always reaches itself."""
    policies = list(policies)
    if caller == called:
        return True
    out = _let_through(policies, "Egress", caller, called, called, port, protocol)
    return out and _let_through(policies, "Ingress", called, caller, called, port, protocol)


def _let_through(policies: Iterable[Object], direction: str, own: Peer, other: Peer, called: Peer, port: int, protocol: str) -> bool:
    rules = [policy["spec"].get(direction.lower()) or [] for policy in policies if direction in policy["spec"]["policyTypes"] and _selects(policy, own)]
    peers = "to" if direction == "Egress" else "from"
    # Whom no policy selects, everybody reaches; of several it is enough that one lets through.
    return not rules or any(_fits(rule, peers, own.namespace, other, called, port, protocol) for listed in rules for rule in listed)


def _selects(policy: Object, peer: Peer) -> bool:
    return bool(peer.namespace) and policy["metadata"]["namespace"] == peer.namespace and _matches(policy["spec"]["podSelector"], peer.labels)


def _fits(rule: Object, peers: str, namespace: str, other: Peer, called: Peer, port: int, protocol: str) -> bool:
    ports, named = rule.get("ports"), rule.get(peers)
    # An empty list is as good as none: everybody, every port.
    return (not ports or any(_is_port(item, called, port, protocol) for item in ports)) and (
        not named or any(_is_peer(item, namespace, other) for item in named)
    )


def _is_port(item: Object, called: Peer, port: int, protocol: str) -> bool:
    if item.get("protocol", "TCP") != protocol:
        return False
    first = item.get("port")
    if isinstance(first, str):
        return called.ports.get(first) == port
    return first is None or first <= port <= item.get("endPort", first)


def _is_peer(item: Object, namespace: str, other: Peer) -> bool:
    if "ipBlock" in item:
        block, address = item["ipBlock"], ipaddress.ip_address(other.address)
        return address in ipaddress.ip_network(block["cidr"]) and not any(address in ipaddress.ip_network(left_out) for left_out in block.get("except", []))
    if not other.namespace:
        return False
    at_home = other.namespace == namespace if "namespaceSelector" not in item else _matches(item["namespaceSelector"], other.namespace_labels)
    return at_home and _matches(item.get("podSelector", {}), other.labels)


def _matches(selector: Object, labels: Mapping[str, str]) -> bool:
    return selector.get("matchLabels", {}).items() <= labels.items() and all(
        OPERATORS[wanted["operator"]](labels.get(wanted["key"]), wanted.get("values", [])) for wanted in selector.get("matchExpressions", [])
    )
