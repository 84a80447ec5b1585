"""`/run`: commands with the credentials inside them, without a session."""

from __future__ import annotations

import falcon

from service.commands import Commands
from service.http.media import decode, respond
from service.http.request_info import RequestInfo


class RunResource:
    """Commands with `username`, `password` and `eauth`, or a Salt `token`, inside each low. A session is ignored here."""

    def __init__(self, commands: Commands) -> None:
        self._commands = commands

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Run a lowstate: {"return": [value of each low]}."""
        respond(req, resp, {"return": self._commands.run(decode(req), RequestInfo.of(req.env))})
