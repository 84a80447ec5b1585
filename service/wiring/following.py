"""What follows the event bus for the metrics of jobs and fleet."""

from __future__ import annotations

from service.fleet.follower import Follower
from service.fleet.job_tracker import JobTracker
from service.fleet.minions import Fleet, key_folder
from service.observe.log import log
from service.observe.metrics.metrics import Metrics
from service.observe.report.job_report import JobReport
from service.observe.report.report import Report
from service.wiring.configuration import Configuration
from service.wiring.master import MasterSide


def follow(configuration: Configuration, gateway: MasterSide, metrics: Metrics, report: Report) -> Follower:
    """Make the follower and let it hear of the bus and of our jobs; `start` starts its thread."""
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
        on_trimmed=metrics.bus_trimmed,
        on_crash=lambda: report.handler_crashed("metrics"),
    )
    jobs.watch(follower, fleet)
    gateway.subscribe(follower.take, follower.cut)
    gateway.keep_account(follower)
    return follower
