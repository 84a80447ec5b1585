"""URLs of rest_cherrypy and rest_tornado that need a websocket, which WSGI cannot give."""

from __future__ import annotations

import falcon

from service.errors import NotOffered


class NoWebsocketResource:
    """Websockets are not offered; `/events` carries the same events."""

    any_accept = True

    def on_get(self, _req: falcon.Request, _resp: falcon.Response, rest: str = "") -> None:
        """Answer 501, and point to `/events`."""
        del rest
        raise NotOffered("websockets are not offered; GET /events streams the same events (Server-Sent Events)")
