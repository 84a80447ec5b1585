"""What an API server would say of rendered objects: Kubernetes' own schemas, and the rules for names and labels that those leave out."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import jsonschema
import kubernetes_validate

from tests.helm.crds import SPECS
from tests.helm.rendering import Rendered

VERSIONS = ("1.29", kubernetes_validate.latest_version())
SUBDOMAIN = re.compile(r"(?=.{1,253}\Z)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\Z")
LABEL_VALUE = re.compile(r"(?=.{0,63}\Z)([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?\Z")
LABEL_KEY = re.compile(r"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?(?=.{1,63}\Z)[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?\Z")
# Lists that Kubernetes keeps as maps: two items of one name are refused.
KEYED = {"containers": "name", "initContainers": "name", "volumes": "name", "volumeMounts": "mountPath", "volumeClaimTemplates": "metadata"}


def workload(rendered: Rendered) -> dict[str, Any]:
    """Return the patch of attach mode as the workload it is a patch of: the least that Kubernetes takes, with the patch in it."""
    attach = next(item for item in rendered.objects if "patch.yaml" in item.get("data", {}))
    patch = rendered.file(attach["metadata"]["name"], "patch.yaml")
    spec = patch["spec"]["template"]["spec"]
    # What the patch adds to the master's own container is merged by its name.
    spec["containers"] = [{"image": "salt-master", **item} for item in spec["containers"]]
    patch["spec"]["template"]["metadata"].setdefault("labels", {})["app"] = "salt-master"
    patch["spec"] |= {"selector": {"matchLabels": {"app": "salt-master"}}, "serviceName": "salt-master"}
    return {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "salt-master"}, **patch}


def check(rendered: Rendered, versions: Sequence[str] = VERSIONS) -> list[dict[str, Any]]:
    """Fail on an object that an API server would refuse; return all, the patched workload of attach mode among them."""
    attached = any("patch.yaml" in item.get("data", {}) for item in rendered.objects)
    objects = [*rendered.objects, *([workload(rendered)] if attached else [])]
    for item in objects:
        own = SPECS.get(f"{item['apiVersion']} {item['kind']}")
        if own is not None:
            jsonschema.validate(item["spec"], own)
        else:
            for version in versions:
                kubernetes_validate.validate(item, version, strict=True)
            _check_below(item)
        assert SUBDOMAIN.match(item["metadata"]["name"]), item["metadata"]["name"]
    return objects


def _check_below(node: Any) -> None:
    for key, value in _pairs(node):
        if key in {"labels", "matchLabels"} and isinstance(value, dict):
            for name, text in value.items():
                assert LABEL_KEY.match(name), f"{key}: {name!r}"
                assert LABEL_VALUE.match(text), f"{key}: {name}: {text!r}"
        if key in KEYED:
            named = [item[KEYED[key]] for item in value]
            assert all(named.count(name) == 1 for name in named), f"{key}: {named}"
        _check_below(value)


def _pairs(node: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(node, list):
        for item in node:
            yield from _pairs(item)
    if isinstance(node, dict):
        yield from node.items()
