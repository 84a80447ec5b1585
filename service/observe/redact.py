"""Redaction: credentials never leave the process, wherever they hide in a log event or a bus event."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Mapping
from typing import Any, Literal

MASK = "<redacted>"
CUT = "<cut>"

# Deeper or larger values are cut, not copied: a cycle ends and a canary below the cut cannot survive either.
MAX_DEPTH = 16
MAX_NODES = 20_000

_SECRET_KEY = re.compile(
    r"(?:api)?key|x_auth_token|session_id|authorization|proxy_authorization|priv.*"
    r"|(?:.*_)?(?:shared)?(?:password|passwd|passphrase|secret|token)s?"
    r"|(?:.*_)?(?:set_)?cookies?|.*_key"
)

# `'password': 'x'` or `password=x` inside a text: Salt writes whole loads into its log messages and exceptions.
# Nothing is looked for in front of these words, which would be looked for again at each letter: minions choose texts too.
_SECRET_TEXT = re.compile(
    r"""(?ix) ( (?: (?:password|passwd|passphrase|secret|token|authorization|cookie|priv) [\w.-]{0,40} | (?<![^\W_]) key ) ["']? \s* [:=] \s* )
        ( b?" (?:[^"\\]|\\.)* "? | b?' (?:[^'\\]|\\.)* '? | (?:Bearer|Basic)\s+[^\s,;}\])]+ | [^\s,;}\])"']+ )"""
)
_TEXT_FIELDS = frozenset({"message", "error.message", "exc_value", "exc_notes"})
# Nearly all values of nearly all events; asking a type is much cheaper than asking whether it is a kind of one.
_PLAIN_TYPES = frozenset({str, int, float, bool, bytes, type(None)})
_COLLECTIONS = (list, tuple, set, frozenset)


@functools.lru_cache(maxsize=4096)
def is_secret(key: str) -> bool:
    """Tell whether what is stored under *key* is a credential; of a dotted name only the last part counts."""
    last = key.replace("-", "_").lower().rpartition(".")[2]
    return _SECRET_KEY.fullmatch(last) is not None


@functools.lru_cache(maxsize=4096)
def _kind(name: str) -> Literal["secret", "text", ""]:
    """Tell what a field of this name needs; mostly nothing."""
    return "secret" if is_secret(name) else "text" if name in _TEXT_FIELDS else ""


def redact(value: object, *, depth: int = MAX_DEPTH, nodes: int = MAX_NODES) -> object:
    """
    Return a copy of *value* in which everything under a secret key is masked, at any depth; what lies below *depth* or beyond *nodes* containers is cut.

    Mappings become dicts; lists, tuples and sets become lists; dataclasses become dicts. Text is left alone: see redact_text.
    """
    return _Copy(nodes).of(value, depth)


def redact_text(text: str) -> str:
    """Mask `key: value` and `key=value` pairs with a secret key inside a text; the best that can be done for other people's messages."""
    return _SECRET_TEXT.sub(rf"\g<1>{MASK}", text)


def name_of(key: object) -> str:
    """Return a mapping's key as text; a key that cannot say its name gets its type's."""
    if isinstance(key, bytes):
        return key.decode("utf-8", "replace")
    try:
        return str(key)
    except Exception:  # Anybody's __str__ may run here.
        return f"<{type(key).__name__}>"


class _Copy:
    """One walk over one value, with a limit on the nodes it may visit."""

    def __init__(self, nodes: int) -> None:
        self._left = nodes

    def of(self, value: object, depth: int) -> object:
        if type(value) in _PLAIN_TYPES or isinstance(value, (str, int, float, bytes)):
            return value
        self._left -= 1
        if depth == 0 or self._left < 0:
            return CUT
        if isinstance(value, _COLLECTIONS):
            return [self.of(item, depth - 1) for item in value]
        if isinstance(value, (dict, Mapping)):
            return self._mapping(value, depth - 1)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            # orjson writes a dataclass field by field, so its secrets must go here.
            return {field.name: self._field(field.name, getattr(value, field.name), depth - 1) for field in dataclasses.fields(value)}
        return value

    def _mapping(self, fields: Mapping[Any, object], depth: int) -> dict[Any, object]:
        copy = dict(fields)
        for key, item in fields.items():
            if type(item) not in _PLAIN_TYPES or type(key) is not str or _kind(key):
                copy[key] = self._field(key, item, depth)
        return copy

    def _field(self, key: object, value: object, depth: int) -> object:
        kind = _kind(name_of(key))
        if kind == "secret":
            return value if value is None or value == "" else MASK
        if kind == "text" and isinstance(value, str):
            return redact_text(value)
        return self.of(value, depth)
