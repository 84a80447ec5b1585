"""`/`: rest_wsgi's only URL. Every command goes here, with the credentials inside it."""

from __future__ import annotations

import falcon

from service.commands import Caller, Commands
from service.gateway.low import CLIENTS
from service.http.facts import ENVIRON_KEY, Facts
from service.http.media import decode, respond

# Upstream's own text; probes and old clients look for it. Source: salt/netapi/rest_wsgi.py, dispatch.
WELCOME = "They found me. I don't know how, but they found me. Run for it, Marty!"


class Root:
    """Source of the contract: salt/netapi/rest_wsgi.py; `clients` comes from rest_cherrypy."""

    def __init__(self, commands: Commands) -> None:
        self._commands = commands

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Say that somebody is here."""
        respond(req, resp, {"return": WELCOME, "clients": list(CLIENTS)})

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Run a lowstate: {"return": [value of each low]}."""
        facts: Facts = req.env[ENVIRON_KEY]
        caller = Caller(facts.request_id, facts.address, facts.lows)
        lowstate = decode(req, required="JSON required")
        respond(req, resp, {"return": self._commands.run(lowstate, caller)})
