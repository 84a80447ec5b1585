"""The ops listener: `/livez`, `/readyz` and `/metrics`, on a port of their own so that a full API can still be watched."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime, timezone
from typing import Literal, Protocol

import falcon

from service.http.accept import exposition_format
from service.http.media import compress, respond_json
from service.readiness import Readiness


class Exposition(Protocol):
    """The metrics, as text."""

    def exposition(self, form: Literal["text", "openmetrics"], names: Collection[str]) -> tuple[str, bytes]:
        """Return content type and body. names: of the samples to tell, all when empty."""


class BearerToken(Protocol):
    """The ops token; see secrets/secret_file.py."""

    def is_sent(self, authorization: str) -> bool:
        """Say whether a caller may see all."""


class LiveResource:
    """Alive: this listener answers. It does not look at the master, which no restart of the sidecar would bring back."""

    any_accept = True

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """Answer 200, always."""
        respond_json(resp, {"status": "alive"})


class ReadyResource:
    """
    Ready: the checks pass and the process is not stopping.

    With `ops.token_file`, callers without the token get only the status, because kubelets cannot send one.
    """

    any_accept = True

    def __init__(self, health: Readiness, token: BearerToken, skew: Callable[[], str]) -> None:
        """skew: says how the master's Salt version differs from ours, or nothing."""
        self._health = health
        self._token = token
        self._skew = skew

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer 200 or 503, with every check by its name: whether it passes, why, and since when; `warnings` do not make the process unready."""
        report = self._health.report()
        ready = all(check.ok for check in report.values())
        content: dict[str, object] = {"status": "ready" if ready else "not ready"}
        if self._token.is_sent(req.get_header("Authorization") or ""):
            content["checks"] = {name: {"ok": check.ok, "reason": check.reason, "since": _time_of(check.since)} for name, check in report.items()}
            content["warnings"] = [warning for warning in (self._skew(),) if warning]
        respond_json(resp, content, 200 if ready else 503)


class MetricsResource:
    """
    Prometheus' page. `?name[]=` (repeatable) selects metrics by the names of their samples.

    With `ops.token_file` it asks for that token: `Authorization: Bearer TOKEN`.
    """

    any_accept = True

    def __init__(self, metrics: Exposition, refresh: Callable[[], None]) -> None:
        """refresh: brings figures up to date that are read only when somebody looks."""
        self._metrics = metrics
        self._refresh = refresh

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer in the format and encoding that the scraper asks for."""
        self._refresh()
        form = exposition_format(req.get_header("Accept") or "")
        resp.content_type, resp.data = self._metrics.exposition(form, req.get_param_as_list("name[]") or ())
        resp.set_header("Cache-Control", "no-store")
        compress(req, resp)


def _time_of(moment: float) -> str:
    return datetime.fromtimestamp(moment, timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
