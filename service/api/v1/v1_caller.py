"""`/v1/session`, `/v1/capabilities` and `/v1/minions`: who calls, and what they find here."""

from __future__ import annotations

import fnmatch
import time
from collections.abc import Callable
from typing import Literal

import falcon

from service import __version__
from service.commands import Commands
from service.errors import BadRequest, MasterRefused, StorageUnavailable
from service.fleet.minion_tracker import Fleet, Sighting
from service.gateway.master.options import SALT_VERSION
from service.http.media import moment, respond
from service.http.request_info import RequestInfo
from service.jobs.job_request import MOST_LISTED, MOST_SECONDS, MOST_WAIT_SECONDS
from service.jobs.submission import CLIENTS, Submissions
from service.openapi.answers import CallerSession, CallLimits, Capabilities, Features, MinionList, MinionSeen, Versions
from service.settings.settings import Settings


class V1SessionResource:
    """Who calls, what the master's `external_auth` lets them do, and how long; without the master too, while the session is known (`offline`)."""

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Show the session."""
        session = req.context.session
        who = session.identity
        shown = CallerSession(
            user=who.user,
            eauth=who.eauth,
            groups=list(who.groups),
            perms=list(who.perms),
            sees_everything=who.sees_everything,
            start=moment(session.start),
            expires=moment(session.expire),
            expires_in=max(0, int(session.expire - time.time())),
            offline=session.offline,
            token=who.token,
            scope=None if session.scope is None else list(session.scope.entries),
        )
        resp.set_header("Cache-Control", "no-store")
        respond(req, resp, shown.model_dump())


class V1CapabilitiesResource:
    """What this sidecar does: its versions, the clients that are enabled, limits and features."""

    def __init__(self, ours: Settings, commands: Commands, jobs: Callable[[], Submissions]) -> None:
        """jobs: who takes jobs in; raises StorageUnavailable."""
        self._ours = ours
        self._commands = commands
        self._jobs = jobs

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Show them."""
        enabled = self._commands.enabled_clients
        shown = Capabilities(
            versions=Versions(sidecar=__version__, salt=SALT_VERSION),
            clients=list(enabled),
            job_clients=[name for name, client in CLIENTS.items() if client in enabled],
            limits=self._limits(),
            features=Features(jobs=self._takes_jobs(), recovery=self._ours.jobs.recovery_user is not None, page=self._ours.site.app is not None),
        )
        resp.set_header("Cache-Control", "no-store")
        respond(req, resp, shown.model_dump())

    def _limits(self) -> CallLimits:
        ours = self._ours
        return CallLimits(
            body_bytes=ours.api.body_limit_bytes,
            load_bytes=ours.api.load_limit_bytes,
            lows_per_request=self._commands.policy.lows_per_request,
            open_jobs=ours.jobs.open,
            job_seconds=MOST_SECONDS,
            wait_seconds=MOST_WAIT_SECONDS,
            keep_seconds=int(ours.jobs.keep_seconds),
        )

    def _takes_jobs(self) -> bool:
        try:
            self._jobs()
        except StorageUnavailable:
            return False
        return True


class V1MinionsResource:
    """The minions whose keys the master has accepted, for callers with the right to `key.list_all` (`@wheel`)."""

    def __init__(self, commands: Commands, fleet: Fleet) -> None:
        self._commands = commands
        self._fleet = fleet

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """List their ids, in order; `match`: a glob; `limit`: so many, after the id in `after`; `seen=1`: when each was heard of, how its last highstate ended, whether it is connected."""
        limit = _limit_of(req)
        (value,) = self._commands.run([{"client": "wheel", "fun": "key.list_all"}], RequestInfo.of(req.env), proof=req.context.session)
        keys = value["data"].get("return") if isinstance(value.get("data"), dict) else None
        if not isinstance(keys, dict) or not isinstance(keys.get("minions"), list):
            raise MasterRefused("the master could not list its keys")
        glob, after = req.get_param("match") or "*", req.get_param("after") or ""
        resp.set_header("Cache-Control", "no-store")
        minions = sorted(one for one in keys["minions"] if one > after and fnmatch.fnmatchcase(one, glob))
        found = MinionList(minions=minions[:limit])
        shown = found.model_dump(exclude_none=True)
        if req.get_param_as_bool("seen"):
            shown["seen"] = {minion: _shown(one).model_dump() for minion, one in self._fleet.sightings(found.minions).items()}
        if limit is not None:
            shown["next"] = found.minions[-1] if len(minions) > limit else None
        respond(req, resp, shown)


def _limit_of(req: falcon.Request) -> int | None:
    """Return how many a caller wants at most, None for all. Raises BadRequest."""
    text = req.get_param("limit")
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and 1 <= int(text[:7]) <= MOST_LISTED):
        raise BadRequest(f"limit must be a number from 1 to {MOST_LISTED}", field="limit")
    return int(text)


def _shown(one: Sighting) -> MinionSeen:
    highstate: dict[bool | None, Literal["success", "failure"]] = {True: "success", False: "failure"}
    return MinionSeen(last_seen=None if one.at is None else moment(one.at), last_highstate=highstate.get(one.well), connected=one.connected)
