"""A receiver of notices: a small HTTP server that answers what a test says, and keeps what it gets."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from service.demo.embedded import PATIENCE_SECONDS, until


class Receiver(ThreadingHTTPServer):
    """answers: the statuses of the next answers; 204 when there are none left. got: path, headers and body of each request."""

    daemon_threads = True

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.scheme = "http"
        if context is not None:
            self.scheme, self.socket = "https", context.wrap_socket(self.socket, server_side=True)
        self.answers: list[int] = []
        self.got: list[tuple[str, dict[str, str], bytes]] = []

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.server_address[1]}/hooks/"

    def has(self, count: int) -> None:
        """Wait for this many requests."""
        for _ in until(PATIENCE_SECONDS):
            if len(self.got) >= count:
                return
        raise AssertionError(self.got)


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.got.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
        status = self.server.answers.pop(0) if self.server.answers else 204
        self.send_response(status)
        if status == 302:
            self.send_header("Location", f"{self.server.url}elsewhere")
        self.end_headers()

    def log_message(self, *_args: object) -> None:
        """Say nothing."""


@contextmanager
def receiving(context: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    """Run a receiver inside the block. context: it speaks TLS."""
    with Receiver(context) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()
