"""The side of the master: the gateway, or a fake of it, and who hears of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from service.events.hub import Hub
from service.events.owners import Owners
from service.fleet.follower import Follower
from service.gateway.clients.publish import Ledger
from service.gateway.gateway import Gateway, Observer, Runner
from service.gateway.master.options import SALT_VERSION, MasterOptions
from service.gateway.master.version_check import master_differs, pools_enabled
from service.observe.log import log
from service.observe.metrics.metrics import Metrics
from service.observe.report.master_report import MasterReport
from service.observe.report.report import Report
from service.readiness import Since
from service.streaming.fanout import Streams
from service.wiring.configuration import Configuration


class MasterSide(Protocol):
    """The gateway, or a fake of it."""

    @property
    def runner(self) -> Runner:
        """What runs lows, and has the master's token calls."""

    @property
    def fire(self) -> Callable[[str, Mapping[str, Any]], None]:
        """What puts an event, its tag and its data, on the bus."""

    def start(self) -> None:
        """Connect, and keep connecting."""

    def stop(self) -> None:
        """Close all connections."""

    def settle(self, seconds: float) -> bool:
        """Wait until callers can be told the truth: all is connected, or the master is known to be down; False after *seconds*."""

    def master_state(self) -> tuple[bool, str]:
        """Say whether the master is up, and why."""

    def bus_state(self) -> tuple[bool, str]:
        """Say whether events arrive, and why."""


Connect = Callable[[Configuration, Hub, Observer, Ledger], MasterSide]


def connect_gateway(configuration: Configuration, hub: Hub, observer: Observer, ledger: Ledger) -> Gateway:
    """Make the gateway to the real master; `start` connects it."""
    ours = configuration.settings
    return Gateway(configuration.master, hub, observer, ledger, ours.master, load_limit_bytes=ours.api.load_limit_bytes)


class Skew:
    """Looks whether the master's Salt may be of our series."""

    def __init__(self, master: MasterOptions) -> None:
        self._master = master
        self._log = log.get()
        self._found = ""

    def look(self) -> str:
        """Return why the master's Salt cannot be of our series, or nothing; say so once in the log."""
        before, self._found = self._found, master_differs(self._master.bus_path, SALT_VERSION, pools=pools_enabled(self._master.raw))
        if self._found and not before:
            self._log.warning("master.version_differs", reason=self._found, salt_version=SALT_VERSION)
        return self._found


def make_observer(metrics: Metrics, since: Since, skew: Skew, streams: Streams, follower: Follower) -> MasterReport:
    """Make who hears of the master and its bus."""

    def changed(what: str, well: bool) -> None:
        since.note(what, well)
        skew.look()

    def queued() -> int:
        return streams.queued() + follower.depth()

    metrics.watch_queues(queued)
    return MasterReport(metrics, log.get(), on_change=changed, queue_depth=queued, open_jobs=lambda: follower.in_progress)


def make_hub(early_bytes: int, metrics: Metrics, report: Report, observer: MasterReport, *, owners: Owners, streams: Streams, follower: Follower) -> Hub:
    """Make the hub, with those that follow the whole bus."""
    hub = Hub(
        early_limit_bytes=early_bytes,
        on_event=metrics.bus_event,
        on_drop=lambda: report.dropped("jobs"),
        on_lag=observer.lag,
        on_undecodable=report.undecodable,
        owners=owners,
        on_other_function=lambda: metrics.bus_odd("function"),
    )
    hub.subscribe(streams.take)
    hub.subscribe(follower.take, follower.cut)
    return hub
