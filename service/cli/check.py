"""`salt-sidecar check`: looks for everything that would keep the sidecar from working, and says how to fix it."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import os
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from service.cli.pam import pam_notes
from service.cli.serve import uid_faults
from service.clients import CLIENTS
from service.errors import ConfigFault, InvalidConfiguration, MasterTimeout

if TYPE_CHECKING:
    from service.settings.identity_settings import IdentitySettings
    from service.settings.settings import Settings

PING_SECONDS = 3.0
LOGIN_SECONDS = 10.0
CONNECT_SECONDS = 2.0


def main(args: argparse.Namespace) -> int:
    """Print every fault with its fix, and what of `rest_cherrypy` is not taken over; return 0 if there is no fault."""
    faults, notes = find_faults(args.environ)
    for note in notes:
        print(f"NOTE   {note}")
    for fault in faults:
        print(f"FAULT  {fault}")
    print(
        f"{len(faults)} fault{'' if len(faults) == 1 else 's'} found" if faults else "all well: settings, master configuration, event bus, request port, ping"
    )
    return os.EX_CONFIG if faults else 0


def find_faults(environ: dict[str, str]) -> tuple[list[ConfigFault], tuple[ConfigFault, ...]]:
    """Return all faults, not only the first, and what is worth a word but no fault."""
    if unknown := uid_faults():
        # Without Salt nothing else can be looked at.
        return unknown, ()
    from service.wiring.configuration import read_sources  # noqa: PLC0415 - only this command and `serve` need Salt

    found = read_sources(environ)
    settings, raw = found.settings, found.master
    faults = [*found.faults, *(_listener_faults(settings) if settings else ())]
    if raw:
        faults += [*_option_faults(raw), *_master_faults(raw, settings)]
    return faults, (*found.notes, *pam_notes(raw, environ), *(_store_notes(settings) if settings else ()))


def _store_notes(settings: Settings) -> list[ConfigFault]:
    """Return why there can be no jobs of `/v1`; everything else works without."""
    from service.wiring.durable import try_store  # noqa: PLC0415

    with _told() as faults:
        try_store(settings.jobs)
    return [dataclasses.replace(fault, problem=f"{fault.problem}, so `/v1/jobs` is answered 503 and everything else works") for fault in faults]


def _master_faults(raw: Mapping[str, Any], settings: Settings | None) -> list[ConfigFault]:
    from service.gateway.master.options import MasterOptions  # noqa: PLC0415

    faults, uri = [], settings.master.uri if settings else None
    try:
        master = MasterOptions.of(raw, request_uri=uri)
    except InvalidConfiguration as exc:
        faults = exc.faults
        # What is no number hides nothing else: Salt's defaults stand in for it.
        wrong = {fault.where.split()[0] for fault in faults}
        master = MasterOptions.of({name: value for name, value in raw.items() if name not in wrong}, request_uri=uri)
    unheard = list(_ping_faults(master.request_uri))
    logins = _login_faults(settings.identities, raw, master.request_uri) if settings and not unheard else ()
    return [*faults, *_bus_faults(master.bus_path), *unheard, *logins]


def _option_faults(raw: Mapping[str, Any]) -> Iterator[ConfigFault]:
    clients, eauths = raw.get("netapi_enable_clients") or [], raw.get("external_auth") or {}
    if isinstance(clients, list) and not any(client in CLIENTS for client in clients):
        yield ConfigFault(
            "netapi_enable_clients", "no client is enabled, so every call will be refused", "list local, runner and so on in the master configuration"
        )
    if not eauths:
        yield ConfigFault("external_auth", "nobody may log in, so every call will be refused", "add an `external_auth` section to the master configuration")
    elif not isinstance(eauths, Mapping):
        yield ConfigFault("external_auth", "is not a mapping", "write an eauth module, below it users, below them what they may")


def _listener_faults(settings: Settings) -> Iterator[ConfigFault]:
    """Bind as the start does, both at one time: they may want the same port."""
    from service.server.listener import bind  # noqa: PLC0415

    with contextlib.ExitStack() as bound:
        for name, section in (("api", settings.api), ("ops", settings.ops)):
            with _told() as faults:
                bound.enter_context(bind(name, section.host, section.port, f"--{name}-port"))
            yield from faults


@contextlib.contextmanager
def _told() -> Iterator[list[ConfigFault]]:
    """Collect the faults of what is tried inside the block."""
    faults: list[ConfigFault] = []
    try:
        yield faults
    except InvalidConfiguration as exc:
        faults += exc.faults


def _bus_faults(path: str | None) -> Iterator[ConfigFault]:
    if path is None:
        return
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(CONNECT_SECONDS)
        try:
            sock.connect(path)
        except FileNotFoundError:
            yield ConfigFault(path, "the event bus' socket does not exist", "start the salt-master, and share its `sock_dir` with the sidecar")
        except PermissionError:
            closed, owner = _closed(Path(path))
            fix = f"{closed} belongs to uid {owner.st_uid}, group {owner.st_gid}: run as that user or with that group, or give it to uid {os.getuid()}"
            yield ConfigFault(path, f"uid {os.getuid()} may not connect to the event bus", fix)
        except OSError as exc:
            yield ConfigFault(path, f"nobody listens on the event bus' socket ({exc.strerror or exc})", "start the salt-master")


def _closed(path: Path) -> tuple[Path, os.stat_result]:
    """Return what keeps us out, the socket or the folder around it that does not let us in, with its owner."""
    for place in (path, *path.parents):
        with contextlib.suppress(OSError):
            return place, place.stat()
    return Path("/"), os.stat("/")  # noqa: PTH116 - of the root anybody may ask


def _ping_faults(uri: str) -> Iterator[ConfigFault]:
    """Ask the master over `ret_port`, as every call does."""
    host, _, port = uri.removeprefix("tcp://").rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS).close()
    except OSError as exc:
        yield ConfigFault(
            "ret_port",
            f"no connection to {uri} ({exc.strerror or exc})",
            "start the salt-master, or correct `interface` and `ret_port`, or set SIDECAR_MASTER_URI",
        )
        return
    try:
        asyncio.run(_asked(uri, {"cmd": "ping"}, PING_SECONDS))
    except MasterTimeout:
        yield ConfigFault(
            "ret_port", f"{uri} is open, but no salt-master answers a ping there", "see whether another program has the port, and the master's log"
        )


def _login_faults(ours: IdentitySettings, raw: Mapping[str, Any], uri: str) -> Iterator[ConfigFault]:
    """Log the test account in; nobody gets its token, which expires by itself."""
    from service.auth.perms import perms_of  # noqa: PLC0415
    from service.gateway.clients.tokens import is_token_data  # noqa: PLC0415
    from service.identities.assertion import EAUTH, AssertionSigner  # noqa: PLC0415

    account, rights = ours.test_account, raw.get("external_auth")
    # What keeps us from signing was told with the settings.
    if ours.key_file is None or account is None or not isinstance(rights, Mapping) or AssertionSigner(ours.key_file, raw).faults():
        return
    where = f"external_auth.{EAUTH}"
    try:
        answer = asyncio.run(_asked(uri, {"cmd": "mk_token", **AssertionSigner(ours.key_file, raw).credentials(account)}, LOGIN_SECONDS))
    except MasterTimeout:
        yield ConfigFault(where, f"the master did not answer a login of {account}", "see the master's log")
        return
    if not is_token_data(answer):
        fix = f"add `{EAUTH}:` below `external_auth`, run `salt-sidecar install-eauth`, restart the master, and see its log"
        yield ConfigFault(where, f"the master refuses to log {account} in (identities.test_account)", fix)
    elif not perms_of(answer, rights):
        yield ConfigFault(where, f"the master logs {account} in and lets it do nothing", f"list what `{account}` may do there")


async def _asked(uri: str, load: dict[str, Any], seconds: float) -> Any:
    import zmq  # noqa: PLC0415

    from service.gateway.transport.wire import RequestSocket  # noqa: PLC0415

    with zmq.Context() as context:
        master = RequestSocket(context, uri)
        try:
            return await master.roundtrip(load, seconds)
        finally:
            master.close()
