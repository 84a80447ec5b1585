"""`/jobs`: what ran."""

from __future__ import annotations

from typing import Any

import falcon

from service.commands import Commands
from service.http.media import respond
from service.http.request_info import RequestInfo


class JobsResource:
    """The jobs in the master's job cache."""

    def __init__(self, commands: Commands) -> None:
        self._commands = commands

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """List them: {"return": [{jid: job}]}."""
        low = {"client": "runner", "fun": "jobs.list_jobs"}
        value = self._commands.run([low], RequestInfo.of(req.env), proof=req.context.session)
        resp.set_header("Cache-Control", "private")
        respond(req, resp, {"return": value})


class JobResource:
    """One job, with its returns so far."""

    def __init__(self, commands: Commands) -> None:
        self._commands = commands

    def on_get(self, req: falcon.Request, resp: falcon.Response, jid: str) -> None:
        """Look it up: {"info": [job], "return": [{minion: value}]}; a job that is not known has `Error` in `info`."""
        low = {"client": "runner", "fun": "jobs.list_job", "kwarg": {"jid": jid}}
        (job,) = self._commands.run([low], RequestInfo.of(req.env), proof=req.context.session)
        resp.set_header("Cache-Control", "private")
        respond(req, resp, shown(job, jid))


def shown(job: object, jid: str) -> dict[str, Any]:
    """Return the two lists; a sentence of the runner's in place of a job is its error."""
    info = job if isinstance(job, dict) else {"jid": jid, "Error": str(job)}
    results = info.get("Result")
    returns = {
        minion: result.get("return") if isinstance(result, dict) else result for minion, result in (results if isinstance(results, dict) else {}).items()
    }
    return {"info": [info], "return": [returns]}
