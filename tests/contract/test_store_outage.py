"""A database that freezes, dies, refuses or is locked while jobs run: each call has an answer in time, all else goes on, and all is well by itself afterwards."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from service.demo.embedded import until
from tests.caller import Response
from tests.contract.conftest import Api, fake_api
from tests.contract.test_v1_jobs import gateway_of, get, post, problem, returned

if TYPE_CHECKING:
    from tests.postgres_server import PostgresServer

pytestmark = pytest.mark.slow

PATIENCE_SECONDS = 120.0
# A wait for a connection, and then one for its answer.
IN_TIME_SECONDS = 20.0


@pytest.fixture
def server(program: Callable[[str, str], str]) -> Iterator[PostgresServer]:
    """Start a server of this test's own."""
    from tests.postgres_server import PostgresServer  # noqa: PLC0415 - psycopg takes a while to import

    with PostgresServer(Path(program("initdb", "postgresql")).resolve().parent) as made:
        yield made


@pytest.fixture
def api(tmp_path: Path, server: PostgresServer) -> Iterator[Api]:
    (tmp_path / "password").write_text(server.password)
    ours = {"SIDECAR_JOBS_STORE": server.new_database(), "SIDECAR_JOBS_STORE_PASSWORD_FILE": str(tmp_path / "password")}
    made = fake_api(tmp_path, SIDECAR_JOBS_STORE_CONNECTIONS="3", **ours)
    yield made
    made.process.stop()


def freeze(server: PostgresServer, held: ExitStack) -> None:
    server.freeze()
    held.callback(server.thaw)


def kill(server: PostgresServer, held: ExitStack) -> None:
    server.end()
    held.callback(server.start)


def refuse(server: PostgresServer, held: ExitStack) -> None:
    """Let nobody into the database any more."""
    name = database_of(server)
    server.admin(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
    server.admin(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
    held.callback(lambda: server.admin(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true"))


def database_of(server: PostgresServer) -> str:
    ((name,),) = server.admin("SELECT datname FROM pg_database WHERE datname LIKE 'jobs_%'")
    return str(name)


def lock(server: PostgresServer, held: ExitStack) -> None:
    """Let somebody else's transaction hold the table."""
    connection = held.enter_context(server.connected(database_of(server)))
    held.enter_context(connection.transaction())
    connection.execute("LOCK TABLE job")


AWAY: dict[Callable[[PostgresServer, ExitStack], None], str] = {
    freeze: "couldn't get a connection",
    kill: "server closed the connection|refused|starting up",
    refuse: "terminating connection|server closed the connection|not currently accepting connections",
    lock: "lock timeout|couldn't get a connection",
}


@pytest.mark.parametrize("breaks", AWAY)
def test_each_call_is_503_in_time_while_the_database_is_away_and_what_ran_is_closed_afterwards(
    api: Api, server: PostgresServer, breaks: Callable[[PostgresServer, ExitStack], None]
) -> None:
    gateway_of(api).master.silent = {"minion-2"}
    jid = post(api, "").json()["jid"]
    answers: list[tuple[float, Response]] = []
    with ExitStack() as held:
        breaks(server, held)
        calls = (lambda: post(api), lambda: get(api, ""), lambda: get(api, f"/{jid}"), lambda: post(api, key="k")) * 3
        threads = [threading.Thread(target=timed, args=(call, answers)) for call in calls]
        for thread in threads:
            thread.start()
        began = time.monotonic()
        assert api.value(client="local", tgt="minion-1", fun="test.ping") == {"minion-1": True}
        api.process.metrics.exposition()
        assert time.monotonic() - began < IN_TIME_SECONDS / 2
        gateway_of(api).hub.deliver(returned(jid, "minion-2"))
        for thread in threads:
            thread.join(PATIENCE_SECONDS)
    gateway_of(api).master.silent = set()
    over = succeeded(lambda: get(api, f"/{jid}?wait=5"))

    for seconds, answer in answers:
        assert problem(answer) == (503, "StorageUnavailable")
        assert seconds < IN_TIME_SECONDS
        assert re.search(AWAY[breaks], answer.json()["detail"])
    assert len(answers) == len(calls)
    assert over["counts"] == {"ok": 2}
    assert succeeded(lambda: post(api, key="k"))["counts"] == {"ok": 2}


def test_a_server_that_froze_is_noticed_and_costs_nobody_a_wait_any_more(api: Api, server: PostgresServer) -> None:
    from psycopg import OperationalError  # noqa: PLC0415 - it takes a while to import

    from service.jobs.stores.postgres import server_link  # noqa: PLC0415 - the same

    assert post(api).status == 200
    where = f"postgresql://sidecar@127.0.0.1:{server.port}/{database_of(server)}"
    with ExitStack() as held:
        db = held.enter_context(server_link.Database.connect(where, **server_link.options(server.password.encode)))
        freeze(server, held)
        db.silence_seconds = 0.5
        with pytest.raises(OperationalError, match=r"the server has answered nothing for 0\.5 s"):
            db.execute("SELECT 1")
        assert db.closed
        for _ in until(PATIENCE_SECONDS):
            if not api.process.jobs.takes_jobs():
                break
        answers: list[tuple[float, Response]] = []
        timed(lambda: post(api), answers)
    ((seconds, answer),) = answers

    assert (problem(answer), seconds < server_link.PATIENCE_SECONDS) == ((503, "StorageUnavailable"), True)
    assert re.search("answered nothing for 12 s|timeout expired", answer.json()["detail"])
    assert succeeded(lambda: post(api))["counts"] == {"ok": 2}


def timed(call: Callable[[], Response], answers: list[tuple[float, Response]]) -> None:
    began = time.monotonic()
    answer = call()
    answers.append((time.monotonic() - began, answer))


def succeeded(call: Callable[[], Response]) -> dict[str, Any]:
    """Return the job when it has succeeded; until then the store may still be away."""
    for _ in until(PATIENCE_SECONDS):
        answer = call()
        if answer.status == 200 and answer.json()["status"] == "succeeded":
            found: dict[str, Any] = answer.json()
            return found
    raise AssertionError(answer.body)


def test_a_link_that_is_closed_while_its_server_is_frozen_leaves_no_thread_behind(server: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    import psycopg  # noqa: PLC0415 - it takes a while to import

    from service.jobs.stores.postgres import server_link  # noqa: PLC0415 - the same
    from service.jobs.stores.postgres.postgres_store import MIGRATIONS  # noqa: PLC0415 - the same

    asks = threading.Event()

    def execute(db: server_link.Database, *args: Any) -> Any:
        asks.set()
        return psycopg.Connection.execute(db, *args)

    monkeypatch.setattr(server_link.Database, "execute", execute)
    # Links of other tests may have left attempts to connect behind.
    others = set(threading.enumerate())
    link = server_link.ServerLink(server.new_database(), server.password.encode, MIGRATIONS, lambda _: None, most=1)
    with ExitStack() as held:
        with link.connected():
            freeze(server, held)
        asks.clear()
        assert asks.wait(PATIENCE_SECONDS)

        link.close()

        assert [thread.name for thread in threading.enumerate() if thread not in others] == []
