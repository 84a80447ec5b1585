"""Values that cannot work are refused before anything is installed, and the reason names the path."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.helm.rendering import CHART, ci, refusal

ATTACH = ci("attach")
# What Kubernetes or Salt defines and we pass on; `container` and `volume` say which parts they know.
OPEN = frozenset({"anything", "container", "global"})


@pytest.mark.parametrize(
    ("values", "path"),
    [
        ({"nativeSidecars": True}, "'nativeSidecars' not allowed"),
        ({"nativeSidecar": "yes"}, "/nativeSidecar"),
        ({"mode": "sidecar"}, "/mode"),
        ({"replicas": -1}, "/replicas"),
        ({"image": {"repo": "x"}}, "/image"),
        ({"image": {"digest": "md5:1"}}, "/image/digest"),
        ({"config": {"api": {"prot": 8001}}}, "/config/api"),
        ({"config": {"api": {"port": 70000}}}, "/config/api/port"),
        ({"config": {"apis": {}}}, "/config"),
        ({"config": {"access": {"proxy_header": "x-client-ip"}}}, "/config/access/proxy_header"),
        ({"config": {"hook": {"endpoints": {"github": {"secret": "x"}}}}}, "/config/hook/endpoints/github"),
        ({"master": {"clients": ["ssh_async"]}}, "/master/clients/0"),
        ({"master": {"persistence": {"pki": {"sise": "1Gi"}}}}, "/master/persistence/pki"),
        ({"jobs": {"persistence": {"sise": "1Gi"}}}, "/jobs/persistence"),
        ({"jobs": {"database": {"url": "mysql://x"}}}, "/jobs/database/url"),
        ({"jobs": {"notify": {"urls": ["https://user:pw@ci.example.org/"]}}}, "/jobs/notify/urls/0"),
        ({"jobs": {"notify": {"urls": ["ci.example.org"]}}}, "/jobs/notify/urls/0"),
        ({"auth": {"users": {"api": ".*"}}}, "/auth/users/api"),
        ({"probes": {"liveness": {"periodSecond": 1}}}, "/probes/liveness"),
        ({"resources": {"request": {}}}, "/resources"),
        ({"securityContext": {"runasuser": 1}}, "/securityContext"),
        ({"tolerations": [{"keys": "x"}]}, "/tolerations/0"),
        ({"extraEnv": [{"value": "x"}]}, "/extraEnv/0"),
        ({"networkPolicy": {"apiFrom": [{"podSelectors": {}}]}}, "/networkPolicy/apiFrom/0"),
        ({"networkPolicy": {"dnsTo": [{"podSelectors": {}}]}}, "/networkPolicy/dnsTo/0"),
        ({"networkPolicy": {"egress": [{"tos": []}]}}, "/networkPolicy/egress/0"),
        ({"tls": {"madeForDays": 0}}, "/tls/madeForDays"),
        ({"auth": {"trial": "yes"}}, "/auth/trial"),
        ({"lifecycle": {"preStop": {"sleep": {}}}}, "/lifecycle/preStop/sleep"),
        ({"lifecycle": {"postStart": {}}}, "/lifecycle/postStart"),
        ({"lifecycle": {"preStop": {"sleep": {"seconds": 1}, "exec": {"command": ["true"]}}}}, "/lifecycle/preStop"),
        ({"attach": {"networkPolicy": {"ports": [9100]}}}, "/attach/networkPolicy/ports/0"),
        ({"updateStrategy": {"type": "Recreate"}}, "/updateStrategy/type"),
        ({"tls": {"certManager": {"duration": "90 days"}}}, "/tls/certManager/duration"),
        ({"metrics": {"serviceMonitor": {"enable": True}}}, "/metrics/serviceMonitor"),
        ({"ingress": {"hosts": "salt.example.org"}}, "/ingress/hosts"),
        ({"config": None}, "missing property 'config'"),
        ({"service": {"port": None}}, "at '/service': missing property 'port'"),
        ({"podLabels": {"a b": "x"}}, "at '/podLabels': additional properties 'a b' not allowed"),
        ({"commonLabels": {"team": "a b"}}, "/commonLabels/team"),
        ({"auth": {"existingSecret": "Salt API"}}, "/auth/existingSecret"),
        ({"jobs": {"persistence": {"size": "2 Gi"}}}, "/jobs/persistence/size"),
        ({"master": {"service": {"loadBalancerSourceRanges": ["192.0.2.1"]}}}, "/master/service/loadBalancerSourceRanges/0"),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else "",
)
def test_a_typing_error_is_found_by_the_schema(values: dict[str, Any], path: str) -> None:
    assert path in refusal(values)


DATABASE = "postgresql://sidecar@db.example.org/salt_jobs?sslmode=verify-full"
HOOKS = "https://ci.example.org/hooks/"


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({"replicas": 2}, "replicas: 2 masters are a Salt master cluster, for which"),
        ({"kubeVersion": "1.28.4"}, "kubeVersion: 1.28.4 is older than 1.29"),
        ({"terminationGracePeriodSeconds": 44}, "terminationGracePeriodSeconds: 44 would kill"),
        ({"config": {"drain": {"drain_seconds": 50.5}}}, "asks for at least 66"),
        ({"config": {"ops": {"port": 8001}}}, "config.ops.port: is the API's port too"),
        (
            {"tls": {"enabled": True, "existingSecret": "tls"}, "config": {"websocket": {"port": 9175}}},
            "config.websocket.port: is the port of another listener too",
        ),
        ({"master": {"persistence": {"pki": {"enabled": False}}}}, "master.keys.existingSecret: without it"),
        ({"master": {"config": {"id": "other"}}}, "master.config.id: is the chart's business"),
        ({"master": {"config": {"sharedsecret": "x"}}}, "master.config.sharedsecret: belongs into a Secret"),
        ({"auth": {"trial": True, "users": {"ci": ["test.ping"]}}}, "auth.trial: is for when auth.users names nobody"),
        ({"auth": {"trial": True, "sharedsecret": False}}, "auth.trial: its user logs in with the shared secret"),
        ({"auth": {"existingSecret": "x"}}, "auth.existingSecret: nobody may log in with that secret"),
        ({**ATTACH, "auth": {"trial": True}}, "auth.trial: is for bundled mode"),
        ({"master": {"config": {"external_auth": {"sharedsecret": {"a": []}}}}}, "master.config.external_auth.sharedsecret: belongs into auth.users"),
        ({"podLabels": {"app.kubernetes.io/name": "x"}}, "podLabels: app.kubernetes.io/name is the chart's business"),
        ({"extraVolumes": [{"name": "a"}, {"name": "a"}]}, "extraVolumes: name a is there twice"),
        ({"master": {"extraVolumeMounts": [{"name": "a", "mountPath": "/a"}, {"name": "b", "mountPath": "/a"}]}}, "mountPath /a is there twice"),
        ({"service": {"nodePort": 30080}}, "service.nodePort: needs type NodePort or LoadBalancer"),
        ({"master": {"service": {"nodePorts": {"ret": 30506}}}}, "master.service.nodePorts.ret: needs type"),
        ({"service": {"externalTrafficPolicy": "Local"}}, "service.externalTrafficPolicy: needs type"),
        ({"master": {"service": {"type": "NodePort", "loadBalancerIP": "192.0.2.7"}}}, "master.service.loadBalancerIP: needs type LoadBalancer"),
        ({"service": {"loadBalancerSourceRanges": ["192.0.2.0/24"]}}, "service.loadBalancerSourceRanges: needs type LoadBalancer"),
        ({"master": {"service": {"type": "NodePort", "nodePorts": {"publish": 30505, "ret": 30505}}}}, "master.service.nodePorts.ret: is that of publish"),
        ({"master": {"ports": {"publish": 4506}}}, "master.ports.ret: is that of publish too"),
        ({"tls": {"certManager": {"enabled": True}}}, "tls.certManager.issuer: is needed"),
        ({"tls": {"enabled": False, "clientCASecret": "x"}}, "tls.enabled: is false, so nobody would ask"),
        ({"tls": {"enabled": False, "existingSecret": "x"}}, "tls.enabled: is false, so nobody would use the certificate in"),
        ({"tls": {"enabled": False, "certManager": {"enabled": True, "issuer": "x"}}}, "tls.enabled: is false, so nobody would use the certificate of"),
        ({"existingConfigMap": "x"}, "existingConfigMap: with tls.enabled"),
        (
            {"ingress": {"enabled": True, "hosts": ["salt.example.org"]}},
            "ingress.enabled: what is behind it would be a pod with a certificate that nobody knows",
        ),
        ({"httpRoute": {"enabled": True, "parentRefs": [{"name": "public"}]}}, "httpRoute.enabled: what is behind it would be a pod"),
        ({"ingress": {"enabled": True}}, "ingress.hosts: name at least one"),
        ({"httpRoute": {"enabled": True}}, "httpRoute.parentRefs: name at least one"),
        ({"metrics": {"service": False, "serviceMonitor": {"enabled": True}}}, "metrics.serviceMonitor.enabled: needs metrics.service"),
        ({"metrics": {"podMonitor": {"enabled": True}, "serviceMonitor": {"enabled": True}}}, "every series would be there twice"),
        ({"networkPolicy": {"restrictEgress": False, "egress": [{}]}}, "networkPolicy.egress: has no effect"),
        ({"networkPolicy": {"restrictEgress": False, "dnsTo": [{"podSelector": {}}]}}, "networkPolicy.dnsTo: has no effect"),
        ({"master": {"config": {"external_auth": {"ldap": {}}, "gitfs_remotes": ["x"]}}}, "master.config names (external_auth.ldap, gitfs_remotes)"),
        ({"master": {"config": {"ext_pillar": [{"git": ["x"]}, {"cmd_yaml": "x"}]}}}, "master.config names (ext_pillar.git)"),
        ({"config": {"audit": {"file": "/var/log/salt-sidecar/audit.log"}}}, "config.audit.file: /var/log/salt-sidecar/audit.log is on the read-only root"),
        ({"mode": "attach"}, "attach.workload.name: name the workload"),
        ({"mode": "attach"}, "attach.selectorLabels: name the labels"),
        ({"mode": "attach"}, "attach.masterContainer: name your master's container"),
        ({"mode": "attach", "jobs": {"persistence": {"enabled": True}}}, "attach.fsGroup: name the group of the pod's volumes"),
        ({"mode": "attach", "attach": {"networkPolicy": {"ports": [{"port": 9100}]}}}, "attach.networkPolicy.ports: has no effect"),
        ({**ATTACH, "auth": {"existingSecret": "x"}}, "auth.existingSecret: is for bundled mode"),
        ({**ATTACH, "replicas": 2}, "replicas: 2 sidecars would each have jobs of their own in a file"),
        ({"jobs": {"database": {"url": DATABASE}}}, "jobs.database.existingSecret: name a Secret"),
        ({"jobs": {"database": {"existingSecret": "x"}}}, "jobs.database.url: is empty"),
        ({"jobs": {"database": {"url": "postgresql://a:b@db/jobs", "existingSecret": "x"}}}, "jobs.database.url: has a password"),
        ({"jobs": {"database": {"url": f"{DATABASE}&password=b", "existingSecret": "x"}}}, "jobs.database.url: has a password"),
        ({"jobs": {"database": {"url": f"{DATABASE}&sslpassword=b", "existingSecret": "x"}}}, "jobs.database.url: has a password"),
        ({"config": {"jobs": {"store": "postgresql://a:b@db/jobs"}}}, "config.jobs.store: has a password"),
        ({"config": {"jobs": {"store": DATABASE}}, "jobs": {"database": {"url": DATABASE, "existingSecret": "x"}}}, "config.jobs.store: there is"),
        (
            {"jobs": {"database": {"url": DATABASE, "existingSecret": "x"}, "persistence": {"enabled": True}}},
            "jobs.persistence.enabled: jobs are in the database",
        ),
        ({"jobs": {"database": {"url": DATABASE, "existingSecret": "x"}}, "existingConfigMap": "x"}, "jobs.database.url: the chart writes sidecar.yaml"),
        ({"jobs": {"notify": {"urls": [HOOKS]}}}, "jobs.notify.existingSecret: name a Secret"),
        ({"jobs": {"notify": {"existingSecret": "x"}}}, "jobs.notify.urls: is empty"),
        (
            {"config": {"jobs": {"notify_urls": [HOOKS], "notify_secret_file": "/x"}}, "jobs": {"notify": {"urls": [HOOKS], "existingSecret": "x"}}},
            "config.jobs.notify_urls: there is",
        ),
        ({"jobs": {"notify": {"urls": [HOOKS], "existingSecret": "x"}}, "existingConfigMap": "x"}, "jobs.notify.urls: the chart writes sidecar.yaml"),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else "",
)
def test_an_impossible_combination_fails(values: dict[str, Any], fault: str) -> None:
    assert fault in refusal(values)


def test_all_contradictions_are_said_at_once() -> None:
    said = refusal({"replicas": 3, "ingress": {"enabled": True}})

    assert said.count("\n  - ") == 3


def objects(name: str, schema: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Return every schema of an object in a schema, with its place."""
    if isinstance(schema, list):
        for index, item in enumerate(schema):
            yield from objects(f"{name}/{index}", item)
    if isinstance(schema, dict):
        if schema.get("type") in ("object", ["object", "null"]):
            yield name, schema
        for key, item in schema.items():
            yield from objects(f"{name}/{key}", item)


@functools.cache
def schema() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    return loaded


def test_the_schema_is_closed_at_every_level() -> None:
    found = dict(objects("", schema()))
    left_open = {name for name, item in found.items() if item.get("additionalProperties", True) is True}

    assert len(found) > 60
    assert {name.rpartition("/")[2] for name in left_open} == OPEN
