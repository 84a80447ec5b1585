"""HMACs instead of values: nobody can read them, but somebody with the key can search for a known value."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping

import orjson

from service.observe.redact import CUT, MASK, is_secret

LEAST_KEY_BYTES = 16
# Larger values are hashed whole: one HMAC for what is in there, however much it is.
MOST_DEPTH = 4
MOST_VALUES = 100
_NAME = re.compile(r"[A-Za-z_]\w{0,63}", re.ASCII)
_JSON = orjson.OPT_NON_STR_KEYS | orjson.OPT_SORT_KEYS


class HmacKey:
    """An HMAC key, and the id by which records name it."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self.id = hmac.digest(secret, b"salt-sidecar audit key id", hashlib.sha256).hex()[:8]

    def of_text(self, text: str) -> str:
        """Return the HMAC-SHA256 of a text in UTF-8."""
        return "hmac-sha256:" + hmac.digest(self._secret, text.encode("utf-8", "surrogatepass"), hashlib.sha256).hex()

    def of(self, value: object) -> str:
        """Return the HMAC of a value: of a text itself, of anything else as JSON with sorted keys, so that 5 and "5" are one."""
        return self.of_text(value if isinstance(value, str) else _json(value))

    def each(self, value: object, depth: int = MOST_DEPTH) -> object:
        """Return *value* with an HMAC for each value in it. What is stored under a secret's name is masked, and not even hashed: passwords can be guessed."""
        if isinstance(value, Mapping) and depth and len(value) <= MOST_VALUES:
            return {self._name(name): MASK if is_secret(str(name)) else self.each(one, depth - 1) for name, one in value.items()}
        if isinstance(value, list | tuple) and depth and len(value) <= MOST_VALUES:
            return [self.each(one, depth - 1) for one in value]
        return self.of(value)

    def returns(self, value: object) -> object:
        """Return an HMAC for each minion's return, or for the whole value where there are too many or it has none."""
        if isinstance(value, list) and len(value) <= MOST_VALUES:
            return [self.returns(one) for one in value if isinstance(one, dict)] or self.of(value)
        if isinstance(value, Mapping) and len(value) <= MOST_VALUES:
            return {str(minion)[:256]: self.of(one) for minion, one in value.items()}
        return self.of(value)

    def _name(self, name: object) -> str:
        return name if isinstance(name, str) and _NAME.fullmatch(name) else self.of(name)


def key_of(secret: bytes) -> HmacKey:
    """Make a key of its file's content. Raises ValueError for one that is too short."""
    if len(secret) < LEAST_KEY_BYTES:
        raise ValueError(f"holds {len(secret)} bytes, a key has at least {LEAST_KEY_BYTES}")
    return HmacKey(secret)


def _json(value: object) -> str:
    try:
        return orjson.dumps(value, option=_JSON, default=repr).decode()
    except TypeError:
        # What no JSON can say: numbers over 64 bits, text with lone surrogates.
        return _text(value)


def _text(value: object) -> str:
    try:
        return repr(value)
    except RecursionError:
        # What a minion returned may be nested without end; that it returned is recorded all the same.
        return CUT
