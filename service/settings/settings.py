"""Every option of ours, declared once: type, default, bounds, help; files, environment and docs derive from here."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator
from pydantic.fields import FieldInfo

from service.settings import locations
from service.settings.audit_settings import AuditSettings
from service.settings.identity_settings import IdentitySettings
from service.settings.job_settings import JobSettings
from service.settings.limit_settings import LimitSettings
from service.settings.option_types import RELOADABLE, FromText, Group, Networks, Origins, Port, Seconds, Slots, Words
from service.settings.policy_settings import PolicySettings


class ApiSettings(Group):
    """The API's listener."""

    host: str = Field("127.0.0.1", description="Address the API listens on; 0.0.0.0 for all.")
    port: Port = Field(8001, description="Port of the API; `rest_wsgi: {port: N}` in the master configuration also sets it; 0 picks a free one.")
    hosts: Words = Field(
        (),
        description="What the header `Host` may say, such as salt.example.org or salt.example.org:8001 for that port only; anything when empty. Set it against DNS rebinding.",
        json_schema_extra=RELOADABLE,
    )
    root_prefix: str = Field("", pattern=r"^(/[A-Za-z0-9_/-]*[A-Za-z0-9_-])?$", description="Path before every URL of the API, such as /salt-api.")
    body_limit_bytes: int = Field(16 * 1024 * 1024, ge=1024, description="Largest request body; a larger one is answered 413.")
    body_values_limit: int = Field(500_000, ge=1000, description="Most values in a body, names of fields included; one with more is answered 413.")
    load_limit_bytes: int = Field(8 * 1024 * 1024, ge=65_536, description="Most bytes that the master gets for one low; a low of more is answered 413.")
    body_memory_bytes: int = Field(
        256 * 1024 * 1024, ge=16 * 1024 * 1024, description="Memory that all bodies together may take once decoded; a request that finds none is answered 503."
    )
    connection_limit: int = Field(2000, ge=10, description="Most open connections; further ones wait in the listen queue.")
    receive_seconds: Seconds = Field(60.0, description="Longest time from a request's first byte to its last; slower senders are cut.")
    receive_bytes_per_second: int = Field(500, ge=0, description="Slowest rate of a request from its 20th second on; slower senders are cut. 0: none.")
    connections_per_address: int = Field(500, ge=1, description="Most connections of one address or IPv6 /64; one more takes the place of an unused one.")
    body_bytes_per_address: int = Field(64 * 1024**2, ge=1024, description="Most bytes of bodies from one address or IPv6 /64 at one time; over it: 503.")
    body_bytes: int = Field(
        96 * 1024**2, ge=1024, description="Most bytes of all bodies at one time, in memory and in files of /tmp; over it the address that holds most gets 503."
    )


class OpsSettings(Group):
    """The listener of probes and Prometheus."""

    host: str = Field(locations.HOST, description="Address of `/metrics`, `/livez` and `/readyz`.")
    port: Port = Field(locations.PORT, description="Port of `/metrics`, `/livez` and `/readyz`; 0 picks a free one.")
    token_file: Path | None = Field(
        None, description="File with a bearer token that `/metrics` and the details of `/readyz` then ask for. Read again when it is replaced."
    )


class MasterSettings(Group):
    """The connection to the master."""

    uri: str | None = Field(
        None,
        pattern=r"^tcp://.+:\d+$",
        description="Request address of the master, `tcp://HOST:PORT`; default: `interface` and `ret_port` of the master configuration.",
    )
    channels: int = Field(8, ge=2, le=64, description="Persistent request channels; half of them are kept free of slow calls (wheel, first-time logins).")
    rpc_timeout_seconds: Seconds = Field(30.0, description="Longest wait for the master's answer to one request.")
    queue_calls: Slots = Field(
        300, description="Most calls waiting for a free channel, as they do while the master is busy; further ones are refused at once, with 503."
    )
    probe_seconds: Seconds = Field(5.0, description="Pause between two pings of a healthy master; one a second while it is busy or down.")
    busy_seconds: Seconds = Field(
        60.0,
        description="Seconds without any answer, to a ping or a call, after which a master that does not refuse connections counts as down; until then it is busy, and calls wait for their own deadline.",
    )
    busy_ready_seconds: float = Field(
        60.0, ge=0, le=86_400, description="Seconds without any answer that a busy master may leave `/readyz` ready, which then says `busy`."
    )


class LogSettings(Group):
    """The JSON log on standard output."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="Lowest level of the lines that are written.", json_schema_extra=RELOADABLE)
    format: Literal["json", "ecs", "console"] = Field(
        "json", description="`json`, `ecs` (names of the Elastic Common Schema), or `console`: for people, on a terminal only; elsewhere it means `json`."
    )
    include_target: bool = Field(
        False, description="Write jobs' targets into the log. Otherwise it has only a hash, which is equal for equal targets.", json_schema_extra=RELOADABLE
    )
    queue_lines: int = Field(10_000, ge=100, description="Most lines waiting for a slow reader of standard output; further ones are dropped and counted.")


class PerMinionSettings(Group):
    """Series for single minions."""

    enabled: bool = Field(False, description="Whether to expose the series for single minions.")
    max: int = Field(1000, ge=1, le=10_000, description="Most minions with series of their own.")
    allow: str = Field("*", description="Glob of the ids of minions that may have series of their own.")


class MetricSettings(Group):
    """What is counted by function and by minion."""

    functions: int = Field(100, ge=1, le=1000, description="Most values of the label `function`; further functions count as `other`.")
    function_names: Words = Field((), description="Functions that always have a value of the label `function`.")
    per_minion: Annotated[PerMinionSettings, FromText] = Field(
        PerMinionSettings(),
        description="Two more series for each minion: when it was last heard of, and how its last highstate ended. `enabled`: whether to expose them; `max`: most minions; `allow`: a glob of ids.",
    )


class SessionSettings(Group):
    """Sessions: the session token is the Salt token, so they live as long as that does, on every sidecar beside the master."""

    cookie_name: str = Field("session_id", pattern=r"^[A-Za-z0-9_-]+$", description="Name of the session cookie, which /login sets.")
    cookie_samesite: Literal["lax", "strict", "none"] = Field(
        "lax", description="SameSite attribute of the session cookie; `none` lets other sites' pages use it."
    )
    cookie_secure: Literal["auto", "always", "never"] = Field("auto", description="When the cookie is marked Secure; `auto`: when the request came by https.")
    cache_seconds: float = Field(5.0, ge=0, le=5, description="Seconds that a token which the master confirmed is accepted without asking again.")
    offline_seconds: float = Field(
        600.0,
        ge=0,
        le=86_400,
        description="Seconds that a token which the master confirmed is accepted at `/stats` and `/logout`, which need no master, while the master cannot be asked; 0: not at all.",
    )


class EventSettings(Group):
    """The event stream, `GET /events`."""

    streams: Slots = Field(200, description="Most readers of one user at one time; each occupies a thread. `limits.share` says what others get beside it.")
    queue_events: int = Field(
        1000,
        ge=10,
        le=100_000,
        description="Most events waiting for one reader; a reader that falls further behind gets a last event that says so, and is disconnected.",
    )
    heartbeat_seconds: float = Field(
        10.0, gt=0, le=15, description="Pause between two `retry:` lines while there are no events; they also show which readers have left."
    )
    visibility: Literal["permitted", "everybody"] = Field(
        "permitted",
        description="`permitted`: all events only for callers with the right `.*` or in `events.see_all`, others see their own jobs; `everybody`: as rest_cherrypy.",
    )
    see_all: Words = Field(
        (), description="Users who see all events whatever their rights, as `EAUTH:USER`. A bare name means the users of that name in every eauth module."
    )
    query_token: bool = Field(
        False, description="Accept the token as `?token=` or `?salt_token=`, for browsers without cookies; it ends up in other people's logs."
    )


class WebsocketSettings(Group):
    """Websockets, for clients of rest_cherrypy and rest_tornado: the events of `/events` at a port of their own."""

    port: Port | None = Field(
        None, description="Port of `/ws`, `/all_events` and `/formatted_events`, at the address `api.host`; 0 picks a free one. None: no websockets."
    )


class HookEndpoint(Group):
    """One path below the hook URL with rules of its own, which hold for everything below it too."""

    secret_file: Path | None = Field(
        None, description="File with the key of the HMAC-SHA256 signature; without one no signature is asked for. Read again when it is replaced."
    )
    signature_header: str = Field("X-Hub-Signature-256", description="Header with `sha256=HEX`, as GitHub sends it.")
    timestamp_header: str | None = Field(None, description="Header with the Unix time, signed as `TIME.BODY`; without it a call may be sent again.")
    tolerance_seconds: Seconds = Field(300.0, description="Largest accepted difference between a webhook's timestamp and our clock, in both directions.")
    sign_path: bool = Field(
        False, description="The path is signed too: its part after `hook.url`, without slashes around it, and a line feed, in front of the body."
    )
    token_file: Path | None = Field(None, description="File with a fixed token that callers send, in its first line. Read again when it is replaced.")
    token_header: str = Field(
        "Authorization", pattern=r"^[A-Za-z0-9-]+$", description="Header with that token, such as `X-Gitlab-Token`; in `Authorization` it follows `Bearer`."
    )
    networks: Networks = Field((), description="Networks that may call; all when empty.")

    @model_validator(mode="after")
    def _check(self) -> HookEndpoint:
        if self.sign_path and self.secret_file is None:
            raise ValueError("sign_path needs secret_file, the key of the signature")
        return self


class HookSettings(Group):
    """Webhooks, `POST /hook/...`: a request becomes an event on the master's bus."""

    url: str = Field(
        "/hook", pattern=r"^/[A-Za-z0-9_/-]*[A-Za-z0-9_-]$", description="URL of the webhooks; what follows it in the path is appended to the event's tag."
    )
    require_login: bool = Field(True, description="Ask webhooks for a session; a path with a signature or token of its own in `hook.endpoints` needs none.")
    body_limit_bytes: int = Field(1024 * 1024, ge=1, description="Largest body of a webhook.")
    endpoints: Annotated[dict[str, HookEndpoint], FromText] = Field(
        {}, description="Rules for single webhooks, by path below `hook.url`, such as `github/push`; they hold for everything below that path too."
    )


class CorsSettings(Group):
    """Browser pages from other origins."""

    origins: Origins = Field(
        (),
        description="Origins whose pages may call, such as https://gui.example.org; none when empty. `*` for all, without credentials.",
        json_schema_extra=RELOADABLE,
    )
    credentials: bool = Field(False, description="Let pages of `cors.origins` use the session cookie.", json_schema_extra=RELOADABLE)
    max_age_seconds: int = Field(600, ge=0, le=86_400, description="Seconds that a browser may cache the answer to a preflight.", json_schema_extra=RELOADABLE)

    @model_validator(mode="after")
    def _check(self) -> CorsSettings:
        for origin in self.origins:
            scheme, found, host = origin.partition("://")
            if origin != "*" and not (scheme and found and host and "/" not in host and "*" not in host):
                raise ValueError("an origin is SCHEME://HOST or SCHEME://HOST:PORT, or `*` for all of them")
        if self.credentials and "*" in self.origins:
            raise ValueError("`*` goes without credentials; list the origins that may use the session cookie")
        return self


class AccessSettings(Group):
    """Who may connect at all; checked before anything else, at every URL of the API."""

    networks: Networks = Field(
        (),
        description="Networks that may call the API, such as 10.0.0.0/8; all when empty. An IPv6 network has no IPv4 callers in it, however they connect.",
        json_schema_extra=RELOADABLE,
    )
    users: Annotated[dict[str, Networks], FromText] = Field(
        {},
        description="Networks by user name; the network `*` is every address, the user `*` is everybody not listed. Once any user is listed, users who match no entry are refused.",
        json_schema_extra=RELOADABLE,
    )
    trusted_proxies: Networks = Field((), description="Networks of the proxies that are believed about who called them, and whose request ids are kept.")
    proxy_header: Literal["x-forwarded-for", "forwarded", "x-real-ip"] = Field(
        "x-forwarded-for",
        description="Header in which the trusted proxies name their caller. The other two are ignored, because a proxy passes on headers that it does not set itself.",
    )


class SiteSettings(Group):
    """Files for browsers: a single-page application such as SaltGUI."""

    app: Path | None = Field(None, description="HTML file served to browsers, as rest_cherrypy's `app`.")
    app_path: str = Field("/app", pattern=r"^/[A-Za-z0-9_-]+$", description="URL of the file `site.app`, which is also served at every URL below it.")
    static: Path | None = Field(None, description="Folder of static files, as rest_cherrypy's `static`.")
    static_path: str = Field("/static", pattern=r"^/[A-Za-z0-9_-]+$", description="URL of the folder `site.static`.")


class StatsSettings(Group):
    """Figures in the shape of rest_cherrypy's, `GET /stats`; `/metrics` says more."""

    require_login: bool = Field(True, description="Ask for a session at `/stats`.")


class TracingSettings(Group):
    """Spans for an OpenTelemetry collector; docs/tracing.md."""

    endpoint: str | None = Field(
        None,
        pattern=r"^https?://[^/@\s?#]+(/[^\s?#]*)?$",
        description="Collector that takes OTLP over HTTP, such as http://otel-collector:4318 (`/v1/traces` is added); default: `OTEL_EXPORTER_OTLP_ENDPOINT`. None: no tracing.",
    )
    sample_ratio: float = Field(1.0, ge=0, le=1, description="Share of the traces beginning here that are recorded; a caller's own decision is followed.")


class DrainSettings(Group):
    """What SIGTERM does."""

    notice_seconds: float = Field(
        0.0,
        ge=0,
        le=600,
        description="Seconds after SIGTERM in which we still serve but are not ready, before the listener closes; in Kubernetes the time that a Service needs to notice.",
    )
    drain_seconds: Seconds = Field(30.0, description="Longest wait, once the listener has closed, for running requests and unsent bytes.")


class ClientSettings(Group):
    """Clients that are served only if this says so, beside the master's `netapi_enable_clients`."""

    ssh: bool = Field(
        False,
        description="Serve `client: ssh`: the master's runner `ssh.cmd` runs functions on the hosts of its roster, over ssh. docs/ssh.md says whom to permit it.",
    )


class Settings(Group):
    """All sections. Sources, strongest first: `SIDECAR_*` environment, sidecar.yaml, the master's `rest_wsgi` and `rest_cherrypy` sections, defaults."""

    api: ApiSettings = ApiSettings()
    ops: OpsSettings = OpsSettings()
    master: MasterSettings = MasterSettings()
    jobs: JobSettings = JobSettings()
    clients: ClientSettings = ClientSettings()
    limits: LimitSettings = LimitSettings()
    log: LogSettings = LogSettings()
    metrics: MetricSettings = MetricSettings()
    audit: AuditSettings = AuditSettings()
    policy: PolicySettings = PolicySettings()
    session: SessionSettings = SessionSettings()
    identities: IdentitySettings = IdentitySettings()
    events: EventSettings = EventSettings()
    websocket: WebsocketSettings = WebsocketSettings()
    hook: HookSettings = HookSettings()
    cors: CorsSettings = CorsSettings()
    access: AccessSettings = AccessSettings()
    site: SiteSettings = SiteSettings()
    stats: StatsSettings = StatsSettings()
    tracing: TracingSettings = TracingSettings()
    drain: DrainSettings = DrainSettings()


def changed(old: Settings, new: Settings) -> set[str]:
    """Return the dotted names of the options whose values differ."""
    return {name for name in options() if value(old, name) != value(new, name)}


def with_options(old: Settings, new: Settings, names: Iterable[str]) -> Settings:
    """Return *old* with the options of *new* that have these dotted names."""
    merged = old.model_dump()
    for name in names:
        group, option = name.split(".")
        merged[group][option] = value(new, name)
    return Settings.model_validate(merged)


def value(ours: Settings, dotted: str) -> Any:
    """Return the value of the option with this dotted name."""
    group, name = dotted.split(".")
    return getattr(getattr(ours, group), name)


def is_reloadable(field: FieldInfo) -> bool:
    """Return whether the declaration says that a running process takes the option; a test compares that with who takes it."""
    extra = field.json_schema_extra
    return isinstance(extra, dict) and bool(extra.get("reloadable"))


def options() -> dict[str, Any]:
    """Return every option's declaration by its dotted name, in the order declared."""
    return {
        f"{group}.{name}": field
        for group, section in Settings.model_fields.items()
        for name, field in section.annotation.model_fields.items()  # type: ignore[union-attr]
    }


def digest(ours: Settings) -> str:
    """Return what two processes with the same settings have in common."""
    return hashlib.sha256(ours.model_dump_json().encode()).hexdigest()[:16]
