"""Counts requests and bytes since the start, for callers that read rest_cherrypy's `/stats`; /metrics knows more."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol


class ThreadCounts(Protocol):
    """What we ask the API listener."""

    def threads(self) -> int:
        """Return how many threads it has."""

    def busy_threads(self) -> int:
        """Return how many of them serve a request."""

    def queue_depth(self) -> int:
        """Return how many requests wait for one."""


@dataclasses.dataclass
class Totals:
    """Sums since the start. seconds: of all requests together."""

    requests: int = 0
    bytes_read: int = 0
    bytes_written: int = 0
    seconds: float = 0.0


class Traffic:
    """The sums, and the listener once there is one."""

    def __init__(self, version: str, *, time_of_day: Callable[[], float] = time.time) -> None:
        self._version = version
        self._time_of_day = time_of_day
        self._started = time_of_day()
        self._lock = threading.Lock()
        self._totals = Totals()  # guarded by _lock
        self._pool: ThreadCounts | None = None

    def watch(self, pool: ThreadCounts) -> None:
        """Take the figures of a listener from now on."""
        self._pool = pool

    def served(self, bytes_read: int, bytes_written: int, seconds: float) -> None:
        """Count a request."""
        with self._lock:
            totals = self._totals
            totals.requests += 1
            totals.bytes_read += bytes_read
            totals.bytes_written += bytes_written
            totals.seconds += seconds

    def statistics(self) -> dict[str, dict[str, Any]]:
        """
        Return the figures under CherryPy's names.

        The server's come twice: newer CherryPy calls it Cheroot, and some clients know only the older name; there they read whole numbers.
        Source: cherrypy/lib/cpstats.py and cheroot/server.py.
        """
        with self._lock:
            totals = dataclasses.replace(self._totals)
        uptime = max(self._time_of_day() - self._started, 0.001)
        server = self._server(totals, uptime)
        return {"CherryPy Applications": self._application(totals, uptime), "Cheroot HTTPServer 1": server, "CherryPy HTTPServer 1": _whole(server)}

    def _application(self, totals: Totals, uptime: float) -> dict[str, Any]:
        each = totals.requests or 1
        return {
            "Enabled": True,
            "Bytes Read/Request": totals.bytes_read / each,
            "Bytes Read/Second": totals.bytes_read / uptime,
            "Bytes Written/Request": totals.bytes_written / each,
            "Bytes Written/Second": totals.bytes_written / uptime,
            "Current Time": self._time_of_day(),
            "Current Requests": self._pool.busy_threads() if self._pool else 0,
            "Requests/Second": totals.requests / uptime,
            "Server Version": self._version,
            "Start Time": self._started,
            "Total Bytes Read": totals.bytes_read,
            "Total Bytes Written": totals.bytes_written,
            "Total Requests": totals.requests,
            "Total Time": totals.seconds,
            "Uptime": uptime,
            "Requests": {},
        }

    def _server(self, totals: Totals, uptime: float) -> dict[str, Any]:
        pool = self._pool
        return {
            "Enabled": True,
            "Run time": uptime,
            "Queue": pool.queue_depth() if pool else 0,
            "Threads": pool.threads() if pool else 0,
            "Threads Idle": max(0, pool.threads() - pool.busy_threads()) if pool else 0,
            "Requests": totals.requests,
            "Bytes Read": totals.bytes_read,
            "Bytes Written": totals.bytes_written,
            "Work Time": totals.seconds,
            "Read Throughput": totals.bytes_read / (totals.seconds or 1.0),
            "Write Throughput": totals.bytes_written / (totals.seconds or 1.0),
            "Worker Threads": {},
        }


def _whole(figures: dict[str, Any]) -> dict[str, Any]:
    return {name: int(value) if isinstance(value, float) else value for name, value in figures.items()}
