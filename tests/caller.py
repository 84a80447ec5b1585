"""An HTTP caller without sockets: every request goes through wsgiref's validator."""

from __future__ import annotations

import dataclasses
import io
import json
import warnings
from typing import TYPE_CHECKING, Any
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication


@dataclasses.dataclass(frozen=True)
class Response:
    """An answer; header names are lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Caller:
    """Calls a WSGI application as a server would."""

    def __init__(self, app: WSGIApplication) -> None:
        self._app = validator(app)

    def request(self, method: str, path: str = "/", body: bytes = b"", **headers: str) -> Response:
        """Send a request; header names as keywords, `content_type` for Content-Type."""
        environ: dict[str, Any] = {}
        setup_testing_defaults(environ)
        environ.update(REQUEST_METHOD=method, PATH_INFO=path, QUERY_STRING="", REMOTE_ADDR="192.0.2.1", CONTENT_LENGTH=str(len(body)))
        environ["wsgi.input"] = io.BytesIO(body)
        for name, value in headers.items():
            key = name.upper()
            environ[key if key == "CONTENT_TYPE" else f"HTTP_{key}"] = value
        started: list[Any] = []

        def start_response(*args: Any) -> Any:
            started[:] = args
            return lambda _data: None

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the validator dislikes methods it does not know; we send them on purpose
            answer = self._app(environ, start_response)
            try:
                content = b"".join(answer)
            finally:
                answer.close()  # type: ignore[attr-defined]
        return Response(int(started[0].split()[0]), {name.lower(): value for name, value in started[1]}, content)

    def post(self, lowstate: object, path: str = "/", **headers: str) -> Response:
        """Send a value as JSON."""
        headers.setdefault("content_type", "application/json")
        return self.request("POST", path, json.dumps(lowstate).encode(), **headers)

    def get(self, path: str = "/", **headers: str) -> Response:
        return self.request("GET", path, b"", **headers)
