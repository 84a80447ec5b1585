"""Metrics of the jobs of /v1: other code says what happened."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from service.observe.metrics.domains import StateEventEnd
from service.observe.metrics.families import Families


class V1Metrics:
    """The verbs that change them. All methods may be called from any thread."""

    def __init__(self, families: Families) -> None:
        self._families = families

    def job_over(self, client: str, status: str, seconds: float, *, revised: bool) -> None:
        """Count a job that has come to something; one that a late return corrected counts once more, as a revision."""
        if revised:
            self._families["salt_api_jobs_revised_total"].counter(status).inc()
        else:
            self._families["salt_api_jobs_ended_total"].counter(client, status).inc()
            self._families["salt_api_job_duration_seconds"].histogram().observe(max(0.0, seconds))

    def job_left(self, status: str, seconds: float) -> None:
        """Observe how long a job was in a status."""
        self._families["salt_api_job_state_seconds"].histogram(status).observe(max(0.0, seconds))

    def jobs_recovered(self, count: int) -> None:
        """Count jobs that are followed again after a start."""
        self._families["salt_api_jobs_recovered_total"].counter().inc(count)

    def jobs_not_stored(self) -> None:
        """Count one failure to store what was learned of jobs."""
        self._families["salt_api_jobs_not_stored_total"].counter().inc()

    def job_foreign_return(self) -> None:
        """Count a return of another function that came under a job's jid."""
        self._families["salt_api_jobs_foreign_returns_total"].counter().inc()

    def job_state_event(self, what: StateEventEnd) -> None:
        """Count what a minion said of a state of a job."""
        self._families["salt_api_jobs_state_events_total"].counter(what).inc()

    def wave_begun(self) -> None:
        """Count a wave of a job."""
        self._families["salt_api_jobs_waves_begun_total"].counter().inc()

    def wave_over(self, outcome: str) -> None:
        """Count what a wave of a job came to."""
        self._families["salt_api_jobs_waves_ended_total"].counter(outcome).inc()

    def minions_not_run(self, why: str, count: int) -> None:
        """Count minions whose turn never came."""
        self._families["salt_api_jobs_not_run_total"].counter(why).inc(count)

    def job_notice(self, result: str) -> None:
        """Count a try to tell of a job that is over."""
        self._families["salt_api_jobs_notices_total"].counter(result).inc()

    def store_committed(self, seconds: float) -> None:
        """Observe how long the store took for a group of changes."""
        self._families["salt_api_jobs_store_commit_seconds"].histogram().observe(seconds)

    def watch_jobs(self, by_status: Callable[[], Mapping[str, int]], size_bytes: Callable[[], float]) -> None:
        """Read how many jobs are not over, and the size of their store, at each scrape."""
        self._families.watch_gauge("salt_api_jobs_open", lambda: {(status,): float(count) for status, count in by_status().items()})
        self._families["salt_api_jobs_store_bytes"].gauge().set_function(size_bytes)

    def watch_store(self, takes_jobs: Callable[[], bool]) -> None:
        """Read whether the store of jobs takes new ones at each scrape."""
        self._families.watch_gauge("salt_api_jobs_store_up", lambda: {(): float(takes_jobs())})
