"""`/stats`: a few figures for clients that ask; Prometheus' page on the ops listener has all of them."""

from __future__ import annotations

from typing import Any, Protocol

import falcon

from service.http.media import respond


class Figures(Protocol):
    """What counts."""

    def statistics(self) -> dict[str, dict[str, Any]]:
        """Return the figures."""


class StatsResource:
    """CherryPy's figures of requests, bytes and threads; the server's appear under its old and its new name."""

    def __init__(self, figures: Figures) -> None:
        self._figures = figures

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer the figures since the start."""
        resp.set_header("Cache-Control", "private")
        respond(req, resp, self._figures.statistics())
