"""A real Prometheus and a real Alertmanager as processes of our own, and the few questions we ask them."""

from __future__ import annotations

import json
import os
import time
import urllib.parse
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from service.demo.calls import OPENER
from service.demo.embedded import PATIENCE_SECONDS, until
from service.demo.ports import free_ports
from service.demo.processes import Child, WhileNeeded
from tests.observe.promtool import ROOT, program

# As compose.yaml has it.
EXEMPLARS = "--enable-feature=exemplar-storage"


class Server(WhileNeeded):
    """
    A program that says at `/-/ready` whether it is.

    folder: where its log goes. options: all but its addresses.
    """

    def __init__(self, name: str, folder: Path, options: Sequence[str]) -> None:
        (self.port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{self.port}"
        argv = [program(name), *options, f"--web.listen-address=127.0.0.1:{self.port}", f"--web.external-url={self.url}", "--log.level=warn"]
        self._child = Child(name, argv, folder / f"{name}.log", dict(os.environ))

    def get_ready(self) -> None:
        self._child.start()
        for _ in until(PATIENCE_SECONDS):
            if not self._child.alive():
                break
            try:
                with OPENER.open(f"{self.url}/-/ready", timeout=60) as answer:
                    if answer.status == 200:
                        return
            except OSError:
                continue
        raise AssertionError(f"{self._child.name} is not ready: {self._child.last_words()}")

    def stop(self) -> None:
        self._child.stop()


class Alertmanager(Server):
    """The server, with its data below *folder*."""

    def __init__(self, configuration: Path, folder: Path) -> None:
        options = [f"--config.file={configuration}", f"--storage.path={folder / 'alerts'}", "--cluster.listen-address="]
        super().__init__("prometheus-alertmanager", folder, options)


class Prometheus(Server):
    """The server, with its data below *folder*."""

    def __init__(self, configuration: Path, folder: Path) -> None:
        super().__init__(
            "prometheus", folder, [f"--config.file={configuration}", f"--storage.tsdb.path={folder / 'data'}", f"--web.user-assets={ROOT / 'docs'}", EXEMPLARS]
        )

    def query(self, expr: str) -> list[tuple[dict[str, str], float]]:
        """Return labels and value of each series now."""
        result = self._ask("query", query=expr)["result"]
        return [(series["metric"], float(series["value"][1])) for series in result]

    def value(self, expr: str) -> float | None:
        """Return the only value of an expression, None if it has none."""
        found = self.query(expr)
        return found[0][1] if found else None

    def history(self, expr: str, began: float, ended: float, step: float) -> list[tuple[dict[str, str], list[tuple[float, float]]]]:
        """Return labels and points (Unix time, value) of each series."""
        result = self._ask("query_range", query=expr, start=f"{began}", end=f"{ended}", step=f"{step}")["result"]
        return [(series["metric"], [(at, float(value)) for at, value in series["values"]]) for series in result]

    def exemplars(self, name: str) -> list[dict[str, str]]:
        """Return the labels of the exemplars of the last minutes that a metric's series have."""
        now = time.time()
        data = self._data("query_exemplars", query=name, start=f"{now - 600}", end=f"{now}")
        return [exemplar["labels"] for series in data for exemplar in series["exemplars"]]

    def firing(self) -> set[str]:
        """Return the names of the alerts that fire now."""
        return {alert["labels"]["alertname"] for alert in self._ask("alerts")["alerts"] if alert["state"] == "firing"}

    def runbooks(self) -> dict[str, str]:
        """Return the first line of the page that each alert which fires now links to."""
        pages: dict[str, str] = {}
        for alert in self._ask("alerts")["alerts"]:
            if alert["state"] == "firing":
                pages[alert["labels"]["alertname"]] = first_line(alert["annotations"]["runbook_url"])
        return pages

    def targets(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._ask("targets")["activeTargets"]
        return found

    def rules(self) -> list[dict[str, Any]]:
        """Return every rule with what became of its last evaluation."""
        return [rule for group in self._ask("rules")["groups"] for rule in group["rules"]]

    def _ask(self, what: str, **parameters: str) -> dict[str, Any]:
        found: dict[str, Any] = self._data(what, **parameters)
        return found

    def _data(self, what: str, **parameters: str) -> Any:
        address = f"{self.url}/api/v1/{what}?{urllib.parse.urlencode(parameters)}"
        with OPENER.open(address, timeout=60) as answer:
            return json.load(answer)["data"]


def first_line(address: str) -> str:
    """Return how a page begins."""
    with OPENER.open(address, timeout=10) as answer:
        line: str = answer.readline().decode().strip()
    return line
