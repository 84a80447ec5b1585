"""Every file in ci/ renders to objects that Kubernetes takes, from the oldest version we name to the newest that is known."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import helm_python
import kubernetes_validate
import pytest
import yaml

from tests.e2e import attached, images, pod_identities, standins
from tests.e2e.release import release
from tests.helm.accepting import VERSIONS, check
from tests.helm.rendering import CHART, NAMESPACE, RELEASE, ROOT, VALUES, Rendered, ci, containers, load, render


@pytest.mark.parametrize("path", VALUES, ids=lambda path: path.name)
def test_kubernetes_takes_every_object(path: Path) -> None:
    assert len(check(render(load(path)))) > 3


@pytest.mark.parametrize("path", VALUES, ids=lambda path: path.name)
@pytest.mark.parametrize("version", VERSIONS)
def test_helms_linter_finds_nothing(path: Path, version: str) -> None:
    report = helm_python.lint(CHART, load(path), strict=True, kube_version="v" + ".".join([*version.split("."), "0"][:3]))

    assert report["messages"] == []


def test_kubernetes_takes_what_e2e_plays(tmp_path: Path) -> None:
    bundled = release(tmp_path, images.SIDECAR, images.SALT, standins.NGINX, pod_identities.values())

    assert len(check(bundled.rendered)) > 3
    assert len(check(render(attached.values()))) > 3


def test_an_installation_needs_no_cluster_to_be_tried() -> None:
    """The whole way of `helm install --dry-run=client`, hooks and manifest sorting with it."""
    with helm_python.Config(storage_driver="memory", kube_apiserver="http://127.0.0.1:1") as config:
        release = config.install(CHART, RELEASE, {}, namespace=NAMESPACE, dry_run="client")

    assert "kind: StatefulSet" in release["manifest"]
    assert "helm -n prod test demo" in release["notes"]


@pytest.mark.parametrize("path", VALUES, ids=lambda path: path.name)
def test_names_and_labels_fit_together(path: Path) -> None:
    rendered = render(load(path))
    services = {item["metadata"]["name"]: item["spec"] for item in rendered.objects if item["kind"] == "Service"}
    names = [(item["kind"], item["metadata"]["name"]) for item in rendered.objects]

    assert len(names) == len(set(names))
    pod_labels = next((item["spec"]["template"]["metadata"]["labels"] for item in rendered.objects if item["kind"] == "StatefulSet"), None)
    for selector in (spec["selector"] for spec in services.values()):
        tests = [item["metadata"]["labels"] for item in rendered.objects if item["kind"] == "Pod"]
        assert all(not selector.items() <= labels.items() for labels in tests), "the test's pod would get requests"
        assert pod_labels is None or selector.items() <= pod_labels.items()


@pytest.mark.parametrize("path", VALUES, ids=lambda path: path.name)
def test_what_a_pod_names_is_there(path: Path) -> None:
    attach = load(path).get("attach", {})
    existing = {attach[part]["existingVolume"] for part in ("sock", "masterConfig") if attach.get(part, {}).get("existingVolume")}
    for pod in render(load(path)).pods():
        volumes = {volume["name"] for volume in pod["volumes"]} | {"pki", "cache"}
        ports = {port["name"] for container in containers(pod) for port in container.get("ports", [])}
        for container in containers(pod):
            assert {mount["name"] for mount in container.get("volumeMounts", [])} <= volumes | existing
            for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
                probe = container.get(kind, {})
                assert {probe[how]["port"] for how in ("httpGet", "tcpSocket") if how in probe} <= ports


def test_every_number_stays_a_whole_number() -> None:
    production = render(ci("production"))

    assert production.file(f"{RELEASE}-salt-sidecar-config", "sidecar.yaml")["hook"]["body_limit_bytes"] == 100_000_000
    assert production.file(f"{RELEASE}-salt-sidecar-master", "master")["max_event_size"] == 1_048_576


def test_the_master_is_configured_for_its_volumes() -> None:
    rendered = render(ci("production"))
    master = rendered.file(f"{RELEASE}-salt-sidecar-master", "master")
    mounts = {
        mount["mountPath"]
        for pod in rendered.pods()
        for container in containers(pod)
        if container["name"] == "salt-master"
        for mount in container["volumeMounts"]
    }

    assert master["id"] == "master"
    assert {master[name].rpartition("/")[0] for name in ("pki_dir", "cachedir", "sock_dir", "pidfile")} <= mounts
    assert master["external_auth"].keys() == {"sharedsecret", "ldap"}
    assert master["external_auth"]["sharedsecret"].keys() == {"ci"}, "the default user stays beside the named one"
    assert master["log_file"] == "/dev/null"
    assert {"/etc/salt/conf.d/extra", "/etc/salt/conf.d/secret"} <= mounts


def claims_of(rendered: Rendered) -> dict[str, Any]:
    return {item["metadata"]["name"]: item for item in rendered.objects if item["kind"] == "PersistentVolumeClaim"}


# A cluster's jobs are in a database.
@pytest.mark.parametrize("path", [path for path in VALUES if "cluster" not in load(path)], ids=lambda path: path.name)
@pytest.mark.parametrize(("wanted", "made"), [({}, False), ({"enabled": True}, True), ({"enabled": True, "existingClaim": "mine"}, False)])
def test_the_store_of_jobs_is_in_a_volume_and_in_a_claim_where_that_is_wanted(path: Path, wanted: dict[str, Any], made: bool) -> None:
    values = load(path)
    if "attach" in values:
        values["attach"]["fsGroup"] = 450
    rendered = render({**values, "jobs": {"persistence": wanted}})
    claims = list(claims_of(rendered))
    (pod, sidecar) = next((pod, container) for pod in rendered.pods() for container in containers(pod) if container["name"] == "salt-sidecar")
    source = {"persistentVolumeClaim": {"claimName": (*claims, "mine")[0]}} if wanted else {"emptyDir": {}}

    assert {"name": "salt-sidecar-jobs", "mountPath": "/var/lib/salt-sidecar"} in sidecar["volumeMounts"]
    assert {"name": "salt-sidecar-jobs", **source} in pod["volumes"]
    assert bool(claims) is made


def test_a_claim_of_jobs_outlives_the_release_and_is_as_the_values_say() -> None:
    wanted = {"enabled": True, "size": "5Gi", "storageClass": "fast", "annotations": {"backup": "yes"}}
    (claim,) = claims_of(render({"jobs": {"persistence": wanted}})).values()
    for version in VERSIONS:
        kubernetes_validate.validate(claim, version, strict=True)

    assert claim["metadata"]["annotations"] == {"backup": "yes", "helm.sh/resource-policy": "keep"}
    assert claim["spec"] == {"accessModes": ["ReadWriteOnce"], "storageClassName": "fast", "resources": {"requests": {"storage": "5Gi"}}}


@pytest.mark.parametrize("name", ["default", "attach"])
def test_the_password_of_a_database_of_jobs_is_a_file_and_in_no_configmap(name: str) -> None:
    url = "postgresql://sidecar@db.example.org/salt_jobs?sslmode=verify-full"
    database = {"url": url, "existingSecret": "db", "secretKey": "postgres-password"}
    rendered = render({**ci(name), "jobs": {"database": database}, **({"replicas": 3} if name == "attach" else {})})
    settings = rendered.file(f"{RELEASE}-salt-sidecar-config", "sidecar.yaml")
    (pod, sidecar) = next((pod, container) for pod in rendered.pods() for container in containers(pod) if container["name"] == "salt-sidecar")
    (volume,) = (volume for volume in pod["volumes"] if volume["name"] == "salt-sidecar-database")

    assert settings["jobs"] == {"store": url, "store_password_file": "/etc/salt-sidecar/database/password"}
    assert {"name": "salt-sidecar-database", "mountPath": "/etc/salt-sidecar/database", "readOnly": True} in sidecar["volumeMounts"]
    assert volume["secret"] == {"secretName": "db", "defaultMode": 0o440, "items": [{"key": "postgres-password", "path": "password"}]}
    assert not any("salt-sidecar-database" in str(container) for container in containers(pod) if container["name"] != "salt-sidecar")


@pytest.mark.parametrize("name", ["default", "attach"])
def test_the_key_that_signs_notices_is_a_file_and_in_no_configmap(name: str) -> None:
    urls = ["https://ci.example.org/hooks/"]
    notify = {"urls": urls, "existingSecret": "ci", "secretKey": "hmac"}
    rendered = render({**ci(name), "config": {"jobs": {"open": 5}}, "jobs": {"notify": notify}})
    settings = rendered.file(f"{RELEASE}-salt-sidecar-config", "sidecar.yaml")
    (pod, sidecar) = next((pod, container) for pod in rendered.pods() for container in containers(pod) if container["name"] == "salt-sidecar")
    (volume,) = (volume for volume in pod["volumes"] if volume["name"] == "salt-sidecar-notify")

    assert settings["jobs"] == {"open": 5, "notify_urls": urls, "notify_secret_file": "/etc/salt-sidecar/notify/secret"}
    assert {"name": "salt-sidecar-notify", "mountPath": "/etc/salt-sidecar/notify", "readOnly": True} in sidecar["volumeMounts"]
    assert volume["secret"] == {"secretName": "ci", "defaultMode": 0o440, "items": [{"key": "hmac", "path": "secret"}]}
    assert not any("salt-sidecar-notify" in str(container) for container in containers(pod) if container["name"] != "salt-sidecar")
    assert "salt-sidecar-notify" not in str([*render(ci(name)).pods()])


def test_with_several_sidecars_every_path_goes_to_all_of_them() -> None:
    database = {"url": "postgresql://sidecar@db.example.org/salt_jobs", "existingSecret": "db"}
    rendered = render(
        {**ci("attach"), "replicas": 3, "jobs": {"database": database}, "tls": {"enabled": False}, "ingress": {"enabled": True, "hosts": ["salt.example.org"]}}
    )
    (rule,) = rendered.of("Ingress")["spec"]["rules"]
    service = rendered.of("Service", f"{RELEASE}-salt-sidecar")["spec"]

    assert [path["path"] for path in rule["http"]["paths"]] == ["/"]
    assert service.get("sessionAffinity") is None
    assert {"port", "targetPort"} <= service["ports"][0].keys()


def test_tls_hides_the_plain_port_and_nginx_is_believed() -> None:
    rendered = render(ci("tls"))
    settings = rendered.file(f"{RELEASE}-salt-sidecar-config", "sidecar.yaml")

    assert settings["api"]["host"] == "127.0.0.1"
    assert settings["access"]["trusted_proxies"] == ["127.0.0.1"]
    assert rendered.of("Service", f"{RELEASE}-salt-sidecar")["spec"]["ports"][0]["targetPort"] == "https"
    assert "ssl_verify_client on;" in rendered.of("ConfigMap", f"{RELEASE}-salt-sidecar-nginx")["data"]["nginx.conf"]


@pytest.mark.parametrize("port", [None, 9003])
def test_nginx_leads_websockets_to_their_port(port: int | None) -> None:
    rendered = render({**ci("tls"), **({"config": {"websocket": {"port": port}, "api": {"root_prefix": "/salt"}}} if port else {})})
    site = rendered.of("ConfigMap", f"{RELEASE}-salt-sidecar-nginx")["data"]["nginx.conf"]

    assert rendered.file(f"{RELEASE}-salt-sidecar-config", "sidecar.yaml")["websocket"] == {"port": port or 8003}
    assert f"upstream websockets {{ server 127.0.0.1:{port or 8003}; }}" in site
    assert f"location ~ ^{'/salt' if port else ''}/+(ws|all_events|formatted_events)(/|$) {{" in site
    assert "websocket" not in render({**ci("attach"), "tls": {"enabled": False}}).file(f"{RELEASE}-salt-sidecar-config", "sidecar.yaml")


def test_nginx_follows_every_file_that_its_configuration_reads() -> None:
    rendered = render(ci("tls"))
    site = rendered.of("ConfigMap", f"{RELEASE}-salt-sidecar-nginx")["data"]["nginx.conf"]
    (nginx,) = (container for pod in rendered.pods() for container in containers(pod) if container["name"] == "tls")
    mounts = {mount["mountPath"] for mount in nginx["volumeMounts"]}

    assert nginx["command"][:3] == ["sh", "/etc/nginx/scripts/serve-tls.sh", "/etc/nginx/sidecar/nginx.conf"]
    assert set(nginx["command"][3:]) == set(re.findall(r"ssl_(?:client_)?certificate(?:_key)? (\S+);", site))
    # A file that is mounted by itself, with subPath, is never replaced.
    assert {path.rpartition("/")[0] for path in nginx["command"][1:]} <= mounts
    assert not any("subPath" in mount for mount in nginx["volumeMounts"])
    assert rendered.of("Certificate")["spec"]["duration"] == "2160h"
    assert rendered.of("Certificate")["spec"]["renewBefore"] == "360h"


def test_rules_and_dashboards_are_those_in_the_repository() -> None:
    rendered = render(ci("production"))
    rules = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted((CHART / "files" / "rules").glob("*.yaml"))]
    names = [group["name"] for file in rules for group in file["groups"]]
    fewer = render({"metrics": {"prometheusRule": {"enabled": True}}}).of("PrometheusRule")["spec"]["groups"]

    assert [group["name"] for group in fewer] == [name for name in names if "compat" not in name]
    found = rendered.of("PrometheusRule")["spec"]["groups"]
    assert [group["name"] for group in found] == names
    assert all(rule["labels"]["team"] == "platform" for group in found for rule in group["rules"] if "alert" in rule)
    dashboards = [item for item in rendered.objects if item["metadata"].get("labels", {}).get("grafana_dashboard") == "1"]
    assert len(dashboards) == len(list((CHART / "files" / "dashboards").glob("*.json")))


def test_every_alert_leads_to_its_runbook() -> None:
    here = render({"metrics": {"prometheusRule": {"enabled": True}}})
    linked = render({"metrics": {"prometheusRule": {"enabled": True, "runbookUrl": "https://wiki.example.org/salt/"}}})
    pages = here.of("ConfigMap", f"{RELEASE}-salt-sidecar-runbooks")["data"]

    assert pages == {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "docs" / "runbooks").glob("*.md")}
    for rule, other in zip(_alerts(here), _alerts(linked), strict=True):
        command = rule["annotations"]["runbook"]

        assert "runbook_url" not in rule["annotations"]
        assert f"get configmap {RELEASE}-salt-sidecar-runbooks " in command
        assert command.endswith(f"jsonpath='{{.data.{rule['alert']}\\.md}}'")
        assert f"{rule['alert']}.md" in pages
        assert other["annotations"]["runbook_url"] == f"https://wiki.example.org/salt/{rule['alert']}.md"
        assert "runbook" not in other["annotations"]


def _alerts(rendered: Rendered) -> list[dict[str, Any]]:
    return [rule for group in rendered.of("PrometheusRule")["spec"]["groups"] for rule in group["rules"] if "alert" in rule]


def test_a_changed_setting_starts_the_pod_anew() -> None:
    def checksums(values: dict[str, Any]) -> dict[str, str]:
        annotations: dict[str, str] = render(values).of("StatefulSet")["spec"]["template"]["metadata"]["annotations"]
        return annotations

    before = checksums({})

    assert checksums({}) == before
    assert checksums({"config": {"log": {"level": "debug"}}})["checksum/config"] != before["checksum/config"]
    assert checksums({"master": {"config": {"worker_threads": 7}}})["checksum/master"] != before["checksum/master"]


def test_labels_and_annotations_that_meet_are_there_once_and_the_closest_wins() -> None:
    def of(values: dict[str, Any]) -> dict[str, Any]:
        metadata: dict[str, Any] = render(values).of("StatefulSet")["spec"]["template"]["metadata"]
        return metadata

    common = {"team": "all", "app.kubernetes.io/part-of": "salt"}
    pod = of({"commonLabels": common, "podLabels": {"team": "pod"}, "podAnnotations": {"kubectl.kubernetes.io/default-container": "salt-master", "a": "b"}})
    monitor = render({"commonLabels": common, "metrics": {"serviceMonitor": {"enabled": True, "labels": {"team": "monitor"}}}}).of("ServiceMonitor")

    assert pod["labels"]["team"] == "pod"
    assert pod["labels"]["app.kubernetes.io/part-of"] == "salt"
    assert pod["annotations"]["kubectl.kubernetes.io/default-container"] == "salt-master"
    assert of({"podAnnotations": {"checksum/config": "x"}})["annotations"]["checksum/config"] == of({})["annotations"]["checksum/config"]
    assert monitor["metadata"]["labels"]["team"] == "monitor"


def test_what_is_empty_by_default_may_be_null() -> None:
    nothing = dict.fromkeys(("podLabels", "podAnnotations", "commonLabels", "commonAnnotations"))

    assert render({**nothing, "master": {"config": None}}).of("StatefulSet") == render().of("StatefulSet")


def test_a_name_that_looks_like_a_number_stays_a_name() -> None:
    rendered = render(
        {"fullnameOverride": "1", "auth": {"existingSecret": "true", "users": {"1": ["test.ping"]}}, "commonLabels": {"year": "2026"}}, release="42"
    )
    pod = rendered.of("StatefulSet")["spec"]["template"]

    assert rendered.of("StatefulSet")["metadata"]["name"] == "1"
    assert pod["metadata"]["labels"]["app.kubernetes.io/instance"] == "42"
    assert next(volume for volume in pod["spec"]["volumes"] if volume["name"] == "auth")["secret"]["secretName"] == "true"


def test_the_master_is_asked_at_the_port_that_it_has() -> None:
    rendered = render({"master": {"ports": {"ret": 14506}}})
    (master,) = [container for container in next(iter(rendered.pods()))["containers"] if container["name"] == "salt-master"]
    scripts = next(item for item in rendered.objects if item["kind"] == "ConfigMap" and item["metadata"]["name"].endswith("-scripts"))

    assert master["startupProbe"]["exec"]["command"] == ["python3", "/etc/salt/scripts/master-ping.py", "14506"]
    assert {
        "master-ping.py",
        "master-health.sh",
        "prepare.sh",
        "cluster.sh",
        "cluster-propose.sh",
        "identities.sh",
        "serve-tls.sh",
        "wait-for-sidecar.sh",
    } == set(scripts["data"])


def test_probes_of_an_older_salt_replace_ours() -> None:
    probe = {"exec": None, "tcpSocket": {"port": "ret"}}
    pod = render({"master": {"probes": {"startup": probe, "liveness": None}}}).of("StatefulSet")["spec"]["template"]["spec"]
    master = next(container for container in pod["containers"] if container["name"] == "salt-master")

    assert master["startupProbe"] == {"tcpSocket": {"port": "ret"}, "periodSeconds": 3, "timeoutSeconds": 30, "failureThreshold": 200}
    assert "livenessProbe" not in master
