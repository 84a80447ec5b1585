"""All objects that live as long as the process, made in the order in which they need each other."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from service import __version__
from service.audit.trail import Audit
from service.auth.allowances import REPEATERS
from service.auth.call_policy import CallPolicy
from service.auth.guard import Guard
from service.auth.sessions import Sessions
from service.commands import Commands, Policy
from service.gateway.gateway import Runner
from service.gateway.master.options import SALT_VERSION, MasterOptions
from service.http.access import Access
from service.http.addresses import Grouping, Proxies
from service.http.cors import Cors
from service.http.middleware import Canonical
from service.limits import Brake, Shares, Slots
from service.logins.kept_logins import KeptLogins
from service.logins.reused_logins import ReusedLogins
from service.observe.log import log
from service.observe.metrics.metrics import Metrics
from service.observe.metrics.traffic import Traffic
from service.observe.report.report import Report
from service.readiness import Readiness, Since
from service.route_rows import ApiParts, OpsParts
from service.routes import API_TEMPLATES
from service.secrets.secret_file import BearerFile
from service.settings.audit_settings import AuditSettings
from service.settings.limit_settings import LimitSettings
from service.settings.settings import Settings
from service.tokens.scoped_tokens import ScopedTokens
from service.wiring.configuration import Configuration, served_clients
from service.wiring.durable import DurableJobs, make_jobs
from service.wiring.following import make_follower, make_owners, make_streams
from service.wiring.master import Connect, Skew, connect_gateway, make_hub, make_observer
from service.wiring.proving import make_exchange
from service.wiring.reloading import Reloading, make_appliers
from service.wiring.requests import RequestReport, Unmeasured
from service.wiring.urls import api_app, ops_app, socket_app

if TYPE_CHECKING:
    from service.observe.trace.spans import Tracing

# Set by whoever builds the image.
REVISION_VARIABLE = "SALT_SIDECAR_REVISION"
# Longest wait at the end for a collector that does not take spans.
TRACES_STOP_SECONDS = 3.0
# Longest wait at the end for tokens that are being removed.
LOGINS_STOP_SECONDS = 3.0
# Longest wait at the end for the audit records that are still queued.
AUDIT_CLOSE_SECONDS = 5.0


class Process:
    """
    All objects that live as long as the process, except the listeners.

    Each gets all it needs when it is made. First come those that take down what happens; then those that follow the bus, because the reports of
    its loss tell how much they still have to do; then the master and its bus, then who judges callers, and at last what serves them.
    """

    def __init__(self, configuration: Configuration, connect: Connect = connect_gateway) -> None:
        """connect: makes the gateway; another one in tests."""
        ours, master = configuration.settings, configuration.master

        self.metrics = make_metrics(master)
        self.report = Report(self.metrics, log.get(), make_limits(ours))
        self.audit = make_audit(ours.audit, self.metrics, self.report)
        self.traffic = Traffic(__version__)
        self.tracing = make_tracing(configuration, self.report)
        requests = RequestReport(self.audit, self.metrics, self.traffic, self.report, self.tracing)

        owners = make_owners(master.raw)
        self.streams = make_streams(ours.events, owners, self.metrics, self.report)
        self.follower = make_follower(configuration, self.metrics, self.report)

        since, skew = Since(), Skew(master)
        observer = make_observer(self.metrics, since, skew, self.streams, self.follower)
        hub = make_hub(ours.jobs.early_bytes, self.metrics, self.report, observer, owners=owners, streams=self.streams, follower=self.follower)
        self.gateway = connect(configuration, hub, observer, self.follower)
        self.health = Readiness({"master": self.gateway.master_state, "bus": self.gateway.bus_state, "audit": self.audit.check}, since)

        guard = make_guard(ours.limits, self.gateway.runner, self.metrics, self.report)
        access = Access(ours.access.networks, ours.access.users, ours.api.hosts)
        sync_jobs, quick = make_slots(ours.limits)
        self.sessions = make_sessions(configuration, self.gateway.runner, guard, quick, access=access, audit=self.audit, report=self.report)
        self.metrics.watch_sessions(self.sessions.active)
        rules = CallPolicy(ours.policy.rules, refuse_master_writes=ours.policy.refuse_master_writes, on_refused=self.report.policy_refused)
        self.lows = lows = make_lows(configuration, self.gateway.runner, self.metrics)
        commands = make_commands(configuration, lows, guard, sync_jobs, quick, sessions=self.sessions, audit=self.audit, rules=rules, metrics=self.metrics)
        self.jobs = jobs = make_jobs(configuration, self.gateway.runner, commands, hub, self.report, audit=self.audit)

        cors = Cors(ours.cors.origins, credentials=ours.cors.credentials, max_age_seconds=ours.cors.max_age_seconds)
        told = (self.audit, self.report, self.metrics, self.traffic)
        lent = (make_tokens(self.sessions, jobs, self.report), make_exchange(configuration, self.sessions, guard, quick, self.report))
        parts = ApiParts(ours, commands, guard, self.sessions, self.gateway.fire, self.streams, *told, self.jobs.submissions, self.follower.fleet, *lent)
        proxies = Proxies(ours.access.trusted_proxies, ours.access.proxy_header)
        apps = (make(parts, access, cors, requests.crashed) for make in (api_app, socket_app))
        self.api, self.sockets = (Canonical(app, self.metrics, requests.over, proxies, self.tracing) for app in apps)
        probes = OpsParts(self.health, self.metrics, BearerFile(ours.ops.token_file, self.report.secret_unreadable), skew.look)
        self.ops = Canonical(ops_app(probes, ours, requests.crashed), Unmeasured(), requests.probed)
        appliers = make_appliers(self.audit, commands, guard, lows, self.report, rules=rules, access=access, cors=cors)
        self.reloading = Reloading(ours, master.raw, appliers, self.audit)

    def start(self) -> None:
        """Connect to the master and follow its bus; does not wait for it."""
        self.follower.start()
        self.jobs.start()
        self.gateway.start()

    def end_waits(self) -> None:
        """End what would go on for long: streams, and waits for jobs that go on without."""
        self.streams.end_all()
        self.jobs.end_waits()

    def stop(self) -> None:
        """Close the connections to the master and end our threads."""
        self.gateway.stop()
        self.follower.stop()
        self.jobs.stop()
        self.streams.stop()
        self.lows.logins.stop(LOGINS_STOP_SECONDS)
        self.audit.note("stop")
        self.audit.close(AUDIT_CLOSE_SECONDS)
        if self.tracing is not None:
            self.tracing.stop(TRACES_STOP_SECONDS)


def make_metrics(master: MasterOptions) -> Metrics:
    """Make the metrics, with what never changes already in them."""
    metrics = Metrics(routes=API_TEMPLATES, eauths=tuple(master.raw.get("external_auth") or ()))
    revision = os.environ.get(REVISION_VARIABLE) or "unknown"
    metrics.build_info(version=__version__, revision=revision, python=platform.python_version(), salt=SALT_VERSION)
    metrics.watch_log(log.line_counts, log.dropped)
    return metrics


def make_audit(ours: AuditSettings, metrics: Metrics, report: Report) -> Audit:
    """Make the audit trail, for requests and for what the report hears of that no request asks for."""
    audit = Audit(ours, report, metrics.audit_written, lambda line: log.write_record(line, ours.write_seconds))
    report.record_with(audit.note)
    return audit


def make_tracing(configuration: Configuration, report: Report) -> Tracing | None:
    """Make what sends traces to a collector, if there is one."""
    if configuration.traces_to is None:
        return None
    from service.observe.trace.spans import Tracing  # noqa: PLC0415 - 13 MiB and a quarter of a second: only for those who trace

    return Tracing(configuration.traces_to, configuration.settings.tracing.sample_ratio, os.environ, report.traces)


def make_limits(ours: Settings) -> dict[str, float]:
    """Return what a refused request was over, by the reason, where that is one number."""
    return {
        "body_too_large": ours.api.body_limit_bytes,
        "slow_body": ours.api.receive_seconds,
        "bodies_full": ours.api.body_bytes,
        "connections_full": ours.api.connections_per_address,
        "rate_limited": ours.limits.auth_failures_per_minute,
        "queue_full": ours.limits.sync_jobs,
        "share_taken": ours.limits.share,
    }


def make_slots(limits: LimitSettings) -> tuple[Slots, Slots]:
    """Make the slots of synchronous jobs and of quick calls; of those who have not authenticated both let in the same few."""
    strangers = Shares("callers who have not authenticated", limits.unproven_calls, limits.share)
    kinds = (("synchronous jobs", limits.sync_jobs), ("quick calls", limits.quick_calls))
    sync_jobs, quick_calls = (Slots(kind, limit, share=limits.share, strangers=strangers) for kind, limit in kinds)
    return sync_jobs, quick_calls


def make_guard(limits: LimitSettings, runner: Runner, metrics: Metrics, report: Report) -> Guard:
    """Make the guard with its allowances."""
    return Guard(
        addresses=Brake(limits.auth_failures_burst, limits.auth_failures_per_minute),
        users=Brake(limits.auth_failures_burst, limits.auth_failures_per_minute),
        newcomers=Brake(limits.auth_failures_burst_overall, limits.auth_failures_per_minute_overall),
        repeaters=Brake(REPEATERS * limits.auth_failures_burst, REPEATERS * limits.auth_failures_per_minute),
        concurrency=limits.auth_concurrency,
        known_seconds=limits.auth_known_seconds,
        proven_seconds=limits.auth_proven_seconds,
        grouping=Grouping(limits.auth_ipv4_prefix, limits.auth_ipv6_prefix),
        are_good=runner.tokens.are_good,
        on_attempt=metrics.auth_attempt,
        on_verdict=report.verdict,
        on_decided=metrics.auth_decided,
    )


def make_sessions(configuration: Configuration, runner: Runner, guard: Guard, quick_calls: Slots, *, access: Access, audit: Audit, report: Report) -> Sessions:
    """Make the sessions over the master's own tokens."""
    ours, external_auth = configuration.settings, configuration.master.raw.get("external_auth")
    return Sessions(
        runner.tokens,
        guard,
        quick_calls,
        access,
        cookie_name=ours.session.cookie_name,
        cache_seconds=ours.session.cache_seconds,
        offline_seconds=ours.session.offline_seconds,
        # Each request looks into it, and Salt's own mapping takes ten times as long as a dict.
        external_auth=dict(external_auth) if isinstance(external_auth, Mapping) else {},
        see_all=ours.events.see_all,
        on_revoked=lambda session, how: report.revoked(session.log_fields, how),
        audit=audit.begin,
    )


def make_lows(configuration: Configuration, runner: Runner, metrics: Metrics) -> ReusedLogins:
    """Make what runs lows, and keeps their logins for a while if `limits.auth_reuse_seconds` wants it."""
    ours = configuration.settings
    logins = KeptLogins(
        runner.tokens,
        metrics.login_used,
        metrics.login_given_up,
        seconds=ours.limits.auth_reuse_seconds,
        deadline_seconds=ours.jobs.deadline_seconds,
        wait_seconds=ours.master.rpc_timeout_seconds,
        on_crash=lambda: log.get().error("crash", exc_info=True),
    )
    metrics.watch_logins(logins.kept)
    return ReusedLogins(runner, logins, configuration.master.raw, time.monotonic)


def make_tokens(sessions: Sessions, jobs: DurableJobs, report: Report) -> ScopedTokens:
    """Make the scoped tokens, for sessions that take them too."""
    tokens = ScopedTokens(lambda: jobs.submissions().store.tokens, report.policy_refused)
    sessions.take_scoped(tokens)
    return tokens


def make_commands(
    configuration: Configuration,
    runner: ReusedLogins,
    guard: Guard,
    sync_jobs: Slots,
    quick_calls: Slots,
    *,
    sessions: Sessions,
    audit: Audit,
    rules: CallPolicy,
    metrics: Metrics,
) -> Commands:
    """Make the one way from a request to the gateway."""
    ours = configuration.settings
    return Commands(
        runner,
        guard,
        metrics,
        Policy(ours.limits.lows_per_request, ours.jobs.deadline_seconds, ours.jobs.metadata, ours.log.include_target),
        enabled_clients=served_clients(ours.clients, configuration.master.enabled_clients),
        sync_jobs=sync_jobs,
        quick_calls=quick_calls,
        holder_of=sessions.holder_of,
        may_call=sessions.admit,
        audit=audit,
        rules=rules,
        whose=sessions.whose,
    )
