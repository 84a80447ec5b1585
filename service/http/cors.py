"""CORS: which pages of other origins may call from a browser, and the answer to OPTIONS."""

from __future__ import annotations

from collections.abc import Iterable

import falcon

from service.http.media import vary

METHODS = "GET, HEAD, POST, DELETE"
REQUEST_HEADERS = "Content-Type, X-Auth-Token, X-Requested-With, Cache-Control, Accept, Authorization, Idempotency-Key, If-None-Match, Prefer"
RESPONSE_HEADERS = "X-Auth-Token, X-Request-ID, traceresponse, Retry-After, Location, ETag, Idempotency-Replayed"
ANY = "*"


class Cors:
    """
    falcon's middleware. Without origins it only answers OPTIONS, alike for every URL.

    origins: who may call; `*` is everybody, and then never with credentials. credentials: whether the session cookie
    of a page's user counts.
    """

    def __init__(self, origins: Iterable[str] = (), *, credentials: bool = False, max_age_seconds: int = 600) -> None:
        self.adjust(origins, credentials=credentials, max_age_seconds=max_age_seconds)

    def adjust(self, origins: Iterable[str], *, credentials: bool, max_age_seconds: int) -> None:
        """Take a new list, in a running process."""
        self._origins = frozenset(origins)
        self._credentials = credentials and ANY not in self._origins
        self._max_age = str(max_age_seconds)

    def may_share(self, origin: str) -> bool:
        """Say whether pages of an origin may use the session cookie of their user."""
        return self._credentials and origin in self._origins

    def process_request(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Answer OPTIONS before it reaches a route: a preflight carries no credentials, and learns nothing of the URL."""
        if req.env.get("HTTP_SEC_FETCH_SITE") == "cross-site" and not self.may_share(req.get_header("Origin") or ""):
            # SameSite does the same, but an operator may have loosened it.
            req.env.pop("HTTP_COOKIE", None)
        if req.method == "OPTIONS":
            resp.status = falcon.HTTP_200
            resp.set_header("Allow", f"{METHODS}, OPTIONS")
            resp.data = b""
            resp.complete = True

    def process_response(self, req: falcon.Request, resp: falcon.Response, _resource: object, _succeeded: bool) -> None:
        """Tell the browser whether the page may read the answer, errors as well."""
        if not self._origins:
            return
        if ANY not in self._origins:
            vary(resp, "Origin")
        if not self._allows(req):
            return
        resp.set_header("Access-Control-Allow-Origin", ANY if ANY in self._origins else str(req.get_header("Origin")))
        resp.set_header("Access-Control-Expose-Headers", RESPONSE_HEADERS)
        if self._credentials:
            resp.set_header("Access-Control-Allow-Credentials", "true")
        if req.method == "OPTIONS" and req.get_header("Access-Control-Request-Method"):
            resp.set_header("Access-Control-Allow-Methods", METHODS)
            resp.set_header("Access-Control-Allow-Headers", REQUEST_HEADERS)
            resp.set_header("Access-Control-Max-Age", self._max_age)

    def _allows(self, req: falcon.Request) -> bool:
        origin = req.get_header("Origin")
        return origin is not None and (ANY in self._origins or origin in self._origins)
