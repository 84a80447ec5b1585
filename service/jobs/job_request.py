"""What a caller of `/v1/jobs` asks for: the model of the request, its policy, its low, and its fingerprint."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from service.clients import TARGETED, Kind
from service.errors import Unprocessable
from service.gateway.low import CREDENTIAL_FIELDS
from service.gateway.low_fields import TARGET_TYPES
from service.jobs.outcome import SuccessPolicy

DEADLINE_SECONDS = 3600.0
MOST_SECONDS = 86_400
MOST_WAIT_SECONDS = 60
MOST_LISTED = 1000
MOST_FAULTS = 20
MOST_STEPS = 50
MOST_SIZES = 100
# Those that take `state_events`. Source: salt/modules/state.py.
TELLING_FUNCTIONS = frozenset({"state.apply", "state.highstate", "state.sls", "state.sls_id"})
# What the function gets: it may hold secrets.
INPUTS = ("arg", "kwarg", "metadata")
# Fields that mean something to minions only.
_OF_MINIONS = frozenset(
    {"tgt", "tgt_type", "metadata", "timeout", "fail_on", "missing", "min_success", "on_doubt", "dry_run", "state_events", "batch", "batch_wait"}
    | {"stop_after_failures"}
)

# Those of them that mean something to hosts of salt-ssh as well.
_OF_HOSTS = frozenset({"tgt", "tgt_type"})

# What a wheel's low may have beside the arguments of its function.
_OF_LOWS = frozenset({"client", "fun", "arg", "kwarg", "cmd", "jid", "full_return", "print_event", *CREDENTIAL_FIELDS})

# What of this is checked where lows are, for the OpenAPI document.
_TARGETED: dict[str, Any] = {
    "if": {"properties": {"client": {"enum": [*TARGETED]}}},
    "then": {"required": ["tgt"], "properties": {"tgt": {"not": {"type": "null"}}}},
    "else": {"properties": dict.fromkeys(sorted(_OF_MINIONS), False)},
}

# Made once, and what most values are: each request needs four digests.
_CANONICAL = json.JSONEncoder(sort_keys=True, default=str)
_ATOMS = frozenset({str, int, float, bool, type(None)})

M = TypeVar("M", bound=BaseModel)
Function = Annotated[str, Field(json_schema_extra={"pattern": r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z0-9_]+)*$"})]
# A share of minions.
Share = Annotated[str, Field(pattern=r"^(100|[1-9]?[0-9])(\.[0-9]{1,3})?%$")]
Size = Annotated[int, Field(ge=1)] | Share
Seconds = Annotated[float, Field(ge=0, le=MOST_SECONDS)]
CauseUrl = Annotated[str, Field(max_length=2048, pattern=r"^https?://\S+$")]
NoticeUrl = Annotated[str, Field(max_length=2048, pattern=r"^https?://[!-\[\]-~]+$")]


class Concurrency(BaseModel):
    """Of the jobs of a group one is under way at a time."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    group: Annotated[str, Field(pattern=r"^[A-Za-z0-9._:/@-]{1,128}$")] = Field(description="Its name, such as `deploy/production`; all users share it.")
    when_busy: Literal["refuse", "queue", "cancel_running"] = Field(
        "queue",
        description="What becomes of the request while another job of the group is not over: refused with 409, queued, or queued after that one is cancelled.",
    )


class JobRequest(BaseModel):
    """A job, and what counts as its success. Unknown fields and wrong types are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, json_schema_extra=_TARGETED)

    client: Kind = Field("local", description="What runs it: `local`, the minions; `runner` or `wheel`, the master; `ssh`, hosts of the master's roster.")
    tgt: str | list[str] | None = Field(None, description="Which minions, of `local`, or hosts, of `ssh`; a list with `tgt_type` `list` or `compound`.")
    tgt_type: str = Field("glob", description="How `tgt` is read: one of Salt's target types.", json_schema_extra={"enum": [*sorted(TARGET_TYPES)]})
    fun: Function | list[Function] = Field(description="The function, such as `state.apply`; a list runs several in one job.")
    arg: list[Any] = Field([], description="Positional arguments; with several functions one list for each.")
    kwarg: dict[str, Any] = Field({}, description="Keyword arguments.")
    metadata: dict[str, Any] = Field({}, description="Kept with the job by Salt.")
    timeout: Seconds | None = Field(None, description="Seconds until silent minions are asked whether they still run the job; default: the master's `timeout`.")
    deadline: Annotated[float, Field(gt=0, le=MOST_SECONDS)] = Field(DEADLINE_SECONDS, description="Seconds until the job is judged by what is known.")
    fail_on: Literal["any", "all", "none"] | None = Field(
        None, description="How many minions that fail make the job fail; default `any`, with `min_success` `none`."
    )
    missing: Literal["fail", "ignore"] = Field("fail", description="Whether minions that do not return count as failed.")
    min_success: Size | None = Field(None, description="How many minions have to be well: a number, or a percentage such as `90%`.")
    batch: Size | Annotated[list[Size], Field(min_length=1, max_length=MOST_SIZES)] | None = Field(
        None,
        description="How many minions run it at a time: a number, or a share of all such as `10%`; a list has the sizes of the first waves, and its last goes on.",
    )
    batch_wait: Seconds = Field(0, description="Seconds between the end of a wave and the next one.")
    stop_after_failures: Size | None = Field(
        None, description="How many minions, a number or a share of all, may fail, be lost or not return before no further wave begins."
    )
    fail_on_false: bool = Field(False, description="Whether a return that is a bare `false` is a failure.")
    on_doubt: Literal["refuse", "republish"] = Field(
        "refuse",
        description="What a repeated request does when nobody can tell whether the master took the first: nothing, or publish again under the same jid.",
    )
    dry_run: bool = Field(False, description="Run states with `test=True`; for `state.*` only.")
    state_events: bool = Field(
        False, description="Tell those who follow the job of each state as it ends; for `state.apply`, `state.highstate`, `state.sls` and `state.sls_id` only."
    )
    concurrency: Concurrency | None = Field(None, description="Run it only while no other job of a group is under way.")
    cause_url: CauseUrl | None = Field(None, description="Where the job comes from, such as a pipeline's page.")

    notify: NoticeUrl | None = Field(None, description="Where to send a notice when the job is over; one of `jobs.notify_urls` has to allow it.")

    @model_validator(mode="after")
    def _check(self) -> JobRequest:
        if self.dry_run and not all(name.startswith("state.") for name in self.functions):
            raise ValueError("dry_run is for state functions only")
        if self.state_events and not TELLING_FUNCTIONS.issuperset(self.functions):
            raise ValueError(f"state_events is for {', '.join(sorted(TELLING_FUNCTIONS))} only")
        if self.batch is None and (self.batch_wait or self.stop_after_failures is not None):
            raise ValueError("batch_wait and stop_after_failures need a batch")
        return self

    @property
    def functions(self) -> list[str]:
        """The functions it runs."""
        return [self.fun] if isinstance(self.fun, str) else self.fun

    @property
    def group(self) -> str | None:
        """Its concurrency group."""
        return None if self.concurrency is None else self.concurrency.group

    def kept(self) -> dict[str, Any]:
        """Return what is stored of it: everything but its inputs, of which only a digest. queues: minions may let it wait."""
        return {**self.model_dump(exclude={*INPUTS}), "queues": self._queues, "inputs": digest_of(self.inputs)}

    @property
    def inputs(self) -> dict[str, Any]:
        """What the function gets, and what is kept with the job by Salt."""
        return self.model_dump(include={*INPUTS})

    @property
    def _queues(self) -> bool:
        """Whether minions may let it wait, and deny meanwhile that they run it."""
        return bool(self.kwarg.get("queue")) or any(isinstance(one, str) and one.startswith("queue=") for one in self.arg)

    @property
    def fingerprint(self) -> str:
        """What two requests have in common that ask for the same; fields that a newer version has, and neither uses, do not tell them apart."""
        return digest_of(self.model_dump(exclude_defaults=True))

    def low(self, jid: str) -> dict[str, Any]:
        """Return the low that starts it, without client and credentials. jid: of a job on minions; the master makes those of its own."""
        if self.client == "wheel" and not self.arg:
            # Salt takes `arg` and `kwarg` together only (salt/client/mixins.py, low), and an empty `arg` for none.
            return {**self.kwarg, "fun": self.fun}
        if self.client != "local":
            target = {"tgt": self.tgt, "tgt_type": self.tgt_type} if self.client == "ssh" else {}
            return {**target, "fun": self.fun, "arg": self.arg, "kwarg": self.kwarg}
        fields: dict[str, Any] = {"tgt": self.tgt, "tgt_type": self.tgt_type, "fun": self.fun, "arg": self.arg, "jid": jid}
        kwarg = {**self.kwarg, **({"test": True} if self.dry_run else {}), **({"state_events": True} if self.state_events else {})}
        optional = {"kwarg": kwarg, "metadata": self.metadata, "timeout": self.timeout}
        return {**fields, **{name: value for name, value in optional.items() if value not in ({}, None)}}


class SequenceRequest(BaseModel):
    """Jobs one after the other, under one key: each step is a job with a request of its own. No step can be a sequence."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    steps: Annotated[list[JobRequest], Field(min_length=1, max_length=MOST_STEPS)] = Field(description="The requests of the jobs, in their order.")
    stop_on: Literal["failure", "never"] = Field(
        "failure",
        description="Whether no further step is begun after one whose status is neither `succeeded` nor `partial`; one that is refused always is the last.",
    )
    concurrency: Concurrency | None = Field(None, description="Run it only while no job of a group is under way; the whole sequence holds the group.")
    cause_url: CauseUrl | None = Field(None, description="As of a job.")
    notify: NoticeUrl | None = Field(None, description="As of a job: one notice when the sequence is over.")

    @property
    def group(self) -> str | None:
        """Its concurrency group."""
        return None if self.concurrency is None else self.concurrency.group

    @property
    def deadline(self) -> float:
        """Seconds until no further step is begun."""
        return min(sum(step.deadline for step in self.steps), MOST_SECONDS)

    @property
    def fingerprint(self) -> str:
        """As of JobRequest."""
        return digest_of(self.model_dump(exclude_defaults=True))

    def kept(self) -> dict[str, Any]:
        """Return what is stored of it, with the names that those of a job have."""
        functions = [name for step in self.steps for name in step.functions]
        whole = {"client": "steps", "fun": functions, "dry_run": all(step.dry_run for step in self.steps), "stop_on": self.stop_on}
        return {**JobRequest(fun=functions).kept(), **whole, **self.model_dump(include={"concurrency", "cause_url", "notify"})}


def parse(body: object) -> JobRequest:
    """Check a request. Raises Unprocessable with a JSON pointer for each fault."""
    request = validated(JobRequest, body)
    _refuse(_of_another_client(request))
    return request


def parse_sequence(body: object) -> SequenceRequest:
    """Check a request for several jobs. Raises Unprocessable with a JSON pointer for each fault."""
    request = validated(SequenceRequest, body)
    _refuse({f"/steps/{number}{place}": fault for number, step in enumerate(request.steps) for place, fault in _of_a_step(step, request.group).items()})
    return request


def _of_a_step(step: JobRequest, held: str | None) -> dict[str, str]:
    """Return what a step cannot have, by pointer. held: the group of the sequence, for which it would wait forever."""
    own = {"/concurrency/group": "The sequence itself holds this group"} if held is not None and step.group == held else {}
    return {**own, **_of_another_client(step)}


def validated(model: type[M], body: object) -> M:
    """Return a body as its model has it. Raises Unprocessable with a JSON pointer for each fault."""
    if not isinstance(body, dict):
        raise Unprocessable("send one object", errors=[{"pointer": "", "detail": "must be an object"}])
    try:
        return model.model_validate(body)
    except ValidationError as exc:
        # Of an alternative's faults the first is said.
        found = reversed(exc.errors(include_url=False, include_context=False, include_input=False))
        _refuse({_pointer(fault["loc"], body, is_missing=fault["type"] == "missing"): fault["msg"] for fault in found})
        raise


def _refuse(faults: Mapping[str, str]) -> None:
    """Raise Unprocessable if there are faults, by pointer."""
    if faults:
        errors = [{"pointer": pointer, "detail": message} for pointer, message in list(faults.items())[:MOST_FAULTS]]
        raise Unprocessable(f"{len(faults)} of its fields cannot be taken", errors=errors)


def _of_another_client(request: JobRequest) -> dict[str, str]:
    """Return what its client lacks, or does not take, by pointer."""
    lacking = {"/tgt": "Field required"} if request.client in TARGETED and request.tgt is None else {}
    if request.client == "local":
        return lacking
    foreign = _OF_MINIONS - _OF_HOSTS if request.client == "ssh" else _OF_MINIONS
    sent = [f"/{name}" for name in sorted(request.model_fields_set & foreign)]
    if request.client == "wheel":
        sent += [f"/kwarg/{name}" for name in sorted(request.kwarg.keys() & _OF_LOWS)]
    return lacking | dict.fromkeys(sent, f"The client {request.client} does not take it")


def policy_of(kept: Mapping[str, Any]) -> SuccessPolicy:
    """Return what a job has to come to. kept: what is stored of its request."""
    return SuccessPolicy(kept["fail_on"] or ("none" if kept["min_success"] is not None else "any"), kept["missing"], kept["min_success"])


def digest_of(value: object) -> str:
    """Return what two equal values have in common, such as the arguments of a job and those that come back in its returns."""
    try:
        return hashlib.sha256(_CANONICAL.encode(_plain(value)).encode()).hexdigest()
    except RecursionError:
        return ""  # Nested deeper than a request can be, so it is nobody's.


def _plain(value: object) -> object:
    """Return a value whose names are all strings: others cannot be sorted among them."""
    if type(value) in _ATOMS:
        return value
    if type(value) is dict or isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value


def _pointer(place: Sequence[str | int], body: Mapping[Any, Any], *, is_missing: bool) -> str:
    """Return a JSON pointer (RFC 6901) to what is wrong, or missing: the names of pydantic's alternatives are no part of it."""
    parts = [*_inside(place[:-1], body), place[-1]] if is_missing else _inside(place, body)
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in parts)


def _inside(place: Sequence[str | int], value: Any) -> Iterator[str | int]:
    for depth, part in enumerate(place):
        if not ((isinstance(value, dict) and (part in value or not depth)) or (isinstance(value, list) and isinstance(part, int))):
            return
        yield part
        value = value.get(part) if isinstance(value, dict) else value[int(part)]
