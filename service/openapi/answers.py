"""The models of what is answered. Those of `/v1` name every member; a test holds the answers to them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from service.gateway.clients.verdict import Reason
from service.jobs import JobStatus
from service.jobs.job_request import Concurrency
from service.jobs.outcome import Cause, MinionStatus


class Shown(BaseModel):
    """A value that is answered; times are RFC 3339's, in UTC."""

    # Most are only ever a part of another one: built by themselves at each start they took a twentieth of its imports.
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class Problem(BaseModel):
    """An error of `/v1` (RFC 9457)."""

    type: Literal["about:blank"]
    title: str
    status: int
    detail: str = Field(description="What is wrong, for people.")
    error: str = Field(description="The kind of fault, for programs; docs/http.md has them all.")
    request_id: str = Field("", description="What the log says more under.")
    errors: list[FieldFault] = Field([], description="The fields that are wrong.")


class FieldFault(Shown):
    """One field of a request that cannot be taken."""

    pointer: str = Field(description="A JSON pointer to it.")
    detail: str


class RestWsgiError(BaseModel):
    """An error of every other URL."""

    returned: str = Field(alias="return", description="`STATUS: reason`, for people.")
    status: int
    error: str = Field(description="The kind of fault, for programs; docs/http.md has them all.")
    request_id: str = Field("", description="What the log says more under.")


class ReturnedValue(BaseModel):
    """What is asked for, under `return`."""

    returned: Any = Field(alias="return")


class ExchangedToken(Shown):
    """The token that an id token, or a certificate, was exchanged for (RFC 8693, 8705)."""

    access_token: str = Field(description="A Salt token, as of /login; with a `scope` a scoped one, as of /v1/tokens.")
    issued_token_type: str
    token_type: Literal["Bearer"] = Field("Bearer")
    expires_in: int = Field(description="Seconds that it is good for.")
    scope: str | None = Field(None, description="What it is for; without it, all that the account may do.")


class JobSummary(Shown):
    """A job, without its minions."""

    jid: str
    parent: str | None = Field(description="The jid of the job that it repeats, or is a part of.")
    owner: str = Field(description="Who asked for it, as `EAUTH:USER`.")
    status: JobStatus
    cause: Cause | None
    exit_code: int | None = Field(description="What a pipeline's step should end with; null while the job is not over.")
    client: str
    fun: str | list[str]
    tgt: str | list[str] | None
    tgt_type: str
    dry_run: bool
    cause_url: str | None
    expected: int = Field(description="How many minions it is for.")
    since: str
    deadline: str
    finished: str | None
    revision: int = Field(description="How often it was stored with something new.")
    foreign_returns: int = Field(description="Returns that came under its jid and are of another function.")
    concurrency: Concurrency | None = Field(description="The group of which it is, and what was to be done while that was busy.")
    needs_owner: bool = Field(False, description="It goes on only when its owner sends the same request again.")
    cancel_asked: bool = Field(False, description="It is being cancelled, or was.")
    waves: int = Field(0, description="How many waves its minions are dealt out to.")
    wave: int = Field(0, description="How many of them have begun.")
    links: dict[str, str]


class MinionPart(Shown):
    """What is known of a minion's part in a job."""

    status: MinionStatus
    reason: Reason | Literal["returned_false"] | None = Field(None, description="Why its return is a failure.")
    wave: int = Field(0, description="Which wave it is in.")
    why: str | None = Field(None, description="Why nothing is known, or it was not run.")
    source: str | None = Field(None, description="Where its return was found.")
    at: str = ""
    retcode: Any = None
    size: int = Field(0, description="Of its return, in bytes.")
    truncated: bool = Field(False, description="The master has cut the return to its `max_event_size`.")
    dry_run: bool = Field(False, description="States would have changed something.")
    states: dict[str, int] = Field({}, description="How many states ended how.")
    failures: list[dict[str, Any]] = Field([], description="The states that failed, the first hundred.")
    unverified: bool = Field(False, description="Found in the job cache, which keeps no function.")
    omitted: bool = Field(False, description="The return was too large to be kept.")
    returned: Any = Field(None, alias="return")


class MinionReturn(MinionPart):
    """One minion's part in a job, with its return."""

    minion: str


def _leave_out(schema: dict[str, Any]) -> None:
    schema["required"] = ["jid"]


class StepView(Shown):
    """A step of a sequence."""

    jid: str | None
    status: JobStatus | Literal["not_begun"]
    cause: Cause | None = None
    exit_code: int | None = None


class JobView(JobSummary):
    """A job; with `fields` only those members, and `jid`."""

    model_config = ConfigDict(json_schema_extra=_leave_out)

    recovering: bool = Field(False, description="What was missed while the sidecar was away is being looked up.")
    counts: dict[MinionStatus, int] = Field(description="How many minions are in which status.")
    minions: dict[str, MinionPart]
    steps: list[StepView] = Field([], description="Of a sequence: what became of each step.")


class JobList(Shown):
    """The caller's jobs, the newest first."""

    jobs: list[JobSummary]
    next: str | None = Field(description="What `after` should be to get those before; null at the end.")


class CallerSession(Shown):
    """Who calls, and what the master's `external_auth` lets them do."""

    user: str
    eauth: str
    groups: list[str]
    perms: list[Any] = Field(description="The rights, as in `external_auth`.")
    sees_everything: bool = Field(description="Whether all jobs and events are shown.")
    start: str
    expires: str
    expires_in: int = Field(description="Seconds until then.")
    offline: bool = Field(description="The master could not be asked now; it knew the session a short while ago.")
    token: str | None = Field(description="The id of the scoped token that was sent, null if it was none.")
    scope: list[str] | None = Field(description="What that is for: of the rights no more than this counts.")


class TokenView(Shown):
    """A scoped token, without itself."""

    id: str
    scope: list[str] = Field(description="What it is for, an entry each.")
    created: str
    expires: str
    max_uses: int | None = Field(description="How often something may be run with it; null: any number.")
    uses: int = Field(description="How often something was run with it.")
    last_used: str | None


class TokenList(Shown):
    """Scoped tokens."""

    tokens: list[TokenView]


class MadeToken(TokenView):
    """A new scoped token."""

    token: str = Field(description="The token; it is shown this once.")


class Versions(Shown):
    """What runs."""

    sidecar: str
    salt: str


class Features(Shown):
    """What the configuration has switched on."""

    jobs: bool = Field(description="`/v1/jobs` has a store; where it has none its 503 says why.")
    recovery: bool = Field(description="Returns that were missed are looked up (`jobs.recovery_user`).")
    page: bool = Field(description="Browsers get a page (`site.app`).")


class CallLimits(Shown):
    """What is refused above."""

    body_bytes: int
    load_bytes: int = Field(description="Of one low, as it is sent to the master.")
    lows_per_request: int
    open_jobs: int = Field(description="Jobs of `/v1/jobs` that are not over, of all users.")
    job_seconds: int = Field(description="The longest `deadline` of a job.")
    wait_seconds: int = Field(description="The longest `wait` for a job's end.")
    keep_seconds: int = Field(description="How long a job and its `Idempotency-Key` are kept once it is over.")


class Capabilities(Shown):
    """What this sidecar does."""

    versions: Versions
    clients: list[str] = Field(description="What a low's `client` may be.")
    job_clients: list[str] = Field(description="What the `client` of `POST /v1/jobs` may be.")
    limits: CallLimits
    features: Features


class MinionSeen(Shown):
    """What the event bus has said of a minion; null where it has said nothing since the sidecar started, or for a day."""

    last_seen: str | None
    last_highstate: Literal["success", "failure"] | None
    connected: bool | None = Field(description="As the master says, which does only with its option `presence_events`.")


class MinionList(Shown):
    """Minions whose keys the master has accepted."""

    minions: list[str]
    seen: dict[str, MinionSeen] | None = Field(None, description="With `seen=1`: what is known of each.")
    next: str | None = Field(None, description="With `limit`: the `after` of the next page, null on the last one.")
