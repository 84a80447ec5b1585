"""The servers that are compared, each beside the same master and as its users run it, and a token of each."""

from __future__ import annotations

import dataclasses
import http.client
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from benchmarks.running import Running
from service.demo import calls
from service.demo.embedded import SCRIPTS, EmbeddedSalt
from service.demo.ports import free_ports
from service.server.runtime import NO_THREAD_CACHE

# Callers that wait for minions at one time: the default is 256, and one case has 500.
SYNC_JOBS = 600
# Callers that start jobs at one time: one case has 64, of one user.
QUICK_CALLS = 128
# Jobs of /v1 that are not over: the default is 200, and one case leaves thousands of them open.
OPEN_JOBS = 10_000
LOGIN_SECONDS = 60.0
# By default nothing is recorded, and with a sink no `test.ping` is.
EVERYTHING = '[{"level": "metadata"}]'


@dataclasses.dataclass
class Peer:
    """
    One server.

    ops_port: of the sidecar, 0 of the others. socket_port: of websockets. resident: it may run while another is measured; a server that listens to
    the bus all the time and decodes all of it may not.
    """

    name: str
    port: int
    process: Running
    ops_port: int = 0
    socket_port: int = 0
    resident: bool = True
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    started: bool = False

    def start(self, credentials: Mapping[str, str]) -> None:
        """Start it and log in. Raises StartFailed, OSError or KeyError."""
        self.process.start()
        self.started = True
        if credentials:
            self.log_in(credentials)

    def log_in(self, credentials: Mapping[str, str]) -> None:
        """Open a session. Raises OSError or KeyError."""
        self.headers = {"X-Auth-Token": self._token(credentials)}

    def stop(self) -> None:
        self.process.stop()
        self.started = False

    def _token(self, credentials: Mapping[str, str]) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=LOGIN_SECONDS)
        try:
            connection.request("POST", "/login", json.dumps(dict(credentials)), {"Content-Type": "application/json", "Accept": "application/json"})
            return str(json.loads(connection.getresponse().read())["return"][0]["token"])
        finally:
            connection.close()


def sidecar(salt: EmbeddedSalt, name: str = "sidecar", /, **settings: object) -> Peer:
    """Make the sidecar as its unit and image start it, with its defaults, but for the ports, three limits, a store of jobs, and an audit trail of everything."""
    port, ops_port = free_ports(2)
    home = salt.master_config.parent / name.replace(" ", "-")
    home.mkdir(exist_ok=True)
    audit = {"AUDIT_SINKS": "file", "AUDIT_FILE": home / "audit.jsonl", "AUDIT_RULES": EVERYTHING}
    jobs = {"JOBS_STORE": f"sqlite://{home}/jobs.db", "JOBS_OPEN": OPEN_JOBS}
    chosen = {"API_PORT": port, "OPS_PORT": ops_port, "LIMITS_SYNC_JOBS": SYNC_JOBS, "LIMITS_QUICK_CALLS": QUICK_CALLS, **audit, **jobs, **settings}
    environ = {"GLIBC_TUNABLES": NO_THREAD_CACHE, **{f"SIDECAR_{name}": str(value) for name, value in chosen.items()}}
    argv = [sys.executable, "-m", "service", "serve", "--master-config", str(salt.master_config)]
    return Peer(name, port, Running(name, argv, environ, lambda: calls.get(f"http://127.0.0.1:{ops_port}/readyz") == 200), ops_port)


def with_sockets(salt: EmbeddedSalt) -> Peer:
    """Make the sidecar with a port for websockets."""
    (port,) = free_ports(1)
    return dataclasses.replace(sidecar(salt, "sockets", WEBSOCKET_PORT=port), socket_port=port, resident=False)


def rest_cherrypy(salt: EmbeddedSalt, folder: Path) -> Peer:
    """Make salt-api with rest_cherrypy, with its defaults."""
    return _salt_api(salt, folder, "rest_cherrypy", {"host": "127.0.0.1"})


def rest_tornado(salt: EmbeddedSalt, folder: Path) -> Peer:
    """Make salt-api with rest_tornado, with its defaults."""
    made = _salt_api(salt, folder, "rest_tornado", {"address": "127.0.0.1", "websockets": True})
    made.resident = False
    return made


def _salt_api(salt: EmbeddedSalt, folder: Path, name: str, section: Mapping[str, Any]) -> Peer:
    (port,) = free_ports(1)
    home = folder / name
    home.mkdir(parents=True, exist_ok=True)
    config = yaml.safe_load(salt.master_config.read_text())
    config |= {
        "conf_file": str(home / "master"),
        "api_logfile": str(home / "api.log"),
        "api_pidfile": str(home / "api.pid"),
        name: {"port": port, "disable_ssl": True, **section},
    }
    (home / "master").write_text(yaml.safe_dump(config))
    argv = [str(SCRIPTS / "python"), str(SCRIPTS / "salt-api"), "-c", str(home)]
    return Peer(name, port, Running(name, argv, ready=lambda: calls.get(f"http://127.0.0.1:{port}/") == 200), socket_port=port)


def bare_waitress(minions: int) -> Peer:
    """Make a waitress that answers every request with the same bytes, as many as the real answer has: the floor of HTTP."""
    (port,) = free_ports(1)
    argv = [sys.executable, "-m", "benchmarks.bare", str(port), str(minions)]
    return Peer("waitress alone", port, Running("waitress alone", argv, ready=lambda: calls.get(f"http://127.0.0.1:{port}/") == 200))
