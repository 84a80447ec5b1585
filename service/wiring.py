"""Builds every object once, in order; the only file that knows all classes."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from service import __version__, inherited, settings, sources
from service.api.events import Events
from service.api.hook import Hook
from service.api.jobs import Job, Jobs
from service.api.keys import Key, Keys
from service.api.login import Login
from service.api.logout import Logout
from service.api.minions import Minion, Minions
from service.api.ops import Live, MetricsPage, Ready
from service.api.root import Root
from service.api.run import Run
from service.api.site import App, Static
from service.api.stats import Stats
from service.api.token import Token
from service.api.unavailable import NoWebsocket
from service.auth.guard import Guard
from service.auth.sessions import Identity, Sessions, Tokens
from service.auth.webhook import Webhooks
from service.commands import Commands, LowRunner, Policy
from service.configuration import Configuration
from service.errors import InvalidConfiguration
from service.gateway.dispatch import Gateway
from service.gateway.dispatch import Health as GatewayHealth
from service.gateway.opts import SALT_VERSION, MasterOptions
from service.gateway.streams import Streams
from service.health import Check, Health
from service.http.access import Access
from service.http.addresses import Proxies
from service.http.app import build
from service.http.browser import Browser
from service.http.cookies import SessionCookie
from service.http.cors import Cors
from service.http.facts import Facts
from service.http.files import Folder, Page
from service.http.media import encode
from service.http.middleware import Canonical, log_fields
from service.http.paths import Paths
from service.limits import Brake, Slots
from service.observe import log
from service.observe.metrics import Metrics
from service.observe.report import Report
from service.observe.traffic import Traffic
from service.routes import API_RESOURCES
from service.server.listener import Listener
from service.server.process import Life, Signals, run
from service.settings import Settings

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

# The faults by which a request is refused before it reaches Salt, as the metric names them.
REJECTIONS = {
    "TooLarge": "body_too_large",
    "NotAcceptable": "unsupported_media_type",
    "Throttled": "rate_limited",
    "Overloaded": "queue_full",
    "Draining": "shutting_down",
    "ClientDisabled": "client_disabled",
}
# With every slot taken there is still a thread to say so.
SPARE_THREADS = 8
OPS_THREADS = 4
OPS_CONNECTIONS = 64
OPS_BODY_BYTES = 1024
OPS_RECEIVE_SECONDS = 5.0


class MasterSide(LowRunner, Protocol):
    """The gateway, or a fake of it."""

    @property
    def tokens(self) -> Tokens:
        """Return the master's token calls."""

    def subscribe(self, take: Callable[[bytes, bytes], None]) -> None:
        """Hand every event of the bus on."""

    def fire(self, tag: str, data: Mapping[str, Any]) -> None:
        """Put an event on the bus."""

    def start(self) -> None:
        """Connect, and keep connecting."""

    def stop(self) -> None:
        """Close all connections."""

    def health(self) -> GatewayHealth:
        """Say how the connection to the master is."""


class Process:
    """All objects that live as long as the process, except the listeners."""

    def __init__(self, configuration: Configuration, connect: Callable[[Configuration, Report], MasterSide] | None = None) -> None:
        """connect: makes the gateway; another one in tests."""
        ours, master = configuration.settings, configuration.master
        self.settings = ours
        self._master_raw = master.raw
        self.log = log.get()
        self.metrics = Metrics(routes=API_RESOURCES, eauths=tuple(master.raw.get("external_auth") or ()))
        self.metrics.build_info(version=__version__, python=platform.python_version(), salt=SALT_VERSION)
        self.metrics.watch_log(log.line_counts, log.dropped)
        self.report = Report(self.metrics, self.log)
        self.gateway = (connect or connect_gateway)(configuration, self.report)
        self.health = Health({"master": self._master_check, "bus": self._bus_check})
        self._addresses = Brake(ours.limits.auth_failures_burst, ours.limits.auth_failures_per_minute)
        self._users = Brake(ours.limits.auth_failures_burst, ours.limits.auth_failures_per_minute)
        self._everybody = Brake(ours.limits.auth_failures_burst, ours.limits.auth_failures_per_minute_overall)
        self.guard = Guard(
            addresses=self._addresses,
            users=self._users,
            everybody=self._everybody,
            concurrency=ours.limits.auth_concurrency,
            proven_seconds=ours.limits.auth_proven_seconds,
            on_attempt=self.metrics.auth_attempt,
        )
        self.traffic = Traffic(__version__)
        self.access = Access(ours.access.networks, ours.access.users)
        quick_calls = Slots("quick calls", ours.limits.quick_calls)
        self.sessions = self._make_sessions(master, quick_calls)
        self.commands = Commands(
            self.gateway,
            self.guard,
            self.metrics,
            _policy(ours),
            enabled_clients=master.enabled_clients,
            sync_jobs=Slots("synchronous jobs", ours.limits.sync_jobs),
            quick_calls=quick_calls,
            draining=lambda: self.health.draining,
            may_call=self.sessions.admit,
        )
        self.streams = self._make_streams(ours)
        self._cors = Cors(ours.cors.origins, credentials=ours.cors.credentials, max_age_seconds=ours.cors.max_age_seconds)
        self.api = Canonical(self._api(quick_calls), self.metrics, self._request_done, Proxies(ours.access.trusted_proxies, ours.access.proxy_header))
        self.ops = Canonical(self._ops(), _Unmeasured(), self._probe_done)

    def _api(self, quick_calls: Slots) -> WSGIApplication:
        """Build the API. What stands in front of the routes stands here, in its order."""
        site, routes = self.settings.site, self._resources(quick_calls)
        page = Page(site.app) if site.app else None
        browser = Browser(page, site.app_path, site.static_path)
        if page is not None:
            routes |= dict.fromkeys((site.app_path, f"{site.app_path}/{{rest:path}}"), App(page))
        if site.static is not None:
            routes[f"{site.static_path}/{{name:path}}"] = Static(Folder(site.static))
        # Strangers first, whatever they ask for; OPTIONS before any route; the page last, for it wants the URL as the routes know it.
        front = [self.access, Paths(self.settings.api.root_prefix), self._cors, browser]
        return build(routes, on_crash=self._crashed, middleware=front, unmatched=browser.unmatched)

    def _ops(self) -> WSGIApplication:
        return build({"/livez": Live(), "/readyz": Ready(self.health), "/metrics": MetricsPage(self.metrics, self._refresh)}, on_crash=self._crashed)

    def _make_sessions(self, master: MasterOptions, slots: Slots) -> Sessions:
        return Sessions(
            self.gateway.tokens,
            self.guard,
            slots,
            self.access,
            cookie_name=self.settings.session.cookie_name,
            cache_seconds=self.settings.session.cache_seconds,
            external_auth=master.raw.get("external_auth") or {},
            see_all=self.settings.events.see_all,
            on_revoked=self._revoked,
        )

    def _make_streams(self, ours: Settings) -> Streams:
        streams = Streams(
            encode=encode,
            queue_events=ours.events.queue_events,
            on_drop=lambda: self.report.dropped("stream"),
            on_slow=lambda count: self.metrics.stream_dropped("slow_consumer", count),
            on_gap=lambda: self.metrics.stream_dropped("replay_gap", 1),
            on_crash=self.report.stream_crashed,
        )
        self.metrics.watch_streams(streams, ours.events.streams)
        self.gateway.subscribe(streams.take)
        return streams

    def stop(self) -> None:
        """Close the connections to the master and end our threads."""
        self.gateway.stop()
        self.streams.stop()

    def _event_resources(self, slots: Slots) -> dict[str, object]:
        """Make what serves the event bus' URLs."""
        ours, sessions = self.settings, self.sessions
        webhooks = Webhooks(ours.hook.endpoints, require_login=ours.hook.require_login)
        hook = Hook(self.gateway.fire, webhooks, sessions, slots, ours.hook.body_limit_bytes)
        resources: dict[str, object] = {
            "/events": Events(self.streams, sessions, Slots("event streams", ours.events.streams), ours.events, self.report),
            **dict.fromkeys((ours.hook.url, f"{ours.hook.url}/{{path:path}}"), hook),
        }
        for path in ("/ws", "/all_events", "/formatted_events"):
            resources |= dict.fromkeys((path, f"{path}/{{rest:path}}"), NoWebsocket(path))
        return resources

    def _resources(self, slots: Slots) -> dict[str, object]:
        """Make what serves each URL of the API. slots: of the quick calls."""
        commands, sessions, ours = self.commands, self.sessions, self.settings
        cookie = SessionCookie(ours.session.cookie_name, ours.session.cookie_samesite, ours.session.cookie_secure)
        return {
            "/": Root(commands, sessions),
            "/run": Run(commands),
            "/login": Login(sessions, cookie),
            "/logout": Logout(sessions, cookie),
            "/token": Token(sessions, lambda: commands.policy.lows_per_request),
            "/minions": Minions(commands, sessions),
            "/minions/{mid}": Minion(commands, sessions),
            "/jobs": Jobs(commands, sessions),
            "/jobs/{jid}": Job(commands, sessions),
            "/keys": Keys(commands, sessions),
            "/keys/{mid}": Key(commands, sessions),
            "/stats": Stats(self.traffic, sessions, require_login=ours.stats.require_login),
            **self._event_resources(slots),
        }

    def reload(self, environ: Mapping[str, str]) -> None:
        """Read the settings again and apply those that can change in a running process; keep all of the old ones if any is wrong."""
        try:
            new = sources.load(environ, inherited.inherit(self._master_raw))
        except InvalidConfiguration as exc:
            self.log.error("config.invalid", faults=[str(fault) for fault in exc.faults])  # noqa: TRY400 - the faults say it all
            return
        changed = settings.changed(self.settings, new)
        self.settings = settings.with_reloadable(self.settings, new)
        self._apply(self.settings)
        applied = sorted(name for name, reloadable in changed.items() if reloadable)
        self.log.info("config.loaded", applied=applied, needs_restart=sorted(set(changed) - set(applied)))

    def _apply(self, ours: Settings) -> None:
        log.set_level(ours.log.level)
        self.commands.policy = _policy(ours)
        self.guard.proven_seconds = ours.limits.auth_proven_seconds
        self.access.adjust(ours.access.networks, ours.access.users)
        self._cors.adjust(ours.cors.origins, credentials=ours.cors.credentials, max_age_seconds=ours.cors.max_age_seconds)
        for brake in (self._addresses, self._users):
            brake.adjust(ours.limits.auth_failures_burst, ours.limits.auth_failures_per_minute)
        self._everybody.adjust(ours.limits.auth_failures_burst, ours.limits.auth_failures_per_minute_overall)

    def _revoked(self, identity: Identity, how: str) -> None:
        self.report.revoked({"user.name": identity.user, "auth.eauth": identity.eauth, "auth.session": identity.session}, how)

    def _master_check(self) -> Check:
        health = self.gateway.health()
        return Check(health.master_up, health.master_reason)

    def _bus_check(self) -> Check:
        health = self.gateway.health()
        return Check(health.bus_connected, health.bus_reason)

    def _refresh(self) -> None:
        self.metrics.ready({name: check.ok for name, check in self.health.report().items()})

    def _crashed(self, facts: Facts) -> None:
        self.log.error("crash", request_id=facts.request_id, exc_info=True)  # noqa: LOG014 - the caller is in the handler

    def _request_done(self, facts: Facts, seconds: float, complete: bool) -> None:
        self.traffic.served(facts.body_bytes, facts.sent_bytes, seconds)
        if facts.error_type in REJECTIONS:
            self.metrics.http_rejected(REJECTIONS[facts.error_type])
        level = "warning" if facts.status >= 500 or not complete else "info"
        getattr(self.log, level)("http.request", **log_fields(facts, seconds, complete))

    def _probe_done(self, facts: Facts, seconds: float, complete: bool) -> None:
        self.log.debug("http.request", **log_fields(facts, seconds, complete))


def serve(configuration: Configuration, environ: Mapping[str, str], signals: Signals) -> int:
    """Listen, serve until a signal, stop in order; return the exit code. Raises InvalidConfiguration when a port is taken."""
    process = Process(configuration)
    api, ops = _api_listener(process), _ops_listener(process)
    process.metrics.watch_pool(api)
    process.traffic.watch(api)
    for note in configuration.notes:
        process.log.warning("config.ignored", where=note.where, problem=note.problem, fix=note.fix)
    process.log.info(
        "app.start", salt_version=SALT_VERSION, api=f"{api.host}:{api.port}", ops=f"{ops.host}:{ops.port}", master=configuration.master.request_uri
    )
    gateway = process.gateway
    gateway.start()
    life = Life(
        api,
        ops,
        configuration.settings.drain,
        on_draining=process.health.drain,
        on_reload=lambda: process.reload(environ),
        on_closing=process.streams.end_all,
        on_stopped=process.stop,
    )
    return run(life, signals)


def _api_listener(process: Process) -> Listener:
    ours = process.settings
    return Listener(
        process.api,
        name="api",
        host=ours.api.host,
        port=ours.api.port,
        threads=ours.limits.sync_jobs + ours.limits.quick_calls + ours.events.streams + SPARE_THREADS,
        connection_limit=ours.api.connection_limit,
        body_limit_bytes=ours.api.body_limit_bytes,
        receive_seconds=ours.api.receive_seconds,
        on_rejected=process.metrics.http_rejected,
        on_queue_wait=process.metrics.queue_waited,
        flag="--api-port",
    )


def _ops_listener(process: Process) -> Listener:
    ours = process.settings.ops
    return Listener(
        process.ops,
        name="ops",
        host=ours.host,
        port=ours.port,
        threads=OPS_THREADS,
        connection_limit=OPS_CONNECTIONS,
        body_limit_bytes=OPS_BODY_BYTES,
        receive_seconds=OPS_RECEIVE_SECONDS,
        flag="--ops-port",
    )


def connect_gateway(configuration: Configuration, report: Report) -> Gateway:
    """Make the gateway to the real master; `start` connects it."""
    ours = configuration.settings
    return Gateway(
        configuration.master,
        channels=ours.master.channels,
        rpc_timeout_seconds=ours.master.rpc_timeout_seconds,
        probe_seconds=ours.master.probe_seconds,
        early_bytes=ours.jobs.early_bytes,
        observer=report,
    )


class _Unmeasured:
    """Probes and scrapes are not among the API's figures."""

    def http_started(self) -> None: ...
    def http_finished(self, method: str, route: str, code: int, seconds: float, kind: str) -> None: ...


def _policy(ours: Settings) -> Policy:
    return Policy(ours.limits.lows_per_request, ours.jobs.deadline_seconds, ours.jobs.metadata)
