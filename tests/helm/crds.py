"""The parts that we use of kinds that Kubernetes itself does not know; names as in the projects' API references."""

from __future__ import annotations

from typing import Any


def closed(required: str = "", **properties: Any) -> dict[str, Any]:
    """Return the schema of an object with these properties and no others."""
    return {"type": "object", "additionalProperties": False, "properties": properties, "required": required.split()}


def listed(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items, "minItems": 1}


TEXT = {"type": "string", "minLength": 1}
TEXTS = {"type": "object", "additionalProperties": TEXT}
DURATION = {"type": "string", "pattern": "^([0-9]+(ms|s|m|h|d|w|y))+$"}
SELECTOR = closed("matchLabels", matchLabels=TEXTS)
NAMESPACES = closed(matchNames=listed(TEXT))
RELABELING = closed(action=TEXT, targetLabel=TEXT, replacement=TEXT, regex=TEXT, sourceLabels=listed(TEXT))
CREDENTIALS = closed("name key", name=TEXT, key=TEXT)
ENDPOINT = closed(
    "port path",
    port=TEXT,
    path={"const": "/metrics"},
    scheme={"const": "http"},
    interval=DURATION,
    scrapeTimeout=DURATION,
    authorization=closed("credentials", type=TEXT, credentials=CREDENTIALS),
    relabelings=listed(RELABELING),
    metricRelabelings=listed(RELABELING),
)
RULE = closed(
    "expr", alert=TEXT, record=TEXT, expr={"type": ["string", "integer"]}, labels=TEXTS, annotations=TEXTS, keep_firing_for=DURATION, **{"for": DURATION}
)
GROUP = closed("name rules", name=TEXT, interval=DURATION, rules=listed(RULE))
PARENT = closed("name", name=TEXT, namespace=TEXT, sectionName=TEXT)
MATCH = closed("path", path=closed("type value", type={"enum": ["PathPrefix", "Exact"]}, value=TEXT))
ROUTE = closed(
    "backendRefs",
    matches=listed(MATCH),
    backendRefs=listed(closed("name port", name=TEXT, port={"type": "integer"})),
    timeouts=closed(request=DURATION),
)

SPECS = {
    "monitoring.coreos.com/v1 ServiceMonitor": closed("selector endpoints", selector=SELECTOR, namespaceSelector=NAMESPACES, endpoints=listed(ENDPOINT)),
    "monitoring.coreos.com/v1 PodMonitor": closed(
        "selector podMetricsEndpoints", selector=SELECTOR, namespaceSelector=NAMESPACES, podMetricsEndpoints=listed(ENDPOINT)
    ),
    "monitoring.coreos.com/v1 PrometheusRule": closed("groups", groups=listed(GROUP)),
    "gateway.networking.k8s.io/v1 HTTPRoute": closed("parentRefs rules", parentRefs=listed(PARENT), hostnames=listed(TEXT), rules=listed(ROUTE)),
    "cert-manager.io/v1 Certificate": closed(
        "secretName issuerRef dnsNames",
        secretName=TEXT,
        issuerRef=closed("name", group=TEXT, kind={"enum": ["Issuer", "ClusterIssuer"]}, name=TEXT),
        dnsNames=listed(TEXT),
        duration=DURATION,
        renewBefore=DURATION,
    ),
}
