"""An upgrade whose image never gets ready is taken back by `helm rollback`, without anybody's hand on the pod."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from tests.helm.rendering import containers, render
from tests.helm.stateful import Forbidden, StatefulSet

GOOD, BROKEN = "0.1.0-salt3008.3", "of-a-typing-error"


class Cluster:
    """Pods that get ready when all of their images exist."""

    def __init__(self) -> None:
        self.running: dict[int, Mapping[str, Any]] = {}
        self.created = 0

    def create(self, ordinal: int, template: Mapping[str, Any]) -> None:
        self.running[ordinal] = template
        self.created += 1

    def delete(self, ordinal: int) -> None:
        del self.running[ordinal]

    def available(self, ordinal: int, min_ready_seconds: int) -> bool:
        assert min_ready_seconds >= 0
        return not any(image.endswith(BROKEN) for image in self.images(ordinal))

    def images(self, ordinal: int = 0) -> set[str]:
        return {container["image"] for container in containers(self.running[ordinal]["spec"])}


def revision(tag: str, **more: Any) -> dict[str, Any]:
    spec: dict[str, Any] = render({"image": {"tag": tag}, "master": {"image": {"tag": tag}}, "tls": {"enabled": False}, **more}).of("StatefulSet")["spec"]
    return spec


def ordered(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the chart rendered before it said how pods are managed."""
    return {**spec, "podManagementPolicy": "OrderedReady"}


def rolled_back(first: Mapping[str, Any], second: Mapping[str, Any]) -> Cluster:
    """Install, upgrade, and roll back."""
    cluster = Cluster()
    release = StatefulSet(first, cluster)
    release.settle()
    release.apply(second)
    release.settle()
    assert f"salt-sidecar:{BROKEN}" in cluster.images()
    release.apply(first)
    release.settle()
    return cluster


def test_a_rollback_replaces_a_pod_that_never_got_ready() -> None:
    cluster = rolled_back(revision(GOOD), revision(BROKEN))

    assert cluster.images() == {f"salt-sidecar:{GOOD}", f"salt:{GOOD}"}
    assert cluster.created == 3


def test_with_kubernetes_own_default_it_would_not() -> None:
    cluster = rolled_back(ordered(revision(GOOD)), ordered(revision(BROKEN)))

    assert cluster.images() == {f"salt-sidecar:{BROKEN}", f"salt:{BROKEN}"}


def test_an_upgrade_replaces_the_pod_and_one_without_a_change_does_not() -> None:
    cluster = Cluster()
    release = StatefulSet(revision("1"), cluster)
    for tag in ("1", "2", "2"):
        release.apply(revision(tag))
        release.settle()

    assert cluster.created == 2
    assert cluster.images() == {"salt-sidecar:2", "salt:2"}


def test_on_delete_nothing_is_replaced_until_somebody_deletes_the_pod() -> None:
    cluster = Cluster()
    release = StatefulSet(revision("1"), cluster)
    release.settle()
    release.apply(revision("2", updateStrategy={"type": "OnDelete"}, minReadySeconds=10))
    release.settle()

    assert cluster.images() == {"salt-sidecar:1", "salt:1"}


def test_the_statefulset_of_an_older_chart_is_replaced_and_its_pod_is_not_lost() -> None:
    cluster = Cluster()
    older = StatefulSet(ordered(revision(GOOD)), cluster)
    older.settle()

    with pytest.raises(Forbidden, match="podManagementPolicy"):
        older.apply(revision(GOOD))

    older.orphan(revision(GOOD)).settle()
    assert cluster.created == 1
