"""What the store in PostgreSQL promises beyond every store's suite: several sidecars share it, and its server may go away. On a real server."""

from __future__ import annotations

import dataclasses
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from service.demo.embedded import until
from service.errors import ConfigFault, InvalidConfiguration, StorageUnavailable
from service.jobs.stores.postgres.postgres_store import MIGRATIONS, PostgresStore
from service.jobs.stores.postgres.server_link import ServerLink, probe
from service.jobs.stores.store import Change, JobRecord, PartRecord
from service.settings.job_settings import JobSettings
from service.wiring.durable import try_store
from tests.unit.jobs.kept import JID, job

if TYPE_CHECKING:
    from tests.postgres_server import PostgresServer

pytestmark = pytest.mark.slow

PATIENCE_SECONDS = 60.0
Join = Callable[[], PostgresStore]


@pytest.fixture
def url(postgres_server: PostgresServer) -> str:
    return postgres_server.new_database()


@pytest.fixture
def join(url: str, postgres_server: PostgresServer) -> Iterator[Join]:
    """Return what makes the store of one more sidecar."""
    stores = []

    def make() -> PostgresStore:
        stores.append(PostgresStore(url, postgres_server.password.encode, on_commit=lambda _seconds: None, monotonic=time.monotonic))
        return stores[-1]

    yield make
    for store in stores:
        store.close()


def jids(found: list[JobRecord]) -> list[str]:
    return [record.jid for record in found]


def is_over(record: JobRecord) -> bool:
    return record.finished is not None


def test_an_open_job_is_followed_by_one_sidecar_and_seen_by_all(join: Join) -> None:
    here, there = join(), join()
    here.intend(job(key="k"))

    assert there.job(JID) == there.keyed(job().owner, "k") == job(key="k")
    assert there.intend(job("2" * 20, key="k")) == job(key="k")
    assert (jids(here.unfinished()), jids(there.unfinished())) == ([JID], [])


def test_the_jobs_of_a_dead_sidecar_are_taken_over_and_what_it_writes_late_is_not_stored(join: Join, postgres_server: PostgresServer, url: str) -> None:
    lost = threading.Event()

    def password() -> bytes:
        if lost.is_set():
            raise InvalidConfiguration([ConfigFault("password", "is gone", "wait")])
        return postgres_server.password.encode()

    here, there = PostgresStore(url, password, on_commit=lambda _seconds: None, monotonic=time.monotonic), join()
    here.intend(job())
    assert there.unfinished() == []
    lost.set()
    ((number,),) = postgres_server.admin("SELECT follower FROM job", url.rpartition("/")[2])
    postgres_server.admin(f"SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND objid = {number}")
    for _ in until(PATIENCE_SECONDS):
        if jids(there.unfinished()) == [JID]:
            break
    for _ in until(PATIENCE_SECONDS):
        if not is_usable(here):
            break
    lost.clear()
    for _ in until(PATIENCE_SECONDS):
        if is_usable(here):
            break

    assert here.save([Change(job(status="unknown", finished=2000.0), {})]) == {JID}
    assert there.save([Change(job(status="running"), {"a": PartRecord("ok")})]) == set()
    assert (here.job(JID), here.unfinished()) == (job(status="running"), [])
    here.close()


def is_usable(store: PostgresStore) -> bool:
    try:
        store.job(JID)
    except StorageUnavailable:
        return False
    return True


def test_a_job_that_a_living_sidecar_publishes_is_not_published_by_another(join: Join) -> None:
    here, there = join(), join()
    here.intend(job())

    assert (there.claim(JID), here.claim(JID)) == (False, True)
    here.save([Change(job(status="in_doubt"), {})])
    assert (there.claim(JID), here.claim(JID)) == (True, False)
    assert here.save([Change(job(status="unknown"), {})]) == {JID}
    assert there.save([Change(job(status="running"), {})]) == set()
    assert (there.claim(JID), here.claim(JID)) == (False, False)


def test_of_two_sidecars_that_claim_at_once_one_wins(join: Join) -> None:
    stores = [join(), join()]
    stores[0].intend(job())
    stores[0].save([Change(job(status="in_doubt"), {})])
    claimed: list[bool] = []
    start = threading.Barrier(2)

    def claim(store: PostgresStore) -> None:
        start.wait()
        claimed.append(store.claim(JID))

    threads = [threading.Thread(target=claim, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(claimed) == [False, True]


def test_who_waits_on_one_sidecar_is_woken_by_another(join: Join) -> None:
    here, there = join(), join()
    here.intend(job())
    looked = threading.Event()
    woken: list[JobRecord | None] = []

    def is_news(record: JobRecord) -> bool:
        looked.set()
        return is_over(record)

    def wait() -> None:
        there.wait(JID, is_news, PATIENCE_SECONDS * 10)
        woken.append(there.job(JID))

    waiting = threading.Thread(target=wait)
    waiting.start()
    assert looked.wait(PATIENCE_SECONDS)
    here.save([Change(job(status="running"), {})])
    over = job(status="succeeded", finished=2000.0)
    here.save([Change(over, {})])
    waiting.join(PATIENCE_SECONDS)

    assert woken == [over]


def test_nobody_waits_when_the_process_is_stopping(join: Join) -> None:
    store = join()
    store.intend(job())
    looked = threading.Event()

    def is_news(record: JobRecord) -> bool:
        looked.set()
        return is_over(record)

    waiting = threading.Thread(target=store.wait, args=(JID, is_news, PATIENCE_SECONDS * 10))
    waiting.start()
    assert looked.wait(PATIENCE_SECONDS)
    store.end_waits()
    waiting.join(PATIENCE_SECONDS)

    assert not waiting.is_alive()


def test_a_process_that_stops_while_somebody_begins_to_wait_is_not_missed(url: str, postgres_server: PostgresServer) -> None:
    ending = [lambda: None]

    def monotonic() -> float:
        ending.pop()() if ending else None
        return time.monotonic()

    store = PostgresStore(url, postgres_server.password.encode, on_commit=lambda _seconds: None, monotonic=monotonic)
    heard = threading.Event()
    store.intend(job())
    # Whoever waits when the server is first reached is woken for that too.
    store.on_news(heard.set)
    store.ask_to_end(JID, "2" * 20)
    assert heard.wait(PATIENCE_SECONDS)
    # The first is asked for the time at which the wait ends, the second for what is left of it.
    ending[:] = [store.end_waits, lambda: None]
    waiting = threading.Thread(target=store.wait, args=(JID, is_over, PATIENCE_SECONDS * 10))
    waiting.start()
    waiting.join(PATIENCE_SECONDS)
    is_waiting = waiting.is_alive()
    store.close()

    assert (is_waiting, ending) == (False, [])


def test_all_is_on_the_servers_disk_whatever_is_usual_there_and_every_statement_has_a_deadline(postgres_server: PostgresServer, url: str) -> None:
    postgres_server.admin(f"ALTER DATABASE {url.rpartition('/')[2]} SET synchronous_commit = off")
    link = ServerLink(url, postgres_server.password.encode, MIGRATIONS, lambda _jid: None, most=2)
    with link.connected() as db:
        found = {name: db.execute(f"SHOW {name}").fetchone() for name in ("synchronous_commit", "statement_timeout", "lock_timeout")}
    link.close()

    assert found == {"synchronous_commit": ("on",), "statement_timeout": ("10s",), "lock_timeout": ("5s",)}


def test_a_server_that_goes_away_and_comes_back_loses_nothing(tmp_path: Path, program: Callable[[str, str], str]) -> None:
    from tests.postgres_server import PostgresServer  # noqa: PLC0415 - as in the fixture

    with PostgresServer(Path(program("initdb", "postgresql")).resolve().parent) as server:
        store = PostgresStore(server.new_database(), server.password.encode, on_commit=lambda _seconds: None, monotonic=time.monotonic)
        store.intend(job(key="k"))
        server.end()
        with pytest.raises(StorageUnavailable, match=r"database of `jobs\.store`"):
            store.save([Change(job(status="running"), {})])
        for _ in until(PATIENCE_SECONDS):
            if not store.takes_jobs():
                break
        server.start()
        for _ in until(PATIENCE_SECONDS):
            if store.takes_jobs():
                break
        assert store.save([Change(job(key="k", status="running"), {})]) == set()
        assert jids(store.unfinished()) == [JID]
        store.close()


def test_the_number_of_a_living_sidecar_is_not_given_again_by_a_database_that_was_restored(join: Join, postgres_server: PostgresServer, url: str) -> None:
    import psycopg  # noqa: PLC0415 - an extra

    here = join()
    here.intend(job())
    with psycopg.connect(url, password=postgres_server.password, autocommit=True) as db:
        db.execute("ALTER SEQUENCE follower RESTART")  # As an older backup has it.
    there = join()

    assert jids(there.unfinished()) == []
    assert there.takes_jobs()


@pytest.mark.parametrize("lacking", ["without_token", "needs_owner"])
def test_a_job_whose_owner_is_needed_goes_to_the_sidecar_that_the_owner_comes_to(join: Join, lacking: str) -> None:
    here, there = join(), join()
    needed: dict[str, Any] = {lacking: True}
    running = job(status="running")
    here.save([Change(running, {"a": PartRecord("waiting")})])
    assert not there.claim(JID)
    here.save([Change(job(status="running", **needed), {})])

    assert (there.claim(JID), here.claim(JID)) == (True, False)
    assert here.save([Change(dataclasses.replace(running, status="unknown"), {})]) == {JID}
    assert there.save([Change(running, {"a": PartRecord("ok")})]) == set()
    assert (jids(there.unfinished()), here.unfinished()) == ([JID], [])
    there.save([Change(job(status="succeeded", finished=1001.0, **needed), {})])
    assert not here.claim(JID)


def test_what_a_dead_sidecar_had_to_tell_another_one_tells(join: Join) -> None:
    here, there = join(), join()
    here.save([Change(job(status="failed", finished=1001.0), {}, notice=True)])

    assert (here.notices(10), there.notices(10)) == ([JID], [])
    here.close()
    for _ in until(PATIENCE_SECONDS):
        if there.notices(10) == [JID]:
            break
    there.noticed([JID])
    assert there.notices(10) == []


def test_tables_of_a_newer_sidecar_are_left_alone(join: Join, postgres_server: PostgresServer, url: str) -> None:
    join().intend(job())
    postgres_server.admin("UPDATE schema_version SET version = 99", url.rpartition("/")[2])

    with pytest.raises(StorageUnavailable, match="a newer salt-sidecar made its tables"):
        join().job(JID)


def test_jobs_of_an_older_version_are_still_there(join: Join, postgres_server: PostgresServer, url: str) -> None:
    newer = {"parent", "concurrency_group", "needs_owner", "queued_seconds", "waves", "wave", "taken", "without_token"}
    older = {name: value for name, value in dataclasses.asdict(job(key="k")).items() if name not in newer}
    link = ServerLink(url, postgres_server.password.encode, MIGRATIONS[:1], lambda _jid: None, most=2)
    with link.connected() as db:
        row = (JID, older["owner"], older["key"], older["since"], older["status"], None, link.number, 1, json.dumps(older))
        db.execute("INSERT INTO job VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)", row)
    link.close()
    store = join()

    # Of a publish that it has left open nobody knows.
    assert (store.unfinished(), store.inputs(JID)) == ([job(key="k", status="in_doubt")], None)
    store.save([Change(job(status="failed", finished=1001.0, parent="1" * 20), {})])
    assert store.job(JID) == job(status="failed", finished=1001.0, parent="1" * 20)


def test_what_is_kept_is_counted_and_the_oldest_make_room(join: Join) -> None:
    store = join()
    for number in range(1, 4):
        over = job(str(number) * 20, status="succeeded", finished=2000.0 + number)
        store.save([Change(over, {"a": dataclasses.replace(PartRecord("ok"), size=3, body=b'"a"')})])
    store.prune(0.0, 10**9)
    taken = store.size_bytes()

    assert store.prune(0.0, taken - 1) == 1
    assert jids([found for number in range(1, 4) if (found := store.job(str(number) * 20))]) == ["2" * 20, "3" * 20]
    assert 0 < store.size_bytes() < taken


def test_a_password_is_in_no_fault_and_no_log(url: str, postgres_server: PostgresServer, caplog: pytest.LogCaptureFixture) -> None:
    said = []
    caplog.set_level(logging.DEBUG)
    wrong = PostgresStore(url, lambda: b"CANARY-wrong", on_commit=lambda _seconds: None, monotonic=time.monotonic)
    with pytest.raises(StorageUnavailable) as unavailable:
        wrong.job(JID)
    wrong.close()
    with pytest.raises(InvalidConfiguration) as unusable:
        probe(url, lambda: b"CANARY-wrong")
    said += [unavailable.value.reason, str(unusable.value), caplog.text]
    for secret in (url.replace("sidecar@", "sidecar:CANARY@"), f"{url}?password=CANARY", f"{url}?sslpassword=CANARY"):
        with pytest.raises(ValidationError, match="store_password_file") as refused:
            JobSettings(store=secret)
        said.append(str(refused.value.errors(include_input=False)))

    assert "password authentication failed" in said[0]
    assert "correct address, database and user there, and the password in" in said[1]
    assert "CANARY" not in "".join(said)


@pytest.mark.parametrize(("database", "problem"), [("nowhere", "does not exist"), ("", "may not create tables")])
def test_check_says_what_is_wrong_with_the_database(url: str, postgres_server: PostgresServer, tmp_path: Path, database: str, problem: str) -> None:
    user = f"reader_{url[-4:]}"
    postgres_server.admin(f"CREATE USER {user} PASSWORD 'secret'")
    (tmp_path / "password").write_text("secret\n")
    named = url.rpartition("/")[0].replace("sidecar@", f"{user}@") + f"/{database or url.rpartition('/')[2]}"

    with pytest.raises(InvalidConfiguration, match=problem):
        try_store(JobSettings(store=named, store_password_file=tmp_path / "password"))


def test_check_is_content_with_a_database_that_can_be_used(url: str, postgres_server: PostgresServer, tmp_path: Path) -> None:
    (tmp_path / "password").write_text(f"{postgres_server.password}\n")

    try_store(JobSettings(store=url, store_password_file=tmp_path / "password"))


def test_no_more_connections_are_opened_than_the_setting_says(url: str, postgres_server: PostgresServer) -> None:
    store = PostgresStore(url, postgres_server.password.encode, on_commit=lambda _seconds: None, monotonic=time.monotonic, connections=2)
    threads = [threading.Thread(target=lambda: [store.job(JID) for _ in range(20)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
    opened = postgres_server.admin(f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{url.rpartition('/')[2]}'")
    store.close()

    # Beside the one that stays.
    assert opened in ([(2,)], [(3,)])
