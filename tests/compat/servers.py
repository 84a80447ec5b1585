"""rest_cherrypy and the sidecar as processes beside one master, in three ways of being configured."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import yaml

from service.clients import BY_DEFAULT
from service.demo import calls
from service.demo.embedded import PATIENCE_SECONDS, SCRIPTS, EmbeddedSalt, StartFailed, until
from service.demo.ports import free_ports
from service.demo.processes import Child

ROOT = Path(__file__).resolve().parents[2]

# `plain` has the defaults; `site` serves an application and files, as SaltGUI is mounted; `open` hides behind a prefix
# and asks for no session where that can be switched off.
Variant = Literal["plain", "site", "open"]
PREFIX = "/salt-api"
# The origin that the sidecar of `site` lists.
FRIEND = "http://gui.example.org"


@dataclasses.dataclass(frozen=True)
class Server:
    """One server that takes requests."""

    name: str
    port: int
    process: Child


def site_files(folder: Path) -> Path:
    """Write what the `site` variant serves."""
    static = folder / "static"
    (static / "scripts").mkdir(parents=True)
    (folder / "index.html").write_text("<!doctype html><title>site</title>\n")
    (folder / "outside.txt").write_text("not to be served\n")
    (static / "scripts" / "main.js").write_text("export const answer = 42;\n")
    (static / "main.css").write_text("body { color: black }\n")
    (static / "logo.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"/>\n')
    (static / "salt-auth.txt").write_text("file\nsharedsecret\n")
    (static / "motd.html").write_text("<p>Grüße\n", encoding="utf-8")
    (static / "data.json").write_text("{}\n")
    return folder


def rest_cherrypy(home: Path, master_config: Path, section: Mapping[str, Any]) -> Server:
    """Start salt-api in a folder of its own, with a master's configuration and this section for rest_cherrypy."""
    return _salt_api("rest_cherrypy", home, master_config, {"host": "127.0.0.1", "thread_pool": 20, **section})


def rest_tornado(home: Path, master_config: Path, section: Mapping[str, Any]) -> Server:
    """Start salt-api likewise, with rest_tornado."""
    return _salt_api("rest_tornado", home, master_config, {"address": "127.0.0.1", **section})


def _salt_api(name: str, home: Path, master_config: Path, section: Mapping[str, Any]) -> Server:
    (port,) = free_ports(1)
    config = yaml.safe_load(master_config.read_text())
    config |= {
        "netapi_enable_clients": list(BY_DEFAULT),
        "conf_file": str(home / "master"),
        "api_logfile": str(home / "api.log"),
        "api_pidfile": str(home / "api.pid"),
        name: {"port": port, "disable_ssl": True, **section},
    }
    (home / "master").write_text(yaml.safe_dump(config))
    argv = [str(SCRIPTS / "python"), str(SCRIPTS / "salt-api"), "-c", str(home)]
    process = Child(name, argv, home / "salt-api.out", _environ())
    process.start()
    return Server(name, port, process)


def sidecar(home: Path, master_config: Path, options: Mapping[str, str] | None = None) -> tuple[Server, int]:
    """Start the sidecar; returns it and the port of its ops listener. home: a folder for what it prints."""
    port, ops_port = free_ports(2)
    environ = _environ() | {
        "PYTHONPATH": str(ROOT),
        "SALT_MASTER_CONFIG": str(master_config),
        "SIDECAR_API_PORT": str(port),
        "SIDECAR_OPS_PORT": str(ops_port),
        # All callers are one address here, and some are meant to fail.
        "SIDECAR_LIMITS_AUTH_FAILURES_BURST": "1000",
        "SIDECAR_DRAIN_DRAIN_SECONDS": "2",
        **(options or {}),
    }
    process = Child("sidecar", [sys.executable, "-m", "service", "serve"], home / "sidecar.out", environ)
    process.start()
    return Server("sidecar", port, process), ops_port


def _environ() -> dict[str, str]:
    """Return our environment without what is meant for other servers."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("SIDECAR_", "SALT_"))}


@contextlib.contextmanager
def pairs(folder: Path, salt: EmbeddedSalt) -> Iterator[dict[Variant, tuple[Server, Server]]]:
    """
    Run both servers of each variant, all started at once: {variant: (rest_cherrypy, sidecar)}.

    The sidecar reads the very configuration of rest_cherrypy, as after a migration; only its port is another.
    """
    site = site_files(folder / "site-files")
    sections: dict[Variant, dict[str, Any]] = {
        "plain": {},
        "site": {"app": str(site / "index.html"), "static": str(site / "static")},
        "open": {"root_prefix": PREFIX, "webhook_disable_auth": True, "stats_disable_auth": True, "webhook_url": "/calls"},
    }
    ours = {"site": {"SIDECAR_CORS_ORIGINS": FRIEND}}
    with contextlib.ExitStack() as stack:
        started: dict[Variant, tuple[Server, Server]] = {}
        ready: dict[Server, str] = {}
        for variant, section in sections.items():
            home = folder / variant
            home.mkdir()
            upstream = rest_cherrypy(home, salt.master_config, section)
            stack.callback(upstream.process.stop)
            own, ops_port = sidecar(home, home / "master", ours.get(variant))
            stack.callback(own.process.stop)
            started[variant] = (upstream, own)
            ready |= {upstream: f"http://127.0.0.1:{upstream.port}{PREFIX if variant == 'open' else ''}/", own: f"http://127.0.0.1:{ops_port}/readyz"}
        for server, url in ready.items():
            wait_ready(server, url)
        yield started


def wait_ready(server: Server, url: str) -> None:
    for _ in until(PATIENCE_SECONDS):
        if calls.get(url) == 200:
            return
        if not server.process.alive():
            raise StartFailed(f"{server.name} ended with status {server.process.returncode}:\n{server.process.last_words(40)}")
    raise StartFailed(f"{server.name} was not ready after {PATIENCE_SECONDS:g} s:\n{server.process.last_words(40)}")


def passwords(salt: EmbeddedSalt) -> dict[str, str]:
    """Return what the requests' placeholders stand for."""
    return {
        "@DEMO@": json.dumps(salt.credentials)[1:-1],
        "@DEMO_PASSWORD@": salt.credentials["password"],
        "@PINGER@": json.dumps(salt.credentials_of("pinger"))[1:-1],
        "@PINGER_PASSWORD@": salt.credentials_of("pinger")["password"],
    }
