"""From the request for a websocket to a WSGI request, and from its answer to the answer of the handshake."""

from __future__ import annotations

import contextvars
import dataclasses
import http
import io
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from service.http.request_info import RequestInfo
from service.streaming.subscription import ENVIRON_KEY, Subscription, Upgrade

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment

SWITCHING = http.HTTPStatus.SWITCHING_PROTOCOLS.value


@dataclasses.dataclass(frozen=True)
class Granted:
    """A websocket that the application allows. info: the account of its request. finish: what ends that; call it once, from any thread."""

    subscription: Subscription
    info: RequestInfo
    finish: Callable[[], None]


def environ_of(request: Request, address: str, host: str, port: int) -> WSGIEnvironment:
    """Return the WSGI environment of a request (PEP 3333). address: of the caller at the other end of the connection. host, port: ours."""
    path, _, query = request.path.partition("?")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
        "QUERY_STRING": query,
        "SERVER_NAME": host,
        "SERVER_PORT": str(port),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": address,
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        ENVIRON_KEY: Upgrade(),
    }
    for name, value in request.headers.raw_items():
        # As waitress does it: a name with an underscore could pass for another one.
        if "_" not in name:
            key = f"HTTP_{name.upper().replace('-', '_')}"
            environ[key] = f"{environ[key]}{'; ' if key == 'HTTP_COOKIE' else ', '}{value}" if key in environ else value
    return environ


def judge(app: WSGIApplication, environ: WSGIEnvironment) -> Granted | Response:
    """Ask the application whether a request may have its websocket; return that, or the answer that it gives instead. Blocks."""
    told: list[Any] = []

    def start_response(status: str, headers: list[tuple[str, str]], _exc_info: Any = None) -> Callable[[bytes], object]:
        told[:] = status, headers
        return lambda _data: None

    # What the log binds to this thread must not stay on it, and is wanted again at the end.
    context = contextvars.copy_context()
    body = context.run(app, environ, start_response)
    finish = getattr(body, "close", lambda: None)
    subscription = Upgrade.of(environ).subscription
    status, headers = told
    if subscription is not None and status.startswith("200"):
        info = RequestInfo.of(environ)
        # Not before: falcon drops the body of a 101, and with it what ends the subscription.
        info.status = SWITCHING
        return Granted(subscription, info, lambda: context.run(finish))
    try:
        data = b"".join(context.run(list, body))
    finally:
        context.run(finish)
        if subscription is not None:
            subscription.close()
    code, _, reason = status.partition(" ")
    return Response(int(code), reason, Headers([*headers, ("Connection", "close")]), data)
