"""The whole configuration: the master's, what we inherit of it, and our own settings; every fault of all of them at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from service import inherited, sources
from service.audit.faults import audit_faults
from service.auth.webhook import endpoint_faults
from service.errors import ConfigFault, InvalidConfiguration
from service.gateway.opts import MasterOptions, read_master_config
from service.http.bearer import token_faults
from service.http.files import site_faults
from service.http.paths import url_faults
from service.routes import API_RESOURCES
from service.settings import Settings, master_config_path


@dataclasses.dataclass(frozen=True)
class Configuration:
    """Our settings and what we take from the master's. notes: what the start should say of the master's API sections. told_by: sources of options."""

    settings: Settings
    master: MasterOptions
    notes: tuple[ConfigFault, ...] = ()
    told_by: Mapping[str, str] = dataclasses.field(default_factory=dict)


def read_configuration(environ: Mapping[str, str], *, read: Callable[[Path], Mapping[str, Any]] = read_master_config) -> Configuration:
    """Read the master configuration and our settings. Raises InvalidConfiguration with the faults of both."""
    faults = []
    raw: Mapping[str, Any] = {}
    ours = Settings()
    try:
        raw = read(master_config_path(environ))
    except InvalidConfiguration as exc:
        faults += exc.faults
    from_master = inherited.inherit(raw)
    try:
        ours = sources.load(environ, from_master)
        faults += setting_faults(ours)
    except InvalidConfiguration as exc:
        faults += exc.faults
    if raw.get("transport", "zeromq") != "zeromq":
        faults.append(
            ConfigFault("transport", f"the master speaks {raw['transport']}, we speak zeromq only", "set `transport: zeromq` in the master configuration")
        )
    if faults:
        raise InvalidConfiguration(faults)
    return Configuration(ours, MasterOptions.of(raw, request_uri=ours.master.uri), from_master.notes, sources.told_by(environ, from_master))


def setting_faults(ours: Settings) -> list[ConfigFault]:
    """Return what is wrong with settings that are each well-formed."""
    faults = token_faults(ours.ops) + site_faults(ours.site) + url_faults(ours, API_RESOURCES)
    return faults + endpoint_faults(ours.hook.endpoints) + audit_faults(ours.audit)
