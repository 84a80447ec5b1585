"""The chart's `identities` in the emulated pod: an id token of an issuer in the same pod and a client certificate run jobs, and no password does."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from tests.e2e import images
from tests.e2e.identified import ACCOUNT, AUDIENCE, IDENTITIES, ISSUER, PORT
from tests.e2e.kubelet import Pod
from tests.e2e.release import MINION, TLS_PORT, Release, exchange
from tests.e2e.report import Report
from tests.e2e.shell import eventually, require

PATIENCE_SECONDS = 180.0
ISSUING = Path(__file__).resolve().parents[1] / "issuing.py"
FOLDER = "/srv/issuer"
KEY = "/etc/salt-sidecar/identity/identity.pem"
TOKENS = "/var/cache/salt/master/tokens"


def values() -> dict[str, Any]:
    """Return the values for it: beside those of the operator an issuer that the sidecar reaches over loopback."""
    isolated = {"runAsUser": 450, "runAsGroup": 450, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
    issuer = {
        "name": "issuer",
        "image": images.SIDECAR,
        "command": ["tini", "--", "python3", "-c", ISSUER],
        "env": [{"name": "PYTHONPATH", "value": FOLDER}],
        "securityContext": isolated,
        "volumeMounts": [{"name": "issuing", "mountPath": FOLDER, "readOnly": True}],
    }
    module = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "issuing"}, "data": {ISSUING.name: ISSUING.read_text(encoding="utf-8")}}
    return {
        "identities": {"enabled": True, "accounts": {ACCOUNT: ["test.ping"]}},
        "config": {"identities": IDENTITIES},
        "tls": {"clientCASecret": "callers-ca", "clientCertificates": "optional"},
        "extraContainers": [issuer],
        "extraVolumes": [{"name": "issuing", "configMap": {"name": "issuing"}}],
        "extraObjects": [module],
    }


def come_in(pod: Pod, made: Release, report: Report, *, shares_tokens: bool = True) -> None:
    """Be a job of GitHub's, then somebody with a certificate, then neither; and look who has the key. shares_tokens: the sidecar has the master's folder of them."""
    eventually("an id token runs a job", partial(_ran, pod, made, AUDIENCE), PATIENCE_SECONDS)
    status, answer = _run(pod, made, _id_token(pod, "https://other.example.org"))
    require((status, answer["why"]) == (401, "audience"), f"an id token for another audience: {status} {answer}")
    report.found("an id token through nginx in the pod", "runs its job; 401 for another audience")
    status, answer = _certified(pod, made, made.caller)
    require(status == 200, f"a client certificate: {status} {answer}")
    token = answer["access_token"]
    status, answer = _run(pod, made, token)
    require(status == 200, f"a job with the token of a certificate: {status} {answer}")
    _log_out(pod, made, token, report, shares_tokens)
    status, answer = _certified(pod, made, None)
    require((status, answer["why"]) == (401, "certificate"), f"no client certificate: {status} {answer}")
    report.found("a client certificate through nginx in the pod", "runs its job; 401 without one")
    _look_for_the_key(pod, report)


def _id_token(pod: Pod, audience: str) -> str:
    token: str = exchange(f"http://{pod.address}:{PORT}/token?audience={audience}")[1]["value"]
    return token


def _run(pod: Pod, made: Release, token: str) -> tuple[int, Any]:
    return exchange(f"https://{pod.address}:{TLS_PORT}/v1/jobs?wait=50&fail=1", {"tgt": MINION, "fun": "test.ping"}, token=token, trusted=made.trusted)


def _ran(pod: Pod, made: Release, audience: str) -> bool:
    status, answer = _run(pod, made, _id_token(pod, audience))
    return status == 200 and answer["owner"] == f"sidecar:{ACCOUNT}"


def _certified(pod: Pod, made: Release, caller: Path | None) -> tuple[int, Any]:
    url = f"https://{pod.address}:{TLS_PORT}/v1/token"
    return exchange(url, {"grant_type": "client_credentials"}, trusted=made.trusted, caller=caller)


def _log_out(pod: Pod, made: Release, token: str, report: Report, shares_tokens: bool) -> None:
    """End a session of an account that may run nothing of the master's: it is over here, and what the master has of it is gone where its folder is shared."""
    require(token in _kept(pod), f"the master does not keep tokens in {TOKENS}")
    status, answer = exchange(f"https://{pod.address}:{TLS_PORT}/logout", {}, token=token, trusted=made.trusted)
    gone, after = token not in _kept(pod), _run(pod, made, token)[0]
    require((status, after, gone) == (200, 401, shares_tokens), f"a logout: {status} {answer}; then {after}; gone from the master: {gone}")
    report.found("a logout in the pod", "the token is gone from the master's folder" if gone else "over at this sidecar; the master's folder is not mounted")


def _kept(pod: Pod) -> set[str]:
    """Return the tokens that the master keeps."""
    return {name.removesuffix(".p") for name in pod.execute("salt-master", "ls", TOKENS).split()}


def _look_for_the_key(pod: Pod, report: Report) -> None:
    mode = pod.execute("salt-sidecar", "stat", "--format=%a %U", KEY).strip()
    line = pod.execute("salt-sidecar", "cat", KEY).splitlines()[1]
    having = [name for name in ("salt-master", "tls") if pod.execute(name, "sh", "-c", f"grep -rlsF -e '{line}' /etc /run /srv /tmp /var || true").strip()]
    require((mode, having) == ("600 salt", []), f"the key: {mode}, also in {having}")
    report.found("the key that signs for accounts", f"{mode}, in the sidecar's container alone")
