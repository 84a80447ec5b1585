"""config/compose/identities.yaml on the running stack: id tokens of an issuer beside it, client certificates through nginx, and no password anywhere."""

from __future__ import annotations

import json
import shutil
import ssl
import urllib.parse
from functools import partial
from pathlib import Path
from typing import Any

from tests.e2e import documented, images
from tests.e2e.images import ROOT
from tests.e2e.load import Api
from tests.e2e.report import Report
from tests.e2e.shell import StepFailed, eventually, require
from tests.e2e.stack import Stack

PATIENCE_SECONDS = 180.0
PORT = 9998
# What tests/issuing.py has in its id tokens.
URL, AUDIENCE = "https://token.actions.example.org", "https://salt.example.org"
ISSUER = f"""
import threading
from issuing import KeyServer, SigningKey, as_github
with KeyServer(as_github(SigningKey("key-1")), ("0.0.0.0", {PORT})):
    threading.Event().wait()
"""
ACCOUNT = "ci:group/app"
IDENTITIES = {
    "issuers": {"github": {"url": URL, "audiences": [AUDIENCE], "jwks_url": f"http://127.0.0.1:{PORT}/jwks"}},
    "rules": [
        {"issuer": "github", "claims": {"repository_id": ["74"], "ref": ["refs/heads/main"]}, "account": ACCOUNT},
        {"issuer": "certificate", "claims": {"common_name": ["caller"]}, "account": ACCOUNT},
    ],
}
RIGHTS = {"external_auth": {"sidecar": {ACCOUNT: ["test.ping"]}}}
CONFIGURED = "/etc/salt/master.d/sidecar-assertion.conf"
OWN = "/run/identities"
# Where volumes and secrets are in the containers of the master and nginx.
MOUNTED = ("/etc", "/run", "/srv", "/tmp", "/var")
PING = ("run", "*", "test.ping")


def prepared(stack: Stack) -> Path:
    """Write what the operator of a stack writes, into a copy of `config/`; return the file for Compose that takes it from there, and adds the issuer."""
    config = stack.engine.work / "config"
    shutil.copytree(ROOT / "config", config)
    with (config / "compose" / "sidecar.yaml").open("a", encoding="utf-8") as settings:
        settings.write(f"identities: {json.dumps(IDENTITIES)}\n")
    (config / "master.d" / "accounts.conf").write_text(json.dumps(RIGHTS), encoding="utf-8")
    issuer = {
        "image": images.SIDECAR,
        "network_mode": "service:network",
        "entrypoint": ["tini", "--", "python3", "-c", ISSUER],
        "working_dir": "/srv/issuer",
        "volumes": [f"{ROOT / 'tests' / 'issuing.py'}:/srv/issuer/issuing.py:ro"],
    }
    file = stack.engine.work / "identified.json"
    file.write_text(json.dumps({"services": {"init": {"volumes": [f"{config}:/config:ro"]}, "issuer": issuer}}), encoding="utf-8")
    return file


def everything(stack: Stack, report: Report) -> None:
    """Let in whom the rules name, and nobody else; then replace the key and the secret."""
    stack.compose("restart", "salt-master")
    stack.up("issuer")
    eventually("the test account is let in", partial(_is_well, stack), PATIENCE_SECONDS, 1)
    report.found("salt-sidecar check", "the master lets its test account in")
    _keeps_the_key(stack, report)
    _by_id_token(stack, report)
    _by_certificate(stack, report)
    _not_by_a_header(stack, report)
    _replaced(stack, report)


def _is_well(stack: Stack) -> bool:
    try:
        stack.compose("exec", "-T", "sidecar", "env", "SIDECAR_API_PORT=0", "SIDECAR_OPS_PORT=0", "salt-sidecar", "check")
    except StepFailed:
        return False
    return True


def _own(stack: Stack, name: str) -> str:
    return stack.compose("exec", "-T", "sidecar", "cat", f"{OWN}/{name}")


def _keeps_the_key(stack: Stack, report: Report) -> None:
    """Show who has the key and the secret of nginx."""
    key, secret = _own(stack, "key.pem").splitlines()[1], _own(stack, "proxy-secret")
    for what, text, having in (("key", key, []), ("secret", secret, ["nginx"])):
        found = [service for service in ("salt-master", "nginx") if _has(stack, service, text)]
        require(found == having, f"the {what} is in {found}")
        require(text.strip() not in stack.compose("logs", "--no-color", "init", "sidecar", "sidecar-2"), f"the {what} is in a log")
    report.found("the key that signs for accounts", "in the sidecars' containers, in no file of the master's or nginx'")


def _has(stack: Stack, service: str, text: str) -> bool:
    script = f"grep -rlsF -f - {' '.join(MOUNTED)} || true"
    return bool(stack.compose("exec", "-T", service, "sh", "-c", script, text=f"{text.strip()}\n"))


def _certificates(stack: Stack) -> Path:
    return Path(stack.environ["TLS_CLIENT_CA_FILE"]).parent


def _tls(stack: Stack, name: str) -> dict[str, str]:
    """Return what salt-ci needs to call nginx with this certificate."""
    folder = _certificates(stack)
    pair = {"SALT_API_CERT": str(folder / f"{name}.crt"), "SALT_API_KEY": str(folder / f"{name}.key")}
    return {"SALT_API_URL": f"https://localhost:{stack.ports['TLS_PORT']}", "SALT_API_CA": str(folder / "ca.crt"), **pair}


def _by_id_token(stack: Stack, report: Report) -> None:
    """Be a job of GitHub's, which asks its platform for an id token."""
    platform = {"ACTIONS_ID_TOKEN_REQUEST_URL": f"http://{stack.address()}:{PORT}/token?api-version=2.0", "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "of the runner"}
    job = {**platform, **_tls(stack, "server"), "SALT_API_AUDIENCE": AUDIENCE}
    eventually("an id token runs a job", partial(stack.salt_ci, 0, *PING, **job), PATIENCE_SECONDS)
    require(stack.salt_ci(11, *PING, **{**job, "SALT_API_AUDIENCE": "https://other.example.org"}), "an id token for another audience is no exit code 11")
    eventually("the log has the refusal", lambda: "audience" in _refusals(stack), PATIENCE_SECONDS)
    report.found("salt-ci with an id token, through nginx", "exit code 0; 11 with one for another audience")


def _refusals(stack: Stack) -> set[Any]:
    """Return why somebody was refused, as the log has it."""
    lines = stack.compose("logs", "--no-color", "--no-log-prefix", "sidecar", "sidecar-2").splitlines()
    return {json.loads(line).get("why") for line in lines if '"identity.refused"' in line}


def _by_certificate(stack: Stack, report: Report) -> None:
    eventually("a certificate runs a job", partial(stack.salt_ci, 0, *PING, **_tls(stack, "caller")), PATIENCE_SECONDS)
    require(stack.salt_ci(11, *PING, **_tls(stack, "server")), "a certificate that no rule fits is no exit code 11")
    report.found("salt-ci with a certificate, through nginx", "exit code 0; 11 with one that no rule fits")


def _not_by_a_header(stack: Stack, report: Report) -> None:
    """Send the certificate of somebody else in nginx' place: to the sidecar itself, and through nginx with a certificate of one's own."""
    folder = _certificates(stack)
    forged = {"X-Client-Cert": urllib.parse.quote((folder / "caller.crt").read_text())}
    stranger = ssl.create_default_context(cafile=str(folder / "ca.crt"))
    stranger.load_cert_chain(folder / "server.crt", folder / "server.key")
    itself, through = Api(stack.ports["API_PORT"], ""), Api(stack.ports["TLS_PORT"], "", stranger)
    for api, headers, why in (
        (itself, forged, "proxy"),
        (itself, {**forged, "X-Proxy-Secret": "guessed"}, "proxy"),
        (through, {**forged, "X-Proxy-Secret": _own(stack, "proxy-secret").strip()}, "rule"),
    ):
        status, answer = api.request("POST", "/v1/token", {"grant_type": "client_credentials"}, headers=headers)
        require((status, answer["why"]) == (401, why), f"a forged certificate: {status} {answer}")
    report.found("somebody else's certificate in a header", "401, to the sidecar itself and through nginx")


def _replaced(stack: Stack, report: Report) -> None:
    """Replace the key and the secret as documented, and come in after each step."""
    secret, keys = _own(stack, "proxy-secret"), [_keys(stack)]
    for number, _ in enumerate(documented.with_identities(stack)):
        if not number:
            stack.compose("restart", "sidecar-2")
        keys.append(_keys(stack))
        eventually("a certificate runs a job after a replacement", partial(stack.salt_ci, 0, *PING, **_tls(stack, "caller")), PATIENCE_SECONDS)
    old, both, new, last = keys
    require(old < both and new == both - old == last, f"keys of the master: {keys}")
    require(_own(stack, "proxy-secret") != secret, "the secret that was removed is there again")
    report.found("the key and nginx' secret replaced", "as documented; a certificate runs a job after each step")


def _keys(stack: Stack) -> frozenset[str]:
    """Return the lines of the keys of which the master is told."""
    lines = stack.compose("exec", "-T", "salt-master", "cat", CONFIGURED).splitlines()
    return frozenset(line.strip() for line in lines if line.strip().startswith("key-"))
