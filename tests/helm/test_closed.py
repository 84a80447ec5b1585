"""Without values the chart comes up and is closed: TLS with a certificate of its own, and nobody who may log in. What is open, somebody wrote down."""

from __future__ import annotations

from typing import Any

import pytest

from tests.helm.accepting import VERSIONS, check
from tests.helm.rendering import RELEASE, Rendered, ci, containers, render

NAME = f"{RELEASE}-salt-sidecar"
EVERYTHING = [".*", "@runner", "@wheel", "@jobs"]
NOBODY = "NOBODY MAY LOG IN YET"
TRIAL = "THIS IS A TRIAL: the user api may do everything"
PLAIN = "WARNING: the API speaks plain http"


def external_auth(rendered: Rendered) -> dict[str, Any]:
    found: dict[str, Any] = rendered.file(f"{NAME}-master", "master").get("external_auth", {})
    return found


def test_nobody_may_log_in_by_default_and_the_notes_say_how_to_change_that() -> None:
    rendered = render()

    assert external_auth(rendered) == {}
    assert f"{NAME}-auth" not in {item["metadata"]["name"] for item in rendered.objects}
    assert not [volume for pod in rendered.pods() for volume in pod["volumes"] if volume["name"] == "auth"]
    # `helm test` has nobody to be, and looks at the rest.
    assert rendered.of("Pod")["spec"]["containers"][0]["args"] == [f"https://{NAME}:443", f"http://{NAME}-metrics:9175"]
    assert NOBODY in rendered.notes
    assert "--set auth.trial=true" in rendered.notes


def test_the_user_who_may_do_everything_is_there_for_a_trial_alone() -> None:
    rendered = render({"auth": {"trial": True}})

    assert external_auth(rendered) == {"sharedsecret": {"api": EVERYTHING}}
    assert rendered.of("Pod")["spec"]["containers"][0]["args"][2:] == ["api", "/secrets/auth/sharedsecret"]
    assert TRIAL in rendered.notes
    assert NOBODY not in rendered.notes


@pytest.mark.parametrize(
    ("values", "auth"),
    [
        ({"auth": {"users": {"ci": ["test.ping"]}}}, {"sharedsecret": {"ci": ["test.ping"]}}),
        ({"identities": {"enabled": True, "accounts": {"ci": ["test.ping"]}}}, {"sidecar": {"ci": ["test.ping"]}}),
        ({"master": {"config": {"external_auth": {"pam": {"a": ["test.ping"]}}}}}, {"pam": {"a": ["test.ping"]}}),
        ({"master": {"existingConfigMap": "more"}}, {}),
        (ci("attach"), None),
    ],
    ids=str,
)
def test_who_was_named_may_log_in_and_nobody_else(values: dict[str, Any], auth: dict[str, Any] | None) -> None:
    rendered = render(values)

    assert auth is None or external_auth(rendered) == auth
    assert not {said for said in (NOBODY, TRIAL) if said in rendered.notes}


def test_the_api_is_served_by_tls_with_a_certificate_of_the_charts() -> None:
    rendered = render()
    secret = rendered.of("Secret", f"{NAME}-made-tls")
    (nginx,) = (container for pod in rendered.pods() for container in containers(pod) if container["name"] == "tls")
    volume = next(volume for pod in rendered.pods() for volume in pod["volumes"] if volume["name"] == "salt-sidecar-tls")
    (port,) = rendered.of("Service", NAME)["spec"]["ports"]

    check(rendered, VERSIONS[-1:])
    assert (secret["type"], secret["data"].keys()) == ("kubernetes.io/tls", {"ca.crt", "tls.crt", "tls.key"})
    assert volume["secret"]["secretName"] == secret["metadata"]["name"]
    assert nginx["ports"] == [{"name": "https", "containerPort": 8443, "protocol": "TCP"}]
    assert (port["port"], port["targetPort"], port["appProtocol"]) == (443, "https", "https")
    assert "curl -sS --cacert salt-api-ca.crt https://localhost:8001/" in rendered.notes
    assert PLAIN not in rendered.notes


@pytest.mark.parametrize(
    ("tls", "secret"),
    [({"existingSecret": "mine"}, "mine"), ({"certManager": {"enabled": True, "issuer": "x"}}, f"{NAME}-tls")],
)
def test_a_certificate_that_is_named_is_the_one_and_none_is_made(tls: dict[str, Any], secret: str) -> None:
    rendered = render({"tls": tls})

    assert "Secret" not in rendered.kinds()
    assert {volume["secret"]["secretName"] for pod in rendered.pods() for volume in pod["volumes"] if volume["name"] == "salt-sidecar-tls"} == {secret}


@pytest.mark.parametrize(
    "front", [{}, {"ingress": {"enabled": True, "hosts": ["salt.example.org"]}}, {"httpRoute": {"enabled": True, "parentRefs": [{"name": "a"}]}}]
)
def test_plain_http_is_said_to_be_the_exception(front: dict[str, Any]) -> None:
    rendered = render({"tls": {"enabled": False}, **front})
    (port,) = rendered.of("Service", NAME)["spec"]["ports"]

    check(rendered, VERSIONS[-1:])
    assert (port["port"], port["targetPort"]) == (80, "api")
    assert PLAIN in rendered.notes
    assert ("TLS has to end in front of it" in rendered.notes) is bool(front)


@pytest.mark.parametrize("tls", [{}, {"enabled": False}, {"existingSecret": "mine", "clientCASecret": "callers", "clientCertificates": "optional"}])
@pytest.mark.parametrize("identities", [{}, {"enabled": True, "accounts": {"ci": ["test.ping"]}}])
@pytest.mark.parametrize("name", ["default", "cluster", "attach", "attach-cdalvaro"])
def test_tls_and_identities_go_with_each_way_to_install(name: str, identities: dict[str, Any], tls: dict[str, Any]) -> None:
    values = {**ci(name), "tls": tls}
    if identities:
        own = {key: value for key, value in identities.items() if key != "accounts" or "mode" not in values}
        rules = [{"issuer": "certificate", "claims": {"common_name": ["x"]}, "account": "ci"}] if "clientCASecret" in tls else []
        values |= {"identities": own, "config": {"identities": {"rules": rules}}}
    rendered = render(values)
    (pod,) = (pod for pod in rendered.pods() if not any(container["name"] == "smoke" for container in containers(pod)))
    mounted = {container["name"]: {mount["name"] for mount in container.get("volumeMounts", [])} for container in containers(pod)}

    check(rendered, VERSIONS[-1:])
    assert ("tls" in mounted) is tls.get("enabled", True)
    assert ({"identities"} <= mounted.keys()) is bool(identities)
    assert ("salt-sidecar-told" in mounted["salt-master"]) is bool(identities)
    assert ("salt-sidecar-proxy" in mounted.get("tls", set())) is ("clientCASecret" in tls and bool(identities))
