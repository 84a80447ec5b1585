"""Bodies: JSON in and out."""

from __future__ import annotations

import json
from typing import Any

import falcon
import orjson

from service.errors import BadRequest, Fault, NotAcceptable

JSON = "application/json"
_OPTIONS = orjson.OPT_NON_STR_KEYS | orjson.OPT_PASSTHROUGH_SUBCLASS


def encode(value: object) -> bytes:
    """
    Return *value* as JSON in UTF-8, whatever a minion has returned.

    Bytes become text with escapes for what is not UTF-8, sets become lists, anything else unknown its `str`. What
    orjson refuses (integers over 64 bit, lone surrogates, more than 254 levels) goes through Python's encoder.
    Raises Fault when a value is nested deeper than that one can.
    """
    try:
        return orjson.dumps(value, default=_plain, option=_OPTIONS)
    except TypeError:
        return _encode_slowly(value)


def _encode_slowly(value: object) -> bytes:
    try:
        return json.dumps(_plain_tree(value), default=_plain, ensure_ascii=True).encode("ascii")
    except RecursionError:
        raise Fault("the answer is nested too deep to be written as JSON") from None


def decode_json(req: falcon.Request) -> Any:
    """
    Return the decoded body of a request.

    Raises NotAcceptable (rest_wsgi's answer to a foreign media type, with its words) and BadRequest.
    """
    media_type, _, _ = (req.content_type or "").partition(";")
    if media_type.strip().lower() != JSON:
        raise NotAcceptable("JSON required")
    body = req.bounded_stream.read()
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as exc:
        raise BadRequest(f"the body is not JSON: {exc}") from None


def _plain(value: object) -> object:
    if isinstance(value, (bytes, bytearray)):
        return bytes(value).decode("utf-8", "backslashreplace")
    if isinstance(value, (set, frozenset, tuple)):
        return list(value)
    if isinstance(value, dict):
        return dict(value)
    return str(value)


def _plain_tree(value: object) -> object:
    """Give the values that Python's encoder cannot take, or would write as no JSON, a shape that it can."""
    # `map` and not a comprehension, which before 3.12 takes a second frame: messages may be nested a few hundred deep.
    if isinstance(value, dict):
        return dict(zip(map(_key, value), map(_plain_tree, value.values()), strict=True))
    if isinstance(value, (list, tuple, set, frozenset)):
        return list(map(_plain_tree, value))
    if isinstance(value, float) and not float("-inf") < value < float("inf"):
        return None
    return _plain(value) if isinstance(value, (bytes, bytearray)) else value


def _key(key: object) -> str:
    if isinstance(key, str):
        return key
    if key is None or isinstance(key, (bool, int, float)):
        return str(json.dumps(key))
    return str(_plain(key))
