"""A job that is over, again: on those of its minions that are meant, with what its function got."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from service.auth.identity import Identity
from service.errors import Conflict, NoSuchJob, NothingLeft, Unprocessable
from service.jobs.inputs import request_of
from service.jobs.job_request import INPUTS, MOST_FAULTS, JobRequest, digest_of, validated
from service.jobs.names import owner_of
from service.jobs.outcome import OPEN, MinionStatus
from service.jobs.stores.store import JobRecord
from service.jobs.submission import Submissions

Meant = Literal["failed", "missing", "not_run", "not_ok"]
# Who is meant, by what is known of them.
MEANT: Mapping[Meant, Collection[MinionStatus]] = {
    "failed": {"failed"},
    "missing": {"lost", "no_return", "no_key", "unknown"},
    "not_run": {"not_run"},
    "not_ok": {*get_args(MinionStatus)} - {"ok"},
}


class Relaunch(BaseModel):
    """Which minions of a job run it again, and, where that was not kept, what its function got."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    minions: Meant | list[str] = Field(description="By what is known of them, or by name.")
    arg: list[Any] = Field([], description="As the job was sent it; for jobs whose arguments were not kept.")
    kwarg: dict[str, Any] = Field({}, description="As `arg`.")
    metadata: dict[str, Any] = Field({}, description="As `arg`.")

    @property
    def inputs(self) -> dict[str, Any] | None:
        """What its function is to get; None if the caller does not say."""
        return self.model_dump(include={*INPUTS}) if self.model_fields_set & {*INPUTS} else None


def again(jobs: Submissions, jid: str, body: object, identity: Identity, key: str | None) -> tuple[JobRequest, str]:
    """
    Return what a job that runs another one again is asked for, and a digest of what the caller has sent for that.

    Raises NoSuchJob if it is not the caller's own, Conflict while it is not over, NothingLeft, Unprocessable, StorageUnavailable.
    """
    parent = jobs.of(jid, identity)
    if parent.owner != owner_of(identity):
        raise NoSuchJob("there is no such job of yours")
    if parent.request["client"] == "steps":
        raise Conflict("a sequence does not run again, but each of its steps does", jid=jid)
    asked = validated(Relaunch, body)
    if parent.status in OPEN:
        raise Conflict("the job is not over yet, and runs again only then", jid=jid)
    inputs = _inputs(parent, asked, jobs.store.inputs(jid))
    known = jobs.store.keyed(parent.owner, key) if key is not None else None
    minions = known.request["tgt"] if known is not None and known.parent == jid else _chosen(asked.minions, jobs.statuses(jid))
    return _request(parent.request, inputs, minions), digest_of([jid, asked.minions])


def _inputs(parent: JobRecord, asked: Relaunch, stored: bytes | None) -> Mapping[str, Any]:
    """Return what the function gets: what was kept, or the same again from the caller."""
    sent = asked.inputs
    if sent is None and stored is not None:
        kept: Mapping[str, Any] = json.loads(stored)
        return kept
    if sent is None:
        reason = "what the job's function got was not kept: send `arg`, `kwarg` and `metadata` again, as they were"
        raise Unprocessable(reason, errors=[{"pointer": "/arg", "detail": "send it again"}])
    if digest_of(sent) != parent.request["inputs"]:
        wrong = [{"pointer": f"/{name}", "detail": "not all is as the job was sent it"} for name in INPUTS if name in asked.model_fields_set]
        raise Unprocessable("a job runs again with what its function got, and nothing else", errors=wrong)
    return sent


def _chosen(minions: Meant | list[str], statuses: Mapping[str, MinionStatus]) -> list[str]:
    """Return who runs it again. Raises NothingLeft if nobody does, Unprocessable for names that the job does not have."""
    if not isinstance(minions, str):
        strangers = [{"pointer": f"/minions/{place}", "detail": "the job was not sent to it"} for place, one in enumerate(minions) if one not in statuses]
        if strangers:
            raise Unprocessable(f"{len(strangers)} of the minions are not the job's", errors=strangers[:MOST_FAULTS])
        chosen = sorted({*minions})
    else:
        chosen = sorted(minion for minion, status in statuses.items() if status in MEANT[minions])
    if not chosen:
        raise NothingLeft("none of the job's minions is to run it again")
    return chosen


def _request(asked: Mapping[str, Any], inputs: Mapping[str, Any], minions: list[str] | None) -> JobRequest:
    """Return a job's request for some of its minions. asked: what is stored of it. More than all of them need not be well."""
    fields = {**asked}
    if asked["client"] == "local" and minions is not None:
        fields |= {"tgt": minions, "tgt_type": "list"}
        if isinstance(asked["min_success"], int):
            fields["min_success"] = min(asked["min_success"], len(minions))
    return request_of(fields, inputs)
