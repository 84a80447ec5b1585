"""The chart without a cluster: linted, rendered, checked against Kubernetes' schemas, and what it refuses; `make chart` has the whole of it."""

from __future__ import annotations

import helm_python

from tests.e2e.engine import Engine
from tests.e2e.report import Report
from tests.e2e.shell import require
from tests.helm.accepting import VERSIONS
from tests.helm.accepting import check as accept
from tests.helm.rendering import CHART, VALUES, load, refusal, render

REFUSED = ({"config": {"api": {"prot": 8001}}}, {"nativeSidecar": "yes"}, {"master": {"persistence": {"pki": {"sise": "1Gi"}}}}, {"replicas": 2})


def check(_engine: Engine, report: Report) -> None:
    """Lint, render and validate for every file in ci/, and show a few refusals."""
    for path in VALUES:
        values = load(path)
        found = helm_python.lint(CHART, values, strict=True)["messages"]
        require(not found, f"helm lint, {path.name}: {found}")
        report.found(path.name, f"{len(accept(render(values)))} objects, valid for {' and '.join(VERSIONS)}")
    for refused in REFUSED:
        reason = [line.strip() for line in refusal(refused).splitlines() if line.strip()][-1]
        report.found("refused", reason.removeprefix("- "))
