"""Where a request ends: the strict reading of RFC 9112, in the place of waitress' own, which is lenient where proxies differ."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from waitress.buffers import OverflowableBuffer
from waitress.parser import HTTPRequestParser, ParsingError, TransferEncodingNotImplemented, split_uri
from waitress.receiver import FixedStreamReceiver
from waitress.utilities import BadRequest

# Each further line of the same name copies those before it, and the loop does that.
MOST_FIELDS = 200
# A chunk's size with its extensions, and all trailers together.
MOST_CHUNK_LINE_BYTES = 1024
MOST_TRAILER_BYTES = 8192

_TCHARS = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_REQUEST_LINE = re.compile(r"([!#$%&'*+.^_`|~0-9A-Z-]+) ([!-~\x80-\xff]+) HTTP/(1\.[01])")
_FIELD = re.compile(rf"({_TCHARS}):([\t -~\x80-\xff]*)")
_ABSOLUTE = re.compile(r"https?://([^/?#]+)(.*)", re.ASCII | re.IGNORECASE)
_HOST = re.compile(r"(?:[\w.~!$&'()*+,;=%-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]*)?", re.ASCII)
_CHUNK = re.compile(rf"([0-9A-Fa-f]{{1,16}})(?:;{_TCHARS}(?:=(?:{_TCHARS}" + r'|"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*"))?)*')
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


class Head(NamedTuple):
    """
    A request's head, as waitress keeps it.

    target: a path, or `*`. fields: by their names in capitals, with `_` for `-`; Host is the authority that the target names, if it does.
    length: of the body, 0 if it is chunked or if there is none.
    """

    method: str
    target: str
    version: str
    fields: dict[str, str]
    length: int
    chunked: bool


def read(head: bytes) -> Head:
    """
    Read a request's head, from its first line to the empty one.

    One Host, one Transfer-Encoding, which is not among the fields, one Content-Length, one word for Connection. Other fields of one name are joined;
    those with `_` in their names, which could pass for others, are left out.
    Raises ParsingError, TransferEncodingNotImplemented, and ValueError for a Content-Length of thousands of digits. Source: RFC 9112, sections 2 to 6 and 9.6.
    """
    first, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").removesuffix("\r\n").split("\r\n")
    request = _REQUEST_LINE.fullmatch(first)
    if request is None:
        raise ParsingError("the request line is not METHOD TARGET HTTP/1.1")
    if len(lines) > MOST_FIELDS:
        raise ParsingError(f"more than {MOST_FIELDS} header lines")
    method, target, version = request.groups()
    named = _fields(lines)
    path, host = _target(method, target, _host(named.pop("HOST", []), version))
    codings, lengths = named.pop("TRANSFER-ENCODING", []), named.get("CONTENT-LENGTH", [])
    _check_length(lengths, codings)
    chunked = _is_chunked(codings, version)
    connection = _connection(named.pop("CONNECTION", []))
    fields = {name.replace("-", "_"): ", ".join(values) for name, values in named.items() if "_" not in name}
    if host is not None:
        fields["HOST"] = host
    if connection is not None:
        fields["CONNECTION"] = connection
    return Head(method, path, version, fields, int(lengths[0]) if lengths else 0, chunked)


def _fields(lines: list[str]) -> dict[str, list[str]]:
    """Return the values of each field, without white space around them, by its name in capitals."""
    named: dict[str, list[str]] = {}
    for line in lines:
        found = _FIELD.fullmatch(line)
        if found is None:
            raise ParsingError("a header line is not NAME: VALUE")
        name, value = found.groups()
        named.setdefault(name.upper(), []).append(value.strip(" \t"))
    return named


def _options(values: list[str]) -> list[str]:
    """Split comma-separated values into their words, in lower case."""
    return [option.strip(" \t").lower() for value in values for option in value.split(",")]


def _host(hosts: list[str], version: str) -> str | None:
    if len(hosts) > 1 or (not hosts and version == "1.1"):
        raise ParsingError("a request has one Host")
    if hosts and not _HOST.fullmatch(hosts[0]):
        raise ParsingError("Host is not HOST or HOST:PORT")
    return hosts[0] if hosts else None


def _target(method: str, target: str, host: str | None) -> tuple[str, str | None]:
    """Return path and host; a target that names a host itself overrules the header."""
    if target.startswith("/") or (target == "*" and method == "OPTIONS"):
        return target, host
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None or not _HOST.fullmatch(absolute[1]):
        raise ParsingError("the request's target is neither a path nor a URL")
    return absolute[2] if absolute[2].startswith("/") else "/" + absolute[2], absolute[1]


def _check_length(lengths: list[str], codings: list[str]) -> None:
    if lengths and codings:
        raise ParsingError("Content-Length and Transfer-Encoding exclude each other")
    if len(lengths) > 1 or (lengths and not lengths[0].isdecimal()):
        raise ParsingError("Content-Length is invalid")


def _is_chunked(values: list[str], version: str) -> bool:
    if not values:
        return False
    codings = _options(values)
    if version == "1.0" or len(values) > 1 or "" in codings or "chunked" in codings[:-1]:
        raise ParsingError("Transfer-Encoding is invalid")
    if codings != ["chunked"]:
        raise TransferEncodingNotImplemented("Transfer-Encoding other than chunked is not supported")
    return True


def _connection(values: list[str]) -> str | None:
    """Return what waitress looks for, as the only word."""
    if not values:
        return None
    options = _options(values)
    return next((word for word in ("close", "keep-alive") if word in options), ", ".join(values) or None)


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
                self._read_line(line[:-2].decode("latin-1"))
            else:
                self.error = BadRequest("a line of the chunked body ends without CR")
        return end

    def _size(self, line: str) -> None:
        chunk = _CHUNK.fullmatch(line)
        if chunk is None:
            self.error = BadRequest("a chunk's size is invalid")
            return
        self._left = int(chunk[1], 16)
        self._read_line = self._after_chunk if self._left else self._trailer

    def _after_chunk(self, line: str) -> None:
        if line:
            self.error = BadRequest("a chunk is longer than its size")
        self._read_line = self._size

    def _trailer(self, line: str) -> None:
        self._trailer_bytes += len(line)
        if not line:
            self.completed = True
        elif self._trailer_bytes > MOST_TRAILER_BYTES or not _FIELD.fullmatch(line):
            self.error = BadRequest("a trailer of the chunked body is invalid")


class Parser(HTTPRequestParser):  # type: ignore[misc]
    """waitress' parser with a strict reading of RFC 9112."""

    path = "(unreadable)"  # waitress logs it when the caller is gone, also for a request that has none.
    headers_finished = False
    error: Any = None
    body_rcv: Any = None

    def received(self, data: bytes) -> int:
        """Take bytes; a request that is complete, or refused by its headers, gets no `100 Continue`. What follows a refused one is nobody's."""
        before = self.header_plus
        in_head = not self.headers_finished
        taken: int = super().received(data)
        if in_head and self.error is None and (fault := fault_in(before, data[:taken])):
            self.error = fault
            self.completed = self.headers_finished = True
        if self.completed:
            self.expect_continue = False
        return len(data) if self.error is not None else taken

    def parse_header(self, header_plus: bytes) -> None:
        """Take from the header what waitress' own method takes, in one pass. Raises ParsingError, also for a Content-Length of 5,000 digits."""
        try:
            head = read(header_plus)
            self.proxy_scheme, self.proxy_netloc, self.path, self.query, self.fragment = split_uri(head.target.encode("latin-1"))
        except ValueError as exc:
            raise ParsingError("the request line or Content-Length is invalid") from exc
        self.command, self.version, self.headers = head.method, head.version, head.fields
        self.request_uri = head.target
        self.url_scheme = self.adj.url_scheme
        connection = head.fields.get("CONNECTION", "").lower()
        self.connection_close = connection != "keep-alive" if head.version == "1.0" else connection == "close"
        self.expect_continue = head.version == "1.1" and head.fields.get("EXPECT", "").lower() == "100-continue"
        self.chunked, self.content_length = head.chunked, head.length
        if head.chunked:
            self.body_rcv = ChunkedBody(OverflowableBuffer(self.adj.inbuf_overflow))
        elif head.length:
            self.body_rcv = FixedStreamReceiver(head.length, OverflowableBuffer(self.adj.inbuf_overflow))
