"""Where a request ends: the strict reading of RFC 9112, in front of waitress' parser, which is lenient where proxies differ."""

from __future__ import annotations

import re
from typing import Any

from waitress.parser import ParsingError, TransferEncodingNotImplemented
from waitress.utilities import BadRequest

# Each further line of the same name copies those before it, and the loop does that.
MOST_FIELDS = 200
# A chunk's size with its extensions, and all trailers together.
MOST_CHUNK_LINE_BYTES = 1024
MOST_TRAILER_BYTES = 8192

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_REQUEST_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Z-]+) ([!-~\x80-\xff]+) HTTP/(1\.[01])")
_FIELD = re.compile(rb"(" + _TOKEN + rb"):([\t -~\x80-\xff]*)")
_ABSOLUTE = re.compile(rb"https?://([^/?#]+)(.*)", re.IGNORECASE)
_HOST = re.compile(rb"(?:[\w.~!$&'()*+,;=%-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]*)?")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,16})(?:;" + _TOKEN + rb"(?:=(?:" + _TOKEN + rb'|"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*"))?)*')
_BEGINS = re.compile(rb"(?:\r\n)*\r?(?:[!#$%&'*+.^_`|~0-9A-Za-z-]|\Z)")


def fault_in(before: bytes, piece: bytes) -> BadRequest | None:
    """Return what is wrong with bytes of a head that is not complete, so that nobody waits for its end; *before*: those that came earlier."""
    if not before.strip(b"\r\n") and not _BEGINS.match(before + piece):
        return BadRequest("a request begins with its method")
    seam = before[-1:].replace(b"\n", b"") + piece
    # A CR at the end may yet be followed by its LF. Three counts take a tenth of the time that a regular expression does.
    if not seam.count(b"\n") == seam.count(b"\r\n") == seam.count(b"\r") - seam.endswith(b"\r"):
        return BadRequest("a line ends with CR and LF, and neither stands alone")
    return None


def canonical(head: bytes) -> bytes:
    """
    Check a request's head, from its first line to the empty one, and return it with each field as waitress reads it without a doubt.

    The request's target is a path and Host the authority it names, one Host, one Transfer-Encoding, one Connection; without white space around values.
    Raises ParsingError, and TransferEncodingNotImplemented. Source: RFC 9112, sections 2 to 6 and 9.6.
    """
    first, *lines = head.removesuffix(b"\r\n\r\n").removesuffix(b"\r\n").split(b"\r\n")
    request = _REQUEST_LINE.fullmatch(first)
    if request is None:
        raise ParsingError("the request line is not METHOD TARGET HTTP/1.1")
    if len(lines) > MOST_FIELDS:
        raise ParsingError(f"more than {MOST_FIELDS} header lines")
    method, target, version = request.groups()
    fields = [_field(line) for line in lines]
    named: dict[bytes, list[bytes]] = {}
    for name, value in fields:
        named.setdefault(name, []).append(value)
    path, host = _target(method, target, _host(named.get(b"host", []), version))
    codings = named.get(b"transfer-encoding", [])
    _check_length(named.get(b"content-length", []), codings)
    ours = {b"host": host, b"transfer-encoding": _coding(codings, version), b"connection": _connection(named.get(b"connection", []))}
    kept = [field for field in fields if field[0] not in ours] + [field for field in ours.items() if field[1] is not None]
    return b"\r\n".join([b"%s %s HTTP/%s" % (method, path, version), *[b"%s: %s" % field for field in kept], b"", b""])


def _field(line: bytes) -> tuple[bytes, bytes]:
    found = _FIELD.fullmatch(line)
    if found is None:
        raise ParsingError("a header line is not NAME: VALUE")
    return found[1].lower(), found[2].strip(b" \t")


def _options(values: list[bytes]) -> list[bytes]:
    """Split comma-separated values into their words, in lower case."""
    return [option.strip(b" \t").lower() for value in values for option in value.split(b",")]


def _host(hosts: list[bytes], version: bytes) -> bytes | None:
    if len(hosts) > 1 or (not hosts and version == b"1.1"):
        raise ParsingError("a request has one Host")
    if hosts and not _HOST.fullmatch(hosts[0]):
        raise ParsingError("Host is not HOST or HOST:PORT")
    return hosts[0] if hosts else None


def _target(method: bytes, target: bytes, host: bytes | None) -> tuple[bytes, bytes | None]:
    """Return path and host; a target that names a host itself overrules the header."""
    if target.startswith(b"/") or (target == b"*" and method == b"OPTIONS"):
        return target, host
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None or not _HOST.fullmatch(absolute[1]):
        raise ParsingError("the request's target is neither a path nor a URL")
    return absolute[2] if absolute[2].startswith(b"/") else b"/" + absolute[2], absolute[1]


def _check_length(lengths: list[bytes], codings: list[bytes]) -> None:
    if lengths and codings:
        raise ParsingError("Content-Length and Transfer-Encoding exclude each other")
    if len(lengths) > 1 or (lengths and not lengths[0].isdigit()):
        raise ParsingError("Content-Length is invalid")


def _coding(values: list[bytes], version: bytes) -> bytes | None:
    if not values:
        return None
    codings = _options(values)
    if version == b"1.0" or len(values) > 1 or b"" in codings or b"chunked" in codings[:-1]:
        raise ParsingError("Transfer-Encoding is invalid")
    if codings != [b"chunked"]:
        raise TransferEncodingNotImplemented("Transfer-Encoding other than chunked is not supported")
    return b"chunked"


def _connection(values: list[bytes]) -> bytes | None:
    """Return what waitress looks for, as the only word."""
    if not values:
        return None
    options = _options(values)
    return next((word for word in (b"close", b"keep-alive") if word in options), b", ".join(values) or None)


class ChunkedBody:
    """
    Takes a chunked body; waitress' own lets empty lines, bare LF and any trailer pass, and keeps a line without end.

    Of the trailers only the form is checked; they are dropped. error: what is wrong with the body, once something is.
    """

    completed = False
    error: BadRequest | None = None

    def __init__(self, buffer: Any) -> None:
        """buffer: waitress', for the bytes."""
        self._buffer = buffer
        self._line = b""
        self._left = 0
        self._trailer_bytes = 0
        self._read_line = self._size

    def __len__(self) -> int:
        """Return how many bytes have come."""
        return int(self._buffer.__len__())

    def received(self, data: bytes) -> int:
        """Take bytes; return how many of them are the body's."""
        at = 0
        while at < len(data) and not self.completed:
            at = self._take(data, at) if self._left else self._end_line(data, at)
            if self.error is not None:
                return len(data)
        return at

    def getfile(self) -> Any:
        """Return the body."""
        return self._buffer.getfile()

    def getbuf(self) -> Any:
        """Return its buffer."""
        return self._buffer

    def _take(self, data: bytes, at: int) -> int:
        piece = data[at : at + self._left]
        self._buffer.append(piece)
        self._left -= len(piece)
        return at + len(piece)

    def _end_line(self, data: bytes, at: int) -> int:
        """Read on to the end of a line, and act on it."""
        end = data.find(b"\n", at) + 1 or len(data)
        self._line += data[at:end]
        if len(self._line) > MOST_CHUNK_LINE_BYTES:
            self.error = BadRequest("a line of the chunked body is too long")
        elif self._line.endswith(b"\n"):
            line, self._line = self._line, b""
            if line.endswith(b"\r\n"):
                self._read_line(line[:-2])
            else:
                self.error = BadRequest("a line of the chunked body ends without CR")
        return end

    def _size(self, line: bytes) -> None:
        chunk = _CHUNK.fullmatch(line)
        if chunk is None:
            self.error = BadRequest("a chunk's size is invalid")
            return
        self._left = int(chunk[1], 16)
        self._read_line = self._after_chunk if self._left else self._trailer

    def _after_chunk(self, line: bytes) -> None:
        if line:
            self.error = BadRequest("a chunk is longer than its size")
        self._read_line = self._size

    def _trailer(self, line: bytes) -> None:
        self._trailer_bytes += len(line)
        if not line:
            self.completed = True
        elif self._trailer_bytes > MOST_TRAILER_BYTES or not _FIELD.fullmatch(line):
            self.error = BadRequest("a trailer of the chunked body is invalid")
