"""Bodies: JSON, YAML, forms and text in; JSON and YAML out, as the caller accepts."""

from __future__ import annotations

import codecs
import datetime as dt
import functools
import gzip
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

import falcon
import orjson

from service.errors import BadRequest, NotAcceptable, TooLarge, UnknownEncoding
from service.http import yaml_text
from service.http.accept import accepted, accepts_gzip
from service.http.body_memory import YAML_BYTES, Share, share_of
from service.observe.redact import CUT

JSON = "application/json"
YAML = "application/x-yaml"
FORM = "application/x-www-form-urlencoded"
TEXT = "text/plain"
YAML_IN = frozenset({YAML, "text/yaml", "application/yaml"})
TYPES_IN = YAML_IN | {JSON, TEXT, FORM}
# YAML takes a thousand times the work of JSON; rest_cherrypy reads no larger body of any kind by default.
SLOW_BODY_BYTES = 1024 * 1024
FORM_FIELDS = 1000
# Larger bodies are read one at a time: they keep the interpreter busy for a tenth of a second and more.
LONG_BYTES, LONG_SLOW_BYTES = 1024 * 1024, 16 * 1024
# What `charset` may say, by Python's names. Its other codecs are no text, or guess; UTF-16 and UTF-32 are read with or without a byte order mark.
CHARSETS = frozenset({"utf-8", "ascii", "iso8859-1", "iso8859-15", "cp1252", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"})
LONGEST_CHARSET = 32
# Compressed bodies; other words, such as Rundeck's `UTF-8`, are no encodings.
COMPRESSED = frozenset({"gzip", "x-gzip", "deflate", "br", "compress", "x-compress", "zstd"})
# orjson writes no deeper values, and it checks the depth of what it reads faster than we could.
JSON_DEPTH = 254
# Whatever writes an answer writes this many levels, and shows what lies deeper as cut, if it cannot write all.
SURE_DEPTH = 100
# The last second that a date can say, as seconds since 1970.
LATEST = 253_402_300_799.0
GZIP_FROM_BYTES = 1024
GZIP_LEVEL = 5
# What was made of an Accept header is remembered for the next request, unless it is longer than any that makes sense.
REMEMBERED_CHARACTERS = 256
_OPTIONS = orjson.OPT_NON_STR_KEYS | orjson.OPT_PASSTHROUGH_SUBCLASS


def read_body(req: falcon.Request) -> bytes:
    """Return the body as it came; it may be asked for more than once. Raises Overloaded while others' bodies take all memory."""
    if not hasattr(req.context, "body"):
        share_of(req).take(req.content_length or 0)
        req.context.body = req.bounded_stream.read()
    body: bytes = req.context.body
    return body


def decode(req: falcon.Request, *, required: str = "JSON, YAML or a form required") -> Any:
    """
    Return the decoded body, None for an empty one.

    The media type's `charset` counts, its other parameters do not, nor does a Content-Encoding that is none: Rundeck sends `UTF-8`
    there. A byte order mark is no part of the body. Text that is no JSON is returned as it is, as rest_cherrypy does. A form becomes a low: repeated fields a list, `arg` a list of typed
    values, `kwarg` and `metadata` a typed value.
    What it will take in memory is counted before it is parsed. Raises NotAcceptable with *required* for a foreign media type, BadRequest,
    TooLarge, Overloaded, UnknownEncoding.
    """
    body, share = read_body(req), share_of(req)
    if not body:
        return None
    media_type, _, parameters = (req.content_type or "").partition(";")
    media_type = media_type.strip().lower()
    if media_type not in TYPES_IN:
        raise NotAcceptable(required)
    _check_uncompressed(req)
    takes_long = len(body) > (LONG_BYTES if media_type in {JSON, TEXT} else LONG_SLOW_BYTES)
    if not takes_long:
        return _decoded(body, parameters, media_type, share)
    with share.turn():
        return _decoded(body, parameters, media_type, share)


def _decoded(body: bytes, parameters: str, media_type: str, share: Share) -> Any:
    body = _as_utf8(body, parameters, share)
    if media_type == JSON:
        return _json(body, share)
    if media_type == TEXT:
        return _text(body, share)
    if len(body) > SLOW_BODY_BYTES:
        raise TooLarge(f"a body of {media_type} may have {SLOW_BODY_BYTES} bytes; send JSON")
    share.take(len(body) * (YAML_BYTES - 1))
    return _form(_utf8(body), share) if media_type == FORM else _yaml(_utf8(body), share)


class AsWritten:
    """A value as the JSON that `encode` has made of it, for a longer one to take in as it stands: it is never read, and is in memory once."""

    __slots__ = ("json",)

    def __init__(self, json: bytes) -> None:
        self.json = json


def read_for(req: falcon.Request) -> Callable[[bytes], object]:
    """Return what makes a part of this request's answer of what `encode` has written."""
    return json.loads if best_type(req) == YAML else AsWritten


def respond(req: falcon.Request, resp: falcon.Response, value: object, status: int = 200) -> None:
    """
    Answer with *value* as JSON or YAML, compressed if the caller asks for it.

    What is nested too deeply to be written is cut. An error whose Accept fits neither is JSON. Raises NotAcceptable for other answers.
    """
    media_type = best_type(req)
    if media_type is None and status < 400:
        raise NotAcceptable(f"{JSON} or {YAML}")
    resp.status = falcon.code_to_http_status(status)
    resp.content_type = media_type or JSON
    resp.data = written(value, yaml_text.dump if media_type == YAML else encode)
    compress(req, resp)


def respond_json(resp: falcon.Response, value: object, status: int = 200) -> None:
    """Answer with *value* as JSON; the content type has no charset, which some clients compare literally."""
    resp.status = falcon.code_to_http_status(status)
    resp.content_type = JSON
    resp.data = written(value, encode)


def moment(seconds: float) -> str:
    """Return a time, given as seconds since 1970, as RFC 3339 writes it."""
    return dt.datetime.fromtimestamp(min(seconds, LATEST), dt.timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def best_type(req: falcon.Request) -> str | None:
    """
    Return which of our two types the caller likes best, None if neither will do.

    JSON when both are as good, but a type that is named beats one that a wildcard covers, as in rest_cherrypy.
    """
    header = req.accept
    return _best_type(header) if len(header) <= REMEMBERED_CHARACTERS else _best_type.__wrapped__(header)


@functools.lru_cache(maxsize=256)
def _best_type(header: str) -> str | None:
    entries = accepted(header)
    json_fit, yaml_fit = _fit(entries, JSON), _fit(entries, YAML)
    if not max(json_fit, yaml_fit)[0]:
        return None
    return YAML if yaml_fit > json_fit else JSON


def check_accept(req: falcon.Request) -> None:
    """Raise NotAcceptable, before any work is done, if the caller takes none of our types."""
    if best_type(req) is None:
        raise NotAcceptable(f"{JSON} or {YAML}")


def vary(resp: falcon.Response, *names: str) -> None:
    """Add request headers that the answer depends on."""
    before = resp.get_header("Vary")
    resp.set_header("Vary", ", ".join(dict.fromkeys((*before.split(", "), *names)) if before else names))


def compress(req: falcon.Request, resp: falcon.Response) -> None:
    """Compress an answer that is long enough to be worth it, if the caller takes that."""
    vary(resp, "Accept", "Accept-Encoding")
    if resp.data is not None and len(resp.data) >= GZIP_FROM_BYTES and accepts_gzip(req.get_header("Accept-Encoding") or ""):
        resp.data = gzip.compress(resp.data, GZIP_LEVEL, mtime=0)
        resp.set_header("Content-Encoding", "gzip")


def encode(value: object) -> bytes:
    """
    Return *value* as JSON in UTF-8, whatever a minion has returned.

    Bytes become text with escapes for what is not UTF-8, sets become lists, anything else unknown its `str`. What
    orjson refuses (integers over 64 bit, lone surrogates, more than 254 levels) goes through Python's encoder.
    Raises Fault when a value is nested deeper than that one can.
    """
    try:
        return orjson.dumps(value, default=_taken_in, option=_OPTIONS)
    except TypeError:
        return json.dumps(_plain_tree(value), default=_plain, ensure_ascii=True).encode("ascii")


def written(value: object, write: Callable[[object], bytes]) -> bytes:
    """Write a value; one minion that returns what cannot be written must not cost the caller what the others returned."""
    try:
        return write(value)
    except RecursionError:
        return write(_cut(value, SURE_DEPTH))


def _cut(value: object, depth: int) -> object:
    if not isinstance(value, dict | list):
        return value
    if not depth:
        return CUT
    return {key: _cut(one, depth - 1) for key, one in value.items()} if isinstance(value, dict) else [_cut(one, depth - 1) for one in value]


def _check_uncompressed(req: falcon.Request) -> None:
    declared = req.env.get("HTTP_CONTENT_ENCODING")
    if not declared:
        return
    compressed = [one for one in map(str.strip, declared.lower().split(",")) if one in COMPRESSED]
    if compressed:
        raise UnknownEncoding(f"the body is compressed ({compressed[0]}); send it as it is, without Content-Encoding")


def _as_utf8(body: bytes, parameters: str, share: Share) -> bytes:
    """Return a body in UTF-8, without a byte order mark. Raises UnknownEncoding, BadRequest."""
    charset = _charset(parameters)
    if charset not in {"utf-8", "ascii"}:
        # A character of four bytes in between, and as many in UTF-8.
        share.take(len(body) * 8)
        try:
            body = body.decode(charset).encode()
        except UnicodeError:
            raise BadRequest(f"the body is not {charset}, which its Content-Type declares") from None
    return body.removeprefix(codecs.BOM_UTF8)


def _charset(parameters: str) -> str:
    """Return Python's name of the charset in the parameters of a media type. Raises UnknownEncoding."""
    if not parameters:
        return "utf-8"
    declared = dict(one.strip().lower().partition("=")[::2] for one in parameters.split(";")).get("charset", "").strip('"') or "utf-8"
    try:
        charset = codecs.lookup(declared[:LONGEST_CHARSET]).name
    except (LookupError, ValueError):
        charset = ""
    if charset not in CHARSETS:
        raise UnknownEncoding(f"the body's charset is none that we read: {declared[:LONGEST_CHARSET]!r}; send UTF-8")
    return charset


def _json(body: bytes, share: Share) -> Any:
    share.take_json(body)
    try:
        value = orjson.loads(body)
        if body.count(b"[") + body.count(b"{") > JSON_DEPTH:
            orjson.dumps(value, option=_OPTIONS)
    except orjson.JSONEncodeError:
        raise BadRequest(f"the body is nested more than {JSON_DEPTH} levels deep") from None
    except orjson.JSONDecodeError as exc:
        # What is no UTF-8 it does not show, and its own words for that are of surrogates.
        if not exc.doc:
            _utf8(body)
        raise BadRequest(f"the body is not JSON: {exc}") from None
    return value


def _yaml(text: str, share: Share) -> Any:
    try:
        return yaml_text.load(text, share.take_yaml)
    except yaml_text.READ_ERRORS as exc:
        # PyYAML's own words quote the body, and a password may begin with `*` or `!`.
        mark = getattr(exc, "problem_mark", None)
        raise BadRequest(f"the body is not YAML{f': line {mark.line + 1}, column {mark.column + 1}' if mark else ''}") from None


def _text(body: bytes, share: Share) -> Any:
    try:
        return _json(body, share)
    except BadRequest:
        return _utf8(body)


def _form(text: str, share: Share) -> dict[str, Any]:
    """Read a form as rest_cherrypy does: fields without a value are left out, `a b` need not be escaped."""
    try:
        pairs = parse_qsl(text, max_num_fields=FORM_FIELDS)
    except ValueError:
        raise BadRequest(f"a form may have {FORM_FIELDS} fields; send JSON") from None
    fields: dict[str, Any] = {}
    for name, value in pairs:
        fields.setdefault(name, []).append(value)
    form = {name: values[0] if len(values) == 1 else values for name, values in fields.items()}
    if "arg" in fields:
        form["arg"] = [yaml_text.typed_argument(value, share.take_yaml) for value in fields["arg"]]
    for name in ("kwarg", "metadata"):
        if len(fields.get(name, ())) == 1:
            form[name] = yaml_text.typed_argument(form[name], share.take_yaml)
    return form


def _utf8(body: bytes) -> str:
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise BadRequest(f"the body is not UTF-8: {exc.reason} at byte {exc.start}; send UTF-8, or say in Content-Type which charset it is") from None


def _fit(entries: dict[str, float], media_type: str) -> tuple[float, int]:
    """Return the quality of a type and how exactly it was named; the most exact entry decides."""
    for exactness, pattern in ((2, media_type), (1, "application/*"), (0, "*/*")):
        if pattern in entries:
            return entries[pattern], exactness
    return 0.0, 0


def _taken_in(value: object) -> object:
    return orjson.Fragment(value.json) if isinstance(value, AsWritten) else _plain(value)


def _plain(value: object) -> object:
    if isinstance(value, AsWritten):
        return json.loads(value.json)
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
