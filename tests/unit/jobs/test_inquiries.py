"""What is asked about jobs, and how much of it at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from service.clients import Client
from service.demo.embedded import until
from service.errors import Overloaded, Unauthenticated
from service.gateway.clients.local import Request
from service.gateway.clients.result import LowResult
from service.gateway.low import Low
from service.jobs.running.inquiries import RENEW_SECONDS, THREADS, Inquiries, RecoveryIdentity, T, Turn
from tests.unit.jobs.kept import JID
from tests.unit.jobs.process import PATIENCE_SECONDS, TOKEN


class SlowMaster:
    """Answers when `answers` is set, and keeps in which order it was asked what, and how much at once."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.answers = threading.Event()
        self.under_way = self.at_once = 0
        self._lock = threading.Lock()

    def run(self, low: Low, request: Request) -> LowResult:
        assert request.deadline > 0
        with self._lock:
            self.asked.append(low.fields["kwarg"]["jid"] if low.client is Client.RUNNER else low.fun)
            self.under_way += 1
            self.at_once = max(self.at_once, self.under_way)
        self.answers.wait(PATIENCE_SECONDS)
        with self._lock:
            self.under_way -= 1
        return LowResult({"Function": "test.ping", "Minions": ["a"]})


class Counting(Inquiries):
    """Counts what it was asked."""

    begun = 0

    def _begin(self, what: Callable[[], T], turn: Turn) -> Future[T]:
        begun = super()._begin(what, turn)
        self.begun += 1
        return begun


@pytest.fixture
def master() -> SlowMaster:
    return SlowMaster()


@pytest.fixture
def asking(master: SlowMaster) -> Iterator[Counting]:
    made = Counting(master, None, keeps_returns=True)
    yield made
    master.answers.set()
    made.stop()


def wait_until(holds: Callable[[], object]) -> None:
    for _ in until(PATIENCE_SECONDS, sleep=lambda _seconds: time.sleep(0.0005)):
        if holds():
            return
    raise AssertionError


def wait_for(master: SlowMaster, count: int) -> None:
    wait_until(lambda: len(master.asked) >= count)


def missed(asking: Inquiries, master: SlowMaster, count: int) -> list[str]:
    """Have jobs looked up that may have missed something; return their ids, when all threads are busy."""
    jids = [f"missed {number}" for number in range(count)]
    for jid in jids:
        asking.look_up(jid, TOKEN, lambda _found: None)
    wait_for(master, THREADS)
    return jids


def test_no_more_than_two_look_ups_are_under_way_whoever_wants_them(asking: Inquiries, master: SlowMaster) -> None:
    jids = missed(asking, master, 6)
    with ThreadPoolExecutor(4) as requests:
        waiting = [requests.submit(asking.cached, f"asked {number}", TOKEN) for number in range(4)]
        master.answers.set()
        found = [one.result(PATIENCE_SECONDS) for one in waiting]
    wait_for(master, 10)

    assert [one and one.known for one in found] == [True] * 4
    assert {*master.asked} == {*jids, *(f"asked {number}" for number in range(4))}
    assert master.at_once == THREADS == 2


def test_who_waits_for_an_answer_goes_first_then_what_goes_on_then_what_was_missed(asking: Counting, master: SlowMaster) -> None:
    first, second, *later = missed(asking, master, 4)
    asking.publish(Low(Client.LOCAL_ASYNC, "test.echo", {}), TOKEN, lambda _answer: None)
    with ThreadPoolExecutor(1) as requests:
        waiting = requests.submit(asking.cached, JID, TOKEN)
        wait_until(lambda: asking.begun == 6)
        master.answers.set()
        waiting.result(PATIENCE_SECONDS)
    wait_for(master, 6)

    assert sorted(master.asked[:2]) == [first, second]
    assert {*master.asked[2:4]} == {JID, "test.echo"}
    assert sorted(master.asked[4:]) == later


def test_a_request_that_gets_no_turn_in_time_is_to_come_back(asking: Inquiries, master: SlowMaster) -> None:
    impatient = Inquiries(master, None, keeps_returns=True, request_seconds=0.01)
    missed(impatient, master, THREADS)
    with pytest.raises(Overloaded):
        impatient.cached(JID, TOKEN)
    impatient.stop()
    asking.stop()
    with pytest.raises(Overloaded):
        asking.cached(JID, TOKEN)

    assert JID not in master.asked


def test_who_waits_when_the_process_stops_is_told_at_once(asking: Counting, master: SlowMaster) -> None:
    missed(asking, master, THREADS)
    with ThreadPoolExecutor(1) as requests:
        waiting = requests.submit(asking.cached, JID, TOKEN)
        wait_until(lambda: asking.begun == THREADS + 1)
        asking.stop()
        with pytest.raises(Overloaded):
            waiting.result(PATIENCE_SECONDS)


class Forgetful:
    """A master that knows the last token that it made, until it forgets that too, and lets its account look or not."""

    def __init__(self, *, lets_look: bool = True) -> None:
        self.lets_look, self.made, self.known = lets_look, 0, ""

    def mk_token(self, _credentials: object) -> dict[str, Any]:
        self.made += 1
        self.known = f"token {self.made}"
        return {"token": self.known, "expire": 9e9}

    def run(self, low: Low, request: Request) -> LowResult:
        assert request.deadline > 0
        if not self.lets_look or low.fields["token"] != self.known:
            raise Unauthenticated("no")
        return LowResult({"Function": "test.ping", "Minions": ["a"]})


@pytest.mark.parametrize(("lets_look", "found", "made"), [(True, [True, True, True], 2), (False, [False, False, False], 2)])
def test_a_token_that_the_master_knows_no_longer_is_made_anew_but_not_all_the_time(lets_look: bool, found: list[bool], made: int) -> None:
    now, master = [1000.0], Forgetful(lets_look=lets_look)
    identity = RecoveryIdentity("file", "recovery", lambda: b"secret", master.mk_token, monotonic=lambda: now[0])
    asking = Inquiries(master, identity, keeps_returns=True)
    seen = [asking.cached(JID, None) is not None]
    now[0] += RENEW_SECONDS
    master.known = ""
    seen += [asking.cached(JID, None) is not None for _ in range(2)]
    asking.stop()

    assert (seen, master.made) == (found, made)
