"""Bad logins stop at the sidecar: the master hears of a few, and who is authorised hardly notices."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import statistics
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from service.demo.embedded import EmbeddedSalt
from tests.real.conftest import MakeSidecar
from tests.real.load import Load
from tests.real.sidecar import JSON, Sidecar

pytestmark = [pytest.mark.master, pytest.mark.slow]

RPC_COUNT = "salt_api_master_rpc_duration_seconds_count"
BURST = 3
PER_MINUTE = 0.5
ATTACKERS = 10
ATTACK_SECONDS = 20.0
LOGIN_SECONDS = 5.0


@pytest.fixture
def sidecar(salt_master: EmbeddedSalt, make_sidecar: MakeSidecar) -> Sidecar:
    # An allowance that grows back while a slow test runs would hide what is proved.
    return make_sidecar(salt_master.master_config, LIMITS_AUTH_FAILURES_PER_MINUTE=PER_MINUTE).__enter__()


def ping(credentials: dict[str, str]) -> dict[str, object]:
    return {**credentials, "client": "local", "tgt": "minion-1", "fun": "test.ping"}


def asked(sidecar: Sidecar) -> float:
    """Return how many requests the master has had to answer, pings aside."""
    return sidecar.metric(RPC_COUNT) - sidecar.metric(RPC_COUNT, cmd="ping")


@pytest.mark.parametrize("client", ["local", "local_async", "runner", "wheel"])
def test_after_the_burst_a_bad_login_is_refused_without_asking_the_master(salt_master: EmbeddedSalt, sidecar: Sidecar, client: str) -> None:
    fun = {"runner": "test.arg", "wheel": "key.list_all"}.get(client, "test.ping")
    bad = {**ping(salt_master.credentials), "password": "guess", "client": client, "fun": fun}
    failed = [sidecar.post(bad).status for _ in range(BURST)]
    before = asked(sidecar)
    refused = [sidecar.post(bad) for _ in range(5)]

    # Of a runner or wheel call the master says the same for a missing right, so it is asked once more what it meant.
    requests = 1 if client.startswith("local") else 2

    assert failed == [401] * BURST
    assert asked(sidecar) == before == BURST * requests
    assert {answer.status for answer in refused} == {429}
    assert all(1 <= int(answer.headers["retry-after"]) <= 60 / PER_MINUTE for answer in refused)


def test_credentials_that_worked_go_on_working(salt_master: EmbeddedSalt, sidecar: Sidecar) -> None:
    good = ping(salt_master.credentials)
    proven = sidecar.post(good).status
    failed = [sidecar.post({**good, "password": f"guess-{number}"}).status for number in range(BURST + 2)]

    assert (proven, failed) == (200, [401] * BURST + [429] * 2)
    assert sidecar.post(good).value == {"minion-1": True}
    assert sidecar.post(ping(salt_master.credentials_of("pinger"))).status == 429


def attempts(sidecar: Sidecar, result: str) -> float:
    return sidecar.metric("salt_api_auth_attempts_total", result=result)


def test_a_missing_right_is_not_charged_as_a_failed_login(salt_master: EmbeddedSalt, make_sidecar: MakeSidecar) -> None:
    # Nothing stays proven, so that each refusal has to be cleared up.
    limits = {"LIMITS_AUTH_FAILURES_PER_MINUTE": PER_MINUTE, "LIMITS_AUTH_PROVEN_SECONDS": 0.001}
    sidecar = make_sidecar(salt_master.master_config, **limits).__enter__()
    pinger = salt_master.credentials_of("pinger")
    token = sidecar.login(pinger)
    clients = {
        "local": "test.arg",
        "local_async": "test.arg",
        "runner": "jobs.list_jobs",
        "runner_async": "jobs.list_jobs",
        "wheel": "key.list_all",
        "wheel_async": "key.list_all",
    }
    ways = [(client, fun, shown) for client, fun in clients.items() for shown in (pinger, {"token": token})]
    statuses = [sidecar.post({**ping(shown), "client": client, "fun": fun}).status for client, fun, shown in ways for _ in range(BURST + 1)]

    assert statuses == [401] * len(statuses)
    assert (attempts(sidecar, "forbidden"), attempts(sidecar, "bad_credentials")) == (len(statuses), 0)
    assert sidecar.post(ping(salt_master.credentials)).status == 200  # a neighbour that is not proven


def test_many_first_calls_with_one_good_password_are_all_answered(salt_master: EmbeddedSalt, sidecar: Sidecar) -> None:
    with ThreadPoolExecutor(12) as threads:
        answers = list(threads.map(lambda _: sidecar.post(ping(salt_master.credentials)).status, range(12)))

    assert answers == [200] * 12


class Attack:
    """Ten callers, each from an address of its own, who try passwords as fast as they are answered."""

    def __init__(self, sidecar: Sidecar) -> None:
        self._port = sidecar.api_port
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._guess, args=(number,), daemon=True) for number in range(ATTACKERS)]
        self.statuses: list[int] = []

    def __enter__(self) -> Attack:  # noqa: PYI034 - Self needs Python 3.11
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(60)

    def _guess(self, number: int) -> None:
        count = 0
        while not self._over.is_set():
            count += 1
            low = ping({"eauth": "file", "username": f"user-{number}-{count}", "password": "guess"})
            caller = http.client.HTTPConnection("127.0.0.1", self._port, timeout=180, source_address=(f"127.0.0.{number + 2}", 0))
            caller.request("POST", "/", json.dumps(low), JSON)
            self.statuses.append(caller.getresponse().status)
            caller.close()
            # A guesser that is refused 500 times a second is a flood; this is about logins.
            self._over.wait(0.1)


def durations(sidecar: Sidecar, low: dict[str, object]) -> list[float]:
    """Call for a while as the only authorised caller."""
    load = Load(sidecar, low, 1)
    with load.running():
        time.sleep(ATTACK_SECONDS)
    assert set(load.statuses()) == {200}
    return [call.answer.seconds for call in load.calls]


def test_ten_guessers_at_once_reach_the_master_only_within_their_allowance(
    salt_master: EmbeddedSalt, sidecar: Sidecar, capsys: pytest.CaptureFixture[str]
) -> None:
    low = ping(salt_master.credentials)
    calm = durations(sidecar, low)
    before = asked(sidecar)
    began = time.monotonic()
    with Attack(sidecar) as attack:
        harassed = durations(sidecar, low)
    minutes = (time.monotonic() - began) / 60
    reached = attack.statuses.count(401)

    with capsys.disabled():
        for name, figures in (("alone", calm), ("attacked", harassed)):
            print(f"\n{name}: {len(figures)} calls, median {statistics.median(figures) * 1000:.1f} ms, mean {statistics.mean(figures) * 1000:.1f} ms")
        print(f"guesses: {dict(Counter(attack.statuses))}")
    # What the allowance of each address grows by meanwhile comes on top.
    assert BURST <= reached <= ATTACKERS * (BURST + minutes * PER_MINUTE + 1)
    assert reached <= asked(sidecar) - before - len(harassed) + 2
    assert set(attack.statuses) == {401, 429}


def log_in(sidecar: Sidecar, credentials: dict[str, str], address: str) -> tuple[int, float]:
    """Log in from an address, again when told to come back, for five seconds at most; return the last status and how long it took."""
    began = time.monotonic()
    while True:
        caller = http.client.HTTPConnection("127.0.0.1", sidecar.api_port, timeout=180, source_address=(address, 0))
        with contextlib.closing(caller):
            caller.request("POST", "/login", json.dumps(credentials), JSON)
            answer = caller.getresponse()
            status, again = answer.status, float(answer.headers.get("Retry-After", 0))
        seconds = time.monotonic() - began
        if status != 429 or seconds + again >= LOGIN_SECONDS:
            return status, seconds
        time.sleep(again)


def test_good_logins_pass_while_ten_addresses_guess(salt_master: EmbeddedSalt, make_sidecar: MakeSidecar, capsys: pytest.CaptureFixture[str]) -> None:
    # Nothing stays proven, so that each login is judged anew.
    sidecar = make_sidecar(salt_master.master_config, LIMITS_AUTH_PROVEN_SECONDS=0.001).__enter__()
    assert log_in(sidecar, salt_master.credentials, "127.0.0.1")[0] == 200
    known, new = [], []
    with Attack(sidecar):
        ends = time.monotonic() + ATTACK_SECONDS
        for number in itertools.takewhile(lambda _: time.monotonic() < ends, range(1, 250)):
            known.append(log_in(sidecar, salt_master.credentials, "127.0.0.1"))
            new.append(log_in(sidecar, salt_master.credentials_of("pinger"), f"127.0.1.{number}"))

    with capsys.disabled():
        for name, logins in (("known", known), ("new", new)):
            passed = [seconds for status, seconds in logins if status == 200]
            print(f"\n{name}: {len(passed)} of {len(logins)} logins passed, the slowest in {max(passed, default=0):.1f} s")
    assert {status for status, _ in known} == {200}
    assert {status for status, _ in new} <= {200, 429}
