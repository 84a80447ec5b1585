"""A little application that says what it was sent, behind whatever middleware a test wants."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import falcon
import pytest

from service.http.addresses import Proxies
from service.http.app import build
from service.http.media import decode, respond
from service.http.middleware import Canonical
from service.http.request_info import RequestInfo
from tests.caller import Caller, open_to_all


class Echo:
    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        respond(req, resp, {"return": [{"address": req.remote_addr, "scheme": req.scheme, "cookie": req.get_header("Cookie")}]})

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        respond(req, resp, {"return": decode(req)})


class Unmeasured:
    def http_started(self) -> None: ...
    def http_finished(self, method: str, route: str, code: int, seconds: float, kind: str = "unary", *, request_id: str, trace_id: str | None) -> None: ...


class Application:
    """The caller, and the accounts of the requests it made."""

    def __init__(
        self,
        *,
        middleware: tuple[Any, ...] = (),
        proxies: Proxies | None = None,
        routes: dict[str, object] | None = None,
        labels: dict[str, str] | None = None,
        **options: Any,
    ) -> None:
        self.accounts: list[RequestInfo] = []
        app = build(open_to_all(routes or {"/": Echo(), "/echo": Echo()}, labels), on_crash=self._crash, middleware=middleware, **options)
        self.caller = Caller(Canonical(app, Unmeasured(), lambda info, *_: self.accounts.append(info), proxies))

    def _crash(self, _facts: RequestInfo) -> None:
        raise AssertionError("a crash") from None


@pytest.fixture
def application() -> Callable[..., Application]:
    return Application
