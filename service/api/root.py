"""`/`: every command goes here, in a session or with the credentials inside it."""

from __future__ import annotations

import falcon

from service.clients import CLIENTS
from service.commands import Commands
from service.gateway.low import no_credentials, shows_credentials
from service.http.media import decode, respond
from service.http.request_info import RequestInfo

# Upstream's own text; probes and old clients look for it. Source: salt/netapi/rest_wsgi.py, dispatch.
WELCOME = "They found me. I don't know how, but they found me. Run for it, Marty!"


class RootResource:
    """
    Commands, in a session (rest_cherrypy) or, without one, with credentials inside each low (rest_wsgi).

    A request with a session runs as the session's user, whatever credentials its lows carry, as in rest_cherrypy; it is refused
    when the session is over. Source of the contract: salt/netapi/rest_wsgi.py; `clients` comes from rest_cherrypy.
    """

    def __init__(self, commands: Commands) -> None:
        self._commands = commands

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Greet the caller, and list the clients."""
        respond(req, resp, {"return": WELCOME, "clients": list(CLIENTS)})

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Run a lowstate: {"return": [value of each low]}. Without a session and credentials the answer is 401, whatever else is in the body."""
        session = req.context.session
        lowstate = decode(req, required="JSON required")
        if session is None and not shows_credentials(lowstate):
            raise no_credentials()
        respond(req, resp, {"return": self._commands.run(lowstate, RequestInfo.of(req.env), proof=session)})
