"""The side of the master: the gateway, or a fake of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from service.auth.sessions import Tokens
from service.commands import LowRunner
from service.events.event import Event
from service.gateway.clients.publish import Ledger
from service.gateway.gateway import Gateway, Health
from service.observe.report.report import Report
from service.wiring.configuration import Configuration


class MasterSide(LowRunner, Protocol):
    """The gateway, or a fake of it."""

    @property
    def tokens(self) -> Tokens:
        """Return the master's token calls."""

    def subscribe(self, take: Callable[[Event], None], on_cut: Callable[[], None] = lambda: None) -> None:
        """Hand every event of the bus on, and tell when the bus was cut."""

    def keep_account(self, ledger: Ledger) -> None:
        """Tell a ledger of every job we publish from now on."""

    def fire(self, tag: str, data: Mapping[str, Any]) -> None:
        """Put an event on the bus."""

    def start(self) -> None:
        """Connect, and keep connecting."""

    def stop(self) -> None:
        """Close all connections."""

    def health(self) -> Health:
        """Say how the connection to the master is."""


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
