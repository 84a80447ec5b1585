"""One request of the comparison, byte for byte as it goes to both servers, and what came back."""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import http.client
import json
import socket
from collections.abc import Callable, Mapping
from typing import Any, Literal

from tests.compat.servers import PREFIX, Server, Variant

TIMEOUT_SECONDS = 180.0
JSON = "application/json"
# Whose session goes with a request: `demo` may do everything, `pinger` only test.ping; `fresh` is a new one of demo's, `dead`
# was logged out, `salt` is demo's Salt token, `junk` and `path` were never tokens. `cookie` sends demo's as the cookie alone.
Session = Literal["demo", "pinger", "fresh", "fresh cookie", "dead", "salt", "junk", "path", "cookie", "bearer"]
FIXED_TOKENS = {"junk": "zzz", "path": "../../etc/passwd"}


@dataclasses.dataclass(frozen=True)
class Request:
    """
    One request, sent alike to both.

    body: bytes and text go as they are, anything else as JSON. @NAMES@ in path, headers and body are replaced, see `Side`.
    content_type: JSON where there is a body; None sends none.
    view: what of the decoded body is compared, where the whole differs from one request to the next.
    event: the tag of the event that the request causes; its data are compared too. A @CALL@ in it, and in path, is another each time.
    stream: read until the event that a hook fires meanwhile has come.
    after: a low that rest_cherrypy runs afterwards, to put things back.
    """

    name: str
    method: str
    path: str
    body: Any = None
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    session: Session | None = None
    content_type: str | None = JSON
    accept: str | None = JSON
    view: Callable[[Any], Any] | None = None
    event: str | None = None
    stream: bool = False
    after: Mapping[str, Any] | None = None
    chunked: bool = False
    version: str = "1.1"
    variant: Variant = "plain"

    def numbered(self, number: int) -> Request:
        """Return the request whose event cannot be mistaken for that of another one, which may come late."""
        name = f"compat-{number}"
        return dataclasses.replace(self, path=self.path.replace("@CALL@", name), event=self.event and self.event.replace("@CALL@", name))


@dataclasses.dataclass(frozen=True)
class Answer:
    """What came back; header names are lower case, several of one name are joined."""

    status: int
    headers: dict[str, str]
    body: bytes

    def text(self) -> str:
        return self.body.decode("utf-8", "replace")

    def json(self) -> Any:
        return json.loads(self.body)


class Side:
    """
    One of the two servers, and the sessions that were opened there.

    replaced: what placeholders stand for; @TOKEN@ is demo's session here, @JID@ a finished job's, @SALT@ demo's Salt token.
    """

    def __init__(self, server: Server, variant: Variant, replaced: Mapping[str, str]) -> None:
        self.name = server.name
        self._port = server.port
        self._prefix = PREFIX if variant == "open" else ""
        self.replaced = dict(replaced)
        self._sessions: dict[str, str] = dict(FIXED_TOKENS)

    def send(self, request: Request) -> Answer:
        """Send a request and read its answer."""
        with self.exchange(request) as response:
            body = response.read()
            return answer_of(response, body)

    @contextlib.contextmanager
    def exchange(self, request: Request) -> Any:
        """Send a request and give its answer, of which only the head has been read."""
        with socket.create_connection(("127.0.0.1", self._port), timeout=TIMEOUT_SECONDS) as connection:
            connection.sendall(self.raw(request))
            response = http.client.HTTPResponse(connection, method=request.method)
            try:
                response.begin()
                yield response
            finally:
                response.close()

    def raw(self, request: Request) -> bytes:
        """Return the bytes of a request."""
        body = self._body(request)
        lines = [f"{request.method} {self._filled(request.path)} HTTP/{request.version}", f"Host: 127.0.0.1:{self._port}", *self._headers(request, body)]
        head = "".join(f"{line}\r\n" for line in lines).encode("latin-1") + b"\r\n"
        return head + (b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body) if request.chunked else body)

    def _body(self, request: Request) -> bytes:
        if request.body is None:
            return b""
        if isinstance(request.body, bytes):
            return self._filled(request.body.decode("latin-1")).encode("latin-1")
        text = request.body if isinstance(request.body, str) else json.dumps(request.body)
        return self._filled(text).encode()

    def _headers(self, request: Request, body: bytes) -> list[str]:
        headers = {"Connection": "close"}
        if request.chunked:
            headers["Transfer-Encoding"] = "chunked"
        elif body or request.method in {"POST", "PUT", "PATCH"}:
            headers["Content-Length"] = str(len(body))
        if request.body is not None and request.content_type:
            headers["Content-Type"] = request.content_type
        if request.accept:
            headers["Accept"] = request.accept
        headers |= self._credentials(request.session)
        return [f"{name}: {self._filled(value)}" for name, value in (headers | dict(request.headers)).items()]

    def _credentials(self, session: Session | None) -> dict[str, str]:
        if session is None:
            return {}
        token = self.token(session)
        if session in {"cookie", "fresh cookie"}:
            return {"Cookie": f"session_id={token}"}
        return {"Authorization": f"Bearer {token}"} if session == "bearer" else {"X-Auth-Token": token}

    def _filled(self, text: str) -> str:
        text = text.replace("@PREFIX@", self._prefix)
        if "@TOKEN@" in text:
            text = text.replace("@TOKEN@", self.token("demo"))
        for name, value in self.replaced.items():
            text = text.replace(name, value)
        return text

    def token(self, session: Session) -> str:
        """Return a session's token, after opening it if need be."""
        known = {"cookie": "demo", "bearer": "demo"}.get(session, session)
        if known == "salt":
            return self.replaced["@SALT@"]
        if known.startswith("fresh"):
            return self._login("@DEMO@")
        if known == "dead":
            token = self._login("@DEMO@")
            self.send(Request("logout", "POST", "@PREFIX@/logout", headers={"X-Auth-Token": token}))
            return token
        if known not in self._sessions:
            self._sessions[known] = self._login("@PINGER@" if known == "pinger" else "@DEMO@")
        return self._sessions[known]

    def _login(self, credentials: str) -> str:
        answer = self.send(Request("login", "POST", "@PREFIX@/login", f"{{{credentials}}}"))
        assert answer.status == 200, f"{self.name} refuses a login: {answer}"
        return str(answer.json()["return"][0]["token"])


def answer_of(response: http.client.HTTPResponse, body: bytes) -> Answer:
    headers: dict[str, str] = {}
    for name, value in response.getheaders():
        key = name.lower()
        headers[key] = f"{headers[key]}, {value}" if key in headers else value
    if headers.get("content-encoding") == "gzip":
        body = gzip.decompress(body)
    return Answer(response.status, headers, body)
