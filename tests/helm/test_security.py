"""What every pod of the chart has whatever the values, and where secrets are."""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path

import pytest

from tests.helm.rendering import CHART, RELEASE, VALUES, ci, containers, load, render

OURS = frozenset({"salt-sidecar", "salt-master", "prepare", "identities", "tls", "smoke"})


@pytest.mark.parametrize("path", VALUES, ids=lambda path: path.name)
def test_every_container_is_locked_down(path: Path) -> None:
    pods = list(render(load(path)).pods())

    assert pods
    for pod in pods:
        assert pod["enableServiceLinks"] is False
        for container in (container for container in containers(pod) if container["name"] in OURS and "image" in container):
            context = container["securityContext"]
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert context["readOnlyRootFilesystem"] is True
            assert context["allowPrivilegeEscalation"] is False
            assert context["runAsNonRoot"] is True
            assert context["runAsUser"] > 0
            assert context["seccompProfile"] == {"type": "RuntimeDefault"}
            assert {"cpu", "memory"} <= container["resources"]["requests"].keys()


@pytest.mark.parametrize("path", VALUES, ids=lambda path: path.name)
def test_no_token_of_the_cluster_is_mounted(path: Path) -> None:
    rendered = render(load(path))

    for item in rendered.objects:
        if item["kind"] == "Pod":
            assert item["spec"]["automountServiceAccountToken"] is False
        if item["kind"] == "StatefulSet":
            assert item["spec"]["template"]["spec"]["automountServiceAccountToken"] is False
        if item["kind"] == "ServiceAccount":
            assert item["automountServiceAccountToken"] is False
        assert item["kind"] not in {"Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"}


def test_no_password_is_a_default() -> None:
    trial = {"auth": {"trial": True}, "tls": {"enabled": False}}
    secrets = [base64.b64decode(render(trial).of("Secret")["data"]["sharedsecret"]).decode() for _ in range(2)]

    assert secrets[0] != secrets[1]
    assert all(len(secret) == 40 and secret.isalnum() for secret in secrets)


def test_a_secret_that_exists_is_used_and_none_is_made() -> None:
    rendered = render(ci("production"))
    volumes = {volume["name"]: volume for volume in rendered.of("StatefulSet")["spec"]["template"]["spec"]["volumes"]}

    assert "Secret" not in rendered.kinds()
    assert volumes["auth"]["secret"]["secretName"] == "salt-api"
    assert volumes["auth"]["secret"]["items"] == [{"key": "password", "path": "sharedsecret"}]
    assert volumes["keys"]["secret"]["secretName"] == "salt-master-keys"


def test_secrets_reach_the_master_and_not_the_sidecar() -> None:
    rendered = render(ci("production"))
    pod = rendered.of("StatefulSet")["spec"]["template"]["spec"]
    mounts = {container["name"]: {mount["name"] for mount in container["volumeMounts"]} for container in containers(pod)}

    assert {"auth", "keys", "master-secret"} <= mounts["prepare"]
    assert not {"auth", "keys"} & (mounts["salt-master"] | mounts["salt-sidecar"])
    assert "master-secret" not in mounts["salt-sidecar"]
    assert "sharedsecret" not in rendered.of("ConfigMap", f"{RELEASE}-salt-sidecar-master")["data"]["master"].replace("  sharedsecret:\n", "")


@pytest.mark.parametrize("path", VALUES, ids=lambda path: path.name)
def test_the_sidecar_sees_who_has_a_key_and_never_the_masters_own(path: Path) -> None:
    rendered = render(load(path))
    owner = "cluster" if "cluster" in load(path) else "master"
    folders = [f"{owner}/{state}" for state in ("minions", "minions_pre", "minions_rejected", "minions_denied")]
    bundled = "StatefulSet" in rendered.kinds()
    for pod in rendered.pods():
        for sidecar in (container for container in containers(pod) if container["name"] == "salt-sidecar"):
            mounts = [mount for mount in sidecar["volumeMounts"] if mount["name"] == "pki"]

            assert [mount["subPath"] for mount in mounts] == (folders if bundled else [])
            assert all(mount["readOnly"] and mount["mountPath"] == f"/etc/salt/pki/{mount['subPath']}" for mount in mounts)
            assert not [mount for mount in sidecar["volumeMounts"] if mount["mountPath"] in {"/etc/salt/pki", "/etc/salt/pki/master"}]


@pytest.mark.parametrize("path", VALUES, ids=lambda path: path.name)
def test_of_the_masters_cache_the_sidecar_has_the_tokens_alone_and_may_remove_them(path: Path) -> None:
    rendered = render(load(path))
    pods = [{container["name"]: container for container in containers(pod)} for pod in rendered.pods()]
    ours = [[mount for mount in pod["salt-sidecar"]["volumeMounts"] if mount["name"] == "cache"] for pod in pods if "salt-sidecar" in pod]

    if "StatefulSet" not in rendered.kinds():
        assert ours == [[]], "the volumes of somebody's master are his"
        return
    options = rendered.file(f"{rendered.of('StatefulSet')['metadata']['name']}-master", "master")
    tokens = f"{options['cachedir']}/tokens"
    assert ours == [[{"name": "cache", "mountPath": tokens, "subPath": "master/tokens"}]]
    for name in ("prepare", "salt-master"):
        mounted = [mount["mountPath"] for pod in pods if name in pod for mount in pod[name]["volumeMounts"] if mount["name"] == "cache"]
        assert [f"{folder}/master/tokens" for folder in mounted] == [tokens]


def test_what_the_sidecar_mounts_is_there_before_and_is_the_masters_alone(tmp_path: Path) -> None:
    environ = {"PKI": f"{tmp_path}/pki", "CACHE": f"{tmp_path}/cache", "PATH": "/usr/bin:/bin"}
    for _ in range(2):
        subprocess.run(["sh", CHART / "files" / "scripts" / "prepare.sh"], env=environ, check=True)

    folders = [
        tmp_path / "cache" / "master" / "tokens",
        *((tmp_path / "pki" / "master" / name) for name in ("minions", "minions_pre", "minions_rejected", "minions_denied")),
    ]
    assert [folder.stat().st_mode & 0o7777 for folder in folders] == [0o700] * 5


def test_a_token_for_metrics_is_asked_for_and_sent() -> None:
    rendered = render(ci("production"))
    sidecar = next(container for pod in rendered.pods() for container in containers(pod) if container["name"] == "salt-sidecar")
    folder = next(mount["mountPath"] for mount in sidecar["volumeMounts"] if mount["name"] == "salt-sidecar-ops-token")

    assert rendered.file(f"{RELEASE}-salt-sidecar-config", "sidecar.yaml")["ops"]["token_file"] == f"{folder}/token"
    assert rendered.of("ServiceMonitor")["spec"]["endpoints"][0]["authorization"]["credentials"] == {"name": "metrics-token", "key": "token"}


def test_liveness_never_asks_for_the_master_and_neither_does_the_start() -> None:
    for values in (ci("default"), ci("native-sidecar"), ci("attach")):
        sidecars = [container for pod in render(values).pods() for container in containers(pod) if container["name"] == "salt-sidecar"]

        assert [(item["startupProbe"]["httpGet"]["path"], item["livenessProbe"]["httpGet"]["path"]) for item in sidecars] == [("/livez", "/livez")]
        assert sidecars[0]["readinessProbe"]["httpGet"]["path"] == "/readyz"


def test_the_master_outlives_the_sidecars_drain() -> None:
    pod = render(ci("production")).of("StatefulSet")["spec"]["template"]["spec"]
    master = next(container for container in pod["containers"] if container["name"] == "salt-master")

    assert master["lifecycle"]["preStop"]["exec"]["command"][-2:] == ["9175", "130"]
    assert pod["terminationGracePeriodSeconds"] > 130
