"""The whole configuration: the master's, what we take from it, and our own settings; reports every fault at once."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from service.audit.faults import audit_faults
from service.auth.rule_faults import policy_faults
from service.auth.webhook import endpoint_faults
from service.clients import CLIENTS, OPT_IN, Client
from service.errors import ConfigFault, InvalidConfiguration, did_you_mean
from service.gateway.clients.rights import BY_CONFIGURATION
from service.gateway.master.options import EAUTH_MODULES, MasterOptions, read_master_config
from service.http.files import site_faults
from service.identities.account_rules import identity_faults
from service.identities.assertion import AssertionSigner
from service.logins.reused_logins import UNFIT_OPTIONS
from service.observe.trace import tracing
from service.routes import url_faults
from service.secrets.reading import first_line
from service.secrets.secret_file import BearerFile, SecretFile
from service.settings import inherited, sources
from service.settings.identity_settings import IdentitySettings
from service.settings.locations import master_config_path
from service.settings.settings import ClientSettings, Settings


@dataclasses.dataclass(frozen=True)
class Configuration:
    """Our settings and what we take from the master's. notes: what the start should say of the master's API sections. told_by: sources of options. traces_to: URL."""

    settings: Settings
    master: MasterOptions
    notes: tuple[ConfigFault, ...] = ()
    told_by: Mapping[str, str] = dataclasses.field(default_factory=dict)
    traces_to: str | None = None


@dataclasses.dataclass(frozen=True)
class Sources:
    """What could be read, whatever else is wrong. master: its configuration, empty if it cannot be read. settings: None if they cannot. notes: as in `Configuration`."""

    master: Mapping[str, Any]
    settings: Settings | None
    faults: tuple[ConfigFault, ...]
    notes: tuple[ConfigFault, ...]
    told_by: Mapping[str, str]
    traces_to: str | None


def read_sources(environ: Mapping[str, str], *, read: Callable[[Path], Mapping[str, Any]] = read_master_config) -> Sources:
    """Read the master configuration and our settings, with the faults of both."""
    faults: list[ConfigFault] = []
    raw: Mapping[str, Any] = {}
    settings = None
    try:
        raw = read(master_config_path(environ))
    except InvalidConfiguration as exc:
        faults += exc.faults
    from_master = inherited.inherit(raw)
    try:
        settings = sources.load(environ, from_master)
    except InvalidConfiguration as exc:
        faults += exc.faults
    traces_to: str | None = None
    notes = from_master.notes + master_notes(raw)
    if settings is not None:
        faults += setting_faults(settings)
        faults += AssertionSigner(key, raw).faults() if (key := settings.identities.key_file) and raw else []
        notes += opt_in_notes(settings.clients, raw)
        traces_to, missing = tracing.destination(settings.tracing.endpoint, environ)
        notes += () if settings.tracing.endpoint else missing
        notes += tuple(_bare_name_note("events.see_all", "sees all events", name) for name in settings.events.see_all if ":" not in name)
        notes += reuse_notes(settings.limits.auth_reuse_seconds, raw)
        notes += tuple(_bare_name_note("jobs.readers", "reads everybody's jobs", name) for name in settings.jobs.readers if ":" not in name)
    if raw.get("transport", "zeromq") != "zeromq":
        problem = f"the master speaks {raw['transport']}, we speak zeromq only"
        faults.append(ConfigFault("transport", problem, "set `transport: zeromq` in the master configuration"))
    return Sources(raw, settings, tuple(faults), notes, sources.told_by(environ, from_master) if settings else {}, traces_to)


def read_configuration(environ: Mapping[str, str], *, read: Callable[[Path], Mapping[str, Any]] = read_master_config) -> Configuration:
    """Read the master configuration and our settings. Raises InvalidConfiguration with the faults of both."""
    found = read_sources(environ, read=read)
    if found.faults or found.settings is None:
        raise InvalidConfiguration(list(found.faults))
    master = MasterOptions.of(found.master, request_uri=found.settings.master.uri)
    return Configuration(found.settings, master, found.notes, found.told_by, found.traces_to)


def setting_faults(ours: Settings) -> list[ConfigFault]:
    """Return what is wrong with settings that are each well-formed."""
    lacking = tracing.lacking() if ours.tracing.endpoint else None
    faults = ([lacking] if lacking else []) + BearerFile(ours.ops.token_file).faults() + site_faults(ours.site) + url_faults(ours)
    return faults + endpoint_faults(ours.hook.endpoints) + audit_faults(ours.audit) + policy_faults(ours.policy.rules) + issuer_faults(ours.identities)


def issuer_faults(ours: IdentitySettings) -> list[ConfigFault]:
    """Return what is wrong with issuers, rules, and the files of keys that they name."""
    if faults := [*identity_faults(ours), *proxy_faults(ours)]:
        return faults
    files = {name: issuer for name, issuer in ours.issuers.items() if issuer.jwks_file is not None}
    if not files:
        return []
    from service.identities.id_tokens import file_keys  # noqa: PLC0415 - needs PyJWT, which is there now

    return [fault for name, issuer in files.items() for fault in file_keys(name, issuer).faults()]


def proxy_faults(ours: IdentitySettings) -> list[ConfigFault]:
    """Return why no proxy could ever be believed."""
    return [] if ours.proxy_secret_file is None else SecretFile(ours.proxy_secret_file, "identities.proxy_secret_file", first_line).faults()


def master_notes(raw: Mapping[str, Any]) -> tuple[ConfigFault, ...]:
    """Return what in the master configuration enables nothing here: clients that are none, eauth modules that may be misspelt or whose tokens have no rights."""
    clients, eauths = raw.get("netapi_enable_clients"), raw.get("external_auth")
    strange = [client for client in clients if client not in CLIENTS] if isinstance(clients, list) else []
    misspelt = [name for name in eauths if name not in EAUTH_MODULES] if isinstance(eauths, Mapping) else []
    return (*map(_client_note, strange), *(note for note in map(_eauth_note, misspelt) if note), *_acl_notes(raw))


def _acl_notes(raw: Mapping[str, Any]) -> Iterator[ConfigFault]:
    """Note the eauth modules whose tokens are without any right at this master."""
    eauths = raw.get("external_auth")
    if not raw.get("keep_acl_in_token") or raw.get("eauth_acl_module") or not isinstance(eauths, Mapping):
        return
    if without := sorted(name for name in eauths if name in BY_CONFIGURATION):
        problem = f"with it the master refuses what a token of {', '.join(without)} asks for, at salt-api too: those modules put no rights into it"
        fix = "remove it (with `rest` in external_auth Salt sets it by itself: docs/eauth.md), or let those callers send a name and password in each low"
        yield ConfigFault("keep_acl_in_token", problem, fix)


def reuse_notes(seconds: float, raw: Mapping[str, Any]) -> tuple[ConfigFault, ...]:
    """Return why the master's tokens cannot stand for passwords, if somebody wants that, or why they would pile up."""
    found = [option for option in UNFIT_OPTIONS if raw.get(option)] if seconds else []
    folder = raw.get("token_dir")
    if seconds and not found and folder and not raw.get("token_expire_user_override") and not os.access(folder, os.W_OK | os.X_OK):
        left = "its folder `tokens` is not ours to write, so the master keeps each token of limits.auth_reuse_seconds for its whole token_expire"
        return (ConfigFault("cachedir", left, "share that folder with the sidecar, or set `token_expire_user_override: true` in the master configuration"),)
    problem = "with it a token has other rights than the password it was made with, so limits.auth_reuse_seconds does not use any"
    return tuple(ConfigFault(option, problem, "unset it, or limits.auth_reuse_seconds") for option in found)


def _switches(ours: ClientSettings) -> dict[str, bool]:
    """Return whether each client of OPT_IN is switched on here."""
    return {Client.SSH: ours.ssh}


def served_clients(ours: ClientSettings, listed: Iterable[str]) -> tuple[str, ...]:
    """Return the clients that callers may use. listed: the master's `netapi_enable_clients`."""
    return tuple(client for client in listed if _switches(ours).get(client, True))


def opt_in_notes(ours: ClientSettings, raw: Mapping[str, Any]) -> tuple[ConfigFault, ...]:
    """Return the clients of which one of the two switches is on, and the other off: every call of them is refused."""
    clients = raw.get("netapi_enable_clients")
    listed = clients if isinstance(clients, list) else []
    switches = _switches(ours)
    return tuple(_half_note(client, client in listed) for client in OPT_IN if (client in listed) != switches[client])


def _half_note(client: Client, is_listed: bool) -> ConfigFault:
    refused = "so every call of it is refused"
    if is_listed:
        fix = f"set `clients.{client}: true`, or remove it, unless salt-api runs beside the sidecar"
        return ConfigFault("netapi_enable_clients", f"`{client}` is listed, and `clients.{client}` is off, {refused}", fix)
    return ConfigFault(
        f"clients.{client}", f"is on, and the master does not list `{client}`, {refused}", "add it to `netapi_enable_clients`, or remove the setting"
    )


def _client_note(client: object) -> ConfigFault:
    problem, fix = f"`{str(client)[:64]}` is no client, so it enables nothing", f"{did_you_mean(str(client), CLIENTS)}There are {', '.join(CLIENTS)}"
    return ConfigFault("netapi_enable_clients", problem, fix)


def _bare_name_note(where: str, does: str, name: str) -> ConfigFault:
    problem = f"`{name[:64]}` {does}, whichever eauth module knows a user of that name"
    return ConfigFault(where, problem, f"write `EAUTH:{name[:64]}`, such as `pam:{name[:64]}`")


def _eauth_note(name: object) -> ConfigFault | None:
    """Return a note of a name that is near one of Salt's; any other is a module of the operator's."""
    question = did_you_mean(str(name), EAUTH_MODULES)
    if not question:
        return None
    return ConfigFault("external_auth", f"Salt comes without an eauth module `{str(name)[:64]}`", f"{question}A module of your own may be called so")
