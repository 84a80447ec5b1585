"""The URL as the routes know it: without prefix, doubled slashes in front, or slashes at the end."""

from __future__ import annotations

import falcon

from service.errors import NotFound


class Paths:
    """falcon's middleware in front of the router."""

    def __init__(self, root_prefix: str = "") -> None:
        self._prefix = root_prefix.rstrip("/")

    def process_request(self, req: falcon.Request, _resp: falcon.Response) -> None:
        """
        Rewrite the path: a base URL with a slash at its end gives `//login`, and `/login/` is `/login`.

        Raises NotFound outside the prefix.
        """
        path = "/" + req.path.strip("/")
        if self._prefix:
            if path != self._prefix and not path.startswith(self._prefix + "/"):
                raise NotFound("Not Found")
            path = "/" + path[len(self._prefix) :].strip("/")
        req.path = path
