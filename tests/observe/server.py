"""A real Prometheus as a process of our own, and the few questions we ask it."""

from __future__ import annotations

import json
import os
import urllib.parse
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from service.demo.calls import OPENER
from service.demo.embedded import PATIENCE_SECONDS, until
from service.demo.ports import free_ports
from service.demo.processes import Child
from tests.observe.promtool import ROOT, program

if TYPE_CHECKING:
    from typing_extensions import Self


class Prometheus:
    """
    The server, with its data below *folder*.

    Started and ended as a context manager.
    """

    def __init__(self, configuration: Path, folder: Path) -> None:
        (port,) = free_ports(1)
        self._url = f"http://127.0.0.1:{port}"
        argv = [
            program("prometheus"),
            f"--config.file={configuration}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            f"--web.external-url={self._url}",
            f"--web.user-assets={ROOT / 'docs'}",
            "--log.level=warn",
        ]
        self._child = Child("prometheus", argv, folder / "prometheus.log", dict(os.environ))

    def __enter__(self) -> Self:
        self._child.start()
        try:
            self._wait_ready()
        except BaseException:
            self._child.stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._child.stop()

    def query(self, expr: str) -> list[tuple[dict[str, str], float]]:
        """Return labels and value of each series now."""
        result = self._ask("query", query=expr)["result"]
        return [(series["metric"], float(series["value"][1])) for series in result]

    def value(self, expr: str) -> float | None:
        """Return the only value of an expression, None if it has none."""
        found = self.query(expr)
        return found[0][1] if found else None

    def firing(self) -> set[str]:
        """Return the names of the alerts that fire now."""
        return {alert["labels"]["alertname"] for alert in self._ask("alerts")["alerts"] if alert["state"] == "firing"}

    def runbooks(self) -> dict[str, str]:
        """Return the first line of the page that each alert which fires now links to."""
        pages: dict[str, str] = {}
        for alert in self._ask("alerts")["alerts"]:
            if alert["state"] == "firing":
                with OPENER.open(alert["annotations"]["runbook_url"], timeout=10) as answer:
                    pages[alert["labels"]["alertname"]] = answer.readline().decode().strip()
        return pages

    def targets(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._ask("targets")["activeTargets"]
        return found

    def rules(self) -> list[dict[str, Any]]:
        """Return every rule with what became of its last evaluation."""
        return [rule for group in self._ask("rules")["groups"] for rule in group["rules"]]

    def _ask(self, what: str, **parameters: str) -> dict[str, Any]:
        address = f"{self._url}/api/v1/{what}?{urllib.parse.urlencode(parameters)}"
        with OPENER.open(address, timeout=60) as answer:
            data: dict[str, Any] = json.load(answer)["data"]
        return data

    def _wait_ready(self) -> None:
        for _ in until(PATIENCE_SECONDS):
            if not self._child.alive():
                break
            try:
                with OPENER.open(f"{self._url}/-/ready", timeout=60) as answer:
                    if answer.status == 200:
                        return
            except OSError:
                continue
        raise AssertionError(f"Prometheus is not ready: {self._child.last_words()}")
