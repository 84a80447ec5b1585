"""A cluster with objects in it, as far as Helm looks before it installs or upgrades."""

from __future__ import annotations

import contextlib
import http.server
import json
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tests.helm.rendering import NAMESPACE

VERSIONS = {
    "StatefulSet": "apps/v1",
    "Deployment": "apps/v1",
    "Service": "v1",
    "Secret": "v1",
    "ConfigMap": "v1",
    "ServiceAccount": "v1",
    "Pod": "v1",
    "NetworkPolicy": "networking.k8s.io/v1",
}
NOT_FOUND = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}


def plural(kind: str) -> str:
    return kind.lower().replace("policy", "policie") + "s"


def known() -> dict[str, Any]:
    """Return an API server's answers to what it knows."""
    listed: dict[str, list[dict[str, Any]]] = {}
    for kind, version in VERSIONS.items():
        resource = {"name": plural(kind), "singularName": kind.lower(), "namespaced": True, "kind": kind, "verbs": ["get"]}
        listed.setdefault(version, []).append(resource)
    groups = [{"groupVersion": version, "version": version.partition("/")[2]} for version in listed if "/" in version]
    named = [{"name": group["groupVersion"].partition("/")[0], "versions": [group], "preferredVersion": group} for group in groups]
    return {
        "/version": {"major": "1", "minor": "33", "gitVersion": "v1.33.0"},
        "/api": {"kind": "APIVersions", "versions": ["v1"]},
        "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": named},
        **{
            f"/{'apis' if '/' in version else 'api'}/{version}": {"kind": "APIResourceList", "groupVersion": version, "resources": resources}
            for version, resources in listed.items()
        },
    }


def path(item: Mapping[str, Any]) -> str:
    version = item["apiVersion"]
    return f"/{'apis' if '/' in version else 'api'}/{version}/namespaces/{NAMESPACE}/{plural(item['kind'])}/{item['metadata']['name']}"


@contextlib.contextmanager
def having(objects: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Run an API server that has these objects; give its address."""
    answers = known() | {path(item): item for item in objects if item["kind"] in VERSIONS}

    class ApiServer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = answers.get(self.path.partition("?")[0])
            body = json.dumps(answer or NOT_FOUND).encode()
            self.send_response(200 if answer else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), ApiServer) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()
