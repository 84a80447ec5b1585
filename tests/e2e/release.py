"""The chart as the real runs use it: rendered by Helm for the images that were just built, with a minion that finds it."""

from __future__ import annotations

import dataclasses
import json
import os
import secrets
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import yaml

from tests.e2e.shell import run
from tests.helm.rendering import Rendered, render

NAME = "demo-salt-sidecar"
MINION = "minion-1"
API_PORT = 8001
OPS_PORT = 9175
UID = 450
# Nothing here leaves the bridges of this machine, whatever proxy the environment names.
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
VALUES: dict[str, Any] = {
    "auth": {"existingSecret": "eauth", "secretKey": "password"},
    "master": {
        "keys": {"existingSecret": "master-keys", "privateKey": "key.pem", "publicKey": "key.pub"},
        # One key instead of two programs: somebody has to accept the minion.
        "config": {"auto_accept": True, "worker_threads": 3, "timeout": 10},
    },
    # The Services' ports are those of the pod here, because there is nobody who maps them.
    "service": {"port": API_PORT},
    "config": {"drain": {"notice_seconds": 1, "drain_seconds": 30}},
}


@dataclasses.dataclass(frozen=True)
class Release:
    """What an installation has: the objects, and the Secrets that were there before."""

    rendered: Rendered
    password: str
    private_key: str
    public_key: str

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
            *self.rendered.objects,
        ]

    def ping(self, address: str, fun: str = "test.ping", *arg: object) -> tuple[int, Any]:
        """Run a function on all minions through the API; returns status and answer."""
        low = {"client": "local", "tgt": "*", "fun": fun, "arg": list(arg), "eauth": "sharedsecret", "username": "api", "password": self.password}
        return exchange(f"http://{address}:{API_PORT}/run", [low])


def release(work: Path, sidecar: str, salt: str) -> Release:
    """Render the chart for these images, with a key pair of the master's made by openssl as the documentation says."""
    run("openssl", "genrsa", "-out", work / "master.pem", "2048")
    public = run("openssl", "rsa", "-in", work / "master.pem", "-pubout")
    values = {**VALUES, "image": _image(sidecar), "master": {**VALUES["master"], "image": _image(salt)}}
    # What YAML and a shell could take for something else.
    password = f"it's: {secrets.token_urlsafe(12)} \"#"
    return Release(render(values), password, (work / "master.pem").read_text(), public)


def _image(tag: str) -> dict[str, str]:
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
        "mine_enabled": False,
        "enable_fqdns_grains": False,
        "enable_gpu_grains": False,
        "acceptance_wait_time": 1,
        "random_reauth_delay": 1,
        "recon_default": 100,
        "recon_max": 500,
        "recon_randomize": False,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "minion").write_text(yaml.safe_dump(options))
    # Salt makes a folder beside the configuration.
    os.chown(folder, UID, UID)
    return folder


def exchange(url: str, body: object = None, timeout: float = 60) -> tuple[int, Any]:
    """Return status and decoded answer; 0 when nobody answers."""
    data = None if body is None else json.dumps(body).encode()
    try:
        with OPENER.open(urllib.request.Request(url, data, {"Content-Type": "application/json"}), timeout=timeout) as answer:
            return answer.status, _decoded(answer.read())
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, _decoded(refused.read())
    except OSError as exc:
        return 0, str(exc)


def _decoded(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body.decode(errors="replace")
