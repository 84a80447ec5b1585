"""The master's configuration, read once, and the few facts of it that we need."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import salt.config
import salt.exceptions
import salt.transport.base
import salt.version

from service.errors import ConfigFault, InvalidConfiguration

SALT_VERSION = str(salt.version.__version__)
SALT_FOLDER = Path(salt.version.__file__).parent
_NUMBERS = {
    "ret_port": 4506,
    "tcp_master_pub_port": 4512,
    "tcp_master_pull_port": 4513,
    "timeout": 5,
    "gather_job_timeout": 10,
    "rest_timeout": 300,
    "syndic_wait": 5,
}
# What comes with Salt 3006 to 3008; an installation may have modules of its own.
EAUTH_MODULES = frozenset("auto django file keystone ldap mysql pam pki rest sharedsecret yubico".split())
_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}


@dataclasses.dataclass(frozen=True)
class MasterOptions:
    """
    What we take from the master configuration.

    raw: Salt's complete opts, for the runner loader only.
    request_uri: `tcp://HOST:PORT` of the request port.
    bus_path, pull_path: Unix sockets that events come from and go to, or None; then ipc_host, bus_port and pull_port say where they are.
    Times are seconds.
    """

    raw: Mapping[str, Any] = dataclasses.field(repr=False)
    request_uri: str
    bus_path: str | None
    pull_path: str | None
    ipc_host: str
    bus_port: int
    pull_port: int
    enabled_clients: tuple[str, ...]
    timeout: int
    gather_job_timeout: int
    runner_timeout: int
    order_masters: bool
    syndic_wait: int
    nodegroups: Mapping[str, Any]
    ext_job_cache: str

    @classmethod
    def of(cls, raw: Mapping[str, Any], *, request_uri: str | None = None) -> MasterOptions:
        """
        Pick our fields out of Salt's opts.

        request_uri: overrides `interface` and `ret_port`. Raises InvalidConfiguration; Salt only warns of a wrong type.
        """
        faults: list[ConfigFault] = []
        numbers, clients = _numbers(raw, faults), _clients(raw, faults)
        if faults:
            raise InvalidConfiguration(faults)
        interface = str(raw.get("interface", "127.0.0.1"))
        host = _LOOPBACK.get(interface, interface)
        folder = None if raw.get("ipc_mode") == "tcp" else raw["sock_dir"]
        return cls(
            raw=raw,
            request_uri=request_uri or f"tcp://{_bracketed(host)}:{numbers['ret_port']}",
            bus_path=folder and os.path.join(folder, "master_event_pub.ipc"),  # noqa: PTH118 - Salt's string
            pull_path=folder and os.path.join(folder, "master_event_pull.ipc"),  # noqa: PTH118
            ipc_host=_ipc_host(raw),
            bus_port=numbers["tcp_master_pub_port"],
            pull_port=numbers["tcp_master_pull_port"],
            enabled_clients=clients,
            timeout=numbers["timeout"],
            gather_job_timeout=numbers["gather_job_timeout"],
            runner_timeout=numbers["rest_timeout"],
            order_masters=bool(raw.get("order_masters")),
            syndic_wait=numbers["syndic_wait"],
            nodegroups=raw.get("nodegroups") or {},
            ext_job_cache=str(raw.get("ext_job_cache") or ""),
        )


def _ipc_host(raw: Mapping[str, Any]) -> str:
    """Return the address of the event bus with `ipc_mode: tcp`: Salt's own choice, ::1 with `ipv6`; before 3008 it knows 127.0.0.1 only."""
    salts: Callable[[Mapping[str, Any]], str] = getattr(salt.transport.base, "_ipc_loopback", lambda _raw: "127.0.0.1")
    return salts(raw)


def _numbers(raw: Mapping[str, Any], faults: list[ConfigFault]) -> dict[str, int]:
    """Return the whole numbers we need, Salt's defaults for those that are missing; add what is not a number to *faults*."""
    numbers: dict[str, int] = {}
    for name, default in _NUMBERS.items():
        value = raw.get(name)
        try:
            numbers[name] = default if value is None else int(value)
        except (TypeError, ValueError, OverflowError):
            faults.append(ConfigFault(f"{name} of the master configuration", "is not a whole number", f"write one, such as {default}, or remove it"))
    return numbers


def _clients(raw: Mapping[str, Any], faults: list[ConfigFault]) -> tuple[str, ...]:
    """Return `netapi_enable_clients`. A text is a fault: Salt would find `local` in `localhost`, and we would enable its letters."""
    clients = raw.get("netapi_enable_clients") or ()
    if isinstance(clients, str) or not isinstance(clients, Iterable):
        faults.append(ConfigFault("netapi_enable_clients of the master configuration", "is not a list", "write one, such as [local, runner]"))
        return ()
    return tuple(clients)


def read_master_config(path: Path, *, read: Callable[[str], dict[str, Any]] = salt.config.client_config) -> dict[str, Any]:
    """
    Read Salt's opts from the master configuration at *path*.

    Raises InvalidConfiguration with one fault that names the fix; Salt itself would fall back to defaults, or exit.
    """
    _check_path(path)
    try:
        return read(str(path))
    except (salt.exceptions.SaltConfigurationError, SystemExit, ValueError, TypeError, AttributeError) as exc:
        why = "Salt's own log line says where" if isinstance(exc, SystemExit) else " ".join(str(exc).split())
        raise InvalidConfiguration([ConfigFault(str(path), f"Salt cannot read it ({why})", "correct the YAML")]) from exc


def _check_path(path: Path) -> None:
    """Find what is wrong with the path itself."""
    text = str(path)
    if text.lstrip().startswith("{"):
        problem, fix = "holds JSON, as the saltstack/salt image wants it; here it is a path", "set SALT_MASTER_CONFIG to the master configuration file"
        text = "SALT_MASTER_CONFIG"
    elif os.path.isdir(path):  # noqa: PTH112 - pathlib raises, at least to 3.11, when we may not look into the folder
        problem, fix = "is a directory", f"set SALT_MASTER_CONFIG to the file, such as {path / 'master'}"
    elif _is_absent(path):
        problem, fix = "does not exist", "set SALT_MASTER_CONFIG to the master configuration file, or mount it there"
    elif not os.access(path, os.R_OK):
        problem, fix = f"cannot be read by uid {os.getuid()}", "run as the master's user, or make the file readable to its group"
    else:
        return
    raise InvalidConfiguration([ConfigFault(text, problem, fix)])


def _is_absent(path: Path) -> bool:
    """Say that there is no such file; of a folder that is closed to us we cannot know."""
    try:
        path.stat()
    except PermissionError:
        return False
    except (OSError, ValueError):
        return True
    return False


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("[") else host
