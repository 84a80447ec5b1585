"""`/v1/jobs`: jobs that are stored, judged and never published twice."""

from __future__ import annotations

import contextlib
import fnmatch
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, get_args

import falcon

from service.errors import BadRequest, Forbidden, NoSuchJob, Overloaded, Unprocessable
from service.http.media import decode, moment, read_for, respond
from service.http.request_info import RequestInfo
from service.jobs import JobStatus, sequences
from service.jobs.job_request import MOST_LISTED, MOST_WAIT_SECONDS, parse, parse_sequence
from service.jobs.names import key_of, owner_of
from service.jobs.outcome import OPEN, codes_of
from service.jobs.relaunch import again
from service.jobs.running.followed_sequences import steps_of
from service.jobs.running.opened import said
from service.jobs.stores.store import JobRecord, PartRecord, Search
from service.jobs.submission import Call, Submissions
from service.limits import Slots

# Says where jobs are kept. Raises StorageUnavailable.
Find = Callable[[], Submissions]


class V1JobsResource:
    """
    Jobs whose outcome is told truly: stored before they are published, judged by what is known of each minion, never published twice.

    docs/jobs.md has the model, all fields and the codes.
    """

    def __init__(self, find: Find, waits: Slots, prefix: str) -> None:
        """waits: for requests that wait for a job's end. prefix: of our URLs."""
        self._find = find
        self._waits = waits
        self._prefix = prefix

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        """Start a job, or with `steps` several, one after the other; with `Idempotency-Key`, once. `wait` and `fail` as of a job."""
        jobs, _, key = self._find(), _wait_of(req), key_of(req.get_header("Idempotency-Key"))
        body, session, info = decode(req), req.context.session, RequestInfo.of(req.env)
        with _pointing():
            if isinstance(body, dict) and "steps" in body:
                begun = sequences.submit(jobs, sequences.SequenceCall(parse_sequence(body), session, info), key)
            else:
                begun = jobs.submit(Call(parse(body), session, info), key)
        record = _told(resp, begun, self._prefix)
        _show(req, resp, jobs, waited_for(req, resp, jobs, record, self._waits), self._prefix)

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        """List the caller's own jobs, the newest first: `since` (Unix time), `status`, `after` (a jid), `limit`; `owner`, of who may read all: another's, or everybody's (`*`)."""
        jobs = self._find()
        status = req.get_param("status")
        if status is not None and status not in get_args(JobStatus):
            raise BadRequest(f"status must be one of {', '.join(get_args(JobStatus))}", field="status")
        limit = int(_number_of(req, "limit", 100, MOST_LISTED)) or 1
        whose, token = _owner_of(req, jobs), req.context.session.identity.token
        search = Search(whose, _number_of(req, "since", 0, 1e11), status, req.get_param("after"), limit, token)  # type: ignore[arg-type]
        found = jobs.store.search(search)
        resp.set_header("Cache-Control", "no-store")
        respond(req, resp, {"jobs": [head_of(record, self._prefix) for record in found], "next": found[-1].jid if len(found) == limit else None})


class V1JobResource:
    """
    One job: its status, its exit code, and what is known of each minion.

    `wait`: seconds to wait for its end, up to 60. `fail=1` (or `Prefer: handling=strict`): the HTTP status tells the outcome. `minions`: a glob; `failed=1`:
    only minions that are not well; `fields`: the members wanted beside `jid`, with `return` the minions' returns too.
    """

    def __init__(self, find: Find, waits: Slots, prefix: str) -> None:
        """As of V1JobsResource."""
        self._find = find
        self._waits = waits
        self._prefix = prefix

    def on_get(self, req: falcon.Request, resp: falcon.Response, jid: str) -> None:
        """Show it: 200 when it is over, 202 before."""
        jobs, _, session = self._find(), _wait_of(req), req.context.session
        record = jobs.of(jid, session.identity)
        jobs.lend(record, session)
        _show(req, resp, jobs, waited_for(req, resp, jobs, record, self._waits), self._prefix)

    def on_delete(self, req: falcon.Request, resp: falcon.Response, jid: str) -> None:
        """Cancel it: 202 while its minions are being stopped, 200 when it is over."""
        jobs, session = self._find(), req.context.session
        record = jobs.of(jid, session.identity, to_end=True)
        _show(req, resp, jobs, jobs.cancelling.cancel(record, session, RequestInfo.of(req.env)), self._prefix)


class V1RelaunchResource:
    """A job that is over, again: a new job, whose `parent` it is, on some of its minions, with the same function, arguments and policy."""

    def __init__(self, find: Find, waits: Slots, prefix: str) -> None:
        """As of V1JobsResource."""
        self._find = find
        self._waits = waits
        self._prefix = prefix

    def on_post(self, req: falcon.Request, resp: falcon.Response, jid: str) -> None:
        """Start it; `minions` says which ones run it. `Idempotency-Key`, `wait` and `fail` as of a new job."""
        jobs, _, key = self._find(), _wait_of(req), key_of(req.get_header("Idempotency-Key"))
        session = req.context.session
        request, asked_for = again(jobs, jid, decode(req), session.identity, key)
        with _pointing():
            record = _told(resp, jobs.submit(Call(request, session, RequestInfo.of(req.env), jid, asked_for), key), self._prefix)
        _show(req, resp, jobs, waited_for(req, resp, jobs, record, self._waits), self._prefix)


class V1MinionResource:
    """One minion's part in a job."""

    def __init__(self, find: Find) -> None:
        self._find = find

    def on_get(self, req: falcon.Request, resp: falcon.Response, jid: str, mid: str) -> None:
        """Show its return, whole; one that was too large to be kept is `omitted`."""
        jobs = self._find()
        part = jobs.store.part(jobs.of(jid, req.context.session.identity).jid, mid)
        if part is None:
            raise NoSuchJob("the job was not sent to such a minion")
        resp.set_header("Cache-Control", "no-store")
        respond(req, resp, {"minion": mid, **part_of(part, read_for(req))})


def waited_for(req: falcon.Request, resp: falcon.Response, jobs: Submissions, record: JobRecord, waits: Slots) -> JobRecord:
    """Return a job as it is at its end, or after the seconds that its caller wants to wait; at once when too many wait already."""
    seconds = _wait_of(req)
    if not seconds or record.status not in OPEN:
        return record
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(waits.take(req.context.session.identity.holder_at(RequestInfo.of(req.env).address)))
        except Overloaded:
            resp.set_header("Retry-After", "1")
            return record
        jobs.wait(record.jid, req.context.session, seconds)
    return jobs.store.job(record.jid) or record


@contextlib.contextmanager
def _pointing() -> Iterator[None]:
    """Say of a field that the gateway refuses where it is in the request."""
    try:
        yield
    except BadRequest as fault:
        if "field" not in fault.details:
            raise
        raise Unprocessable(fault.reason, errors=[{"pointer": f"/{fault.details['field']}", "detail": fault.reason}]) from None


def _told(resp: falcon.Response, begun: tuple[JobRecord, bool], prefix: str) -> JobRecord:
    """Say where a job is that was begun by this request, or by one before it that was the same; return it."""
    record, replayed = begun
    if replayed:
        resp.set_header("Idempotency-Replayed", "true")
    resp.set_header("Location", f"{prefix}/v1/jobs/{record.jid}")
    return record


def _show(req: falcon.Request, resp: falcon.Response, jobs: Submissions, record: JobRecord, prefix: str) -> None:
    resp.set_header("Cache-Control", "no-store")
    tag = f"{record.jid}-{record.revision}"
    resp.etag = tag
    codes = codes_of(record.status, record.cause)
    strict = req.get_param_as_bool("fail") or "handling=strict" in (req.get_header("Prefer") or "")
    if req.method in {"GET", "HEAD"} and tag in (req.if_none_match or ()):
        resp.status = falcon.HTTP_304
        return
    recovering = {"recovering": True} if jobs.running.watched.is_recovering(record.jid) else {}
    fields = {*(req.get_param("fields") or "").split(",")} - {""}
    wanted = fields - {"return"}
    shown = {**head_of(record, prefix), **recovering}
    if record.request["client"] == "steps":
        shown["steps"] = [_step_of(step) for step in steps_of(jobs.store, record)]
    if not wanted or wanted & {"counts", "minions"}:
        shown |= _minions_of(req, jobs, record, with_returns="return" in fields)
    answer = {name: value for name, value in shown.items() if not wanted or name in {*wanted, "jid"}}
    respond(req, resp, answer, 202 if codes is None or record.status == "in_doubt" else codes[1] if strict else 200)


def _minions_of(req: falcon.Request, jobs: Submissions, record: JobRecord, *, with_returns: bool) -> dict[str, Any]:
    """Return what is shown of a job's minions; there may be ten thousand, so nobody reads them who wants none of it."""
    read = read_for(req) if with_returns else None
    parts = jobs.store.parts(record.jid, bodies=with_returns)
    minions = {minion: part_of(part, read) for minion, part in parts.items() if _is_wanted(req, minion, part)}
    return {"counts": dict(Counter(part.status for part in parts.values())), "minions": minions}


def _step_of(step: JobRecord | None) -> dict[str, Any]:
    if step is None:
        return {"jid": None, "status": "not_begun"}
    return {"jid": step.jid, **said(step.status, step.cause)}


def _is_wanted(req: falcon.Request, minion: str, part: PartRecord) -> bool:
    glob = req.get_param("minions")
    return (glob is None or fnmatch.fnmatchcase(minion, glob)) and not (req.get_param_as_bool("failed") and part.status == "ok")


def head_of(record: JobRecord, prefix: str) -> dict[str, Any]:
    """Return what is shown of a job without its minions."""
    asked = record.request
    codes = codes_of(record.status, record.cause)
    url = f"{prefix}/v1/jobs/{record.jid}"
    parent = {} if record.parent is None else {"parent": f"{prefix}/v1/jobs/{record.parent}"}
    return {
        "jid": record.jid,
        "parent": record.parent,
        "owner": record.owner,
        "status": record.status,
        "cause": record.cause,
        "exit_code": codes[0] if codes else None,
        **{name: asked[name] for name in ("client", "fun", "tgt", "tgt_type", "dry_run", "cause_url")},
        "expected": record.expected,
        "since": moment(record.since),
        "deadline": moment(record.deadline),
        "finished": None if record.finished is None else moment(record.finished),
        "revision": record.revision,
        "foreign_returns": record.strays,
        "concurrency": asked.get("concurrency"),
        **({"needs_owner": True} if record.needs_owner else {}),
        **({"cancel_asked": True} if record.cancelled else {}),
        **({"waves": record.waves, "wave": record.wave} if record.waves else {}),
        "links": {"self": url, **parent, "events": f"{url}/events", "log": f"{url}/log", "junit": f"{url}/junit", "minion": f"{url}/minions/{{id}}"},
    }


def part_of(part: PartRecord, read: Callable[[bytes], object] | None) -> dict[str, Any]:
    """Return what is shown of a minion. read: what its return becomes, from its JSON; None: it is left out."""
    told: Mapping[str, Any] = {
        "wave": part.wave,
        "reason": part.reason,
        "why": part.why,
        "source": part.source,
        "at": None if part.at is None else moment(part.at),
    }
    shown: dict[str, Any] = {"status": part.status, **{name: value for name, value in told.items() if value is not None}, **part.flags}
    if part.source is not None:
        shown |= {"retcode": part.retcode, "size": part.size}
        if part.source == "job_cache":
            shown["unverified"] = True
        if read is not None:
            shown |= {"omitted": True} if part.body is None else {"return": read(part.body)}
    return shown


def _wait_of(req: falcon.Request) -> float:
    return _number_of(req, "wait", 0, MOST_WAIT_SECONDS)


def _owner_of(req: falcon.Request, jobs: Submissions) -> str | None:
    """Return whose jobs are wanted, None for everybody's. Raises Forbidden."""
    identity = req.context.session.identity
    owner = req.get_param("owner") or owner_of(identity)
    if owner != owner_of(identity) and not jobs.reads_all(identity):
        raise Forbidden("others' jobs are for those whom `jobs.readers` names, or who see everything")
    return None if owner == "*" else owner


def _number_of(req: falcon.Request, name: str, default: float, most: float) -> float:
    """Return a number in the query. Raises BadRequest."""
    text = req.get_param(name)
    try:
        value = default if text is None else float(text)
    except ValueError:
        value = -1
    if not 0 <= value <= most:
        raise BadRequest(f"{name} must be a number from 0 to {most:g}", field=name)
    return value
