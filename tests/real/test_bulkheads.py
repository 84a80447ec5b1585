"""One kind of work that fills its slots takes nothing else down; a full API can still be watched."""

from __future__ import annotations

import contextlib
import http.client
import socket
import statistics
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from service.demo.embedded import EmbeddedSalt
from service.demo.embedded_config import PINGER
from tests.real.conftest import MakeSidecar
from tests.real.held import Held
from tests.real.load import Load
from tests.real.sidecar import Answer, Sidecar

pytestmark = [pytest.mark.master, pytest.mark.slow]

SLOTS = 4
PROBES = 21
# Far less than the jobs take, or a caller who holds a connection; far more than a slow machine needs.
QUICK_SECONDS = 1.0


@pytest.fixture
def small(salt_master: EmbeddedSalt, make_sidecar: MakeSidecar) -> Sidecar:
    """A sidecar with few slots, and with credentials that are proven."""
    sidecar = make_sidecar(salt_master.master_config, LIMITS_SYNC_JOBS=SLOTS, LIMITS_QUICK_CALLS=2).__enter__()
    assert sidecar.post({**salt_master.credentials, "client": "local", "tgt": "minion-1", "fun": "test.ping"}).status == 200
    return sidecar


@contextlib.contextmanager
def waiting_callers(sidecar: Sidecar, salt: EmbeddedSalt, held: Held) -> Iterator[list[Answer]]:
    """Fill the slots of synchronous jobs for as long as the block lasts; the list has the answers after it."""
    answers: list[Answer] = []
    low = {**salt.credentials, **held.low, "tgt": "minion-1"}
    with ThreadPoolExecutor(SLOTS) as threads:
        waiting = [threads.submit(sidecar.post, low) for _ in range(SLOTS)]
        sidecar.wait(lambda: sidecar.metric("salt_api_client_requests_in_flight", client="local") == SLOTS, "full")
        yield answers
        held.let_go()
        answers += [one.result(180) for one in waiting]


def median_of_probes(sidecar: Sidecar, path: str) -> float:
    answers = [sidecar.ops(path) for _ in range(PROBES)]
    assert {answer.status for answer in answers} == {200}
    return statistics.median(answer.seconds for answer in answers)


def test_the_caller_over_the_limit_is_refused_at_once_and_everything_else_works(salt_master: EmbeddedSalt, small: Sidecar, held: Held) -> None:
    ping = {**salt_master.credentials, "client": "local", "tgt": "minion-2", "fun": "test.ping"}
    with waiting_callers(small, salt_master, held) as answers:
        refused = [small.post(ping) for _ in range(5)]
        welcome = small.get()
        wheel = small.post({**salt_master.credentials, "client": "wheel", "fun": "key.list_all"})
        started = small.post({**ping, "client": "local_async"})
        assert small.metric("salt_api_client_requests_in_flight", client="local") == SLOTS

    assert {(answer.status, answer.headers["retry-after"]) for answer in refused} == {(503, "1")}
    assert refused[0].json()["return"] == "503: all 4 slots for synchronous jobs are taken"
    assert welcome.status == 200
    assert "minion-1" in wheel.value["data"]["return"]["minions"]
    assert started.value["minions"] == ["minion-2"]
    assert [answer.value for answer in answers] == [{"minion-1": "let go"}] * SLOTS
    assert small.post(ping).value == {"minion-2": True}


def test_probes_are_quick_while_callers_keep_every_thread_busy(salt_master: EmbeddedSalt, small: Sidecar) -> None:
    # Slots leave threads over, so only a crowd can keep those busy too: it is refused as fast as it comes.
    threads = int(small.metric("salt_api_worker_threads"))
    crowd = Load(small, {**salt_master.credentials, "client": "local", "tgt": "minion-1", "fun": "demo.sleep", "arg": [2]}, 2 * threads)
    with crowd.running():
        small.wait(lambda: crowd.statuses().count(503) > threads, "crowded")
        live, ready = median_of_probes(small, "/livez"), median_of_probes(small, "/readyz")

    assert max(live, ready) < QUICK_SECONDS
    assert set(crowd.statuses()) == {200, 503}


def test_a_crowd_that_has_not_authenticated_costs_an_admin_no_call(salt_master: EmbeddedSalt, make_sidecar: MakeSidecar) -> None:
    # So many may fail that all of them wait for a turn, and the master takes a second to refuse each.
    many = {"LIMITS_AUTH_FAILURES_BURST": 1000, "LIMITS_AUTH_FAILURES_BURST_OVERALL": 1000}
    sidecar = make_sidecar(salt_master.master_config, LIMITS_QUICK_CALLS=2, **many).__enter__()
    admin = {**salt_master.credentials, "client": "wheel", "fun": "key.list_all"}
    session = {"X-Auth-Token": sidecar.login(salt_master.credentials)}
    assert sidecar.post(admin).status == 200
    crowd = Load(sidecar, {**admin, "password": "wrong"}, 40)
    with crowd.running():
        sidecar.wait(lambda: bool(crowd.statuses()), "crowded")
        answers = [sidecar.get("/keys", session) if number % 2 else sidecar.post(admin) for number in range(29)]

    assert [answer.status for answer in answers] == [200] * 29
    assert set(crowd.statuses()) <= {401, 429}


def test_one_user_does_not_take_all_streams(salt_master: EmbeddedSalt, make_sidecar: MakeSidecar) -> None:
    sidecar = make_sidecar(salt_master.master_config, EVENTS_STREAMS=SLOTS).__enter__()
    few, admin = (sidecar.login(who) for who in (salt_master.credentials_of(PINGER), salt_master.credentials))
    with contextlib.ExitStack() as open_ones:

        def stream(token: str) -> int:
            connection = open_ones.enter_context(contextlib.closing(http.client.HTTPConnection("127.0.0.1", sidecar.api_port, timeout=60)))
            connection.request("GET", "/events", headers={"X-Auth-Token": token})
            return connection.getresponse().status

        statuses = [stream(few) for _ in range(3 * SLOTS)], stream(admin)

    assert statuses == ([200] * SLOTS + [503] * 2 * SLOTS, 200)


def test_ops_answers_when_no_connection_of_the_api_is_left(salt_master: EmbeddedSalt, make_sidecar: MakeSidecar) -> None:
    sidecar = make_sidecar(salt_master.master_config, API_CONNECTION_LIMIT=10).__enter__()
    with contextlib.ExitStack() as stack:
        for _ in range(10):
            held = stack.enter_context(socket.create_connection(("127.0.0.1", sidecar.api_port), timeout=60))
            held.sendall(b"GET / HT")
        sidecar.wait(lambda: sidecar.metric("salt_api_connections_open") == 10, "exhausted")
        eleventh: list[Answer] = []
        caller = threading.Thread(target=lambda: eleventh.append(sidecar.get()), daemon=True)
        caller.start()
        live, ready = median_of_probes(sidecar, "/livez"), median_of_probes(sidecar, "/readyz")
        assert eleventh == []
    caller.join(60)

    assert max(live, ready) < QUICK_SECONDS
    assert eleventh[0].status == 200
