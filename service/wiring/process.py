"""All objects that live as long as the process, and how they are connected."""

from __future__ import annotations

import functools
import os
import platform
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from service import __version__
from service.audit.faults import key_faults
from service.audit.trail import Audit
from service.auth.guard import Guard
from service.auth.identity import Session
from service.auth.sessions import Sessions
from service.commands import Commands, Policy
from service.errors import InvalidConfiguration
from service.fleet.follower import Follower
from service.gateway.master.options import SALT_VERSION, MasterOptions
from service.gateway.master.version_check import master_differs, pools_enabled
from service.health import Check, Health
from service.http.access import Access
from service.http.addresses import Proxies
from service.http.cors import Cors
from service.http.facts import Facts
from service.http.files import Page
from service.http.media import encode
from service.http.middleware import Canonical, log_fields
from service.limits import Brake, Slots
from service.observe.log import log
from service.observe.metrics.metrics import Metrics
from service.observe.metrics.traffic import Traffic
from service.observe.report.report import Report
from service.routes import API_TEMPLATES, ApiParts, OpsParts
from service.secrets.secret_file import BearerFile
from service.settings import inherited, settings, sources
from service.settings.settings import Settings
from service.streaming.fanout import Streams
from service.wiring.configuration import Configuration
from service.wiring.following import follow
from service.wiring.master import MasterSide, connect_gateway
from service.wiring.reloading import Applier, apply
from service.wiring.urls import api_app, ops_app

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

    from service.observe.trace.spans import Tracing

# Set by whoever builds the image.
REVISION_VARIABLE = "SALT_SIDECAR_REVISION"
# The faults by which a request is refused before it reaches Salt, as the metric names them.
REJECTIONS = {
    "TooLarge": "body_too_large",
    "NotAcceptable": "unsupported_media_type",
    "Throttled": "rate_limited",
    "Overloaded": "queue_full",
    "Draining": "shutting_down",
    "ClientDisabled": "client_disabled",
}

# Longest wait at the end for a collector that does not take spans.
TRACES_STOP_SECONDS = 3.0


# Longest wait at the end for the audit records that are still queued.
AUDIT_CLOSE_SECONDS = 5.0


class Process:
    """All objects that live as long as the process, except the listeners."""

    def __init__(self, configuration: Configuration, connect: Callable[[Configuration, Report], MasterSide] | None = None) -> None:
        """connect: makes the gateway; another one in tests."""
        ours, master = configuration.settings, configuration.master
        self.settings = ours
        self._master_raw = master.raw
        self.log = log.get()
        self.metrics = _make_metrics(master)
        self.report = Report(self.metrics, self.log)
        self.audit = Audit(ours.audit, self.report, self.metrics.audit_written, lambda line: log.write_record(line, ours.audit.write_seconds))
        self.gateway = (connect or connect_gateway)(configuration, self.report)
        self.health = Health({"master": self._master_check, "bus": self._bus_check, "audit": lambda: Check(*self.audit.check())})
        self._skew_of, self._skew = functools.partial(master_differs, master.bus_path, SALT_VERSION, pools=pools_enabled(master.raw)), ""
        self.report.on_change = self._changed
        self.tracing = self._make_tracing(configuration.traces_to)
        self._addresses = Brake(ours.limits.auth_failures_burst, ours.limits.auth_failures_per_minute)
        self._users = Brake(ours.limits.auth_failures_burst, ours.limits.auth_failures_per_minute)
        self._everybody = Brake(ours.limits.auth_failures_burst, ours.limits.auth_failures_per_minute_overall)
        self.guard = self._make_guard(ours)
        self.traffic = Traffic(__version__)
        self.access = Access(ours.access.networks, ours.access.users)
        self.quick_calls = Slots("quick calls", ours.limits.quick_calls)
        self.sessions = self._make_sessions(master)
        self.metrics.watch_sessions(self.sessions.active)
        self.commands = Commands(
            self.gateway,
            self.guard,
            self.metrics,
            _policy(ours),
            enabled_clients=master.enabled_clients,
            sync_jobs=Slots("synchronous jobs", ours.limits.sync_jobs),
            quick_calls=self.quick_calls,
            may_call=self.sessions.admit,
            audit=self.audit,
            whose=self.sessions.whose,
        )
        self.streams = self._make_streams(ours)
        self.follower = self._make_follower(configuration)
        self.cors = Cors(ours.cors.origins, credentials=ours.cors.credentials, max_age_seconds=ours.cors.max_age_seconds)
        self.api = Canonical(self._make_api(), self.metrics, self._request_done, Proxies(ours.access.trusted_proxies, ours.access.proxy_header), self.tracing)
        self.ops = Canonical(self._make_ops(), _Unmeasured(), self._probe_done)

    def _make_guard(self, ours: Settings) -> Guard:
        return Guard(
            addresses=self._addresses,
            users=self._users,
            everybody=self._everybody,
            concurrency=ours.limits.auth_concurrency,
            proven_seconds=ours.limits.auth_proven_seconds,
            on_attempt=self.metrics.auth_attempt,
            on_verdict=self.report.verdict,
            on_decided=self.metrics.auth_decided,
        )

    def _make_tracing(self, endpoint: str | None) -> Tracing | None:
        if endpoint is None:
            return None
        from service.observe.trace.spans import Tracing  # noqa: PLC0415 - 13 MiB and a quarter of a second: only for those who trace

        return Tracing(endpoint, self.settings.tracing.sample_ratio, os.environ, self.report.traces)

    def _make_sessions(self, master: MasterOptions) -> Sessions:
        return Sessions(
            self.gateway.tokens,
            self.guard,
            self.quick_calls,
            self.access,
            cookie_name=self.settings.session.cookie_name,
            cache_seconds=self.settings.session.cache_seconds,
            external_auth=master.raw.get("external_auth") or {},
            see_all=self.settings.events.see_all,
            on_revoked=self._revoked,
            audit=self.audit.begin,
        )

    def _make_streams(self, ours: Settings) -> Streams:
        streams = Streams(
            encode=encode,
            queue_events=ours.events.queue_events,
            on_drop=lambda: self.report.dropped("stream"),
            on_slow=lambda count: self.metrics.stream_dropped("slow_consumer", count),
            on_gap=lambda: self.metrics.stream_dropped("replay_gap", 1),
            on_crash=lambda: self.report.handler_crashed("stream"),
        )
        self.metrics.watch_streams(streams, ours.events.streams)
        self.gateway.subscribe(streams.take)
        return streams

    def _make_follower(self, configuration: Configuration) -> Follower:
        follower = follow(configuration, self.gateway, self.metrics, self.report)
        self.report.queue_depth = lambda: self.streams.queued() + follower.depth()
        self.report.open_jobs = lambda: follower.in_progress
        self.metrics.watch_queues(self.report.queue_depth)
        return follower

    def _make_api(self) -> WSGIApplication:
        ours = self.settings
        parts = ApiParts(
            settings=ours,
            commands=self.commands,
            sessions=self.sessions,
            fire=self.gateway.fire,
            streams=self.streams,
            quick_calls=self.quick_calls,
            audit=self.audit,
            report=self.report,
            traffic=self.traffic,
            page=Page(ours.site.app) if ours.site.app else None,
        )
        return api_app(parts, self.access, self.cors, self.crashed)

    def _make_ops(self) -> WSGIApplication:
        parts = OpsParts(self.health, self.metrics, BearerFile(self.settings.ops.token_file, self.report.secret_unreadable), self.look_for_skew, self.refresh)
        return ops_app(parts, self.settings, self.crashed)

    def start(self) -> None:
        """Connect to the master and follow its bus; does not wait for it."""
        self.follower.start()
        self.gateway.start()

    def stop(self) -> None:
        """Close the connections to the master and end our threads."""
        self.gateway.stop()
        self.follower.stop()
        self.streams.stop()
        self.audit.note("stop")
        self.audit.close(AUDIT_CLOSE_SECONDS)
        if self.tracing is not None:
            self.tracing.stop(TRACES_STOP_SECONDS)

    def reload(self, environ: Mapping[str, str]) -> None:
        """Read the settings again and apply those that can change in a running process; keep all of the old ones if any is wrong."""
        try:
            new = _reloaded(environ, self._master_raw)
        except InvalidConfiguration as exc:
            self.log.error("config.invalid", faults=[str(fault) for fault in exc.faults])  # noqa: TRY400 - the faults say it all
            return
        changed = settings.changed(self.settings, new)
        taken = apply(self.appliers(), new)
        self.settings = settings.with_options(self.settings, new, taken)
        applied = sorted(changed & taken)
        self.audit.note("reload", {"applied": applied})
        self.log.info("config.loaded", applied=applied, needs_restart=sorted(changed - taken))

    def appliers(self) -> tuple[Applier, ...]:
        """Return who takes which options while we run."""
        burst, pace, overall = "limits.auth_failures_burst", "limits.auth_failures_per_minute", "limits.auth_failures_per_minute_overall"
        return (
            Applier(log.set_level, level="log.level"),
            Applier(self.audit.adjust, mode="audit.mode", rules="audit.rules", hmac_key_file="audit.hmac_key_file"),
            Applier(
                self.commands.adjust,
                lows_per_request="limits.lows_per_request",
                deadline_seconds="jobs.deadline_seconds",
                metadata="jobs.metadata",
                include_target="log.include_target",
            ),
            Applier(self.guard.adjust, proven_seconds="limits.auth_proven_seconds"),
            Applier(self.access.adjust, networks="access.networks", users="access.users"),
            Applier(self.cors.adjust, origins="cors.origins", credentials="cors.credentials", max_age_seconds="cors.max_age_seconds"),
            Applier(self._addresses.adjust, burst=burst, per_minute=pace),
            Applier(self._users.adjust, burst=burst, per_minute=pace),
            Applier(self._everybody.adjust, burst=burst, per_minute=overall),
        )

    def _revoked(self, session: Session, how: str) -> None:
        self.report.revoked(session.log_fields, how)

    def _master_check(self) -> Check:
        health = self.gateway.health()
        return Check(health.master_up, health.master_reason)

    def _bus_check(self) -> Check:
        health = self.gateway.health()
        return Check(health.bus_connected, health.bus_reason)

    def look_for_skew(self) -> str:
        """Return why the master's Salt cannot be of our series, or nothing; say so once in the log."""
        before, self._skew = self._skew, self._skew_of()
        if self._skew and not before:
            self.log.warning("master.version_differs", reason=self._skew, salt_version=SALT_VERSION)
        return self._skew

    def _changed(self) -> None:
        self.health.report()
        self.look_for_skew()

    def refresh(self) -> None:
        """Take what is read only when somebody scrapes."""
        self.metrics.ready({name: check.ok for name, check in self.health.report().items()})

    def crashed(self, facts: Facts) -> None:
        """Log the exception under way: nobody expected it."""
        facts.crashed = True
        self.log.error("crash", request_id=facts.request_id, exc_info=True)  # noqa: LOG014 - the caller is in the handler

    def _request_done(self, facts: Facts, seconds: float, complete: bool) -> None:
        self.audit.completed(facts, seconds)
        self.traffic.served(facts.body_bytes, facts.sent_bytes, seconds)
        self.metrics.http_sizes(facts.body_bytes, facts.sent_bytes if facts.kind == "unary" else None)
        if facts.error_type in REJECTIONS:
            self.rejected(REJECTIONS[facts.error_type])
        level = "warning" if facts.status >= 500 or not complete else "info"
        fields = log_fields(facts, seconds, complete)
        getattr(self.log, level)("http.request", **fields)
        if self.tracing is not None:
            self.tracing.finish(facts.trail, fields)

    def rejected(self, reason: str) -> None:
        """Tell of a request that was refused before it reached Salt, with the limit it was over, where that is one number."""
        ours = self.settings
        limits = {
            "body_too_large": ours.api.body_limit_bytes,
            "slow_body": ours.api.receive_seconds,
            "rate_limited": ours.limits.auth_failures_per_minute,
            "queue_full": ours.limits.sync_jobs,
        }
        self.report.rejected(reason, limits.get(reason))

    def _probe_done(self, facts: Facts, seconds: float, complete: bool) -> None:
        self.log.debug("http.request", **log_fields(facts, seconds, complete))


class _Unmeasured:
    """Probes and scrapes are not among the API's figures."""

    def http_started(self) -> None: ...
    def http_finished(self, method: str, route: str, code: int, seconds: float, kind: str, *, trace_id: str | None) -> None: ...


def _reloaded(environ: Mapping[str, str], master_raw: Mapping[str, Any]) -> Settings:
    """Read the settings anew, and the key that a new one of them may name."""
    new = sources.load(environ, inherited.inherit(master_raw))
    faults = key_faults(new.audit)
    if faults:
        raise InvalidConfiguration(faults)
    return new


def _policy(ours: Settings) -> Policy:
    return Policy(ours.limits.lows_per_request, ours.jobs.deadline_seconds, ours.jobs.metadata, ours.log.include_target)


def _make_metrics(master: MasterOptions) -> Metrics:
    metrics = Metrics(routes=API_TEMPLATES, eauths=tuple(master.raw.get("external_auth") or ()))
    revision = os.environ.get(REVISION_VARIABLE) or "unknown"
    metrics.build_info(version=__version__, revision=revision, python=platform.python_version(), salt=SALT_VERSION)
    metrics.watch_log(log.line_counts, log.dropped)
    return metrics
