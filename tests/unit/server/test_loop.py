"""The loop's sockets, without a network: which are asked, which are told, and which one a number belongs to."""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from service.server.loop import Sockets


class FakeChannel:
    """One end of a pair of sockets; it says what it wants, and remembers what it was asked and told."""

    accepting = False
    total_outbufs_len = 1

    def __init__(self, sockets: Sockets, ours: socket.socket) -> None:
        self.socket, self.sockets = ours, sockets
        self.descriptor = ours.fileno()
        self.bytes, self.room = True, False
        self.asked = 0
        self.told: list[str] = []
        self.on_read: Callable[[], None] = lambda: None
        sockets[self.descriptor] = self

    def readable(self) -> bool:
        self.asked += 1
        return self.bytes

    def writable(self) -> bool:
        return self.room

    def handle_read_event(self) -> None:
        self.told.append("read")
        self.on_read()

    def handle_write_event(self) -> None:
        self.told.append("write")

    def handle_close(self) -> None:
        self.told.append("close")
        self.close()

    def handle_error(self) -> None:
        self.told.append("error")
        self.close()

    def close(self) -> None:
        if self.sockets.get(self.descriptor) is self:
            del self.sockets[self.descriptor]
        self.socket.close()


@pytest.fixture
def epoll() -> select.epoll:
    return select.epoll()


@pytest.fixture
def sockets(epoll: select.epoll) -> Iterator[Sockets]:
    made = Sockets(epoll)
    yield made
    made.close()


@pytest.fixture
def open_channel(sockets: Sockets) -> Iterator[Callable[[], tuple[FakeChannel, socket.socket]]]:
    """Make channels, each with the other end of its connection."""
    with ExitStack() as stack:

        def connect() -> tuple[FakeChannel, socket.socket]:
            ours, caller = (stack.enter_context(end) for end in socket.socketpair())
            return FakeChannel(sockets, ours), caller

        yield connect


Open = Callable[[], tuple[FakeChannel, socket.socket]]


def test_a_channel_is_told_as_long_as_there_is_something(sockets: Sockets, open_channel: Open) -> None:
    channel, caller = open_channel()
    sockets.turn(0)
    caller.send(b"x")

    sockets.turn(10)
    sockets.turn(10)

    assert channel.told == ["read", "read"]


def test_only_who_had_an_event_or_is_named_is_asked(sockets: Sockets, open_channel: Open) -> None:
    (busy, caller), (named, _), (idle, _) = open_channel(), open_channel(), open_channel()
    sockets.turn(0)
    caller.send(b"x")

    sockets.turn(10)
    sockets.ask_again(named.descriptor)
    sockets.turn(10)

    assert (busy.asked, named.asked, idle.asked) == (2, 2, 1)


def test_a_hundred_idle_connections_are_not_asked(sockets: Sockets, open_channel: Open) -> None:
    busy, caller = open_channel()
    quiet, other_end = socket.socketpair()
    idle = [FakeChannel(sockets, quiet.dup()) for _ in range(100)]
    sockets.turn(0)
    caller.send(b"x")

    for _ in range(20):
        sockets.turn(10)

    assert len(busy.told) == 20
    assert [channel.asked for channel in idle] == [1] * 100
    for channel in idle:
        channel.close()
    quiet.close()
    other_end.close()


def test_an_event_of_a_connection_that_is_closed_in_the_same_turn_is_not_the_next_ones_with_its_number(sockets: Sockets, open_channel: Open) -> None:
    pairs = [open_channel(), open_channel()]
    sockets.turn(0)
    new: list[FakeChannel] = []

    def replace_the_other(other: FakeChannel) -> Callable[[], None]:
        def replace() -> None:
            other.close()
            new.append(open_channel()[0])

        return replace

    for (channel, caller), (other, _) in zip(pairs, reversed(pairs), strict=True):
        channel.on_read = replace_the_other(other)
        caller.send(b"x")
    sockets.turn(10)

    told_first = next(channel for channel, _ in pairs if channel.told)
    closed = next(channel for channel, _ in pairs if channel is not told_first)
    assert new[0].descriptor == closed.descriptor
    assert (closed.told, new[0].told) == ([], [])


def test_a_new_channel_with_a_used_number_is_watched_like_any(sockets: Sockets, open_channel: Open) -> None:
    old, _ = open_channel()
    sockets.turn(0)
    number = old.descriptor
    old.close()

    new, caller = open_channel()
    caller.send(b"x")
    sockets.turn(0)

    assert new.descriptor == number
    assert (old.told, new.told) == ([], ["read"])


def test_a_number_that_came_back_while_a_thread_of_the_pool_let_it_go_is_watched(sockets: Sockets, open_channel: Open) -> None:
    old, _ = open_channel()
    number = old.descriptor

    def let_go() -> bool:
        old.close()
        return True

    old.readable = let_go  # type: ignore[method-assign]
    sockets.turn(0)

    new, caller = open_channel()
    caller.send(b"x")
    sockets.turn(0)

    assert (new.descriptor, new.told) == (number, ["read"])


def test_a_closed_connection_that_a_child_process_has_a_copy_of_is_not_heard_of(sockets: Sockets, epoll: select.epoll, open_channel: Open) -> None:
    channel, caller = open_channel()
    sockets.turn(0)
    copy = os.dup(channel.descriptor)
    channel.close()

    caller.send(b"x")

    assert epoll.poll(0) == []
    os.close(copy)


def test_who_wants_nothing_does_not_keep_the_loop_awake_with_its_hang_up(sockets: Sockets, epoll: select.epoll, open_channel: Open) -> None:
    channel, caller = open_channel()
    sockets.turn(0)
    channel.bytes = False
    sockets.ask_again(channel.descriptor)
    caller.close()
    sockets.turn(0)

    assert epoll.poll(0) == []
    assert channel.told == []
    channel.bytes = True
    sockets.ask_again(channel.descriptor)
    sockets.turn(0)
    assert channel.told == ["read", "close"]


def test_what_only_waits_to_be_closed_is_told_without_waiting_for_room(sockets: Sockets, open_channel: Open) -> None:
    channel, _ = open_channel()
    sockets.turn(0)
    channel.bytes, channel.room, channel.total_outbufs_len = False, True, 0
    channel.handle_write_event = channel.close  # type: ignore[method-assign]
    sockets.ask_again(channel.descriptor)

    sockets.ask()

    assert channel.descriptor not in sockets


def test_a_socket_that_somebody_else_closed_is_closed_here_too(sockets: Sockets, open_channel: Open) -> None:
    channel, _ = open_channel()
    os.close(channel.socket.detach())

    sockets.turn(0)

    assert channel.told == ["close"]
    assert channel.descriptor not in sockets


@pytest.mark.parametrize(("raised", "told"), [(ConnectionResetError(104, "reset"), "close"), (ValueError("a mistake of ours"), "error")])
def test_a_channel_that_fails_is_closed_and_the_others_are_told(sockets: Sockets, open_channel: Open, raised: Exception, told: str) -> None:
    (failing, first), (other, second) = open_channel(), open_channel()
    sockets.turn(0)

    def fail() -> None:
        raise raised

    failing.on_read = fail
    first.send(b"x")
    second.send(b"x")
    sockets.turn(10)

    assert failing.told == ["read", told]
    assert other.told == ["read"]


def test_nobody_is_asked_for_a_number_that_is_gone(sockets: Sockets, open_channel: Open) -> None:
    channel, _ = open_channel()
    channel.close()

    sockets.ask_again(channel.descriptor)
    sockets.ask_again(None)
    sockets.turn(0)

    assert channel.asked == 0
    sockets.close()
    FakeChannel(sockets, socket.socket()).close()


def test_a_thread_left_behind_may_close_its_connection_after_the_loop(sockets: Sockets, open_channel: Open) -> None:
    channel, _ = open_channel()
    sockets.turn(0)
    sockets.close()

    channel.close()

    assert channel.descriptor not in sockets
