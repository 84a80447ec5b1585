"""Channels: a bounded pool that threads share, that slow calls cannot fill and that a dead master cannot hold."""

from __future__ import annotations

import asyncio
import itertools
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
import salt.payload

from service.errors import Fault, MasterRefused, MasterTimeout, MasterUnreachable, Overloaded, TooLarge
from service.gateway.transport.bus_thread import BusThread
from service.gateway.transport.request_pool import Channels

NAMES = itertools.count()


class FakeSocket:
    """Answers when the test says so, or at once."""

    def __init__(self, begun: queue.SimpleQueue[Any], answers: dict[Any, Callable[[bytes], None]]) -> None:
        self._begun = begun
        self._answers = answers
        self.calls: list[Any] = []
        self.closed = 0

    def ask(self, message: bytes, on_answer: Callable[[bytes], None]) -> None:
        load = salt.payload.loads(message)["load"]
        if load.get("no_socket"):
            raise MasterUnreachable("no connection")
        self.calls.append(load["n"])
        if load.get("now"):
            asyncio.get_running_loop().call_soon(on_answer, salt.payload.dumps(load["n"]))
            return
        self._answers[load["n"]] = on_answer
        self._begun.put(load["n"])

    def close(self) -> None:
        self.closed += 1


class FakeBreaker:
    def __init__(self) -> None:
        self.down: MasterUnreachable | None = None
        self.doubted = threading.Event()
        self.answers = 0

    def require_up(self) -> None:
        if self.down:
            raise self.down

    def doubt(self) -> None:
        self.doubted.set()

    def heard(self) -> None:
        self.answers += 1


class Pool:
    """Channels over fake sockets, and threads that use them."""

    def __init__(self, bus: BusThread, size: int, timeout_seconds: float = 10, most_waiting: int = 20, **limits: Any) -> None:
        self.bus = bus
        self.begun: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.answers: dict[Any, Callable[[bytes], None]] = {}
        self.sockets = [FakeSocket(self.begun, self.answers) for _ in range(size)]
        self.breaker = FakeBreaker()
        self.rpcs: list[tuple[str, Fault | None]] = []
        self.channels = Channels(
            bus,
            [*self.sockets],
            self.breaker,
            timeout_seconds=timeout_seconds,
            on_rpc=lambda cmd, _seconds, fault: self.rpcs.append((cmd, fault)),
            most_waiting=most_waiting,
            **limits,
        )
        self.threads = ThreadPoolExecutor(20)

    def call(self, number: int, *, slow: bool = False, now: bool = False, timeout: float | None = None) -> Future[Any]:
        return self.threads.submit(self.channels.send, {"cmd": "publish", "n": number, "now": now}, slow=slow, timeout=timeout)

    def answer(self, number: int, value: object) -> None:
        self.on_bus(lambda: self.answers[number](salt.payload.dumps(value)))

    def on_bus(self, act: Callable[[], object]) -> None:
        async def run() -> None:
            act()
            await asyncio.sleep(0)

        self.bus.call(run(), 10)

    def waiting(self) -> int:
        """Return how many calls are inside the pool, once all that were submitted are."""
        counted: list[int] = []
        self.on_bus(lambda: counted.append(self.channels.in_flight()))
        return counted[0]


@pytest.fixture
def pool(bus_thread: BusThread) -> Pool:
    return Pool(bus_thread, 4)


def test_a_load_is_answered_and_reported(pool: Pool) -> None:
    assert pool.channels.send({"cmd": "runner", "n": 7, "now": True}) == 7
    assert (pool.rpcs, pool.breaker.answers) == ([("runner", None)], 1)


def test_a_load_that_is_too_large_does_not_reach_the_master(bus_thread: BusThread) -> None:
    pool = Pool(bus_thread, 2, most_bytes=1_000)

    with pytest.raises(TooLarge, match="load_limit_bytes"):
        pool.channels.send({"cmd": "publish", "n": 1, "now": True, "arg": "x" * 1_000})
    assert pool.channels.send({"cmd": "publish", "n": 2, "now": True, "arg": "x" * 500}) == 2


def test_little_load_uses_one_channel(pool: Pool) -> None:
    for number in range(5):
        pool.channels.send({"cmd": "publish", "n": number, "now": True})

    assert sorted(len(sock.calls) for sock in pool.sockets) == [0, 0, 0, 5]


def test_so_many_calls_go_on_at_one_time_as_there_are_channels_and_others_wait_their_turn(pool: Pool) -> None:
    calls = [pool.call(number) for number in range(4)]
    begun = {pool.begun.get(timeout=60) for _ in calls}
    late = pool.call(4)
    while pool.waiting() < 5:
        assert not late.done()

    assert begun == {0, 1, 2, 3}
    assert pool.begun.empty()
    pool.answer(2, "second")
    assert (calls[2].result(60), pool.begun.get(timeout=60)) == ("second", 4)
    pool.answer(4, "fourth")
    assert late.result(60) == "fourth"
    for number in (0, 1, 3):
        pool.answer(number, None)


def test_slow_calls_never_take_more_than_half_of_the_channels(pool: Pool) -> None:
    slow = [pool.call(number, slow=True) for number in range(6)]
    first = [pool.begun.get(timeout=60) for _ in range(2)]
    while pool.waiting() < 6:
        assert pool.begun.empty()

    assert pool.call(10, now=True).result(60) == 10
    assert pool.call(11, now=True).result(60) == 11
    for number in first:
        pool.answer(number, "done")
    rest = [pool.begun.get(timeout=60) for _ in range(2)]
    assert pool.begun.empty()
    for number in rest:
        pool.answer(number, "done")
    for number in (pool.begun.get(timeout=60), pool.begun.get(timeout=60)):
        pool.answer(number, "done")
    assert [call.result(60) for call in slow] == ["done"] * 6


def test_while_the_master_is_down_calls_are_refused_at_once(pool: Pool) -> None:
    pool.breaker.down = MasterUnreachable("down")

    with pytest.raises(MasterUnreachable, match="down"):
        pool.channels.send({"cmd": "publish", "n": 0})
    assert [sock.calls for sock in pool.sockets] == [[]] * 4


def test_calls_in_flight_fail_when_the_master_goes_down_and_their_channels_are_free_again(pool: Pool) -> None:
    calls = [pool.call(number) for number in range(6)]
    for _ in range(4):
        pool.begun.get(timeout=60)
    while pool.waiting() < 6:
        assert pool.begun.empty()
    pool.on_bus(pool.channels.fail_in_flight)

    for call in calls:
        with pytest.raises(MasterUnreachable, match="whether it took it is unknown"):
            call.result(60)
    assert [pool.call(number, now=True).result(60) for number in range(10, 20)] == list(range(10, 20))
    assert {type(fault) for _, fault in pool.rpcs[:6]} == {MasterUnreachable}


def test_the_time_that_a_call_waits_for_a_channel_counts(bus_thread: BusThread) -> None:
    pool = Pool(bus_thread, 1)
    holder = pool.call(0)
    pool.begun.get(timeout=60)

    with pytest.raises(MasterTimeout, match=r"no free channel to the master within 0\.01 s"):
        pool.channels.send({"cmd": "publish", "n": 1}, timeout=0.01)
    assert pool.sockets[0].calls == [0]
    pool.answer(0, "held")
    assert holder.result(60) == "held"
    assert isinstance(pool.rpcs[0][1], MasterTimeout)


def test_what_finds_the_queue_full_is_refused_at_once_and_takes_nobodys_place(bus_thread: BusThread) -> None:
    pool = Pool(bus_thread, 1, most_waiting=2)
    first = pool.call(0)
    pool.begun.get(timeout=60)
    queued = [pool.call(1), pool.call(2, slow=True)]
    while pool.waiting() < 3:
        assert pool.begun.empty()

    for slow in (False, True):
        with pytest.raises(Overloaded, match="2 calls wait for the master already") as refused:
            pool.call(9, slow=slow).result(60)
        assert refused.value.retry_after_seconds
    pool.answer(0, "first")
    assert first.result(60) == "first"
    for _ in queued:
        pool.answer(pool.begun.get(timeout=60), "queued")
    assert [call.result(60) for call in queued] == ["queued"] * 2
    assert pool.sockets[0].closed == 0


def test_a_master_that_does_not_answer_loses_the_connection_and_the_next_call_works(pool: Pool) -> None:
    with pytest.raises(MasterTimeout, match=r"the master did not answer within 0\.01 s"):
        pool.channels.send({"cmd": "publish", "n": 0}, timeout=0.01)

    assert sum(sock.closed for sock in pool.sockets) == 1
    assert pool.call(1, now=True).result(60) == 1
    assert [type(fault) for _, fault in pool.rpcs] == [MasterTimeout, type(None)]


def test_without_sockets_every_waiting_call_fails_and_an_answer_that_is_no_message_is_refused(pool: Pool) -> None:
    for _ in range(5):
        with pytest.raises(MasterUnreachable, match="no connection"):
            pool.channels.send({"cmd": "publish", "n": 0, "no_socket": True})
    call = pool.call(1)
    pool.begun.get(timeout=60)
    pool.on_bus(lambda: pool.answers[1](b"\xc1"))

    with pytest.raises(MasterRefused, match="cannot be decoded"):
        call.result(60)
    assert [type(fault) for _, fault in pool.rpcs] == [MasterUnreachable] * 5 + [MasterRefused]


def test_a_bus_thread_that_hangs_holds_no_caller_for_ever(bus_thread: BusThread) -> None:
    pool = Pool(bus_thread, 4, net_seconds=0.01)
    release, hung = threading.Event(), threading.Event()

    def hang() -> None:
        hung.set()
        release.wait(10)

    pool.bus.soon(hang)
    assert hung.wait(10)

    with pytest.raises(MasterTimeout, match=r"no free channel to the master within 0\.01 s"):
        pool.channels.send({"cmd": "publish", "n": 0}, timeout=0.01)
    release.set()
    assert pool.waiting() == 0
    assert pool.call(1, now=True).result(60) == 1


def test_stopping_ends_the_calls_in_flight_and_those_that_come_too_late() -> None:
    bus = BusThread()
    pool = Pool(bus, 1)
    bus.start()
    call = pool.call(0)
    pool.begun.get(timeout=60)

    pool.on_bus(pool.channels.end)

    for ended in (call, pool.call(1)):
        with pytest.raises(MasterUnreachable):
            ended.result(60)
    bus.stop()


def test_a_slow_answer_makes_the_monitor_look_at_the_master(bus_thread: BusThread) -> None:
    pool = Pool(bus_thread, 4, doubt_after_seconds=0.001)
    call = pool.call(0)

    assert pool.breaker.doubted.wait(10)
    pool.begun.get(timeout=60)
    pool.answer(0, None)
    call.result(60)


def test_a_quick_answer_raises_no_doubt(pool: Pool) -> None:
    pool.call(0, now=True).result(60)
    pool.on_bus(lambda: None)

    assert not pool.breaker.doubted.is_set()


def test_closing_drops_every_connection(pool: Pool) -> None:
    pool.on_bus(pool.channels.close)

    assert [sock.closed for sock in pool.sockets] == [1] * 4


def test_a_single_channel_serves_slow_calls_too(bus_thread: BusThread) -> None:
    assert Pool(bus_thread, 1).call(0, slow=True, now=True).result(60) == 0
