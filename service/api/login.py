"""`/login` and `/logout`: a session begins and ends, and the cookie that carries it is set and cleared."""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import Literal

import falcon

from service.auth.sessions import Sessions
from service.errors import BadRequest
from service.http.media import LATEST, decode, respond

# One client compares the sentence.
CLEARED = "Your token has been cleared"


@dataclasses.dataclass(frozen=True)
class SessionCookie:
    """name, samesite, secure: as the settings of these names."""

    name: str
    samesite: Literal["lax", "strict", "none"]
    secure: Literal["auto", "always", "never"]

    def set(self, req: falcon.Request, resp: falcon.Response, token: str, expire: float) -> None:
        """Set the cookie; it lives as long as the token. expire: seconds since 1970."""
        expires = dt.datetime.fromtimestamp(min(expire, LATEST), dt.timezone.utc)
        resp.set_cookie(self.name, token, expires=expires, path="/", secure=self._secure(req), http_only=True, same_site=self.samesite.capitalize())

    def clear(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Make the caller drop the cookie."""
        past = dt.datetime.fromtimestamp(0, dt.timezone.utc)
        resp.set_cookie(self.name, "", expires=past, path="/", secure=self._secure(req), http_only=True, same_site=self.samesite.capitalize())

    def _secure(self, req: falcon.Request) -> bool:
        """Say whether the cookie is for https only; on plain http Java and Go clients would drop it and could not log out."""
        return self.secure == "always" or (self.secure == "auto" and req.scheme == "https")


class LoginResource:
    """
    A session is a Salt token: valid until it expires, across restarts and on every sidecar beside the same master.

    Send it as `X-Auth-Token`, as `Authorization: Bearer`, or as the cookie; the first of these that is present counts.
    The cookie alone counts for a `POST` from the sidecar's own pages, from those of `cors.origins` with `cors.credentials`, and from what is no browser.
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
        session = self._sessions.login(body, req.env)
        resp.set_header("X-Auth-Token", session.token)
        resp.set_header("Cache-Control", "no-store")
        self._cookie.set(req, resp, session.token, session.expire)
        who = session.identity
        content = {"token": session.token, "expire": session.expire, "start": session.start, "user": who.user, "eauth": who.eauth, "perms": who.perms}
        respond(req, resp, {"return": [content]})


class LogoutResource:
    """Ends the session everywhere: the token is revoked at the master, if its store or the user's rights allow that."""

    def __init__(self, sessions: Sessions, cookie: SessionCookie) -> None:
        self._sessions = sessions
        self._cookie = cookie

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Log out with `X-Auth-Token`, as Rundeck does; a cookie is not enough, or any page's image could log its readers out."""
        self.on_post(req, resp)

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Log out. The body is ignored."""
        self._sessions.logout(req.context.session, req.env)
        self._cookie.clear(req, resp)
        respond(req, resp, {"return": CLEARED})
