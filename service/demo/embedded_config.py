"""What the embedded Salt is configured with: the files of its folder, its ports and its passwords."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import pwd
import secrets
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from service.clients import BY_DEFAULT
from service.demo.ports import free_ports, is_free

DEMO_FILES = Path(__file__).parent / "files"
# A file, because the end-to-end tests use it in an environment that cannot import us.
QUICK_MINION = DEMO_FILES / "quick_minion.yaml"
ADMIN = "demo"
PINGER = "pinger"
EVERYTHING = (".*", "@runner", "@wheel", "@jobs")
# sun_path holds 107 characters; Salt's longest socket name, of a minion's event bus, takes 40.
LONGEST_SOCKET_FOLDER = 66


@dataclasses.dataclass(frozen=True)
class Secrets:
    """What is made once and kept with the folder."""

    publish_port: int
    ret_port: int
    passwords: Mapping[str, str]


class StackFolder:
    """Where everything of one embedded Salt is."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()

    @property
    def master_config(self) -> Path:
        return self.root / "etc" / "master"

    @property
    def logs(self) -> Path:
        return self.root / "log"

    def minion_config(self, minion: str) -> Path:
        return self.root / minion / "etc" / "minion"

    def minion_log(self, minion: str) -> Path:
        return self.logs / f"{minion}.log"

    def sockets(self, name: str) -> Path:
        """Return a folder short enough for Unix sockets, ours alone."""
        inside = self.root / "run" / name
        if len(str(inside)) <= LONGEST_SOCKET_FOLDER:
            return inside
        mark = hashlib.sha256(str(self.root).encode()).hexdigest()[:10]
        return Path(tempfile.gettempdir()) / f"salt-sidecar-{os.getuid()}-{mark}" / name

    def create(self, names: Sequence[str]) -> None:
        """Make the folders, closed to others, and copy what the minions use."""
        for folder in (self.root, self.logs, *(self.sockets(name) for name in names)):
            private_folder(folder)
        shutil.copytree(DEMO_FILES, self.root / "files", dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))

    def remove_sockets(self) -> None:
        """Remove what lies outside the folder."""
        base = self.sockets("master").parent
        if not base.is_relative_to(self.root):
            shutil.rmtree(base, ignore_errors=True)


def private_folder(folder: Path) -> None:
    """Make a folder that only we can enter; refuse one of somebody else's (it may be under /tmp)."""
    for path in (folder.parent, folder):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise PermissionError(f"{folder} belongs to another user")
    folder.chmod(0o700)


def secrets_of(folder: StackFolder, users: Sequence[str]) -> Secrets:
    """Return the folder's ports and passwords, those of an earlier start where there was one and the ports are still free."""
    path = folder.root / "secrets.json"
    kept: dict[str, Any] = {}
    with contextlib.suppress(OSError, ValueError):
        kept = json.loads(path.read_text())
    ports = kept.get("ports", [])
    if len(ports) != 2 or not all(is_free(port) for port in ports):
        ports = free_ports(2)
    passwords = {user: kept.get("passwords", {}).get(user) or secrets.token_urlsafe(12) for user in users}
    write_private(path, json.dumps({"ports": ports, "passwords": passwords}))
    publish_port, ret_port = ports
    return Secrets(publish_port, ret_port, passwords)


def master_options(folder: StackFolder, made: Secrets, users: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    """Return the master configuration. Everybody but the admin is a user of the `file` eauth."""
    write_private(folder.root / "etc" / "users", "".join(f"{user}:{made.passwords[user]}\n" for user in users))
    return {
        **common_options(folder, "master"),
        "id": "master",
        "conf_file": str(folder.master_config),
        "interface": "127.0.0.1",
        "publish_port": made.publish_port,
        "ret_port": made.ret_port,
        "auto_accept": True,
        "worker_threads": 5,
        "timeout": 5,
        "gather_job_timeout": 5,
        "token_expire": 43200,
        "sharedsecret": made.passwords[ADMIN],
        "external_auth": {
            "sharedsecret": {ADMIN: list(EVERYTHING)},
            "file": {"^filename": str(folder.root / "etc" / "users"), **{user: list(perms) for user, perms in users.items()}},
        },
        "netapi_enable_clients": list(BY_DEFAULT),
        "nodegroups": {"web": "L@minion-1", "all": "*"},
        "file_roots": {"base": [str(folder.root / "files" / "states")]},
    }


def minion_options(folder: StackFolder, made: Secrets, minion: str, *, threads: bool) -> dict[str, Any]:
    """Return a minion's configuration: up fast, and without the grains that take seconds to collect."""
    return {
        **common_options(folder, minion),
        "id": minion,
        "conf_file": str(folder.minion_config(minion)),
        "master": "127.0.0.1",
        "master_port": made.ret_port,
        "publish_port": made.publish_port,
        "grains": {"role": "web" if minion.endswith("1") else "db"},
        "module_dirs": [str(folder.root / "files" / "ext")],
        "multiprocessing": not threads,
        **yaml.safe_load(QUICK_MINION.read_text(encoding="utf-8")),
        "loop_interval": 1,
    }


def environment_for_pam(scripts: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """
    Return the environment in which a master of the Salt in *scripts* can ask PAM.

    It starts a Python for that, and follows the link that `bin/python` of a venv is; what that leads to knows nothing of the venv's packages.
    Source: salt/auth/pam.py, authenticate.
    """
    own = [str(folder) for folder in scripts.parent.glob("lib/python3*/site-packages")]
    return {**environ, "PYTHONPATH": os.pathsep.join([*own, *filter(None, [environ.get("PYTHONPATH")])])}


def common_options(folder: StackFolder, name: str) -> dict[str, Any]:
    """Return the paths, all inside the folder; `root_dir` would do it, but would also move a socket folder that has to be elsewhere."""
    own = folder.root / name
    return {
        "pki_dir": str(own / "pki"),
        "cachedir": str(own / "cache"),
        "extension_modules": str(own / "cache" / "extmods"),
        "sqlite_queue_dir": str(own / "cache" / "queues"),
        "token_dir": str(own / "cache" / "tokens"),
        "syndic_dir": str(own / "cache" / "syndics"),
        "autosign_file": str(own / "autosign.conf"),
        "autoreject_file": str(own / "autoreject.conf"),
        "sock_dir": str(folder.sockets(name)),
        "pidfile": str(own / "pid"),
        "log_file": str(folder.logs / f"{name}.log"),
        "log_level": "quiet",
        "log_level_logfile": "info",
        "user": pwd.getpwuid(os.getuid()).pw_name,
    }


def write_yaml(path: Path, options: Mapping[str, Any]) -> None:
    write_private(path, yaml.safe_dump(dict(options), sort_keys=False))


def write_private(path: Path, text: str) -> None:
    """Write a file that only we can read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as stream:
        stream.write(text)


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return *base* with *changes*; mappings inside are merged, anything else is replaced."""
    result = dict(base)
    for key, value in changes.items():
        known = result.get(key)
        result[key] = merged(known, value) if isinstance(known, Mapping) and isinstance(value, Mapping) else value
    return result
