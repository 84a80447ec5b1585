"""The pod may call DNS, what its settings name, and what somebody wrote down."""

from __future__ import annotations

from typing import Any

import pytest

from tests.helm.accepting import VERSIONS, check
from tests.helm.rendering import ci, refusal, render

DNS: dict[str, Any] = {"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]}
LDAP = {"to": [{"ipBlock": {"cidr": "198.51.100.7/32"}}], "ports": [{"port": 636, "protocol": "TCP"}]}


def egress(values: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the rules, once an API server would take them."""
    rendered = render(values)
    check(rendered, VERSIONS[-1:])
    policy = rendered.of("NetworkPolicy")["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    rules: list[dict[str, Any]] = policy["egress"]
    return rules


def to_port(port: int) -> dict[str, Any]:
    """Return the rule for a name, which no policy knows."""
    return {"ports": [{"port": port, "protocol": "TCP"}]}


def to_address(cidr: str, port: int) -> dict[str, Any]:
    return {"to": [{"ipBlock": {"cidr": cidr}}], **to_port(port)}


def to_namespace(name: str) -> dict[str, Any]:
    return {"to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}]}


def database(url: str) -> dict[str, Any]:
    return {"jobs": {"database": {"url": url, "existingSecret": "db"}}}


def issuers(**urls: str) -> dict[str, Any]:
    made = {name: {"url": f"https://{name}.example.org", "audiences": ["a"], "jwks_url": url} for name, url in urls.items()}
    return {"identities": {"enabled": True}, "config": {"identities": {"issuers": made}}}


def test_without_values_it_is_dns_alone() -> None:
    assert egress({}) == [DNS]
    kube_dns = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}, "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}}}]
    assert egress({"networkPolicy": {"dnsTo": kube_dns}}) == [{**DNS, "to": kube_dns}]


@pytest.mark.parametrize(
    ("values", "rules"),
    [
        (database("postgresql://a@db.example.org/jobs"), [to_port(5432)]),
        (database("postgresql://a@db.example.org:6432/jobs?sslmode=verify-full"), [to_port(6432)]),
        (database("postgresql://a@192.0.2.7,192.0.2.8:6432/jobs"), [to_address("192.0.2.7/32", 5432), to_address("192.0.2.8/32", 6432)]),
        (database("postgresql://a@[2001:db8::7]:6432/jobs"), [to_address("2001:db8::7/128", 6432)]),
        (database("postgresql://a@[2001:db8::7]/jobs"), [to_address("2001:db8::7/128", 5432)]),
        (database("postgresql://a@db/jobs"), [{"to": [{"podSelector": {}}]}]),
        (database("postgresql://a@db.data.svc/jobs"), [to_namespace("data")]),
        (database("postgresql://a@db-0.db.data.svc.cluster.local:5432/jobs"), [to_namespace("data")]),
        (database("postgresql://a@127.0.0.1/jobs"), []),
        ({"config": {"jobs": {"store": "postgresql://a@db.example.org/jobs"}}}, [to_port(5432)]),
        ({"config": {"jobs": {"store": "sqlite:////var/lib/salt-sidecar/jobs.sqlite"}}}, []),
        ({"jobs": {"notify": {"urls": ["https://ci.example.org/a/", "https://ci.example.org:8443/b"], "existingSecret": "x"}}}, [to_port(443), to_port(8443)]),
        ({"config": {"jobs": {"notify_urls": ["https://192.0.2.9/"], "notify_secret_file": "/x"}}}, [to_address("192.0.2.9/32", 443)]),
        (issuers(a="https://a.example.org/jwks", b="https://b.example.org/jwks"), [to_port(443)]),
        (issuers(a="https://keycloak.sso.svc:8443/jwks", b="http://127.0.0.1/jwks"), [to_namespace("sso")]),
        ({"config": {"tracing": {"endpoint": "http://otel-collector.monitoring.svc:4318"}}}, [to_namespace("monitoring")]),
        ({"config": {"tracing": {"endpoint": "http://otel.example.org"}}}, [to_port(80)]),
        ({"config": {"master": {"uri": "tcp://192.0.2.1:4506"}}}, [to_address("192.0.2.1/32", 4506)]),
        ({"config": {"master": {"uri": "tcp://127.0.0.1:4506"}}}, []),
    ],
    ids=str,
)
def test_what_settings_name_may_be_called(values: dict[str, Any], rules: list[dict[str, Any]]) -> None:
    assert egress(values) == [DNS, *rules]


def test_all_of_it_at_once_and_what_somebody_wrote_down() -> None:
    values = {**database("postgresql://a@192.0.2.7/jobs"), **issuers(a="https://a.example.org/jwks"), "networkPolicy": {"egress": [LDAP]}}

    assert egress(values) == [DNS, to_address("192.0.2.7/32", 5432), to_port(443), LDAP]
    assert egress({**values, "networkPolicy": {"egress": [LDAP], "fromSettings": False}}) == [DNS, LDAP]


def test_a_cluster_and_an_attached_master_have_it_too() -> None:
    peers, dns, jobs = egress(ci("cluster"))

    assert (peers["ports"], dns, jobs) == ([{"port": "cluster", "protocol": "TCP"}], DNS, to_port(5432))
    assert egress(ci("attach")) == [DNS]


def test_whoever_wants_it_open_says_so() -> None:
    policy = render({"networkPolicy": {"restrictEgress": False}}).of("NetworkPolicy")["spec"]

    assert (policy["policyTypes"], "egress" in policy) == (["Ingress"], False)
    assert "NetworkPolicy" not in render({"networkPolicy": {"enabled": False}}).kinds()


@pytest.mark.parametrize("open_again", [{"egress": [LDAP]}, {"restrictEgress": False}, {"enabled": False}])
def test_a_master_that_asks_others_is_let_out_by_somebody(open_again: dict[str, Any]) -> None:
    asking = {"master": {"config": {"external_auth": {"ldap": {"admins%": [".*"]}}}}}

    assert "networkPolicy.egress: is empty" in refusal(asking)
    assert render({**asking, "networkPolicy": open_again}).objects
