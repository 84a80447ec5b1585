"""`/logout`: ends a session."""

from __future__ import annotations

import falcon

from service.auth.sessions import Sessions
from service.errors import Unauthenticated
from service.http.cookies import SessionCookie
from service.http.media import respond

# One client compares the sentence.
CLEARED = "Your token has been cleared"


class Logout:
    """Ends the session everywhere: the token is revoked at the master, where its store or the user's rights let us."""

    def __init__(self, sessions: Sessions, cookie: SessionCookie) -> None:
        self._sessions = sessions
        self._cookie = cookie

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Log out with `X-Auth-Token`, as Rundeck does; a cookie is not enough, or any page's image could log its readers out."""
        if not (req.get_header("X-Auth-Token") or "").strip():
            raise Unauthenticated("GET /logout needs X-Auth-Token; a cookie counts for POST only")
        self.on_post(req, resp)

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Log out. The body does not matter."""
        self._sessions.logout(self._sessions.of(req.env), req.env)
        self._cookie.clear(req, resp)
        respond(req, resp, {"return": CLEARED})
