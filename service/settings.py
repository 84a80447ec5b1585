"""Every option of ours, declared once: type, default, bounds, help; files, environment and docs derive from here."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from service.errors import ConfigFault, InvalidConfiguration

ENV_PREFIX = "SIDECAR_"
CONFIG_VARIABLE = "SIDECAR_CONFIG"
MASTER_CONFIG_VARIABLE = "SALT_MASTER_CONFIG"
# A master configuration's path that is really a JSON document makes a name too long for the one beside it.
_NO_SUCH_FILE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG})
DEFAULT_MASTER_CONFIG = Path("/etc/salt/master")

# A reloadable option takes effect on SIGHUP; the others need a restart.
RELOADABLE: dict[str, Any] = {"reloadable": True}

Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]
Slots = Annotated[int, Field(ge=1, le=10_000)]


class Group(BaseModel):
    """A section of the settings; unknown names are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ApiSettings(Group):
    """The listener callers use."""

    host: str = Field("127.0.0.1", description="Address the API listens on; 0.0.0.0 for all.")
    port: Port = Field(8001, description="Port of the API; `rest_wsgi: {port: N}` in the master configuration also sets it. 0 picks a free one.")
    body_limit_bytes: int = Field(16 * 1024 * 1024, ge=1024, description="Largest request body; a larger one is answered 413.")
    connection_limit: int = Field(2000, ge=10, description="Most open connections; further ones wait in the listen queue.")
    receive_seconds: Seconds = Field(60.0, description="Longest time from a request's first byte to its last; slower senders are cut.")


class OpsSettings(Group):
    """The listener of probes and Prometheus."""

    host: str = Field("127.0.0.1", description="Address of `/metrics`, `/livez` and `/readyz`.")
    port: Port = Field(9175, description="Port of the ops listener. 0 picks a free one.")


class MasterSettings(Group):
    """How we talk to the master."""

    uri: str | None = Field(
        None,
        pattern=r"^tcp://.+:\d+$",
        description="Request address of the master, `tcp://HOST:PORT`; default: `interface` and `ret_port` of the master configuration.",
    )
    channels: int = Field(8, ge=2, le=64, description="Persistent request channels; half of them are kept free of slow calls (wheel, first-time logins).")
    rpc_timeout_seconds: Seconds = Field(30.0, description="Longest wait for the master's answer to one request.")
    probe_seconds: Seconds = Field(5.0, description="Pause between two pings of a healthy master; one a second while it is down.")


class JobSettings(Group):
    """How jobs are published and waited for."""

    deadline_seconds: Seconds = Field(
        7200.0, description="Longest wait for a synchronous job, runner or batch, whatever the minions say.", json_schema_extra=RELOADABLE
    )
    metadata: bool = Field(
        True, description="Put `request_id` into the job's metadata, where minions, returns and the job cache show it.", json_schema_extra=RELOADABLE
    )
    early_bytes: int = Field(64 * 1024 * 1024, ge=1024 * 1024, description="Memory for returns that arrive before the publish is acknowledged.")


class LimitSettings(Group):
    """Bulkheads and brakes."""

    sync_jobs: Slots = Field(256, description="Requests that may wait for minions or runners at one time.")
    quick_calls: Slots = Field(32, description="Other requests at one time: asynchronous publishes, wheel, `GET /`.")
    lows_per_request: int = Field(100, ge=1, description="Most lows in one request.", json_schema_extra=RELOADABLE)
    auth_concurrency: int = Field(
        2, ge=1, description="Authentications with unproven credentials at one time; a failed one holds a master worker for a second."
    )
    auth_failures_burst: int = Field(
        3,
        ge=1,
        description="Failed authentications at once, of an address, of a user and of all together, before the next has to wait.",
        json_schema_extra=RELOADABLE,
    )
    auth_failures_per_minute: float = Field(6.0, gt=0, description="Rate at which that allowance grows back.", json_schema_extra=RELOADABLE)
    auth_failures_per_minute_overall: float = Field(
        12.0,
        gt=0,
        description="The same for all addresses and users together: each failure slows every caller of the master.",
        json_schema_extra=RELOADABLE,
    )
    auth_proven_seconds: Seconds = Field(
        900.0, description="How long credentials that worked bypass these brakes (the master still checks them every time).", json_schema_extra=RELOADABLE
    )


class LogSettings(Group):
    """The JSON log on standard output."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="Lowest level written.", json_schema_extra=RELOADABLE)
    queue_lines: int = Field(10_000, ge=100, description="Lines that may wait for a slow reader of standard output; further ones are dropped and counted.")


class DrainSettings(Group):
    """What SIGTERM does."""

    notice_seconds: float = Field(
        0.0, ge=0, le=600, description="How long to keep serving, not ready, before the listener closes; in Kubernetes the time a Service needs to notice."
    )
    drain_seconds: Seconds = Field(30.0, description="Longest wait for running requests and unsent bytes.")


class Settings(Group):
    """All sections. Sources, strongest first: `SIDECAR_*` environment, sidecar.yaml, the master's `rest_wsgi` section, defaults."""

    api: ApiSettings = ApiSettings()
    ops: OpsSettings = OpsSettings()
    master: MasterSettings = MasterSettings()
    jobs: JobSettings = JobSettings()
    limits: LimitSettings = LimitSettings()
    log: LogSettings = LogSettings()
    drain: DrainSettings = DrainSettings()


def master_config_path(environ: Mapping[str, str]) -> Path:
    """Return the master configuration's path, from where rest_wsgi takes it too."""
    return Path(environ.get(MASTER_CONFIG_VARIABLE) or DEFAULT_MASTER_CONFIG)


def settings_path(environ: Mapping[str, str]) -> Path:
    """Return where sidecar.yaml is: `SIDECAR_CONFIG`, else beside the master configuration; it need not exist there."""
    named = environ.get(CONFIG_VARIABLE)
    return Path(named) if named else master_config_path(environ).parent / "sidecar.yaml"


def load(environ: Mapping[str, str], rest_wsgi: Mapping[str, Any] | None = None) -> Settings:
    """
    Merge all sources and validate them.

    rest_wsgi: the section of that name in the master configuration; only its `port` means something to us.
    Raises InvalidConfiguration with every fault of every source.
    """
    from_master, faults = _read_rest_wsgi(rest_wsgi)
    from_file, unreadable = _read_file(environ)
    from_environ, unknown = _read_environ(environ)
    faults += unreadable
    try:
        settings = Settings.model_validate(_merged(from_master, from_file, from_environ))
    except ValidationError as exc:
        origins = _origins(from_master, from_file, from_environ)
        faults += [_fault_of(error, origins) for error in exc.errors()]
    if faults or unknown:
        raise InvalidConfiguration(faults + unknown)
    return settings


def changed(old: Settings, new: Settings) -> dict[str, bool]:
    """Return the dotted names whose values differ, each with whether a reload can apply it."""
    return {name: bool((field.json_schema_extra or {}).get("reloadable")) for name, field in options().items() if _value(old, name) != _value(new, name)}


def with_reloadable(old: Settings, new: Settings) -> Settings:
    """Return *old* with those options of *new* that a running process can take."""
    merged = old.model_dump()
    for name, reloadable in changed(old, new).items():
        if reloadable:
            group, option = name.split(".")
            merged[group][option] = _value(new, name)
    return Settings.model_validate(merged)


def options() -> dict[str, Any]:
    """Return every option's declaration by its dotted name, in the order declared."""
    return {
        f"{group}.{name}": field
        for group, section in Settings.model_fields.items()
        for name, field in section.annotation.model_fields.items()  # type: ignore[union-attr]
    }


def environ_name(dotted: str) -> str:
    """Return the environment variable of an option: `api.port` is `SIDECAR_API_PORT`."""
    return ENV_PREFIX + dotted.replace(".", "_").upper()


def _value(settings: Settings, dotted: str) -> object:
    group, name = dotted.split(".")
    return getattr(getattr(settings, group), name)


def _merged(*sources: Mapping[str, Any]) -> dict[str, Any]:
    """Lay the sources over each other, the strongest last; what is no section stays, to be found a fault."""
    merged: dict[str, Any] = {}
    for source in sources:
        for group, values in source.items():
            below = merged.get(group, {})
            if values is None or not isinstance(below, dict):
                continue  # None: a section whose options are all commented out
            merged[group] = {**below, **values} if isinstance(values, dict) else values
    return merged


def _origins(from_master: Mapping[str, Any], from_file: Mapping[str, Any], from_environ: Mapping[str, Any]) -> dict[str, str]:
    """Return where an option was set, by its dotted name; one that is not here is in sidecar.yaml."""
    master_port = "rest_wsgi.port of the master configuration"
    named_in_file = {f"{group}.{name}" for group, values in from_file.items() if isinstance(values, dict) for name in values}
    origins = {"api.port": master_port} if from_master and "api.port" not in named_in_file else {}
    return origins | {dotted: environ_name(dotted) for group, values in from_environ.items() for dotted in (f"{group}.{name}" for name in values)}


def _read_rest_wsgi(section: object) -> tuple[dict[str, dict[str, Any]], list[ConfigFault]]:
    if section is not None and not isinstance(section, Mapping):
        return {}, [ConfigFault("rest_wsgi of the master configuration", "is not a mapping", "write `rest_wsgi: {port: 8001}`, or remove it")]
    return ({"api": {"port": section["port"]}} if section and "port" in section else {}), []


def _read_file(environ: Mapping[str, str]) -> tuple[dict[str, Any], list[ConfigFault]]:
    path = settings_path(environ)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except OSError as exc:
        if exc.errno in _NO_SUCH_FILE and CONFIG_VARIABLE not in environ:
            return {}, []
        return {}, [ConfigFault(str(path), f"cannot be read ({exc.strerror})", f"create it, or correct {CONFIG_VARIABLE}")]
    except (yaml.YAMLError, UnicodeDecodeError) as exc:
        # Their own words quote the file, which may hold a secret.
        mark = getattr(exc, "problem_mark", None)
        place = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "characters that no text has"
        return {}, [ConfigFault(str(path), f"is not YAML ({place})", "correct the syntax")]
    if not isinstance(content, dict):
        return {}, [ConfigFault(str(path), "is not a mapping of sections", "write `api:`, `limits:` and so on at the top level")]
    return content, []


def _read_environ(environ: Mapping[str, str]) -> tuple[dict[str, dict[str, Any]], list[ConfigFault]]:
    known = {environ_name(dotted): dotted for dotted in options()}
    found: dict[str, dict[str, Any]] = {}
    unknown = []
    for variable in sorted(name for name in environ if name.startswith(ENV_PREFIX) and name != CONFIG_VARIABLE):
        if variable not in known:
            unknown.append(ConfigFault(variable, "no such option", "remove it, or see docs/settings.md for the names"))
            continue
        group, name = known[variable].split(".")
        found.setdefault(group, {})[name] = environ[variable]
    return found, unknown


def _fault_of(error: Mapping[str, Any], origins: Mapping[str, str]) -> ConfigFault:
    """Say which option is wrong and where it came from; the value itself stays out, it may be a secret."""
    dotted = ".".join(str(part) for part in error["loc"])
    where = origins.get(dotted, dotted)
    if error["type"] == "extra_forbidden":
        return ConfigFault(where, "no such option", "remove it, or see docs/settings.md for the names")
    return ConfigFault(where, str(error["msg"]).lower(), f"see {dotted} in docs/settings.md")
