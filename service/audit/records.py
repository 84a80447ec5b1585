"""Records: what each level records of an act, before and after it, as one JSON line."""

from __future__ import annotations

import dataclasses
import datetime as dt
import functools
import os
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from service import __version__
from service.audit.hashing import HmacKey
from service.audit.rules import METADATA, NAMES, REQUEST, REQUEST_RESPONSE
from service.observe.log.log import INSTANCE, SERVICE_NAME
from service.observe.redact import MASK

MOST_CHARACTERS = 1024
# Status codes by which a caller was turned away: who they are, what they may do, or how often they failed.
DENIED = frozenset({401, 403, 429})
_DENIED_OUTCOMES = frozenset({"authn_error", "authz_error"})
_LET_OUTCOMES = frozenset({"ok", "partial", "failed", "no_match"})
# Targets by pillar name a value of the pillar, which is where secrets are kept.
_PILLAR_TYPES = frozenset({"pillar", "pillar_pcre", "pillar_exact"})
_SERVICE = {"service.name": SERVICE_NAME, "service.version": __version__, "service.instance.id": INSTANCE}
_HEAD = orjson.dumps({"level": "info", "event": "audit", "log.type": "audit", **_SERVICE})[1:-1]


@dataclasses.dataclass(frozen=True)
class Act:
    """
    Something that a caller asks for.

    action: `run`, `login`, `token`, `logout` or `hook`. fields: what else was sent, credentials left out; only HMACs of it are ever written.
    user, eauth: as claimed, where the master has not said yet whether it believes them. identity: who was proven elsewhere, by the names of the record's fields.
    """

    action: str
    user: str | None = None
    eauth: str | None = None
    groups: tuple[str, ...] = ()
    client: str | None = None
    functions: tuple[str, ...] = ()
    tgt: object = None
    tgt_type: str | None = None
    tag: str | None = None
    fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    identity: Mapping[str, str] = dataclasses.field(default_factory=dict)


class Entry:
    """An act under way. returns: HMACs of what it gave, if its level asks for them. done: it succeeded, whatever came of the rest of its request."""

    def __init__(self, level: int, request: Mapping[str, Any], act: Act, key: HmacKey | None) -> None:
        self.level = level
        self.action = act.action
        self.returns: object = None
        self.done = False
        self._request = request
        self._act = act
        self._key = key

    def returned(self, value: object) -> None:
        """Hear what the act gave; only its HMACs are kept, under the key that the record names, and only if the level asks for them."""
        if self._key is not None and self.level >= REQUEST_RESPONSE:
            self.returns = self._key.returns(value)

    @functools.cached_property
    def common(self) -> bytes:
        """What all records of the act say, made once; never, for one that no rule wants recorded and nobody denies."""
        # What no rule wants is recorded all the same when it is denied.
        return part({**self._request, **describe(self._act, max(self.level, METADATA), self._key)})


def describe(act: Act, level: int, key: HmacKey | None) -> dict[str, Any]:
    """Return what both records of an act say of it. key: hashes what the level wants hashed."""
    fields: dict[str, Any] = {
        "audit_id": new_id(),
        "audit_level": NAMES[level],
        "action": act.action,
        "user.name": _cut(act.user),
        "eauth": _cut(act.eauth),
        "groups": [_cut(group) for group in act.groups[:100]] or None,
        "salt.client": act.client,
        "salt.fun": _cut(",".join(act.functions)) or None,
        "salt.tag": _cut(act.tag),
        "tgt": _target(act.tgt, act.tgt_type, key),
        "tgt_type": act.tgt_type,
        **act.identity,
    }
    if key is not None:
        fields["key_id"] = key.id
        if level >= REQUEST:
            fields["args"] = key.each(act.fields) or None
    return fields


def new_id() -> str:
    """Return what joins the records of one act."""
    return os.urandom(16).hex()


def is_malformed(status: int) -> bool:
    """Say whether a request was refused for what it is, whoever sent it. A wrong URL is not among that: browsers ask for many."""
    return 400 <= status < 500 and status != 404 and status not in DENIED


def outcome_of(status: int) -> str:
    """Return the outcome of an act that is no low."""
    return "ok" if status < 400 else "denied" if status in DENIED else "error"


def decision_of(outcome: str | None, status: int, *, jid: bool) -> str | None:
    """Return `allow` or `deny`, None where nobody came to decide."""
    if outcome in _DENIED_OUTCOMES or outcome == "denied" or (outcome not in _LET_OUTCOMES and status in DENIED):
        return "deny"
    return "allow" if outcome in _LET_OUTCOMES or jid else None


def render(stage: str, *parts: bytes) -> bytes:
    """Return a record as a line without its end, of parts that `part` made."""
    moment = dt.datetime.now(dt.timezone.utc).isoformat(timespec="microseconds")[:-6]
    head = b'{"timestamp":"%sZ",%s,"stage":"%s"' % (moment.encode(), _HEAD, stage.encode())
    return b",".join((head, *filter(None, parts))) + b"}"


def part(fields: Mapping[str, Any]) -> bytes:
    """Return fields as a piece of a record; what is None is left out."""
    said = {name: value for name, value in fields.items() if value is not None}
    try:
        return orjson.dumps(said, option=orjson.OPT_NON_STR_KEYS, default=str)[1:-1]
    except TypeError:
        # Text with lone surrogates, which a YAML body may carry.
        return orjson.dumps(_plain(said), default=str)[1:-1]


def _target(tgt: object, tgt_type: str | None, key: HmacKey | None) -> object:
    """Return a target, cut to a sane length; of a pillar's value no more than its HMAC."""
    if isinstance(tgt, list | tuple):
        shown = [_target(one, tgt_type, key) for one in tgt[:100]]
        return [*shown, f"... ({len(tgt)})"] if len(tgt) > len(shown) else shown
    if not isinstance(tgt, str):
        return None
    if tgt_type in _PILLAR_TYPES:
        return _without_value(tgt, key)
    if tgt_type and tgt_type.startswith("compound"):
        return _cut(" ".join(_without_value(word, key) if word.lstrip("(")[:2] in {"I@", "J@"} else word for word in tgt.split(" ")))
    return _cut(tgt)


def _without_value(matcher: str, key: HmacKey | None) -> str:
    path, colon, value = matcher.rpartition(":")
    if not colon:
        return MASK
    return f"{path[:MOST_CHARACTERS]}:{key.of_text(value) if key else MASK}"


def _cut(text: str | None) -> str | None:
    return text if text is None or len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]}... ({len(text)} characters)"


def _plain(value: object) -> object:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return [_plain(one) for one in value]
    if isinstance(value, Mapping):
        return {str(_plain(name)): _plain(one) for name, one in value.items()}
    return value
