"""compose.yaml as people run it, with our images, free ports, and stand-ins for what only a registry has."""

from __future__ import annotations

import json
import os
import signal
import ssl
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

from service.demo.ports import free_ports
from tests.documented.shell import program
from tests.e2e import images, standins
from tests.e2e.engine import Engine
from tests.e2e.images import ROOT
from tests.e2e.load import Api
from tests.e2e.shell import StepFailed, eventually, require, run

COMPOSE = ROOT / ".venv-e2e" / "bin" / "docker-compose"
PORTS = ("API_PORT", "OPS_PORT", "TLS_PORT", "SALT_PUBLISH_PORT", "SALT_RET_PORT", "PROMETHEUS_PORT", "ALERTMANAGER_PORT", "GRAFANA_PORT")
UP_SECONDS = 600
CI_SECONDS = 180.0
MINIONS = {"minion-1": True, "minion-2": True}


class Stack:
    """One Compose project."""

    project = "e2e"

    def __init__(self, engine: Engine, *profiles: str, **environ: str) -> None:
        self.engine = engine
        self.profiles = list(profiles)
        self.ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
        self.environ = {
            **engine.environ,
            **{name: str(port) for name, port in self.ports.items()},
            "SALT_IMAGE": images.SALT,
            "SIDECAR_IMAGE": images.SIDECAR,
            "NETWORK_IMAGE": standins.BASE,
            "NGINX_IMAGE": standins.NGINX,
            "PROMETHEUS_IMAGE": standins.PROMETHEUS,
            "ALERTMANAGER_IMAGE": standins.ALERTMANAGER,
            "COMPOSE_PROGRESS": "quiet",
            **environ,
        }

    def compose(self, *args: str, timeout: float = 150, text: str | None = None) -> str:
        """Return what a Compose command prints. text: its standard input."""
        profiles = [word for profile in self.profiles for word in ("--profile", profile)]
        return run(COMPOSE, "--project-name", self.project, *profiles, *args, timeout=timeout, environ=self.environ, cwd=ROOT, text=text)

    def up(self, *args: str) -> float:
        """Bring services up and wait until they are well; return the seconds."""
        began = time.monotonic()
        try:
            self.compose("up", "--detach", "--no-build", "--wait", "--wait-timeout", str(UP_SECONDS), *args, timeout=UP_SECONDS + 30)
        except StepFailed as exc:
            raise StepFailed(f"{exc}\n{self.compose('ps', '--all')}\n{self.compose('logs', '--tail', '20')}") from None
        return time.monotonic() - began

    def programs(self) -> Path:
        """Return a folder for PATH, for what people type: `docker` is this engine's client there, and knows `docker compose`."""
        plugin = Path(self.engine.environ["DOCKER_CONFIG"]) / "cli-plugins" / "docker-compose"
        plugin.parent.mkdir(parents=True, exist_ok=True)
        plugin.unlink(missing_ok=True)
        plugin.symlink_to(COMPOSE)
        folder = self.engine.work / "bin"
        program(folder, "docker", f'exec {self.engine.client} "$@"')
        return folder

    def down(self) -> None:
        """Remove everything, volumes too."""
        self.profiles = ["*"]
        self.compose("down", "--volumes", "--timeout", "5", timeout=120)

    def secret(self) -> str:
        """Return the secret, read as the first start says."""
        require("cat /etc/salt/secrets/eauth" in self.compose("logs", "init"), "the first start does not say how to read the secret")
        return self.compose("exec", "-T", "salt-master", "cat", "/etc/salt/secrets/eauth").strip()

    def api(self, tls: ssl.SSLContext | None = None) -> Api:
        return Api(self.ports["TLS_PORT" if tls else "API_PORT"], self.secret(), tls)

    def salt_ci(self, code: int, *words: str, **environ: str) -> bool:
        """Say whether salt-ci, as the API serves it, ends with this exit code. environ: who it is, and where the API is if not at its own port."""
        url = f"http://127.0.0.1:{self.ports['API_PORT']}"
        program = self.engine.work / "ci.py"
        if not program.exists():
            urllib.request.urlretrieve(f"{url}/v1/ci.py", program)
        try:
            run(sys.executable, program, *words, environ={"SALT_API_URL": url, **environ}, timeout=CI_SECONDS, ok=(code,))
        except StepFailed:
            return False
        return True

    def container(self, service: str) -> dict[str, Any]:
        """Return what Docker knows of a service's container."""
        name = self.compose("ps", "--all", "--quiet", service).strip()
        facts: dict[str, Any] = json.loads(self.engine.docker("inspect", name))[0]
        return facts

    def address(self) -> str:
        """Return where all ports of the master and the sidecars are reached, whether they are published or not."""
        networks = self.container("network")["NetworkSettings"]["Networks"]
        address: str = next(iter(networks.values()))["IPAddress"]
        return address

    def kill(self, service: str) -> None:
        """End a container's first process from outside, as the kernel's memory killer does; `docker kill` would count as wanted."""
        os.kill(self.container(service)["State"]["Pid"], signal.SIGKILL)

    def await_minions(self, api: Api, seconds: float = 180) -> float:
        """Ping until both minions answer; return the seconds."""

        def answered() -> bool:
            try:
                return api.ping() == (200, {"return": [MINIONS]})
            except OSError:
                return False

        return eventually("both minions answer", answered, seconds)


def certificates(folder: Path) -> dict[str, Path]:
    """Make an authority, a server's certificate for localhost and a caller's, as files that every uid may read."""
    folder.mkdir()
    run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=e2e", "-keyout", folder / "ca.key", "-out", folder / "ca.crt")
    extensions = folder / "extensions"
    extensions.write_text("subjectAltName=DNS:localhost\n")
    for name in ("server", "caller"):
        request = folder / f"{name}.csr"
        run("openssl", "req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-keyout", folder / f"{name}.key", "-out", request)
        signing = ("-CA", folder / "ca.crt", "-CAkey", folder / "ca.key", "-CAcreateserial", "-days", "2", "-extfile", extensions)
        run("openssl", "x509", "-req", "-in", request, *signing, "-out", folder / f"{name}.crt")
    for path in folder.iterdir():
        path.chmod(0o644)
    return {path.name: path for path in folder.iterdir()}
