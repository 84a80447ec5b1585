"""An HTTP caller without sockets: every request goes through wsgiref's validator."""

from __future__ import annotations

import dataclasses
import io
import json
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

from service.api.gates import nothing
from service.http.app import Served

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


def open_to_all(resources: Mapping[str, object], labels: Mapping[str, str] | None = None) -> dict[str, Served]:
    """Return resources, by URL template, as they are served behind gates that are open. labels: of templates that are called something else."""
    return {
        template: Served(
            resource, (labels or {}).get(template, template), {method: nothing for method in ("GET", "POST") if hasattr(resource, f"on_{method.lower()}")}
        )
        for template, resource in resources.items()
    }


class Caller:
    """Calls a WSGI application as a server would."""

    def __init__(self, app: WSGIApplication) -> None:
        self._app = validator(app)
        self.address = "192.0.2.1"

    def request(self, method: str, path: str = "/", body: bytes = b"", **headers: str) -> Response:
        """Send a request, the path with its query string; header names as keywords, `content_type` for Content-Type."""
        path, _, query = path.partition("?")
        environ: dict[str, Any] = {}
        setup_testing_defaults(environ)
        environ.update(REQUEST_METHOD=method, PATH_INFO=path, QUERY_STRING=query, REMOTE_ADDR=self.address, CONTENT_LENGTH=str(len(body)))
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
