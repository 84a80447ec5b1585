"""What of two answers is compared, and which differences are known."""

from __future__ import annotations

import dataclasses
import io
import json
import re
import tarfile
from collections.abc import Callable, Mapping
from typing import Any, Literal

import yaml

from tests.compat.exchange import Answer, Request

Kind = Literal["better", "different"]
Aspects = dict[str, Any]

# Everything else (Date, Content-Length, Connection, how the body is framed) is the server's own business.
HEADERS = (
    "x-auth-token",
    "set-cookie",
    "x-salt-version",
    "www-authenticate",
    "cache-control",
    "content-disposition",
    "content-encoding",
    "location",
    "access-control-allow-origin",
    "access-control-allow-credentials",
    "access-control-allow-methods",
    "access-control-allow-headers",
    "access-control-expose-headers",
    "access-control-max-age",
    "vary",
    "allow",
)
# What an error has none of, or all of it.
_OF_SUCCESS = frozenset(
    {
        "content-type",
        "body",
        "error body",
        "event",
        "cache-control",
        "x-auth-token",
        "set-cookie",
        "content-disposition",
        "location",
        "vary",
        "www-authenticate",
    }
)
ANY = object()
# What differs from one request to the next whoever answers it.
_VOLATILE: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\b20\d{18}\b"), "JID"),
    (re.compile(r"\b\d{4}, [A-Z][a-z]{2} \d\d \d\d:\d\d:\d\d\.\d+\b"), "TIME"),
    (re.compile(r"\b[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT\b"), "TIME"),
    (re.compile(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+\b"), "TIME"),
    (re.compile(r"\b([0-9a-f]{64}|[0-9a-f]{40})\b"), "HEX"),
    (re.compile(r"127\.0\.0\.1:\d+"), "HOST"),
)
_VOLATILE_KEYS = frozenset({"start", "expire", "pid", "_stamp", "saltpath", "path", "uptime"})


@dataclasses.dataclass(frozen=True)
class Difference:
    """
    Why one request is not answered alike.

    ours: in what exactly, and what we answer there instead; ANY where a value says nothing.
    """

    kind: Kind
    ours: Mapping[str, Any]
    reason: str


@dataclasses.dataclass(frozen=True)
class Everywhere:
    """A difference that many answers have. holds(theirs, ours): what it allows; aspects of one request are listed instead."""

    aspect: str
    kind: Kind
    reason: str
    holds: Callable[[Any, Any], bool]


@dataclasses.dataclass(frozen=True)
class Verdict:
    """How one request came out. unlisted: what is not known; stale: what is listed but was not so."""

    result: Literal["equal", "better", "different", "WRONG"]
    reason: str = ""
    general: tuple[Everywhere, ...] = ()
    unlisted: tuple[str, ...] = ()
    stale: tuple[str, ...] = ()


def aspects(request: Request, answer: Answer, event: Any = None) -> Aspects:
    """Return what is compared of an answer, without what differs every time."""
    found: Aspects = {"status": answer.status}
    for name in HEADERS:
        if name in answer.headers:
            found[name] = _header(name, answer.headers[name])
    found["server"] = "server" in answer.headers
    content_type = answer.headers.get("content-type")
    if answer.status >= 400:
        # Nobody reads more of an error than its status.
        found["error body"] = content_type
    else:
        found["content-type"] = content_type
        found["body"] = normal(_view(request, _decoded(answer, content_type or "")))
    if request.event:
        found["event"] = normal(event)
    return found


def judge(theirs: Aspects, ours: Aspects, listed: Difference | None, everywhere: tuple[Everywhere, ...]) -> Verdict:
    """Compare the aspects of two answers."""
    differing = [name for name in {**theirs, **ours} if theirs.get(name) != ours.get(name) and not _implied(name, theirs, ours)]
    known = dict(listed.ours) if listed else {}
    rest = [name for name in differing if name not in known]
    general = tuple(rule for rule in everywhere if rule.aspect in rest and rule.holds(theirs.get(rule.aspect), ours.get(rule.aspect)))
    unlisted = tuple(name for name in rest if name not in {rule.aspect for rule in general})
    stale = tuple(name for name, value in known.items() if _stale(name, value, theirs, ours))
    if unlisted or stale:
        return Verdict("WRONG", listed.reason if listed else "", general, unlisted, stale)
    return Verdict(listed.kind, listed.reason, general) if listed else Verdict("equal", general=general)


def _stale(name: str, value: Any, theirs: Aspects, ours: Aspects) -> bool:
    """Say whether an aspect is listed wrongly: both are the same, or ours is another than listed."""
    return theirs.get(name) == ours.get(name) or (value is not ANY and ours.get(name) != value)


def _implied(name: str, theirs: Aspects, ours: Aspects) -> bool:
    """Say whether an aspect differs only because one answer is an error and the other is none."""
    return name in _OF_SUCCESS and (theirs["status"] >= 400) != (ours["status"] >= 400)


def normal(value: Any) -> Any:
    """Take out what differs from run to run."""
    if isinstance(value, Mapping):
        return {normal(key): type(one).__name__ if key in _VOLATILE_KEYS else normal(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [normal(one) for one in value]
    if isinstance(value, str):
        for pattern, name in _VOLATILE:
            value = pattern.sub(name, value)
    return value


def shape(value: Any) -> Any:
    """Return which fields there are and of which types, not their values; jobs and tokens merge into one."""
    if isinstance(value, Mapping):
        merged: dict[str, Any] = {}
        for key, one in value.items():
            merged.setdefault(normal(key), []).append(shape(one))
        return {key: found[0] if len(found) == 1 else _union(found) for key, found in merged.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return type(value).__name__


def _union(shapes: list[Any]) -> Any:
    """Return the fields that every one of several shapes has."""
    if not all(isinstance(one, dict) for one in shapes):
        return shapes[0]
    common = set.intersection(*(set(one) for one in shapes))
    return {key: shapes[0][key] for key in sorted(common)}


def _view(request: Request, body: Any) -> Any:
    return request.view(body) if request.view else body


def _decoded(answer: Answer, content_type: str) -> Any:
    kind = content_type.partition(";")[0]
    if kind == "application/json":
        return answer.json() if answer.body else None
    if kind == "application/x-yaml":
        return yaml.safe_load(answer.body)
    if kind == "text/event-stream":
        return [_field(line) for line in answer.text().splitlines()]
    if kind == "application/x-tar":
        with tarfile.open(fileobj=io.BytesIO(answer.body)) as tar:
            return tar.getnames()
    return answer.text()


def _field(line: str) -> Any:
    """Return a line of a stream, with its data decoded."""
    name, separator, value = line.partition(": ")
    return [name + separator, json.loads(value)] if name == "data" else line


def _header(name: str, value: str) -> Any:
    if name in {"set-cookie", "vary", "allow"}:
        return sorted(normal(part.strip()) for part in re.split(r"[;,] ?(?! ?\d\d )", value) if part.strip())
    return normal(value)
