"""Attach mode, run for real: somebody's master without fsGroup, and the patch on it."""

from __future__ import annotations

import dataclasses
from typing import Any

import yaml

from service.demo.embedded_config import merged
from tests.e2e import images, pod_identities, standins
from tests.e2e.engine import Engine
from tests.e2e.identified import ACCOUNT
from tests.e2e.kubelet import Object, Pod
from tests.e2e.kubernetes import answered, removed
from tests.e2e.release import NAME, OPS_PORT, TLS_PORT, UID, Release, exchange, image_values, minion_config, release
from tests.e2e.report import Report
from tests.e2e.shell import require
from tests.helm.patching import patched
from tests.helm.rendering import render

MASTER = "salt-master"
TOKEN = "/etc/salt-sidecar/ops/token"
VALUES: dict[str, Any] = {
    "mode": "attach",
    "attach": {
        "workload": {"name": MASTER},
        "selectorLabels": {"app": MASTER},
        "masterContainer": MASTER,
        "sock": {"existingVolume": "run"},
        "masterConfig": {"existingVolume": "config", "mountPath": "/etc/salt/config"},
    },
    "metrics": {"token": {"existingSecret": "metrics-token", "secretKey": "bearer"}},
    "service": {"port": TLS_PORT},
}
FOLDERS = {"run": "/var/run/salt", "pki": "/etc/salt/pki", "cache": "/var/cache/salt", "tmp": "/tmp"}


def values() -> dict[str, Any]:
    """Return what the operator of the sidecar gives the chart."""
    own = {**VALUES, "image": image_values(images.SIDECAR), "tls": {"image": image_values(standins.NGINX), "existingSecret": "certificate"}}
    # Whom the master lets do what is in its own configuration.
    return merged(own, {**pod_identities.values(), "identities": {"enabled": True}})


def beside_a_master(engine: Engine, report: Report) -> None:
    """Patch somebody's StatefulSet: his container stays the first, and the sidecar's Secrets are readable though the pod has no fsGroup."""
    bundled = release(engine.work, images.SIDECAR, images.SALT, standins.NGINX)
    made = dataclasses.replace(bundled, rendered=render(values()))
    template = patched(_workload(), made.rendered.of("ConfigMap", f"{NAME}-patch")["data"]["patch.yaml"])["spec"]["template"]
    names = [container["name"] for container in template["spec"]["containers"]]
    require(names == [MASTER, "salt-sidecar", "tls", "issuer"], f"the containers are {names}")
    pod = Pod(engine, "attached", template["spec"], [*made.objects, _config(bundled)])
    with removed(pod):
        pod.prepare(images.SALT)
        pod.start()
        config = minion_config(engine.work / "kubelet" / "attached-minion", pod.address)
        try:
            engine.docker("run", "--detach", "--name=attached-minion", f"--volume={config}:/minion", images.SALT, "salt-minion", "-c", "/minion")
            seconds = answered("the minion's answer", made, pod.address)
            report.found("test.ping through the patched pod, by TLS", f"after {seconds:.1f} s")
            pod_identities.come_in(pod, made, report, shares_tokens=False)
        finally:
            engine.docker("rm", "--force", "attached-minion")
        _prove_secrets(pod, made, report)


def _prove_secrets(pod: Pod, made: Release, report: Report) -> None:
    url = f"http://{pod.address}:{OPS_PORT}/metrics"
    statuses = [exchange(url, token=token)[0] for token in (made.token, "another")]
    require(statuses == [200, 401], f"metrics with the token and with another: {statuses}")
    mode = pod.execute("salt-sidecar", "stat", "--dereference", "--format=%u:%g %a", TOKEN).strip()
    require(mode == "0:0 444", f"the token's file is {mode}")
    elsewhere = pod.execute(MASTER, "ls", TOKEN, ok=(2,))
    report.found("Secrets in a pod without fsGroup", f"root's, {mode}, read by uid {UID}; the master's container has none{elsewhere}")


def _workload() -> Object:
    """Return somebody's StatefulSet."""
    context = {"runAsUser": UID, "runAsGroup": UID, "readOnlyRootFilesystem": False, "capabilities": {"drop": ["ALL"]}}
    mounts = [{"name": "config", "mountPath": "/etc/salt/config", "readOnly": True}]
    master = {
        "name": MASTER,
        "image": images.SALT,
        "args": ["salt-master", "-c", "/etc/salt/config"],
        "securityContext": context,
        "volumeMounts": [*mounts, *({"name": name, "mountPath": path} for name, path in FOLDERS.items())],
    }
    volumes = [{"name": "config", "configMap": {"name": MASTER}}, *({"name": name, "emptyDir": {}} for name in FOLDERS)]
    template = {"metadata": {"labels": {"app": MASTER}}, "spec": {"containers": [master], "volumes": volumes}}
    spec = {"selector": {"matchLabels": {"app": MASTER}}, "serviceName": MASTER, "template": template}
    return {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": MASTER}, "spec": spec}


def _config(bundled: Release) -> Object:
    """Return the master's configuration: that of the chart's own master, with its secret in it, and what the documentation has an operator write."""
    own = bundled.rendered.file(f"{NAME}-master", "master")
    options = {
        **own,
        "sharedsecret": bundled.password,
        "include": "/etc/salt-sidecar/master/identities.conf",
        "external_auth": {**own["external_auth"], "sidecar": {ACCOUNT: ["test.ping"]}},
    }
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": MASTER}, "data": {"master": yaml.safe_dump(options)}}
