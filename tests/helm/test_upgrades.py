"""What an upgrade would take away without a word is refused with what keeps it, and NOTES say what is new to whom."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from tests.helm.live import having
from tests.helm.rendering import NAMESPACE, RELEASE, Rendered, refusal, render

NAME = f"{RELEASE}-salt-sidecar"
# What chart 0.1 did without values, in the words of this one.
AS_BEFORE: dict[str, Any] = {"tls": {"enabled": False}, "auth": {"trial": True}, "networkPolicy": {"restrictEgress": False}}
OWN_TLS = {"existingSecret": "certificate"}
NEW = "WHAT IS NEW SINCE CHART 0.1"
Objects = Iterable[Mapping[str, Any]]


def made_by(version: str, values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the objects of a release as a version of the chart labelled them."""
    objects = copy.deepcopy(render(values).objects)
    for item in objects:
        item["metadata"]["labels"]["helm.sh/chart"] = f"salt-sidecar-{version}"
    return list(objects)


def upgraded(live: Objects, values: Mapping[str, Any]) -> Rendered:
    with having(live) as url:
        return render(values, upgrade=True, cluster=url)


def refused(live: Objects, values: Mapping[str, Any]) -> str:
    with having(live) as url:
        return refusal(values, upgrade=True, cluster=url)


def test_callers_by_plain_http_and_the_user_of_everybody_are_not_lost_without_a_word() -> None:
    said = refused(made_by("0.1.0", AS_BEFORE), {})

    assert "tls.enabled: callers of Service demo-salt-sidecar speak plain http until now" in said
    assert "auth.users: is empty, and the user api, who may do everything, would no longer be there" in said
    assert said.count("\n  - ") == 2


def test_what_the_refusal_names_keeps_everything_as_it_was() -> None:
    before = made_by("0.1.0", AS_BEFORE)
    after = upgraded(before, AS_BEFORE)

    def of(objects: Objects, kind: str, name: str) -> Any:
        return next(item for item in objects if (item["kind"], item["metadata"]["name"]) == (kind, name))

    assert of(after.objects, "Service", NAME)["spec"] == of(before, "Service", NAME)["spec"]
    for kind, name in (("ConfigMap", f"{NAME}-master"), ("Secret", f"{NAME}-auth")):
        assert of(after.objects, kind, name)["data"] == of(before, kind, name)["data"]


@pytest.mark.parametrize(
    "accepted",
    [
        {"tls": OWN_TLS, "auth": {"users": {"ci": ["test.ping"]}}},
        {"tls": OWN_TLS, "auth": {"sharedsecret": False}},
    ],
)
def test_whoever_says_what_they_want_gets_it(accepted: dict[str, Any]) -> None:
    assert upgraded(made_by("0.1.0", AS_BEFORE), accepted).of("Service", NAME)["spec"]["ports"][0]["port"] == 443


def test_a_port_that_callers_know_does_not_change_by_itself() -> None:
    named = {"tls": OWN_TLS, "auth": {"trial": True}}
    before = made_by("0.1.0", {**named, "service": {"port": 80}})

    assert f"service.port: of Service {NAME} is 80 until now, and would be 443" in refused(before, named)
    assert upgraded(before, {**named, "service": {"port": 80}}).of("Service", NAME)["spec"]["ports"][0]["port"] == 80


def test_a_certificate_and_a_secret_that_the_chart_made_are_kept() -> None:
    trial = {"auth": {"trial": True}}
    before = made_by("0.2.0", trial)
    after = upgraded(before, trial)

    secrets = {item["metadata"]["name"]: item["data"] for item in after.objects if item["kind"] == "Secret"}
    assert secrets.keys() == {f"{NAME}-auth", f"{NAME}-made-tls"}
    assert secrets == {item["metadata"]["name"]: item["data"] for item in before if item["kind"] == "Secret"}
    assert render(trial).of("Secret", f"{NAME}-made-tls")["data"] != secrets[f"{NAME}-made-tls"]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (AS_BEFORE, ["It is plain http on port 80 now.", "Who may log in is what your values say.", "not limited, as before"]),
        ({"tls": OWN_TLS, "auth": {"sharedsecret": False}}, ["It is https on port 443 now; tls.enabled=false", "Nobody may log in now.", "only DNS, what the"]),
    ],
)
def test_the_notes_say_what_is_new_to_whom(values: dict[str, Any], said: list[str]) -> None:
    told = upgraded(made_by("0.1.0", AS_BEFORE), values).notes.partition(NEW)[2]

    assert [line for line in said if line not in told] == []


def test_nothing_is_new_to_who_has_it_or_never_had_another() -> None:
    assert NEW not in upgraded(made_by("0.2.0", AS_BEFORE), AS_BEFORE).notes
    assert NEW not in render().notes
    # Where Helm cannot look it says so to everybody.
    assert NEW in render(upgrade=True).notes


def test_whoever_has_the_statefulset_of_an_older_chart_is_told_what_helps() -> None:
    live = made_by("0.1.0", AS_BEFORE)
    for item in live:
        if item["kind"] == "StatefulSet":
            item["spec"]["podManagementPolicy"] = "OrderedReady"

    assert f"kubectl -n {NAMESPACE} delete statefulset {NAME} --cascade=orphan" in refused(live, AS_BEFORE)


def test_an_attached_sidecar_that_spoke_plain_http_goes_on_or_is_refused() -> None:
    attach = {"workload": {"name": "salt-master"}, "selectorLabels": {"app": "salt-master"}, "masterContainer": "salt-master"}
    values = {"mode": "attach", "attach": attach}
    before = made_by("0.1.0", {**values, "tls": {"enabled": False}})

    assert "tls.enabled: callers of Service" in refused(before, values)
    assert "apply it again" in upgraded(before, {**values, "tls": OWN_TLS}).notes
