"""`/minions`: what minions are, and jobs for them."""

from __future__ import annotations

import falcon

from service.clients import Client
from service.commands import Commands
from service.http.media import decode, respond
from service.http.request_info import RequestInfo


class MinionsResource:
    """The current grains of all minions; and jobs that the caller does not wait for."""

    def __init__(self, commands: Commands) -> None:
        self._commands = commands

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Ask every minion for its grains: {"return": [{minion: grains}]}."""
        _answer_grains(self._commands, "*", req, resp)

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Start a job for each low (without `client`) and answer 202: {"return": [{"jid", "minions"}], "_links": {"jobs": [{"href"}]}}."""
        jobs = self._commands.run(decode(req), RequestInfo.of(req.env), proof=req.context.session, client=Client.LOCAL_ASYNC)
        links = [{"href": f"/jobs/{job['jid']}"} for job in jobs if job]
        resp.set_header("Cache-Control", "private")
        respond(req, resp, {"return": jobs, "_links": {"jobs": links}}, 202)


class MinionResource:
    """The grains of one minion, or of those that a glob matches."""

    def __init__(self, commands: Commands) -> None:
        self._commands = commands

    def on_get(self, req: falcon.Request, resp: falcon.Response, mid: str) -> None:
        """Ask the minion for its grains: {"return": [{minion: grains}]}."""
        _answer_grains(self._commands, mid, req, resp)


def _answer_grains(commands: Commands, tgt: str, req: falcon.Request, resp: falcon.Response) -> None:
    low = {"client": "local", "tgt": tgt, "fun": "grains.items"}
    value = commands.run([low], RequestInfo.of(req.env), proof=req.context.session)
    resp.set_header("Cache-Control", "private")
    respond(req, resp, {"return": value})
