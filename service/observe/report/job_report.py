"""Turns what the follower sees of jobs and minions into metrics and log lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from structlog.typing import FilteringBoundLogger

from service.observe.metrics import domains
from service.observe.metrics.families import Families, Samples

MOST_COMMANDS = 40


class StateResults(Protocol):
    """How the states in a return ended, and how long they took together."""

    @property
    def results(self) -> Mapping[Any, int]: ...
    @property
    def seconds(self) -> float: ...


class FinishedJob(Protocol):
    """A job that is over."""

    @property
    def jid(self) -> str: ...
    @property
    def fun(self) -> str: ...
    @property
    def origin(self) -> str: ...
    @property
    def returned(self) -> int: ...
    @property
    def failed(self) -> int: ...
    @property
    def missing(self) -> int: ...
    @property
    def missing_sample(self) -> list[str]: ...
    @property
    def seconds(self) -> float: ...
    @property
    def tainted(self) -> bool: ...


class Tracker(Protocol):
    """What the follower knows by heart."""

    @property
    def in_progress(self) -> int: ...
    @property
    def outstanding(self) -> int: ...


class MinionGauges(Protocol):
    """What is known of the minions."""

    def seen(self, windows: Mapping[str, float]) -> Samples: ...
    def highstates(self) -> Samples: ...
    def keys(self) -> Samples: ...
    def connected(self) -> Samples: ...
    def last_seen(self) -> Samples: ...
    def last_highstate(self) -> Samples: ...


class JobReport:
    """
    Hears of jobs and minions, on the thread that follows the bus.

    functions: how many functions have a label of their own; listed: those that always do. Returns, which are many, are added up until `flush`.
    """

    def __init__(self, families: Families, log: FilteringBoundLogger, functions: int, listed: Iterable[str] = ()) -> None:
        self._families = families
        self._log = log
        self._told: set[str] = set()
        self._functions = self._limiter(functions, listed)
        self._runners = self._limiter(functions, listed)
        self._commands = self._limiter(MOST_COMMANDS)
        self._begun: set[str] = set()  # labels of functions that have all their series
        self._returns: Counter[tuple[str, bool, str]] = Counter()  # by function, success and origin, since the last flush
        self._latencies = {kind: families["salt_job_return_latency_seconds"].histogram(kind) for kind in domains.JOB_KINDS}

    def watch(self, tracker: Tracker, minions: MinionGauges) -> None:
        """Read what is under way, and who is there, at each scrape."""
        gauges: dict[str, Callable[[], Samples]] = {
            "salt_jobs_in_progress": lambda: {(): float(tracker.in_progress)},
            "salt_job_returns_outstanding": lambda: {(): float(tracker.outstanding)},
            "salt_minions_seen": lambda: minions.seen(domains.SEEN_WINDOWS),
            "salt_minions_state_status": minions.highstates,
            "salt_minion_keys": minions.keys,
            "salt_minions_connected": minions.connected,
            "salt_minion_last_seen_timestamp_seconds": minions.last_seen,
            "salt_minion_last_highstate_success": minions.last_highstate,
        }
        for name, read in gauges.items():
            self._families.watch_gauge(name, read)

    # Jobs.

    def started(self, fun: str, origin: str) -> None:
        """Count a job that was announced."""
        name = "salt_jobs_started_total"
        self._families[name].counter(self._functions.admit(name, fun), origin).inc()

    def targeted(self, fun: str, minions: int, unknown: int) -> None:
        """Count the minions a job was sent to, and those the master named missing."""
        name, missing = "salt_job_targeted_minions_total", "salt_job_missing_returns_total"
        label = self._functions.admit(name, fun)
        self._families[name].counter(label).inc(minions)
        if label not in self._begun:
            # A failure must not be the first that is heard of a function: from nothing to one is no rise.
            self._families["salt_job_returns_total"].initialise((label,), domains.RESULTS, ("published",))
            self._families[missing].initialise((label,), domains.MISSING)
            self._begun.add(label)
        if unknown:
            self._families[missing].counter(self._functions.known(missing, fun), "not_connected").inc(unknown)

    def returned(self, fun: str, success: bool, origin: str) -> None:
        """Count a minion's return."""
        self._returns[fun, success, origin] += 1

    def flush(self) -> None:
        """Show the returns that were counted since the last time."""
        name = "salt_job_returns_total"
        for (fun, success, origin), count in self._returns.items():
            self._families[name].counter(self._functions.known(name, fun, count), domains.RESULTS[not success], origin).inc(count)
        self._returns.clear()

    def latency(self, kind: str, seconds: float) -> None:
        """Observe how long a return took to come."""
        self._latencies[kind].observe(max(0.0, seconds))

    def states(self, states: StateResults) -> None:
        """Count the states in a return."""
        for result, count in states.results.items():
            self._families["salt_job_state_results_total"].counter(result).inc(count)
        self._families["salt_job_state_run_seconds"].histogram().observe(states.seconds)

    def late(self) -> None:
        """Count a return that came after its job's window."""
        self._families["salt_job_late_returns_total"].counter().inc()

    def missing(self, fun: str, count: int) -> None:
        """Count returns that had not come when their job's window closed."""
        name = "salt_job_missing_returns_total"
        self._families[name].counter(self._functions.known(name, fun), "no_return").inc(count)

    def completed(self, outcome: str, seconds: float) -> None:
        """Observe how long a job took."""
        self._families["salt_job_completion_seconds"].histogram(outcome).observe(max(0.0, seconds))

    def summed_up(self, summary: FinishedJob) -> None:
        """Log a job that is over; of those of others only what went wrong is worth a line by default."""
        level = "warning" if summary.missing else "info" if summary.origin == "api" else "debug"
        getattr(self._log, level)(
            "salt.job.completed",
            jid=summary.jid,
            **{"salt.fun": summary.fun},
            origin=summary.origin,
            returned=summary.returned,
            failed=summary.failed,
            missing=summary.missing,
            missing_sample=summary.missing_sample,
            completion_s=round(summary.seconds, 6),
            tainted=summary.tainted,
        )

    def evicted(self, reason: str) -> None:
        """Count a job that is followed no longer."""
        self._families["salt_job_tracker_evictions_total"].counter(reason).inc()

    def runner_started(self, fun: str) -> None:
        """Take note of a runner's name."""
        label = self._runners.admit("salt_runner_jobs_total", fun)
        self._families["salt_runner_jobs_total"].initialise((label,), domains.RESULTS)

    def runner_ended(self, fun: str, success: bool, seconds: float | None) -> None:
        """Count a runner that returned."""
        name = "salt_runner_jobs_total"
        self._families[name].counter(self._runners.known(name, fun), domains.RESULTS[not success]).inc()
        if seconds is not None:
            self._families["salt_runner_job_duration_seconds"].histogram().observe(max(0.0, seconds))

    def batch_ended(self, outcome: str) -> None:
        """Count a batch of the master's that is over."""
        self._families["salt_batch_jobs_total"].counter(outcome).inc()

    # Minions.

    def authenticated(self, act: str, *, accepted: bool) -> None:
        """Count a minion that came to the master with its key."""
        act = act if act in domains.AUTH_ACTS else "error"
        self._families["salt_minion_auth_events_total"].counter(act, "true" if accepted else "false").inc()

    def minion_started(self) -> None:
        """Count a minion's start."""
        self._families["salt_minion_starts_total"].counter().inc()

    def presence_changed(self, new: int, lost: int) -> None:
        """Count minions that came and went."""
        for change, count in zip(domains.PRESENCE, (new, lost), strict=True):
            self._families["salt_minion_presence_changes_total"].counter(change).inc(count)

    def worker_stats(self, cmd: str, runs: float, seconds: float) -> None:
        """Count what the master's workers did."""
        for name, amount in (("salt_master_worker_requests_total", runs), ("salt_master_worker_busy_seconds_total", seconds)):
            self._families[name].counter(self._commands.admit(name, cmd)).inc(amount)

    def unlisted(self, metric: str) -> None:
        """Count a value of a label that has no place."""
        self._overflowed(metric, "metrics.per_minion.max")

    def _limiter(self, limit: int, listed: Iterable[str] = ()) -> domains.Limiter:
        return domains.Limiter(limit, lambda metric, count: self._overflowed(metric, limit, count), listed)

    def _overflowed(self, metric: str, limit: int | str, count: int = 1) -> None:
        self._families["salt_api_label_overflow_total"].counter(metric).inc(count)
        if metric not in self._told:
            self._told.add(metric)
            self._log.warning("label.overflow", metric=metric, limit=limit)
