"""What each method of each URL takes and answers; who may call it, and where it is served, is in service/routes.py."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, get_args

from pydantic import BaseModel

from service.errors import (
    BusNotWritable,
    Conflict,
    Fault,
    Forbidden,
    GroupBusy,
    IdentityRefused,
    JobTimeout,
    KeyReused,
    KeysUnavailable,
    MasterTimeout,
    MasterUnreachable,
    NoSuchJob,
    NoSuchToken,
    NotAcceptable,
    NotFound,
    NothingLeft,
    NotOffered,
    Overloaded,
    RangeBeyondEnd,
    SecretUnavailable,
    StorageUnavailable,
    TooLarge,
    Unauthenticated,
    UnknownEncoding,
    Unprocessable,
)
from service.gateway.low_fields import COMMON, FIELDS
from service.http.files import HTML
from service.http.media import JSON
from service.jobs import JobStatus
from service.jobs.followers import FORMS
from service.jobs.job_request import MOST_LISTED, MOST_WAIT_SECONDS, JobRequest, SequenceRequest
from service.jobs.outcome import CODES, MISSING_CODES
from service.jobs.relaunch import Relaunch
from service.openapi.answers import CallerSession, Capabilities, ExchangedToken, JobList, JobView, MadeToken, MinionList, MinionReturn, ReturnedValue, TokenList
from service.tokens.token_scope import TokenRequest

Schema = Mapping[str, Any]
Method = Literal["GET", "POST", "DELETE"]


@dataclasses.dataclass(frozen=True)
class Parameter:
    """One parameter. place: `query` or `header`."""

    name: str
    meaning: str
    schema: Schema
    place: str = "query"


@dataclasses.dataclass(frozen=True)
class Operation:
    """
    What a method takes and answers.

    answers: by status a model; or the media types of what has none. parameters: beside those in the path. body: the model of the request's, several of which it is one, or its schema.
    faults: those that it can raise beside what every URL, every body and its gate can. leads_to: what the job id in its answers is for.
    """

    answers: Mapping[int, type[BaseModel] | tuple[str, ...]]
    parameters: tuple[Parameter, ...] = ()
    body: type[BaseModel] | tuple[type[BaseModel], ...] | Schema | None = None
    faults: tuple[type[Fault], ...] = ()
    leads_to: tuple[tuple[Method, str], ...] = ()


# Those of requests that are no models.
SCHEMAS: Mapping[str, Schema] = {
    "Low": {
        "type": "object",
        "description": "One command; what each client takes is in docs/http.md.",
        "properties": {field.name: {"description": field.meaning} for field in (*FIELDS, *COMMON)},
        "additionalProperties": True,
    }
}
_LOW: Schema = {"$ref": "#/components/schemas/Low"}
_LOWS: Schema = {"anyOf": [_LOW, {"type": "array", "items": _LOW, "minItems": 1}]}
_LOGIN: Schema = {"type": "object", "required": ["username", "eauth"], "properties": {name: {"type": "string"} for name in ("username", "password", "eauth")}}
_EXCHANGE: Schema = {
    "type": "object",
    "required": ["grant_type"],
    "properties": {
        **{name: {"type": "string"} for name in ("grant_type", "subject_token", "subject_token_type", "requested_token_type")},
        "scope": {"type": "string", "description": "Entries as of `/v1/tokens`, with a blank between two."},
        "expires_in": {"type": ["number", "string"]},
        "max_uses": {"type": ["integer", "string"]},
    },
    "additionalProperties": False,
}
_KEYS: Schema = {"type": "object", "required": ["mid"], "properties": {"mid": {"type": "string"}, "keysize": {"type": "integer"}, "force": {"type": "boolean"}}}
_TEXT: Schema = {"type": "string"}
_YES: Schema = {"type": "boolean"}

_RUNS = (Unauthenticated, Forbidden, Conflict, TooLarge, Overloaded, MasterUnreachable, MasterTimeout, JobTimeout)
_RETURNED: Mapping[int, type[BaseModel] | tuple[str, ...]] = {200: ReturnedValue}
_WAITING = (
    Parameter("wait", "Seconds to wait for the job's end.", {"type": "number", "minimum": 0, "maximum": MOST_WAIT_SECONDS, "default": 0}),
    Parameter("fail", "Whether the HTTP status tells what the job came to.", _YES),
    Parameter("Prefer", "`handling=strict`: as `fail`.", _TEXT, "header"),
    Parameter("minions", "A glob: only these minions.", _TEXT),
    Parameter("failed", "Only minions that are not well.", _YES),
    Parameter("fields", "The members wanted beside `jid`, separated by commas; `return`: the minions' returns too.", _TEXT),
)
_KEY = Parameter("Idempotency-Key", "The step's name: the same request again gets the same job.", {"type": "string", "pattern": "^[!-~]{1,255}$"}, "header")
# With `fail`, the status of a job that is over.
_JOB: Mapping[int, type[BaseModel] | tuple[str, ...]] = dict.fromkeys(sorted({202, MISSING_CODES[1], *(status for _, status in CODES.values())}), JobView)
_STORED = (StorageUnavailable,)
# What can be done with a job once its id is known.
_WITH_JOB: tuple[tuple[Method, str], ...] = (
    ("GET", "/v1/jobs/{jid}"),
    ("DELETE", "/v1/jobs/{jid}"),
    ("POST", "/v1/jobs/{jid}/relaunch"),
    ("GET", "/v1/jobs/{jid}/events"),
    ("GET", "/v1/jobs/{jid}/log"),
    ("GET", "/v1/jobs/{jid}/junit"),
)

OPERATIONS: Mapping[str, Mapping[Method, Operation]] = {
    "/": {"GET": Operation(_RETURNED), "POST": Operation(_RETURNED, body=_LOWS, faults=_RUNS)},
    "/run": {"POST": Operation(_RETURNED, body=_LOWS, faults=_RUNS)},
    "/login": {"GET": Operation(_RETURNED), "POST": Operation(_RETURNED, body=_LOGIN, faults=(Unauthenticated,))},
    "/logout": {"GET": Operation(_RETURNED), "POST": Operation(_RETURNED)},
    "/token": {"POST": Operation({200: (JSON,)}, body={"anyOf": [_LOGIN, {"type": "array", "items": _LOGIN}]}, faults=(Unauthenticated,))},
    "/minions": {"GET": Operation(_RETURNED, faults=_RUNS), "POST": Operation({202: ReturnedValue}, body=_LOWS, faults=_RUNS)},
    "/minions/{mid}": {"GET": Operation(_RETURNED, faults=_RUNS)},
    "/jobs": {"GET": Operation(_RETURNED, faults=_RUNS)},
    "/jobs/{jid}": {"GET": Operation(_RETURNED, faults=_RUNS)},
    "/v1/token": {
        "POST": Operation(
            {200: ExchangedToken}, body=_EXCHANGE, faults=(IdentityRefused, Forbidden, KeysUnavailable, SecretUnavailable, *_STORED, Conflict, Unprocessable)
        )
    },
    "/v1/session": {"GET": Operation({200: CallerSession})},
    "/v1/capabilities": {"GET": Operation({200: Capabilities})},
    "/v1/tokens": {
        "GET": Operation({200: TokenList}, faults=_STORED),
        "POST": Operation({201: MadeToken}, body=TokenRequest, faults=(*_STORED, Conflict, Unprocessable)),
    },
    "/v1/tokens/{tid}": {"DELETE": Operation({204: ()}, faults=(*_STORED, NoSuchToken))},
    "/v1/minions": {
        "GET": Operation(
            {200: MinionList},
            (
                Parameter("match", "A glob: only these minions.", _TEXT),
                Parameter("limit", "At most so many.", {"type": "integer", "minimum": 1, "maximum": MOST_LISTED}),
                Parameter("after", "An id: only minions after it; `next` of the page before.", _TEXT),
                Parameter("seen", "1: say what is known of each.", _TEXT),
            ),
            faults=_RUNS,
        )
    },
    "/v1/jobs": {
        "GET": Operation(
            {200: JobList},
            (
                Parameter("since", "Unix time: jobs asked for from then on.", {"type": "number", "minimum": 0, "maximum": 1e11}),
                Parameter("status", "Jobs with this status.", {"enum": list(get_args(JobStatus))}),
                Parameter("owner", "For who may read all: jobs of this `EAUTH:USER`, or of everybody (`*`).", _TEXT),
                Parameter("after", "A jid: jobs before it.", _TEXT),
                Parameter("limit", "Most jobs.", {"type": "number", "minimum": 0, "maximum": MOST_LISTED, "default": 100}),
            ),
            faults=(*_STORED, Forbidden),
        ),
        "POST": Operation(
            _JOB,
            (
                *_WAITING,
                _KEY,
            ),
            body=(JobRequest, SequenceRequest),
            faults=(*_RUNS, *_STORED, Unprocessable, KeyReused, GroupBusy),
            leads_to=_WITH_JOB,
        ),
    },
    "/v1/jobs/{jid}": {
        "GET": Operation(
            {**_JOB, 304: ()},
            (*_WAITING, Parameter("If-None-Match", "The `ETag` of an answer that is there already.", _TEXT, "header")),
            faults=(*_STORED, NoSuchJob),
        ),
        "DELETE": Operation(_JOB, _WAITING[1:], faults=(*_RUNS, *_STORED, NoSuchJob)),
    },
    "/v1/jobs/{jid}/relaunch": {
        "POST": Operation(_JOB, (*_WAITING, _KEY), body=Relaunch, faults=(*_RUNS, *_STORED, NoSuchJob, NothingLeft, Unprocessable, KeyReused))
    },
    "/v1/jobs/{jid}/log": {
        "GET": Operation(
            {200: ("text/plain",), 206: ("text/plain",)},
            (
                Parameter("offset", "The first byte wanted.", {"type": "integer", "minimum": 0}),
                Parameter("Range", "`bytes=N-`: as `offset`.", _TEXT, "header"),
            ),
            faults=(*_STORED, NoSuchJob, RangeBeyondEnd),
        )
    },
    "/v1/jobs/{jid}/junit": {"GET": Operation({200: ("application/xml",)}, faults=(*_STORED, NoSuchJob))},
    "/v1/jobs/{jid}/events": {
        "GET": Operation(
            {200: tuple(FORMS)},
            (
                Parameter("after", "The number of the last happening that is known.", {"type": "integer", "minimum": 0}),
                Parameter("Last-Event-ID", "As `after`.", _TEXT, "header"),
            ),
            faults=(*_STORED, NoSuchJob, Overloaded),
        )
    },
    "/v1/jobs/{jid}/minions/{mid}": {"GET": Operation({200: MinionReturn}, faults=(*_STORED, NoSuchJob))},
    "/v1/ci.py": {"GET": Operation({200: ("application/octet-stream",), 304: ()})},
    "/keys": {"GET": Operation(_RETURNED, faults=_RUNS), "POST": Operation({200: ("application/x-tar",)}, body=_KEYS, faults=_RUNS)},
    "/keys/{mid}": {"GET": Operation(_RETURNED, faults=_RUNS)},
    "/hook": {"POST": Operation({200: (JSON,)}, body={}, faults=(TooLarge, Overloaded, BusNotWritable))},
    "/events": {
        "GET": Operation({200: ("text/event-stream",)}, (Parameter("tag", "A glob of tags; may be repeated.", _TEXT),), faults=(Overloaded,)),
    },
    **{url: {"GET": Operation({}, faults=(NotOffered,))} for url in ("/ws", "/all_events", "/formatted_events")},
    "/stats": {"GET": Operation({200: (JSON,)})},
    "/openapi.json": {"GET": Operation({200: (JSON,)})},
    "/ui": {"GET": Operation({200: (HTML, "text/css", "text/javascript")}, faults=(NotFound,))},
    "/docs": {"GET": Operation({200: (HTML, "text/css", "text/javascript", "text/plain")}, faults=(NotFound,))},
}
# What every URL that takes a body can raise.
OF_BODIES: tuple[type[Fault], ...] = (NotAcceptable, TooLarge, UnknownEncoding, Overloaded)
