"""The two wire formats of a master: requests over ZeroMQ, and frames on its event bus."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Iterator
from typing import Any

import msgpack
import salt.payload
import zmq
from salt.exceptions import SaltDeserializationError

from service.deadline import within
from service.errors import MasterRefused, MasterTimeout, MasterUnreachable

# Source: salt/channel/client.py, AsyncReqChannel._package_load; 3006 to 3008 send 3.
ENVELOPE_VERSION = 3
# What a master of a cluster answers to everything, and does nothing else, until the others have taken it in. Source: salt/channel/server.py of 3008, `_cluster_is_ready`.
DEFERRED = {"enc": "clear", "load": {"ret": False, "cluster_retry": True}}
DEFERRED_SECONDS = 1.0
FRAME_LIMIT_BYTES = 256 * 1024 * 1024
# First size of an unpacker's buffer (msgpack's default is a megabyte), and the size above which it is not kept for the next frame.
ROOM_BYTES = 64 * 1024
MOST_ROOM_BYTES = 1024 * 1024
_LENGTH = struct.Struct(">I")


class RequestSocket:
    """
    A persistent connection to the master's request port, one request at a time. Lives on the bus thread's loop.

    We speak the envelope ourselves: Salt's AsyncReqChannel wakes three times a second per channel, cannot be used with
    asyncio before 3007, and leaves its socket unusable after a timeout. docs/decisions/0003-own-wire.md.
    The loop watches the socket's descriptor without zmq.asyncio, whose futures and pollers cost more than the request.
    """

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], uri: str) -> None:
        self._context = context
        self._uri = uri
        self._socket: zmq.Socket[bytes] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None  # that watches the socket
        self._on_answer: Callable[[bytes], None] | None = None

    def ask(self, message: bytes, on_answer: Callable[[bytes], None]) -> None:
        """
        Send a message; on_answer(reply) is called by the loop, unless `close` is called before.

        Raises MasterUnreachable when there is no socket to be had. `close` it if the answer is not waited for: a REQ socket
        that waits for one cannot send.
        """
        try:
            sock = self._socket or self._connect()
            sock.send(message, zmq.NOBLOCK)
        except zmq.ZMQError as exc:
            self.close()
            raise MasterUnreachable(f"no connection to the master: {exc.strerror}") from exc
        self._on_answer = on_answer
        # The descriptor tells of a change once; sending may have taken note of it already.
        if self._loop is not None and int(sock.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
            self._loop.call_soon(self._look)

    async def roundtrip(self, load: dict[str, Any], timeout: float) -> Any:
        """
        Send a load in the clear and return the master's answer, decoded.

        timeout: seconds. Raises MasterTimeout, MasterUnreachable when there is no socket to be had, and what `decoded` raises. After a timeout or a cancellation the connection is made again.
        """
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.ask(enveloped(load), answer.set_result)
        try:
            return decoded(await within(timeout, answer))
        except asyncio.TimeoutError:
            raise MasterTimeout(f"the master did not answer within {timeout:g} s") from None
        finally:
            if answer.cancelled():
                self.close()

    def close(self) -> None:
        """Drop the connection at once, and forget what was asked; the next request opens another."""
        sock, self._socket, self._on_answer = self._socket, None, None
        if sock is None:
            return
        if self._loop is not None:
            self._loop.remove_reader(int(sock.getsockopt(zmq.FD)))
        sock.close(linger=0)

    def _connect(self) -> zmq.Socket[bytes]:
        sock = self._socket = self._context.socket(zmq.REQ)
        sock.setsockopt(zmq.LINGER, 0)
        sock.setsockopt(zmq.TCP_KEEPALIVE, 1)
        sock.setsockopt(zmq.TCP_KEEPALIVE_IDLE, 60)
        if self._uri.startswith("tcp://["):
            sock.setsockopt(zmq.IPV6, 1)
        sock.connect(self._uri)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(int(sock.getsockopt(zmq.FD)), self._look)
        return sock

    def _look(self) -> None:
        """See what the descriptor told of: an answer, or a change of the connection, which asking for it takes note of."""
        if self._socket is None or not int(self._socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
            return
        reply = self._socket.recv(zmq.NOBLOCK)
        on_answer, self._on_answer = self._on_answer, None
        if on_answer is not None:
            on_answer(reply)


def enveloped(load: dict[str, Any]) -> bytes:
    """Return a load in the clear, as the master's request port takes it."""
    return bytes(salt.payload.dumps({"enc": "clear", "load": load, "version": ENVELOPE_VERSION}))


def decoded(reply: bytes) -> Any:
    """Decode an answer. Raises MasterRefused, and MasterUnreachable for that of a master which is not in its cluster yet: it says nothing of tokens or jobs."""
    try:
        answer = salt.payload.loads(reply)
    except SaltDeserializationError as exc:
        raise MasterRefused("the master's answer cannot be decoded") from exc
    if answer == DEFERRED:
        raise MasterUnreachable("the master has not joined its cluster yet", retry_after_seconds=DEFERRED_SECONDS)
    return answer


class FrameReader:
    """
    Cut the event bus' byte stream into events.

    3007 and later send msgpack maps back to back; 3006.2x puts a four-byte length before each. No map begins with a
    byte below 0x80 and no length of ours with one above, so the first byte tells.
    Source: salt/transport/tcp.py PublishClient, salt/transport/ipc.py IPCMessageSubscriber.
    """

    def __init__(self, *, frame_limit_bytes: int = FRAME_LIMIT_BYTES, most_room_bytes: int = MOST_ROOM_BYTES) -> None:
        self._frame_limit_bytes = frame_limit_bytes
        self._most_room_bytes = most_room_bytes
        self._unpacker: msgpack.Unpacker | None = None
        self._fed = 0  # into this unpacker
        self._buffer = bytearray()
        self._prefixed: bool | None = None

    def feed(self, chunk: bytes | memoryview) -> Iterator[bytes]:
        """Yield the raw events that *chunk* completes, of which nothing is kept. Raises ValueError on bytes that are no frames."""
        if self._prefixed is None:
            self._prefixed = chunk[0] < 0x80
        try:
            yield from self._feed_prefixed(chunk) if self._prefixed else self._feed_maps(chunk)
        except (msgpack.UnpackException, TypeError) as exc:
            # A full buffer; a map whose key cannot be hashed. msgpack's other exceptions are ValueErrors.
            raise ValueError(f"no event frame: {exc}") from exc

    def _feed_maps(self, chunk: bytes | memoryview) -> Iterator[bytes]:
        if self._unpacker is None:
            self._unpacker = msgpack.Unpacker(raw=True, read_size=ROOM_BYTES, max_buffer_size=self._frame_limit_bytes, strict_map_key=False)
            self._fed = 0
        self._unpacker.feed(chunk)
        self._fed += len(chunk)
        end = 0  # of the last whole frame; `tell` counts the beginning of another too
        for frame in self._unpacker:
            end = self._unpacker.tell()
            yield _body(frame)
        if self._fed > self._most_room_bytes and self._fed == end:
            self._unpacker = None

    def _feed_prefixed(self, chunk: bytes | memoryview) -> Iterator[bytes]:
        self._buffer += chunk
        while len(self._buffer) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer)
            if length > self._frame_limit_bytes:
                raise ValueError(f"a frame of {length} bytes")
            end = _LENGTH.size + length
            if len(self._buffer) < end:
                return
            payload = bytes(self._buffer[_LENGTH.size : end])
            del self._buffer[:end]
            yield _body(msgpack.unpackb(payload, raw=True, strict_map_key=False))


def _body(frame: object) -> bytes:
    if not isinstance(frame, dict) or not isinstance(frame.get(b"body"), bytes):
        raise ValueError("a frame without a body")
    return bytes(frame[b"body"])
