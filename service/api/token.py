"""`/token`: Salt tokens for use inside lows."""

from __future__ import annotations

from collections.abc import Callable

import falcon

from service.auth.sessions import Sessions
from service.errors import BadRequest
from service.http.media import decode, respond

NEEDED = ("username", "password", "eauth")


class TokenResource:
    """Makes Salt tokens, the same as those of /login."""

    def __init__(self, sessions: Sessions, most: Callable[[], int]) -> None:
        """most: how many tokens one request may ask for."""
        self._sessions = sessions
        self._most = most

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Make a token for each object with username, password and eauth: a bare list, without `return`."""
        body = decode(req)
        logins = [body] if isinstance(body, dict) else body
        if not isinstance(logins, list) or not logins or len(logins) > self._most():
            raise BadRequest(f"send one object, or a list of 1 to {self._most()}")
        if not all(isinstance(login, dict) and all(name in login for name in NEEDED) for login in logins):
            raise BadRequest('Require "username", "password", and "eauth" params')
        resp.set_header("Cache-Control", "no-store")
        respond(req, resp, [self._sessions.mk_token(login, req.env) for login in logins])
