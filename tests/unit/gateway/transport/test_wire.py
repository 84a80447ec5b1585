"""Wire: requests over a real ZeroMQ socket, and a byte stream cut anywhere."""

from __future__ import annotations

import asyncio
import struct
import tracemalloc
from collections.abc import Callable, Coroutine
from typing import Any

import msgpack
import pytest
import salt.payload
import zmq
import zmq.asyncio
from hypothesis import given
from hypothesis import strategies as st

from service.errors import MasterRefused, MasterTimeout, MasterUnreachable
from service.gateway.transport.wire import FrameReader, RequestSocket

BODIES = [b"salt/auth\n\n\x80", b"", b"\xff" * 300, b"x" * 70_000]


def maps(bodies: list[bytes]) -> bytes:
    """Return the stream as 3007 and later send it."""
    return b"".join(msgpack.packb({"head": {}, "body": body}) for body in bodies)


def prefixed(bodies: list[bytes]) -> bytes:
    """Return the stream as 3006 sends it."""
    return b"".join(struct.pack(">I", len(frame)) + frame for frame in (maps([body]) for body in bodies))


FORMATS = pytest.mark.parametrize("packed", [maps, prefixed], ids=["3007", "3006"])


def read(chunks: list[bytes], **limits: int) -> list[bytes]:
    reader = FrameReader(**limits)
    return [body for chunk in chunks if chunk for body in reader.feed(chunk)]


@FORMATS
def test_a_stream_that_comes_at_once_is_cut_into_its_events(packed: Callable[[list[bytes]], bytes]) -> None:
    assert read([packed(BODIES)]) == BODIES


@FORMATS
def test_a_stream_may_be_cut_at_every_byte(packed: Callable[[list[bytes]], bytes]) -> None:
    bodies = BODIES[:3]
    stream = packed(bodies)

    assert read([bytes([byte]) for byte in stream]) == bodies
    assert all(read([stream[:cut], stream[cut:]]) == bodies for cut in range(len(stream)))


@FORMATS
@given(bodies=st.lists(st.binary(max_size=400), max_size=6), sizes=st.lists(st.integers(1, 300), min_size=1, max_size=20))
def test_any_events_come_out_as_they_went_in(packed: Callable[[list[bytes]], bytes], bodies: list[bytes], sizes: list[int]) -> None:
    stream, chunks, turn = packed(bodies), [], 0
    while stream:
        size = sizes[turn % len(sizes)]
        chunks.append(stream[:size])
        stream, turn = stream[size:], turn + 1

    assert read(chunks) == bodies


@pytest.mark.costly
def test_what_a_large_event_took_is_given_back() -> None:
    bodies = [b"a", b"x" * 4_000_000, b"b", b"y" * 300, b"c"]
    stream, reader = maps(bodies), FrameReader()
    tracemalloc.start()
    sizes = [len(body) for at in range(0, len(stream), 1000) for body in reader.feed(stream[at : at + 1000])]
    kept = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()

    assert sizes == [len(body) for body in bodies]
    assert kept < 200_000
    assert read([bytes([byte]) for byte in maps(BODIES)], most_room_bytes=10) == BODIES


@given(st.binary(min_size=1, max_size=80), st.lists(st.binary(min_size=1, max_size=20), max_size=3))
def test_garbage_is_a_value_error_or_no_event(first: bytes, more: list[bytes]) -> None:
    try:
        read([first, *more])
    except ValueError:
        return


@pytest.mark.parametrize("packed", [lambda frame: frame, lambda frame: struct.pack(">I", len(frame)) + frame], ids=["3007", "3006"])
@pytest.mark.parametrize(
    "frame",
    [
        msgpack.packb({"head": {}}),
        msgpack.packb({"body": 5}),
        msgpack.packb({"body": None}),
        b"\x90",
        b"\xc0",
        b"\xc1",
        msgpack.packb({(1, 2): 3}),
        b"\x81\x81\x01\x02\x03",
    ],
)
def test_a_frame_that_is_none_of_salts_is_a_value_error(packed: Callable[[bytes], bytes], frame: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the words are msgpack's or ours
        read([packed(frame)])


@pytest.mark.parametrize("frame", [maps([b"x" * 200]), struct.pack(">I", 200) + b"x"], ids=["3007", "3006"])
def test_an_oversized_frame_is_a_value_error(frame: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the words are msgpack's or ours
        read([frame], frame_limit_bytes=100)


class Master:
    """A REP socket on loopback that the test plays the master with."""

    def __init__(self, context: zmq.asyncio.Context) -> None:
        self.socket = context.socket(zmq.ROUTER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.port = self.socket.bind_to_random_port("tcp://127.0.0.1")

    async def next(self) -> tuple[list[bytes], Any]:
        """Return the next request's envelope and content."""
        *envelope, payload = await self.socket.recv_multipart()
        return envelope, salt.payload.loads(payload)

    async def answer(self, envelope: list[bytes], value: object) -> None:
        await self.socket.send_multipart([*envelope, salt.payload.dumps(value)])


def with_master(conversation: Callable[[Master, RequestSocket], Coroutine[Any, Any, None]]) -> None:
    """Run a conversation between a request socket and a master."""

    async def run() -> None:
        context, masters_context = zmq.Context(), zmq.asyncio.Context()
        master = Master(masters_context)
        sock = RequestSocket(context, f"tcp://127.0.0.1:{master.port}")
        try:
            await asyncio.wait_for(conversation(master, sock), 60)
        finally:
            sock.close()
            master.socket.close()
            context.destroy(linger=0)
            masters_context.destroy(linger=0)

    asyncio.run(run())


def test_a_load_travels_in_the_clear_and_the_answer_comes_back_decoded() -> None:
    async def conversation(master: Master, sock: RequestSocket) -> None:
        call = asyncio.create_task(sock.roundtrip({"cmd": "ping", "text": "ünï"}, 10))
        envelope, request = await master.next()
        await master.answer(envelope, {"jid": "1", "minions": ["ä"]})

        assert request == {"enc": "clear", "load": {"cmd": "ping", "text": "ünï"}, "version": 3}
        assert await call == {"jid": "1", "minions": ["ä"]}

    with_master(conversation)


def test_one_connection_serves_many_requests() -> None:
    async def conversation(master: Master, sock: RequestSocket) -> None:
        peers = set()
        for number in range(5):
            call = asyncio.create_task(sock.roundtrip({"number": number}, 10))
            envelope, request = await master.next()
            peers.add(envelope[0])
            await master.answer(envelope, request["load"]["number"])
            assert await call == number

        assert len(peers) == 1

    with_master(conversation)


def test_a_late_answer_is_not_taken_for_the_next_request() -> None:
    async def conversation(master: Master, sock: RequestSocket) -> None:
        with pytest.raises(MasterTimeout, match=r"within 0\.01 s"):
            await sock.roundtrip({"number": 1}, 0.01)
        call = asyncio.create_task(sock.roundtrip({"number": 2}, 10))
        answered: list[int] = []
        while 2 not in answered:
            # The first request may be lost with its connection; if it came, it is answered late.
            envelope, request = await master.next()
            answered.append(request["load"]["number"])
            await master.answer(envelope, f"answer {answered[-1]}")

        assert await call == "answer 2"

    with_master(conversation)


def test_after_a_cancelled_request_the_next_one_works() -> None:
    async def conversation(master: Master, sock: RequestSocket) -> None:
        cancelled = asyncio.create_task(sock.roundtrip({"number": 1}, 10))
        await master.next()
        cancelled.cancel()
        await asyncio.gather(cancelled, return_exceptions=True)
        call = asyncio.create_task(sock.roundtrip({"number": 2}, 10))
        envelope, _ = await master.next()
        await master.answer(envelope, "second")

        assert cancelled.cancelled()
        assert await call == "second"

    with_master(conversation)


def test_an_answer_that_is_no_message_is_refused() -> None:
    async def conversation(master: Master, sock: RequestSocket) -> None:
        call = asyncio.create_task(sock.roundtrip({"cmd": "ping"}, 10))
        envelope, _ = await master.next()
        await master.socket.send_multipart([*envelope, b"\xc1"])

        with pytest.raises(MasterRefused, match="cannot be decoded"):
            await call

    with_master(conversation)


def test_a_master_that_has_not_joined_its_cluster_is_not_there_yet() -> None:
    async def conversation(master: Master, sock: RequestSocket) -> None:
        call = asyncio.create_task(sock.roundtrip({"cmd": "get_token", "token": "a" * 64}, 10))
        envelope, _ = await master.next()
        await master.answer(envelope, {"enc": "clear", "load": {"ret": False, "cluster_retry": True}})

        with pytest.raises(MasterUnreachable, match="not joined its cluster") as caught:
            await call
        assert caught.value.retry_after_seconds == 1

    with_master(conversation)


def test_a_process_without_sockets_to_spare_says_that_the_master_is_unreachable() -> None:
    async def conversation(master: Master, sock: RequestSocket) -> None:
        context = zmq.Context()
        context.set(zmq.MAX_SOCKETS, 1)
        taken = context.socket(zmq.REQ)
        starved = RequestSocket(context, f"tcp://127.0.0.1:{master.port}")

        with pytest.raises(MasterUnreachable, match="no connection to the master: "):
            await starved.roundtrip({"cmd": "ping"}, 10)
        taken.close(linger=0)
        context.destroy(linger=0)

    with_master(conversation)


def test_an_address_of_version_6_is_understood() -> None:
    sockets: list[zmq.Socket[bytes]] = []

    class Context(zmq.Context[zmq.Socket[bytes]]):
        def socket(self, *args: Any, **options: Any) -> Any:
            sockets.append(super().socket(*args, **options))
            return sockets[-1]

    async def run() -> list[int]:
        context = Context()
        options = []
        for uri in ("tcp://[::1]:9", "tcp://127.0.0.1:9"):
            sock = RequestSocket(context, uri)
            sock.ask(b"", lambda _answer: None)
            options.append(int(sockets[-1].getsockopt(zmq.IPV6)))
            sock.close()
            sock.close()  # closing twice is allowed
        context.destroy(linger=0)
        return options

    assert asyncio.run(run()) == [1, 0]
