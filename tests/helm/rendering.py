"""Renders the chart with Helm's own engine, and finds objects in what comes out."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import helm_python
import yaml
from yaml.constructor import ConstructorError

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "helm" / "salt-sidecar"
VALUES = sorted((CHART / "ci").glob("*-values.yaml"))
RELEASE = "demo"
NAMESPACE = "prod"


class Strict(yaml.SafeLoader):
    """YAML as Kubernetes reads it: a key that is there twice is a fault."""


def _mapping(loader: Strict, node: yaml.MappingNode) -> dict[Any, Any]:
    keys = [loader.construct_object(key, deep=True) for key, _ in node.value]
    if len(keys) > len(set(keys)):
        raise ConstructorError(None, None, f"a key is there twice: {keys}", node.start_mark)
    return loader.construct_mapping(node, deep=True)


Strict.add_constructor("tag:yaml.org,2002:map", _mapping)


@dataclasses.dataclass(frozen=True)
class Rendered:
    """What Helm made of the chart."""

    notes: str
    objects: tuple[dict[str, Any], ...]

    def of(self, kind: str, name: str | None = None) -> dict[str, Any]:
        """Return the one object of a kind, or the one with that name."""
        found = [item for item in self.objects if item["kind"] == kind and name in {None, item["metadata"]["name"]}]
        assert len(found) == 1, f"{kind} {name}: {[item['metadata']['name'] for item in found]}"
        return found[0]

    def kinds(self) -> set[str]:
        return {item["kind"] for item in self.objects}

    def pods(self) -> Iterator[dict[str, Any]]:
        """Return the spec of every pod there will be, also of the one that the patch makes."""
        for item in self.objects:
            if item["kind"] == "Pod":
                yield item["spec"]
            elif item["kind"] == "StatefulSet":
                yield item["spec"]["template"]["spec"]
            elif "patch.yaml" in item.get("data", {}):
                yield self.file(item["metadata"]["name"], "patch.yaml")["spec"]["template"]["spec"]

    def file(self, configmap: str, key: str) -> Any:
        """Return the YAML inside a ConfigMap."""
        return yaml.load(self.of("ConfigMap", configmap)["data"][key], Strict)


def load(path: Path) -> dict[str, Any]:
    """Return the values in a file."""
    values: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return values


def ci(name: str) -> dict[str, Any]:
    """Return the values of one file in ci/."""
    return load(CHART / "ci" / f"{name}-values.yaml")


@functools.cache
def _chart() -> helm_python.Chart:
    return helm_python.Chart.load(CHART)


def render(
    values: Mapping[str, Any] | None = None, *, release: str = RELEASE, namespace: str = NAMESPACE, upgrade: bool = False, cluster: str = ""
) -> Rendered:
    """
    Check the values against the schema, together with the chart's own as Helm does, and render.

    upgrade: for a release that is there. cluster: the address of an API server where the chart looks for what is there.
    """
    chart = _chart()
    chart.validate_schema(chart.merge_values(dict(values or {})))
    options = {"name": release, "namespace": namespace, "is_install": not upgrade, "is_upgrade": upgrade}
    if not cluster:
        return _parsed(chart.render(dict(values or {}), **options))
    with helm_python.Config(storage_driver="memory", kube_apiserver=cluster) as config:
        return _parsed(config.render(chart, dict(values or {}), **options))


def _parsed(files: Mapping[str, str]) -> Rendered:
    notes = "".join(text for path, text in files.items() if path.endswith("NOTES.txt"))
    documents = (item for path, text in files.items() if not path.endswith("NOTES.txt") for item in yaml.load_all(text, Strict))
    return Rendered(notes, tuple(item for item in documents if item))


def refusal(values: Mapping[str, Any], **options: Any) -> str:
    """Return why Helm does not take the values. options: of `render`."""
    try:
        render(values, **options)
    except helm_python.HelmError as exc:
        return str(exc)
    raise AssertionError(f"these values were taken: {values}")


def containers(pod: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    yield from pod.get("initContainers") or ()
    yield from pod["containers"]
