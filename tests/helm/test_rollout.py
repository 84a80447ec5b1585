"""An upgrade whose image never gets ready is taken back by `helm rollback`, without anybody's hand on the pod."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import helm_python
import pytest

from tests.helm.rendering import CHART, NAMESPACE, RELEASE, containers, render
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
    spec: dict[str, Any] = render({"image": {"tag": tag}, "master": {"image": {"tag": tag}}, **more}).of("StatefulSet")["spec"]
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


def listed(version: str, kind: str) -> dict[str, Any]:
    """Return an API server's answer to what a version of its API has."""
    resource = {"name": f"{kind.lower()}s", "singularName": kind.lower(), "namespaced": True, "kind": kind, "verbs": ["get"]}
    return {"kind": "APIResourceList", "groupVersion": version, "resources": [resource]}


APPS = {"groupVersion": "apps/v1", "version": "v1"}
STATEFULSET = f"/apis/apps/v1/namespaces/{NAMESPACE}/statefulsets/{RELEASE}-salt-sidecar"
CLUSTER = {
    "/version": {"major": "1", "minor": "33", "gitVersion": "v1.33.0"},
    "/api": {"kind": "APIVersions", "versions": ["v1"]},
    "/api/v1": listed("v1", "Secret"),
    "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": [{"name": "apps", "versions": [APPS], "preferredVersion": APPS}]},
    "/apis/apps/v1": listed("apps/v1", "StatefulSet"),
    STATEFULSET: {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {}, "spec": {"podManagementPolicy": "OrderedReady"}},
}
NOT_FOUND = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}


class ApiServer(http.server.BaseHTTPRequestHandler):
    """What Helm asks of a cluster with a StatefulSet of an older chart, and nothing else."""

    def do_GET(self) -> None:
        answer = CLUSTER.get(self.path.partition("?")[0])
        body = json.dumps(answer or NOT_FOUND).encode()
        self.send_response(200 if answer else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Say nothing."""


@pytest.fixture
def cluster_url() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), ApiServer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_whoever_has_the_statefulset_of_an_older_chart_is_told_what_helps(cluster_url: str) -> None:
    helps = f"kubectl -n {NAMESPACE} delete statefulset {RELEASE}-salt-sidecar --cascade=orphan"
    with helm_python.Config(storage_driver="memory", kube_apiserver=cluster_url) as config, pytest.raises(helm_python.HelmError, match=helps):
        config.install(CHART, RELEASE, {}, namespace=NAMESPACE, dry_run="server")
