"""`/login`: opens a session."""

from __future__ import annotations

import falcon

from service.auth.sessions import Sessions
from service.errors import BadRequest
from service.http.cookies import SessionCookie
from service.http.media import decode, respond


class Login:
    """
    A session is a Salt token: valid until it expires, across restarts and on every sidecar beside the same master.

    Send it as `X-Auth-Token`, as `Authorization: Bearer`, or let the cookie do it; the first that is there counts.
    """

    def __init__(self, sessions: Sessions, cookie: SessionCookie) -> None:
        self._sessions = sessions
        self._cookie = cookie

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Say how to log in."""
        resp.set_header("WWW-Authenticate", "Session")
        respond(req, resp, {"status": None, "return": "Please log in"})

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Log in with username, password and eauth; further keys go to the eauth module. The token comes in body, header and cookie."""
        body = decode(req)
        if isinstance(body, list):
            if not body:
                raise BadRequest("a login is an object with username, password and eauth")
            body = body[0]
        identity = self._sessions.login(body, req.env)
        resp.set_header("X-Auth-Token", identity.token)
        resp.set_header("Cache-Control", "no-store")
        self._cookie.set(req, resp, identity.token, identity.expire)
        session = {
            "token": identity.token,
            "expire": identity.expire,
            "start": identity.start,
            "user": identity.user,
            "eauth": identity.eauth,
            "perms": identity.perms,
        }
        respond(req, resp, {"return": [session]})
