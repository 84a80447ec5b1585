"""A follower behind the real hub, with a clock that tests move, and the real metrics to read."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import salt.payload
import structlog

from service.events.hub import Hub
from service.fleet.follower import Follower
from service.fleet.job_tracker import LIMITS, JobTracker, Limits
from service.fleet.minion_tracker import MOST_MINIONS, Fleet
from service.observe.metrics.metrics import Metrics
from service.observe.report.job_report import JobReport
from service.settings.settings import PerMinionSettings

JID = "20260101000000000001"


def packed(tag: str | bytes, data: Any) -> bytes:
    """Return an event as the bus carries it."""
    return (tag.encode() if isinstance(tag, str) else tag) + b"\n\n" + (data if isinstance(data, bytes) else salt.payload.dumps(data))


class Following:
    """What follows the bus, and what it made of it. Seconds pass by `now`."""

    def __init__(
        self,
        *,
        functions: int = 100,
        per_minion: PerMinionSettings | None = None,
        pki: Path | None = None,
        syndics: bool = False,
        routes: Iterable[str] = ("/",),
        limits: Limits = LIMITS,
        most_minions: int = MOST_MINIONS,
        **queue: Any,
    ) -> None:
        """queue: bounds and pace of the follower's, where they are not its own."""
        self.now = 1000.0
        self.undecodable: list[str] = []
        self.dropped = self.crashes = 0
        self.published: list[tuple[str, str, int, int]] = []
        self.metrics = Metrics(routes=routes, eauths=("pam", "ldap"), environ={}, clock=lambda: self.now, now=lambda: self.now)
        report = JobReport(self.metrics.families, structlog.get_logger(), functions)
        self.fleet = Fleet(report, per_minion or PerMinionSettings(), pki, now=lambda: self.now, most_minions=most_minions)
        self.tracker = JobTracker(report, window=900, state_window=3600, syndics=syndics, limits=limits)
        self.follower = Follower(
            self.tracker,
            self.fleet,
            on_published=lambda jid, fun, minions, missing, _seconds: self.published.append((jid, fun, minions, missing)),
            on_batch=report.batch_ended,
            on_drop=self._drop,
            on_undecodable=lambda tag, _size: self.undecodable.append(tag),
            on_odd=self.metrics.bus_odd,
            on_trimmed=self.metrics.bus_trimmed,
            on_crash=self._crash,
            monotonic=lambda: self.now,
            **queue,
        )
        report.watch(self.follower, self.fleet)
        self.hub = Hub(early_limit_bytes=2**20, on_event=self.metrics.bus_event, on_drop=lambda: None)
        self.hub.subscribe(self.follower.take, self.follower.cut)
        self.hub.opened()

    def _drop(self) -> None:
        self.dropped += 1

    def _crash(self) -> None:
        self.crashes += 1

    def hear(self, tag: str | bytes, data: Any) -> None:
        """Let an event come over the bus, and handle it."""
        self.hub.deliver(packed(tag, data))
        self.follower.handle_waiting()

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds
        self.follower.handle_waiting()

    def announce(self, *minions: str, jid: str = JID, fun: Any = "test.ping", **more: Any) -> None:
        """Let the master announce a job."""
        self.hear(f"salt/job/{jid}/new", {"jid": jid, "fun": fun, "arg": [], "minions": list(minions), "missing": [], **more})

    def answer(self, minion: str, jid: str = JID, fun: Any = "test.ping", ret: object = 1, **more: Any) -> None:
        """Let a minion return."""
        data = {"cmd": "_return", "id": minion, "jid": jid, "fun": fun, "fun_args": [], "return": ret, "retcode": 0, "success": True}
        self.hear(f"salt/job/{jid}/ret/{minion}", {**data, **more})

    def value(self, name: str, **labels: str) -> float | None:
        """Return a sample."""
        return self.metrics.value(name, **labels)

    def values(self, name: str) -> dict[str, float]:
        """Return all samples of a metric that are not 0, by their labels' values."""
        self.metrics.families.settle()
        found = [sample for family in self.metrics.families.registry.restricted_registry([name]).collect() for sample in family.samples if sample.name == name]
        return {",".join(sample.labels.values()): sample.value for sample in found if sample.value}

    def series(self) -> int:
        """Count the lines of a scrape."""
        return sum(not line.startswith(b"#") for line in self.metrics.exposition()[1].splitlines())
