"""The channel's patience, without a network; and the internals of waitress it stands on."""

from __future__ import annotations

import inspect
import socket
import threading
import time
import tracemalloc
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import waitress.channel
import waitress.parser
import waitress.server
import waitress.task
import waitress.wasyncore
from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel

from service.server.channel import JOINED_BYTES, LINGER_SECONDS, Channel
from service.server.framing import Parser
from service.server.intake import IDLE_SECONDS, Bounds, Intake, Patience


class FakeServer(SimpleNamespace):
    """What a channel asks of its server."""

    now = 100.0

    def __init__(self) -> None:
        super().__init__(active_channels={}, tasks=[], draining=False, intake=Intake(Bounds(), 0))

    def clock(self) -> float:
        return self.now

    def add_task(self, task: Any) -> None:
        self.tasks.append(task)

    def pull_trigger(self) -> None:
        """Wake the loop, which is the test."""


class Pair:
    """A channel and the caller's end of its connection."""

    def __init__(self) -> None:
        self.server = FakeServer()
        ours, self.caller = socket.socketpair()
        self.channel = Channel(self.server, ours, ("127.0.0.1", 1), Adjustments(channel_request_lookahead=1), map={})
        self.server.intake.enter(self.channel)
        self.patience = Patience(60.0)
        self.rejected: list[str] = []

    def send(self, data: bytes) -> None:
        self.caller.sendall(data)
        self.channel.handle_read()

    def sweep(self, later: float) -> bool:
        """Let time pass and sweep; tell whether the connection is still open."""
        self.server.now += later
        self.channel.sweep(self.server.now, self.patience, self.rejected.append)
        return bool(self.channel.connected)


@pytest.fixture
def pair() -> Iterator[Pair]:
    made = Pair()
    yield made
    made.caller.close()
    if made.channel.connected:
        made.channel.abort()


HALF = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf"


def test_a_sender_has_its_time_from_the_first_byte_on(pair: Pair) -> None:
    pair.send(HALF)
    assert pair.sweep(59)
    pair.send(b" a ")

    assert not pair.sweep(2)
    assert pair.rejected == ["slow_body"]


def test_who_sends_slower_than_the_slowest_rate_is_cut_before_its_time_is_over(pair: Pair) -> None:
    pair.patience = Patience(60.0, bytes_per_second=10)
    pair.send(HALF)
    allowed = 20 + len(HALF) / 10

    assert pair.sweep(allowed - 0.1)
    assert not pair.sweep(0.2)
    assert pair.rejected == ["slow_body"]


def test_who_keeps_to_the_rate_has_all_of_its_time(pair: Pair) -> None:
    pair.patience = Patience(60.0, bytes_per_second=1)
    pair.send(HALF)

    assert pair.sweep(59)
    assert not pair.sweep(2)


def test_while_connections_are_scarce_an_unused_one_ends_early(pair: Pair) -> None:
    pair.channel.last_activity = time.time() - 6
    assert pair.sweep(0)
    pair.patience = pair.patience.shortened()

    assert not pair.sweep(0)


def test_a_new_request_has_its_own_time(pair: Pair) -> None:
    pair.send(HALF)
    assert pair.sweep(59)
    pair.send(b"hundre" + HALF)
    pair.channel.requests.clear()

    assert pair.sweep(59)


def test_a_sender_is_not_slow_while_we_serve_its_earlier_request(pair: Pair) -> None:
    pair.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + HALF)
    assert pair.channel.requests
    assert pair.sweep(1000)
    pair.channel.requests.clear()

    assert pair.sweep(59)
    assert not pair.sweep(2)


def test_an_idle_connection_ends(pair: Pair) -> None:
    assert pair.sweep(0)
    pair.channel.last_activity = time.time() - IDLE_SECONDS - 1

    assert not pair.sweep(0)
    assert pair.rejected == []


def test_a_reader_that_stopped_is_cut_even_while_its_request_runs(pair: Pair) -> None:
    pair.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    pair.channel.last_activity = time.time() - IDLE_SECONDS - 1
    assert pair.sweep(0)
    pair.channel.total_outbufs_len = 1

    assert not pair.sweep(0)


def test_after_a_refusal_the_connection_is_read_on_for_a_while(pair: Pair) -> None:
    pair.channel.refused = True
    pair.channel.will_close = True
    pair.channel.handle_close()

    assert pair.caller.recv(1) == b""
    pair.send(b"more of the body")
    assert pair.channel.readable()
    assert not pair.channel.writable()
    assert pair.channel.is_idle()
    assert pair.sweep(LINGER_SECONDS - 1)
    assert not pair.sweep(2)


def test_a_refused_caller_that_is_gone_is_not_waited_for(pair: Pair) -> None:
    pair.channel.refused = True
    pair.channel.socket.shutdown(socket.SHUT_RDWR)
    pair.caller.close()
    pair.channel.socket.close()

    pair.channel.handle_close()
    pair.channel.handle_close()

    assert not pair.channel.connected


def test_the_loop_has_news_when_it_would_look_for_something_else_than_it_was_told_to(pair: Pair) -> None:
    channel = pair.channel
    assert channel.has_news()  # it was never told

    def told() -> tuple[bool, bool]:
        return channel.readable(), channel.writable()

    assert told() == (True, False)
    pair.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert not channel.has_news()
    pair.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert channel.has_news()
    assert told() == (False, False)
    channel.requests.pop()
    assert channel.has_news()
    assert told() == (True, False)
    channel.total_outbufs_len = 1
    assert channel.has_news()
    assert told() == (False, True)
    assert not channel.has_news()
    channel.total_outbufs_len = 0
    channel.close_when_flushed = True
    assert not channel.has_news()  # it looks for room, finds it and closes
    channel.close_when_flushed = False
    assert channel.has_news()


def test_while_the_loop_asks_everything_is_news(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []
    pair.channel.readable()
    pair.channel.writable()

    def asked(channel: Channel) -> object:
        monkeypatch.undo()
        seen.append(channel.has_news())
        return HTTPChannel.writable(channel)

    monkeypatch.setattr(HTTPChannel, "writable", asked)
    pair.channel.readable()

    assert seen == [True]
    assert not pair.channel.has_news()


@pytest.mark.parametrize("queued", [0, 1, 2])
@pytest.mark.parametrize("unsent", [0, 1])
@pytest.mark.parametrize("closing", ["", "will_close", "close_when_flushed"])
def test_the_loop_is_told_what_waitress_would_tell_it(pair: Pair, queued: int, unsent: int, closing: str) -> None:
    channel = pair.channel
    channel.requests, channel.total_outbufs_len = [object()] * queued, unsent
    setattr(channel, closing, True)

    told = channel.readable(), channel.writable()

    assert told == (bool(HTTPChannel.readable(channel)), bool(HTTPChannel.writable(channel)))
    channel.requests, channel.total_outbufs_len = [], 0


def test_while_a_thread_writes_the_loop_does_not_wait_for_room_and_afterwards_for_what_is_left(pair: Pair) -> None:
    seen: list[tuple[bool, bool]] = []

    def send(_data: bytes, *, do_close: bool) -> int:
        del do_close
        seen.append((pair.channel.readable(), pair.channel.writable()))
        return 0

    pair.channel.send = send
    pair.channel.write_soon(b"answer")

    assert seen == [(True, False)]
    assert pair.channel.has_news()
    assert (pair.channel.readable(), pair.channel.writable()) == (False, True)


@pytest.mark.costly
def test_the_loop_does_not_send_what_a_thread_is_sending(pair: Pair) -> None:
    sent: list[bytes] = []

    def send(data: bytes, *, do_close: bool) -> int:
        del do_close
        sent.append(data)
        return len(data)

    pair.channel.send = send
    loop = threading.Thread(target=pair.channel.handle_write)
    with pair.channel.outbuf_lock:
        pair.channel.outbufs[-1].append(b"HTTP/1.1 100 Continue")
        pair.channel.total_outbufs_len = 21
        loop.start()
        loop.join(0.1)
        while_the_thread_sends = list(sent)
    loop.join(60)

    assert (while_the_thread_sends, sent) == ([], [b"HTTP/1.1 100 Continue"])


@pytest.mark.parametrize("size", [0, 1, JOINED_BYTES, JOINED_BYTES + 1])
def test_a_header_goes_out_with_the_first_bytes_of_its_body_and_none_stays_behind(pair: Pair, size: int) -> None:
    written: list[int] = []

    def send(data: bytes, *, do_close: bool) -> int:
        del do_close
        written.append(len(data))
        return len(data)

    pair.channel.send = send

    pair.channel.begin_answer(b"header")
    pair.channel.write_soon(b"x" * size)
    pair.channel.end_header()

    assert written[0] == (6 if size > JOINED_BYTES else 6 + size)
    assert sum(written) == 6 + size


@pytest.mark.costly
def test_a_large_answer_is_not_copied_in_memory_and_its_buffer_is_given_back(pair: Pair) -> None:
    answer = bytes(range(256)) * 30_000
    tracemalloc.start()
    pair.channel.write_soon(answer)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    got = b""
    while len(got) < len(answer):
        got += pair.caller.recv(len(answer))
        pair.channel.handle_write()

    assert got == answer
    assert peak < len(answer) / 3
    assert pair.sweep(1)
    assert pair.channel.outbufs[-1].buf is None


def test_a_header_that_waitress_stumbles_over_is_a_bad_request() -> None:
    parser = Parser(Adjustments())

    parser.received(b"GET http://[ HTTP/1.1\r\n\r\n")

    assert parser.completed
    assert parser.error.code == 400
    assert parser.path == "(unreadable)"


def test_waitress_still_has_the_internals_we_stand_on() -> None:
    for owner, names in (
        (
            waitress.channel.HTTPChannel,
            [
                "readable",
                "writable",
                "handle_read",
                "handle_close",
                "received",
                "check_client_disconnected",
                "service",
                "cancel",
                "write_soon",
                "send",
                "_flush_exception",
                "_flush_some",
            ],
        ),
        (waitress.parser.HTTPRequestParser, ["received", "parse_header"]),
        (waitress.task.Task, ["build_response_header", "set_close_on_finish", "write"]),
        (waitress.task.WSGITask, ["execute", "get_environment"]),
        (waitress.wasyncore, ["readwrite"]),
        (waitress.wasyncore.dispatcher, ["add_channel", "del_channel", "handle_close"]),
        (waitress.server.BaseWSGIServer, ["handle_accept", "accept_connections", "maintenance", "pull_trigger"]),
    ):
        assert [name for name in names if not inspect.isfunction(getattr(owner, name, None))] == []
    parameters = inspect.signature(waitress.server.BaseWSGIServer.__init__).parameters
    assert list(parameters)[:8] == ["self", "application", "map", "_start", "_sock", "dispatcher", "adj", "sockinfo"]
    assert {"requests", "total_outbufs_len", "last_activity", "will_close"} <= set(waitress.channel.HTTPChannel.__init__.__code__.co_names) | set(
        vars(waitress.channel.HTTPChannel)
    )
