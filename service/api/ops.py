"""The ops listener: `/livez`, `/readyz` and `/metrics`, on a port of their own so that a full API can still be watched."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import falcon

from service.health import Health
from service.http.media import respond_json


class Exposition(Protocol):
    """The metrics, as text."""

    def exposition(self, accept: str, accept_encoding: str) -> tuple[str, bytes, dict[str, str]]:
        """Return content type, body and further headers."""


class Live:
    """Alive: this listener answers. Says nothing of the master, whose absence no restart of ours would mend."""

    any_accept = True

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """Answer 200, always."""
        respond_json(resp, {"status": "alive"})


class Ready:
    """Ready: the checks pass and the process is not stopping."""

    any_accept = True

    def __init__(self, health: Health) -> None:
        self._health = health

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """Answer 200 or 503, with every check by its name."""
        report = self._health.report()
        ready = all(check.ok for check in report.values())
        checks = {name: {"ok": check.ok, "reason": check.reason} for name, check in report.items()}
        respond_json(resp, {"status": "ready" if ready else "not ready", "checks": checks}, 200 if ready else 503)


class MetricsPage:
    """Prometheus' page."""

    any_accept = True

    def __init__(self, metrics: Exposition, refresh: Callable[[], None]) -> None:
        """refresh: brings figures up to date that are read only when somebody looks."""
        self._metrics = metrics
        self._refresh = refresh

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer in the format and encoding that the scraper asks for."""
        self._refresh()
        content_type, body, headers = self._metrics.exposition(req.get_header("Accept") or "", req.get_header("Accept-Encoding") or "")
        resp.content_type = content_type
        resp.data = body
        resp.set_headers(headers)
