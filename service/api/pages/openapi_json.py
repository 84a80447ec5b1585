"""`/openapi.json`: the API, for programs."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import falcon

from service.http.media import JSON, compress, encode


class OpenApiResource:
    """The OpenAPI 3.1 document of all URLs but those of the page and its files; it is JSON whatever `Accept` says."""

    any_accept = True

    def __init__(self, document: Callable[[], Mapping[str, Any]]) -> None:
        self._document = document

    @functools.cached_property
    def _text(self) -> bytes:
        return encode(self._document())

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer it."""
        resp.data = self._text
        resp.content_type = JSON
        resp.set_header("Cache-Control", "no-cache")
        compress(req, resp)
