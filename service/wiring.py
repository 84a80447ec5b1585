"""Builds every object once, in order; the only file that knows all classes."""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Callable, Mapping
from typing import Protocol

from service import __version__, settings
from service.api.ops import Live, MetricsPage, Ready
from service.api.root import Root
from service.auth.guard import Guard
from service.commands import Commands, LowRunner, Policy
from service.errors import ConfigFault, InvalidConfiguration
from service.gateway.dispatch import Gateway
from service.gateway.dispatch import Health as GatewayHealth
from service.gateway.opts import SALT_VERSION, MasterOptions, read_master_config
from service.health import Check, Health
from service.http.app import build
from service.http.facts import Facts
from service.http.middleware import Canonical, log_fields
from service.limits import Brake, Slots
from service.observe import log
from service.observe.metrics import Metrics
from service.observe.report import Report
from service.server.listener import Listener
from service.server.process import Life, Signals, run
from service.settings import Settings, master_config_path

# Every URL and the class that serves it; docs/http.md is generated from here.
API_RESOURCES: dict[str, type] = {"/": Root}
OPS_RESOURCES: dict[str, type] = {"/livez": Live, "/readyz": Ready, "/metrics": MetricsPage}
# With every slot taken there is still a thread to say so.
SPARE_THREADS = 8
OPS_THREADS = 4
OPS_CONNECTIONS = 64
OPS_BODY_BYTES = 1024
OPS_RECEIVE_SECONDS = 5.0


@dataclasses.dataclass(frozen=True)
class Configuration:
    """Our settings and what we take from the master's."""

    settings: Settings
    master: MasterOptions


def read_configuration(environ: Mapping[str, str]) -> Configuration:
    """Read the master configuration and our settings. Raises InvalidConfiguration with the faults of both."""
    faults = []
    raw = {}
    ours = Settings()
    try:
        raw = read_master_config(master_config_path(environ))
    except InvalidConfiguration as exc:
        faults += exc.faults
    try:
        ours = settings.load(environ, raw.get("rest_wsgi"))
    except InvalidConfiguration as exc:
        faults += exc.faults
    if raw.get("transport", "zeromq") != "zeromq":
        faults.append(
            ConfigFault("transport", f"the master speaks {raw['transport']}, we speak zeromq only", "set `transport: zeromq` in the master configuration")
        )
    if faults:
        raise InvalidConfiguration(faults)
    return Configuration(ours, MasterOptions.of(raw, request_uri=ours.master.uri))


class MasterSide(LowRunner, Protocol):
    """The gateway, or a fake of it."""

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
        self.commands = Commands(
            self.gateway,
            self.guard,
            self.metrics,
            _policy(ours),
            enabled_clients=master.enabled_clients,
            sync_jobs=Slots("synchronous jobs", ours.limits.sync_jobs),
            quick_calls=Slots("quick calls", ours.limits.quick_calls),
            draining=lambda: self.health.draining,
        )
        self.api = Canonical(build({"/": Root(self.commands)}, on_crash=self._crashed), self.metrics, self._request_done)
        ops = build({"/livez": Live(), "/readyz": Ready(self.health), "/metrics": MetricsPage(self.metrics, self._refresh)}, on_crash=self._crashed)
        self.ops = Canonical(ops, _Unmeasured(), self._probe_done)

    def reload(self, environ: Mapping[str, str]) -> None:
        """Read the settings again and apply those that can change in a running process; keep all of the old ones if any is wrong."""
        try:
            new = settings.load(environ, {"port": self.settings.api.port})
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
        for brake in (self._addresses, self._users):
            brake.adjust(ours.limits.auth_failures_burst, ours.limits.auth_failures_per_minute)
        self._everybody.adjust(ours.limits.auth_failures_burst, ours.limits.auth_failures_per_minute_overall)

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
        level = "warning" if facts.status >= 500 or not complete else "info"
        getattr(self.log, level)("http.request", **log_fields(facts, seconds, complete))

    def _probe_done(self, facts: Facts, seconds: float, complete: bool) -> None:
        self.log.debug("http.request", **log_fields(facts, seconds, complete))


def serve(configuration: Configuration, environ: Mapping[str, str], signals: Signals) -> int:
    """Listen, serve until a signal, stop in order; return the exit code. Raises InvalidConfiguration when a port is taken."""
    process = Process(configuration)
    api, ops = _api_listener(process), _ops_listener(process)
    process.metrics.watch_pool(api)
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
        on_stopped=gateway.stop,
    )
    return run(life, signals)


def _api_listener(process: Process) -> Listener:
    ours = process.settings
    return Listener(
        process.api,
        name="api",
        host=ours.api.host,
        port=ours.api.port,
        threads=ours.limits.sync_jobs + ours.limits.quick_calls + SPARE_THREADS,
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
    def http_finished(self, method: str, route: str, code: int, seconds: float) -> None: ...


def _policy(ours: Settings) -> Policy:
    return Policy(ours.limits.lows_per_request, ours.jobs.deadline_seconds, ours.jobs.metadata)
