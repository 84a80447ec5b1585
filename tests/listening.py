"""A reader of an event stream without sockets, and a parser as strict as the pickiest in use."""

from __future__ import annotations

import dataclasses
import json
import re
from collections import deque
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any
from wsgiref.util import setup_testing_defaults

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

RETRY = b"retry: 400\n"
# Bytes, as Resalt's parser takes them: one space after each colon, LF only, one data line.
_EVENT = re.compile(rb"(?:id: (?P<id>[0-9a-f]+-[0-9]+)\n)?tag: (?P<tag>[^\r\n]*)\ndata: (?P<data>[^\r\n]*)\n\n")


@dataclasses.dataclass(frozen=True)
class Received:
    """One event of a stream."""

    tag: str
    data: dict[str, Any]
    id: str | None


class Listening:
    """An open stream. Leave the block to close it, as a server does when the caller is gone."""

    def __init__(self, app: WSGIApplication, token: str | None, query: str = "", path: str = "/events", **headers: str) -> None:
        environ: dict[str, Any] = {}
        setup_testing_defaults(environ)
        environ.update(REQUEST_METHOD="GET", PATH_INFO=path, QUERY_STRING=query, REMOTE_ADDR="192.0.2.1")
        headers |= {"x_auth_token": token} if token is not None else {}
        environ.update({f"HTTP_{name.upper()}": value for name, value in headers.items()})
        started: list[Any] = []

        def start_response(*args: Any) -> Any:
            started[:] = args
            return lambda _data: None

        self._body = app(environ, start_response)
        self._chunks = iter(self._body)
        self.status = int(started[0].split()[0])
        self.headers = {name.lower(): value for name, value in started[1]}
        self.raw = b""
        self._waiting: deque[Received] = deque()

    def __enter__(self) -> Listening:  # noqa: PYI034 - Self is newer than Python 3.10
        return self

    def __exit__(self, _kind: type[BaseException] | None, _exc: BaseException | None, _traceback: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._body.close()  # type: ignore[attr-defined]

    def chunk(self) -> bytes:
        """Return the next bytes, b"" at the end."""
        data = next(self._chunks, b"")
        self.raw += data
        return data

    def events(self) -> Iterator[Received]:
        """Yield what comes, without heartbeats, until the stream ends; what is not taken comes the next time."""
        while self._waiting or (data := self.chunk()):
            if not self._waiting and data != RETRY:
                self._waiting.extend(parse(data))
            if self._waiting:
                yield self._waiting.popleft()

    def until(self, tag: str) -> list[Received]:
        """Return the events up to and with the first whose tag ends so."""
        found = []
        for event in self.events():
            found.append(event)
            if event.tag.endswith(tag):
                return found
        raise AssertionError(f"the stream ended without {tag}: {found}")


def parse(data: bytes) -> list[Received]:
    """Return the events of one chunk, which must hold whole ones and nothing else."""
    found, at = [], 0
    while at < len(data):
        match = _EVENT.match(data, at)
        assert match, data[at : at + 200]
        at = match.end()
        content = json.loads(match["data"])
        assert sorted(content) == ["data", "tag"]
        found.append(Received(content["tag"], content["data"], match["id"].decode() if match["id"] else None))
    return found
