"""The channel: waitress' connection, with our error bodies, timeouts and orderly close."""

from __future__ import annotations

import contextlib
import functools
import select
import socket
import time
from typing import TYPE_CHECKING, Any

from waitress.buffers import OverflowableBuffer
from waitress.channel import HTTPChannel
from waitress.task import ErrorTask, WSGITask

from service.errors import BadRequest, Fault, Overloaded, TooLarge
from service.http.addresses import HOLDERS
from service.http.media import JSON, encode
from service.server.framing import Parser
from service.server.intake import IDLE_SECONDS, NoRoom, Patience

if TYPE_CHECKING:
    from collections.abc import Callable

# After refusing a request whose body is still being sent, read on this long: closing at once would reset the connection, and the caller lose the answer.
LINGER_SECONDS = 10.0
# A caller that connected so lately is about to send; a proxy that found the port open has nobody else to send to any more.
JUST_CAME_SECONDS = 1.0

# A larger answer is not copied, neither to be sent together with its header nor before it is sent.
JOINED_BYTES = 64 * 1024

# Our faults that say the same.
_FAULTS = {413: TooLarge, 431: TooLarge, 500: Fault, 503: Overloaded}
_REASONS = {413: "body_too_large", 431: "header_too_large", 400: "malformed", 501: "malformed", 503: "bodies_full"}


class AppTask(WSGITask):  # type: ignore[misc]
    """A request for the application."""

    wrote_header = False

    def execute(self) -> None:
        """Run the application; waitress would silently cut the connection at its OSError."""
        try:
            super().execute()
        except OSError as exc:
            raise RuntimeError(f"the application raised {type(exc).__name__}") from exc

    def get_environment(self) -> dict[str, Any]:
        """Return the WSGI environment, with how long the request waited for a thread, and how to learn what of the answer is not yet sent."""
        environ: dict[str, Any] = super().get_environment()
        environ["sidecar.queue_wait_seconds"] = self.channel.queue_wait_seconds
        environ["sidecar.unsent_bytes"] = lambda: int(self.channel.total_outbufs_len)
        return environ

    def write(self, data: bytes) -> None:
        """Write a piece of the answer, the first one together with the header."""
        if self.wrote_header or not self.complete:
            super().write(data)
            return
        self.channel.begin_answer(self.build_response_header())
        self.wrote_header = True
        super().write(data)
        self.channel.end_header()

    def build_response_header(self) -> bytes:
        """Write the header; while draining, a kept-alive connection is told to close (an application may not send `Connection`)."""
        if self.channel.server.draining:
            self.request.headers["CONNECTION"] = "close"
        header: bytes = super().build_response_header()
        return header


class FaultTask(ErrorTask):  # type: ignore[misc]
    """A request that waitress itself refuses."""

    def execute(self) -> None:
        """Answer in the form of all our errors."""
        error = self.request.error
        fault = _FAULTS.get(error.code, BadRequest)(_reason(error.code, str(error.body), self.channel.adj))
        fault.status = error.code
        rendered = self.channel.server.renderer_of(self.request.path)(fault, {})
        body = encode(rendered.value)
        self.status = f"{error.code} {error.reason}"
        self.response_headers += [("Content-Type", rendered.media_type or JSON), ("X-Content-Type-Options", "nosniff")]
        if error.code == NoRoom.code:
            self.response_headers.append(("Retry-After", "1"))
        self.set_close_on_finish()
        self.content_length = len(body)
        self.channel.refused = True
        if error.code in _REASONS:
            self.channel.server.on_rejected(_REASONS[error.code])
        self.write(body)


class Channel(HTTPChannel):  # type: ignore[misc]
    """
    One connection.

    A caller that has closed its sending side still gets the answers to what it sent; `waitress.client_disconnected` is true from then on, since
    a caller that is gone looks the same. All methods run in the loop's thread, except `check_client_disconnected` and those that `service` calls.
    """

    task_class = AppTask
    error_task_class = FaultTask
    parser_class = Parser

    request: Any = None
    queue_wait_seconds = 0.0
    refused = False
    peer_closed = False
    receiving_since: float | None = None
    # By the server's clock; and whether a byte has come since.
    came_at = 0.0
    heard = False
    linger_until: float | None = None
    # What the loop was last told to look for, in poll's flags; None while it asks, and before it first has.
    _told: int | None = None
    # A thread of the pool writes, and tells afterwards if there is something left to send: room is there till then, and to find it would be the
    # loop's at each turn, while the thread waits for the interpreter.
    writing = False
    # The header of an answer, until the first bytes of its body are there.
    _unsent_header = b""

    def check_client_disconnected(self) -> bool:
        """Tell the application that nobody sends on this connection any more."""
        return self.peer_closed or not self.connected

    @property
    def descriptor(self) -> int | None:
        """The socket's number; None once it is closed."""
        descriptor: int | None = self._fileno
        return descriptor

    @functools.cached_property
    def holder(self) -> str:
        """Whoever has this connection, as the bounds of addresses count."""
        return HOLDERS.of(self.addr[0])

    def readable(self) -> bool:
        """Tell the loop whether to look for bytes."""
        self._told = None
        told = self._told = self._wants()
        return told == select.POLLIN

    def writable(self) -> bool:
        """Tell the loop whether to look for room; it asks for both, for this last, and has to hear of one and the same moment."""
        return self._told == select.POLLOUT

    def service(self) -> None:
        """Serve one request; runs in a thread of the pool."""
        self.server.serving.channel = self
        try:
            super().service()
        finally:
            self.server.serving.channel = None
            self.server.intake.hold(self)

    def has_news(self) -> bool:
        """
        Tell whether the loop would look for something else now than it was told to, so that it has to be woken and ask.

        May be called from any thread, after a change. No change is missed: a loop that asks later hears of it; while it asks at that moment
        nobody knows what it hears, which counts as news; and what it has heard before is compared with. Who sees no news and changes something
        afterwards asks here again.
        """
        return self._wants() != self._told

    def begin_answer(self, header: bytes) -> None:
        """Send *header* together with what is written next: one call of the system and one packet, where waitress makes two."""
        self._unsent_header = header

    def end_header(self) -> None:
        """Send the header now if there was nothing to send with it."""
        if self._unsent_header:
            self.write_soon(b"")

    def write_soon(self, data: Any) -> int:
        """Send, or keep to be sent."""
        self.writing = True
        try:
            return self._write(data)
        finally:
            self.writing = False
            self.server.pull_trigger()

    def _write(self, data: Any) -> int:
        header, self._unsent_header = self._unsent_header, b""
        if isinstance(data, bytes) and len(data) <= JOINED_BYTES:
            return int(super().write_soon(header + data))
        super().write_soon(header)
        return self._write_large(data) if isinstance(data, bytes) else int(super().write_soon(data))

    def _flush_some(self, do_close: bool = True) -> bool:  # noqa: FBT002 - waitress' signature
        """Send what is kept; the loop and a thread that says `100 Continue` after its last request would send the same bytes twice."""
        with self.outbuf_lock:
            return bool(super()._flush_some(do_close=do_close))

    def _write_large(self, data: bytes) -> int:
        """
        Send from where it is what the socket takes; keep the rest.

        waitress would copy all of it into a buffer and out again first, and what is too large for memory once more. Of the rest the first piece
        makes it open its file, and the others go there.
        """
        view = memoryview(data)
        with self.outbuf_lock:
            sent, _ = self._flush_exception(functools.partial(self._send_directly, view), do_close=False)
            rest, memory = view[int(sent) :], self.adj.outbuf_overflow
            super().write_soon(rest[:memory])
            super().write_soon(rest[memory:])
        return len(data)

    def _send_directly(self, view: memoryview, *, do_close: bool) -> int:
        """Send what the socket takes, if nothing waits before it; return how much that was."""
        sent = 0
        while sent < len(view) and not self.total_outbufs_len and self.connected:
            taken = int(self.send(view[sent:], do_close=do_close))
            if not taken:
                break
            sent += taken
            self.last_activity = time.time()
        return sent

    def _wants(self) -> int:
        """
        Return what to look for, in poll's flags: bytes, room, or nothing while a thread of the pool has to act first.

        As in waitress nothing is read before everything is sent. One look at what is unsent decides on both: it changes meanwhile, and a loop that
        hears of neither would learn nothing of its caller until the request is done.
        """
        if self.linger_until is not None:
            return select.POLLIN
        if not self.writing and super().writable():
            return select.POLLOUT
        queued = len(self.requests)
        return 0 if queued > self.adj.channel_request_lookahead or (queued and self.peer_closed) else select.POLLIN

    def handle_read(self) -> None:
        """Read; an end of the stream while requests are being served does not drop them."""
        if self.requests and self._at_end():
            self.peer_closed = True
            return
        super().handle_read()

    def received(self, data: bytes) -> bool:
        """Take bytes and note when the request that is now incomplete began."""
        before, self.heard = self.request, True
        try:
            taken = bool(super().received(data))
        except OSError:
            # There is no room for its file either; waitress would cut the connection without a word.
            taken = True
            self.give_up_body()
        if self.request is None:
            self.receiving_since = None
        elif self.request is not before or self.receiving_since is None:
            self.receiving_since = self.server.clock()
        self.server.intake.hold(self)
        if (payer := self.server.intake.who_pays(self)) is not None:
            payer.give_up_body()
        return taken

    def give_up_body(self) -> None:
        """Refuse the request that is being received, if there is one: there is no room for its body."""
        with self.requests_lock:
            if self.request is None:
                return
            request, self.request = self.request, None
            # A file that has no room for what was written fails once more when it is closed.
            with contextlib.suppress(OSError):
                request.close()
            request.error, request.completed, request.expect_continue = NoRoom("too many bodies are on their way"), True, False
            request.body_bytes_received = 0
            self.receiving_since = None
            self.requests.append(request)
            if len(self.requests) == 1:
                self.server.add_task(self)
        self.server.intake.hold(self)

    def del_channel(self, map: Any = None) -> None:  # noqa: A002 - waitress' name
        """Leave the loop, and give back what was held."""
        self.server.intake.leave(self)
        super().del_channel(map)

    def body_bytes(self) -> int:
        """Return the bytes of bodies that are here: of the request that is being received, and of those that wait or are served."""
        total = 0 if self.request is None else int(self.request.body_bytes_received)
        for request in self.requests:
            total += request.body_bytes_received
        return total

    def handle_close(self) -> None:
        """Close, after a refusal not before the caller has had a chance to read it."""
        # poll reports an end of stream and a hang-up together, so this may run twice; the second time there is no socket.
        if self.refused and self.connected and self.linger_until is None and self._stop_sending():
            self.linger_until = self.server.clock() + LINGER_SECONDS
        else:
            super().handle_close()

    def abort(self) -> None:
        """Close now."""
        super().handle_close()

    def is_idle(self) -> bool:
        """Tell that nothing of a request or an answer would be lost by closing."""
        return not self.requests and not self.total_outbufs_len

    def is_receiving(self) -> bool:
        """Tell that a request has begun to come."""
        return self.request is not None

    def is_arriving(self, now: float) -> bool:
        """Tell that a request is on its way: it has begun to come, or its caller has only just connected."""
        return self.is_receiving() or (not self.heard and now - self.came_at < JUST_CAME_SECONDS)

    def is_unused(self) -> bool:
        """Tell that nothing at all would be lost by closing."""
        return self.is_idle() and not self.is_receiving()

    def sweep(self, now: float, patience: Patience, on_rejected: Callable[[str], None]) -> None:
        """End what has lasted too long: a slow sender, a reader that stopped, an idle connection, a connection that is closing."""
        if self.is_idle():
            self._free_buffer()
        if self.linger_until is not None:
            overdue = now >= self.linger_until
        elif self.receiving_since is not None and not self.requests:
            overdue = patience.is_slow(now - self.receiving_since, self._received_bytes())
            if overdue:
                on_rejected("slow_body")
        else:
            # While an earlier request is served we do not read, so the sender of the next is not slow.
            self.receiving_since = None if self.receiving_since is None else now
            overdue = self._is_stale(patience)
        if overdue:
            self.abort()

    def _free_buffer(self) -> None:
        """Give back what the last answer was kept in, a megabyte or a file; waitress does with the next answer, or never."""
        with self.outbuf_lock:
            if not self.total_outbufs_len and self.outbufs[-1].buf is not None:
                self.outbufs[-1].close()
                self.outbufs[-1] = OverflowableBuffer(self.adj.outbuf_overflow)

    def _received_bytes(self) -> int:
        return 0 if self.request is None else int(self.request.header_bytes_received + self.request.body_bytes_received)

    def _is_stale(self, patience: Patience) -> bool:
        # waitress stamps with time.time(), on each byte in or out.
        waits_for_caller = self.total_outbufs_len > 0 or not self.requests
        allowed = patience.idle_seconds if self.is_unused() else IDLE_SECONDS
        return waits_for_caller and time.time() - self.last_activity > allowed

    def _at_end(self) -> bool:
        try:
            return not self.socket.recv(1, socket.MSG_PEEK)
        except OSError:
            return False

    def _stop_sending(self) -> bool:
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            return False
        return True


def _reason(code: int, text: str, adj: Any) -> str:
    """Return the sentence for people; waitress' own words name its internals, and may quote the request."""
    if code == 413:
        return f"the body is larger than {adj.max_request_body_size - 1} bytes (api.body_limit_bytes)"
    if code == NoRoom.code:
        return "too many bodies are on their way (api.body_bytes, api.body_bytes_per_address)"
    if code == 431:
        return f"the request's headers are larger than {adj.max_request_header_size} bytes"
    return text.partition(' "')[0]
