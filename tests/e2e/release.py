"""The chart as the real runs use it: rendered by Helm for the images that were just built, with a minion that finds it."""

from __future__ import annotations

import dataclasses
import json
import os
import secrets
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from service.demo.embedded_config import merged
from tests.e2e.shell import run
from tests.helm.rendering import Rendered, render

NAME = "demo-salt-sidecar"
MINION = "minion-1"
QUICK_MINION = Path(__file__).resolve().parents[2] / "service" / "demo" / "files" / "quick_minion.yaml"
API_PORT = 8001
TLS_PORT = 8443
OPS_PORT = 9175
UID = 450
VALUES: dict[str, Any] = {
    "auth": {"existingSecret": "eauth", "secretKey": "password", "users": {"api": [".*", "@runner", "@wheel", "@jobs"]}},
    "metrics": {"token": {"existingSecret": "metrics-token", "secretKey": "bearer"}},
    "master": {
        "keys": {"existingSecret": "master-keys", "privateKey": "key.pem", "publicKey": "key.pub"},
        # One key instead of two programs: somebody has to accept the minion.
        "config": {"auto_accept": True, "worker_threads": 3, "timeout": 10, "gather_job_timeout": 40},
    },
    "config": {"drain": {"notice_seconds": 1, "drain_seconds": 60}},
    "terminationGracePeriodSeconds": 90,
}


def opener(*handlers: urllib.request.BaseHandler) -> urllib.request.OpenerDirector:
    """Nothing here leaves the bridges of this machine, whatever proxy the environment names."""
    return urllib.request.build_opener(urllib.request.ProxyHandler({}), *handlers)


@dataclasses.dataclass(frozen=True)
class Release:
    """What an installation has: the objects, and the Secrets that were there before."""

    rendered: Rendered
    password: str
    token: str
    private_key: str
    public_key: str
    certificate: tuple[str, str] | None
    caller: Path  # a file with the certificate and the key of somebody whom `callers-ca` vouches for

    @property
    def trusted(self) -> str:
        """Return the certificate of nginx; nothing without it."""
        return self.certificate[0] if self.certificate else ""

    @property
    def objects(self) -> list[dict[str, Any]]:
        """Return the chart's objects and the Secrets."""
        return [
            {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "eauth"}, "stringData": {"password": self.password}},
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": "master-keys"},
                "stringData": {"key.pem": self.private_key, "key.pub": self.public_key},
            },
            {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "metrics-token"}, "stringData": {"bearer": self.token}},
            *self._certificates(),
            *self.rendered.objects,
        ]

    @property
    def certificate_files(self) -> dict[str, str]:
        """Return what is in the Secret for nginx."""
        return dict(zip(("tls.crt", "tls.key"), self.certificate, strict=True)) if self.certificate else {}

    def _certificates(self) -> list[dict[str, Any]]:
        if self.certificate is None:
            return []
        return [
            {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "certificate"}, "stringData": self.certificate_files},
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": "callers-ca"},
                "stringData": {"ca.crt": self.caller.read_text().partition("-----BEGIN PR")[0]},
            },
        ]

    def ping(self, address: str, fun: str = "test.ping", *arg: object) -> tuple[int, Any]:
        """Run a function on all minions through the API; returns status and answer."""
        low = {"client": "local", "tgt": "*", "fun": fun, "arg": list(arg), "eauth": "sharedsecret", "username": "api", "password": self.password}
        if self.certificate is None:
            return exchange(f"http://{address}:{API_PORT}/run", [low])
        return exchange(f"https://{address}:{TLS_PORT}/run", [low], trusted=self.certificate[0])


def release(work: Path, sidecar: str, salt: str, nginx: str = "", more: Mapping[str, Any] | None = None) -> Release:
    """
    Render the chart for these images, with a key pair of the master's made by openssl as the documentation says.

    nginx: an image; with it TLS ends in the pod. more: values beside ours.
    """
    run("openssl", "genrsa", "-out", work / "master.pem", "2048")
    public = run("openssl", "rsa", "-in", work / "master.pem", "-pubout")
    # The Services' ports are those of the pod here, because there is nobody who maps them.
    values = {
        **VALUES,
        "image": image_values(sidecar),
        "master": {**VALUES["master"], "image": image_values(salt)},
        "service": {"port": TLS_PORT if nginx else API_PORT},
        "tls": {"image": image_values(nginx), "existingSecret": "certificate"} if nginx else {"enabled": False},
    }
    # What YAML and a shell could take for something else.
    password = f"it's: {secrets.token_urlsafe(12)} \"#"
    private = (work / "master.pem").read_text()
    (work / "caller.pem").write_text("".join(certificate(work, "caller")))
    made = render(merged(values, more or {}))
    return Release(made, password, secrets.token_urlsafe(24), private, public, certificate(work) if nginx else None, work / "caller.pem")


def certificate(work: Path, name: str = NAME) -> tuple[str, str]:
    """Return a certificate that signs itself, and its key."""
    files = (work / f"{name}.crt", work / f"{name}.key")
    subject = ("-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}")
    run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject, "-out", files[0], "-keyout", files[1])
    return files[0].read_text(), files[1].read_text()


def image_values(tag: str) -> dict[str, str]:
    repository, _, version = tag.rpartition(":")
    return {"repository": repository, "tag": version, "pullPolicy": "Never"}


def minion_config(folder: Path, address: str) -> Path:
    """Write the configuration of a minion of the master at that address; returns the folder to mount."""
    options = {
        "id": MINION,
        "master": address,
        "log_file": "/dev/null",
        "pki_dir": "/var/cache/salt/pki",
        "cachedir": "/var/cache/salt/minion",
        "sock_dir": "/run/salt/minion",
        "pidfile": "/run/salt/minion.pid",
        **yaml.safe_load(QUICK_MINION.read_text()),
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "minion").write_text(yaml.safe_dump(options))
    # Salt makes a folder beside the configuration.
    os.chown(folder, UID, UID)
    return folder


def exchange(url: str, body: object = None, *, token: str = "", trusted: str = "", caller: Path | None = None, timeout: float = 60) -> tuple[int, Any]:
    """
    Return status and decoded answer; 0 when nobody answers.

    trusted: the certificate of a server that signed its own. caller: a file with a certificate of ours and its key.
    """
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    request = urllib.request.Request(url, None if body is None else json.dumps(body).encode(), headers)
    try:
        with opener(*([_trusting(trusted, caller)] if trusted else [])).open(request, timeout=timeout) as answer:
            return answer.status, _decoded(answer.read())
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, _decoded(refused.read())
    except OSError as exc:
        return 0, str(exc)


def _trusting(certificate: str, caller: Path | None) -> urllib.request.HTTPSHandler:
    context = ssl.create_default_context(cadata=certificate)
    if caller is not None:
        context.load_cert_chain(caller)
    # We call the pod's address; the certificate has the Service's name.
    context.check_hostname = False
    return urllib.request.HTTPSHandler(context=context)


def _decoded(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body.decode(errors="replace")
