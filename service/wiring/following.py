"""What follows the event bus: the streams, and the metrics of jobs and fleet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from service.events.owners import Owner, Owners
from service.fleet.follower import Follower
from service.fleet.job_tracker import JobTracker
from service.fleet.minion_tracker import Fleet, key_folder
from service.http.media import encode
from service.observe.log import log
from service.observe.metrics.metrics import Metrics
from service.observe.report.job_report import JobReport
from service.observe.report.report import Report
from service.settings.settings import EventSettings
from service.streaming.fanout import Streams
from service.wiring.configuration import Configuration

# Where one of these options is not Salt's default, jobs may be announced with names that `external_auth` does not know.
OTHER_USERS = {"publisher_acl": {}, "order_masters": False, "syndic_master": "masterofmasters"}


def make_owners(master: Mapping[str, Any]) -> Owners:
    """
    Make who knows whose a job is.

    A job that others published is announced with a name alone: of a user of any of the master's eauth modules, or of one on its machine, or at another
    master. So a name tells only where there is one eauth module and none of the others, and unless it is the name that the master's own user has.
    Source: salt/master.py, ClearFuncs.publish; salt/auth/__init__.py, check_authentication.
    """
    modules = master.get("external_auth")
    if not isinstance(modules, Mapping) or len(modules) != 1 or any(master.get(name, default) != default for name, default in OTHER_USERS.items()):
        return Owners()
    (eauth,) = modules
    own = {"root", master.get("user")}
    return Owners(lambda name: None if name in own or name.startswith("sudo_") else Owner(str(eauth), name))


def make_streams(ours: EventSettings, owners: Owners, metrics: Metrics, report: Report) -> Streams:
    """Make the fan-out to callers; its thread starts with the first event that somebody wants."""
    streams = Streams(
        owners,
        encode=encode,
        queue_events=ours.queue_events,
        on_drop=lambda: report.dropped("stream"),
        on_slow=lambda count: metrics.stream_dropped("slow_consumer", count),
        on_gap=lambda: metrics.stream_dropped("replay_gap", 1),
        on_crash=lambda: report.handler_crashed("stream"),
    )
    metrics.watch_streams(streams, ours.streams)
    return streams


def make_follower(configuration: Configuration, metrics: Metrics, report: Report) -> Follower:
    """Make the follower; `start` starts its thread."""
    ours, master = configuration.settings, configuration.master
    jobs = JobReport(metrics.families, log.get(), ours.metrics.functions, ours.metrics.function_names)
    fleet = Fleet(jobs, ours.metrics.per_minion, key_folder(master.raw))
    tracker = JobTracker(jobs, window=ours.jobs.tracking_window_seconds, state_window=ours.jobs.tracking_window_state_seconds, syndics=master.order_masters)
    follower = Follower(
        tracker,
        fleet,
        on_published=report.job_published,
        on_batch=jobs.batch_ended,
        on_drop=lambda: report.dropped("metrics"),
        on_undecodable=report.unreadable,
        on_odd=metrics.bus_odd,
        on_trimmed=metrics.bus_trimmed,
        on_crash=lambda: report.handler_crashed("metrics"),
    )
    jobs.watch(follower, fleet)
    return follower
