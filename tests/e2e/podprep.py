"""Makes of a rendered chart what podman 4.3's `play kube` can run; what it cannot is taken out or said another way, and nothing is invented."""

from __future__ import annotations

import base64
import copy
from collections.abc import Iterable, Mapping
from typing import Any

Object = dict[str, Any]
WORKLOADS = frozenset({"StatefulSet", "Deployment", "DaemonSet"})
# podman runs httpGet with a curl inside of the image, which ours has not; this asks the same listener.
OWN_PROBE = ["salt-sidecar", "health"]
# It knows only one probe, and of a pod's parts not these.
UNKNOWN = ("startupProbe", "readinessProbe", "lifecycle", "ports", "resources")
# Otherwise it removes an init container as soon as it has ended, and fails when its own state says that it still runs.
KEEP_INIT = {"io.podman.annotations.init.container.type": "always"}


def prepared(objects: Iterable[Object]) -> list[Object]:
    """Return what podman is given: the ConfigMaps, the Secrets as ConfigMaps, the workload as a pod."""
    playable = []
    for item in copy.deepcopy(list(objects)):
        if item["kind"] == "ConfigMap":
            playable.append(item)
        elif item["kind"] == "Secret":
            playable.append(_without_secrecy(item))
        elif item["kind"] in WORKLOADS:
            claims = [claim["metadata"]["name"] for claim in item["spec"].get("volumeClaimTemplates", [])]
            playable.append(_pod(item["metadata"]["name"], item["spec"]["template"], claims))
    return playable


def pod_of(item: Object, hosts: Mapping[str, str]) -> Object:
    """Return a Pod of the chart for podman. hosts: names of Services, which nobody resolves here, and their addresses."""
    pod = _pod(item["metadata"]["name"], copy.deepcopy(item), [])
    pod["spec"]["hostAliases"] = [{"ip": address, "hostnames": [name]} for name, address in hosts.items()]
    pod["spec"]["restartPolicy"] = "Never"
    return pod


def _pod(name: str, template: Object, claims: list[str]) -> Object:
    spec = template["spec"]
    volumes = [*spec.get("volumes", []), *({"name": claim, "emptyDir": {}} for claim in claims)]
    # An emptyDir becomes a volume of the whole machine; a prefix keeps the pods' apart.
    renamed = {volume["name"]: f"{name}-{volume['name']}" for volume in volumes if "emptyDir" in volume}
    inits = spec.get("initContainers", [])
    native = [container for container in inits if container.pop("restartPolicy", None) == "Always"]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": template["metadata"].get("labels", {}), "annotations": KEEP_INIT},
        "spec": {
            "restartPolicy": "Always",
            "initContainers": [_container(container, renamed) for container in inits if container not in native],
            "containers": [_container(container, renamed) for container in [*spec["containers"], *native]],
            "volumes": [_volume(volume, renamed) for volume in volumes],
        },
    }


def _container(container: Object, renamed: Mapping[str, str]) -> Object:
    probe = container.pop("livenessProbe", None)
    kept = {key: value for key, value in container.items() if key not in UNKNOWN}
    # podman 4.3 mounts the whole folder instead of a part of it, the master's key too.
    kept["volumeMounts"] = [mount for mount in kept.get("volumeMounts", []) if "subPath" not in mount]
    for mount in kept["volumeMounts"]:
        mount["name"] = renamed.get(mount["name"], mount["name"])
    if probe:
        command = probe["exec"]["command"] if "exec" in probe else OWN_PROBE
        kept["livenessProbe"] = {"exec": {"command": command}, "periodSeconds": 30, "timeoutSeconds": 30}
    return kept


def _volume(volume: Object, renamed: Mapping[str, str]) -> Object:
    if "emptyDir" in volume:
        return {"name": renamed[volume["name"]], "emptyDir": {}}
    if "secret" in volume:
        # 4.3 ends with a panic on a secret.
        return {"name": volume["name"], "configMap": {"name": volume["secret"]["secretName"], "items": volume["secret"].get("items", [])}}
    return volume


def _without_secrecy(secret: Object) -> Object:
    data = {key: base64.b64decode(text).decode() for key, text in secret.get("data", {}).items()}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": secret["metadata"]["name"]}, "data": {**data, **secret.get("stringData", {})}}
