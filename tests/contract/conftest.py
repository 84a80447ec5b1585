"""One suite, two masters: everything here runs on the fake always, and on a real master with its minions."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from service.clients import CLIENTS
from service.demo.embedded import PATIENCE_SECONDS, EmbeddedSalt, until
from service.gateway.gateway import Gateway
from service.gateway.master.options import read_master_config
from service.jobs.stores.sqlite_store import SqliteStore
from service.jobs.stores.store import Store
from service.server.intake import Patience
from service.server.listener import Listener
from service.wiring.configuration import Configuration, read_configuration
from service.wiring.process import Process
from tests.caller import Caller, Response
from tests.contract.declared_answers import DeclaredCaller
from tests.fakes import SECRET, FakeGateway
from tests.listening import RETRY, Listening

MASTER_CONFIG = f"""
id: master
interface: 127.0.0.1
ret_port: 1
sock_dir: /nonexistent
netapi_enable_clients: [{", ".join(CLIENTS)}]
nodegroups: {{web: 'L@minion-1'}}
timeout: 1
gather_job_timeout: 1
"""


Open = Callable[[], Store]
EXTERNAL_AUTH = "external_auth: {sharedsecret: {demo: ['.*', '@runner', '@wheel', '@jobs'], pinger: [test.ping]}}\n"
# One caller makes all the failures of the suite; the brake has tests of its own. And every client is served.
LENIENT = {"SIDECAR_LIMITS_AUTH_FAILURES_BURST": "1000000", "SIDECAR_CLIENTS_SSH": "true"}


@dataclasses.dataclass
class Api:
    """The application, its master's configuration, and credentials that the master accepts. demo may do everything, pinger only test.ping."""

    caller: Caller
    process: Process
    demo: dict[str, str]
    pinger: dict[str, str]
    master: Mapping[str, Any]

    def run(self, **low: Any) -> Response:
        """Send one low as demo."""
        return self.caller.post([{**self.demo, **low}])

    def value(self, **low: Any) -> Any:
        """Send one low as demo and return its value."""
        answer = self.run(**low)
        assert answer.status == 200, answer.body
        (value,) = answer.json()["return"]
        return value


def a_store(folder: Path) -> dict[str, str]:
    """Return the setting that keeps jobs in a folder; hundreds of applications have no store, which takes time to make."""
    return {"SIDECAR_JOBS_STORE": f"sqlite://{folder}/jobs.db"}


_read: dict[str, dict[str, Any]] = {}


def read_once(path: Path) -> dict[str, Any]:
    """Let Salt read each text once: hundreds of tests have the same."""
    text = path.read_text()
    if text not in _read:
        _read[text] = read_master_config(path)
    return _read[text]


def fake_configuration(folder: Path, *, master: str = "", external_auth: str = EXTERNAL_AUTH, **environ: str) -> Configuration:
    """Read the configuration of a fake master. master: more of its own. external_auth: its line. environ: settings of ours, such as SIDECAR_EVENTS_STREAMS."""
    path = folder / "master"
    path.write_text(MASTER_CONFIG + external_auth + master)
    return read_configuration({"SALT_MASTER_CONFIG": str(path), **LENIENT, **environ}, read=read_once)


def fake_api(folder: Path, *, master: str = "", external_auth: str = EXTERNAL_AUTH, **environ: str) -> Api:
    """Make the application over the fake master; its parameters are those of `fake_configuration`."""
    configuration = fake_configuration(folder, master=master, external_auth=external_auth, **environ)
    process = Process(configuration, connect=lambda wanted, hub, _observer, ledger: FakeGateway(wanted.master, hub, ledger))
    credentials = {"eauth": "sharedsecret", "password": SECRET}
    return Api(DeclaredCaller(process.api), process, {**credentials, "username": "demo"}, {**credentials, "username": "pinger"}, configuration.master.raw)


def login(api: Api, credentials: dict[str, str]) -> str:
    """Return a new token."""
    answer = api.caller.post(credentials, "/login")
    assert answer.status == 200, answer.body
    token: str = answer.json()["return"][0]["token"]
    return token


def listening(api: Api, credentials: dict[str, str] | None = None, query: str = "", **headers: str) -> Listening:
    """Open a stream, for `demo` if nobody is named."""
    stream = Listening(api.process.api, login(api, credentials or api.demo), query, **headers)
    assert stream.status == 200
    assert stream.chunk() == RETRY
    return stream


def requests_of(lines: Iterable[MutableMapping[str, Any]]) -> list[MutableMapping[str, Any]]:
    """Return the lines of requests that are over."""
    return [line for line in lines if line["event"] == "http.request"]


def connected(process: Process) -> Gateway:
    """Start a process' gateway and wait until it is ready."""
    gateway = process.gateway
    assert isinstance(gateway, Gateway)
    gateway.start()
    for _ in until(PATIENCE_SECONDS):
        if all(check.ok for check in process.health.report().values()):
            return gateway
    raise AssertionError(process.health.report())


class Listens:
    """Gives applications ports of loopback while a test runs."""

    def __init__(self) -> None:
        self.open: list[Listener] = []

    def __call__(self, api: Api) -> str:
        listener = Listener(
            api.process.api,
            name="api",
            host="127.0.0.1",
            port=0,
            threads=8,
            connection_limit=50,
            body_limit_bytes=1_000_000,
            patience=Patience(30.0),
        )
        self.open.append(listener)
        listener.start()
        return f"http://127.0.0.1:{listener.port}"


@pytest.fixture
def listens() -> Iterator[Listens]:
    made = Listens()
    yield made
    for listener in made.open:
        listener.stop()


@pytest.fixture(scope="session")
def real_configuration(salt_master: EmbeddedSalt, tmp_path_factory: pytest.TempPathFactory) -> Configuration:
    return read_configuration({"SALT_MASTER_CONFIG": str(salt_master.master_config), **LENIENT, **a_store(tmp_path_factory.mktemp("jobs"))})


@contextmanager
def real_sidecar(salt: EmbeddedSalt, configuration: Configuration) -> Iterator[Api]:
    """Run the application over a real master inside the block."""
    process = Process(configuration)
    connected(process)
    try:
        yield Api(DeclaredCaller(process.api), process, salt.credentials, salt.credentials_of("pinger"), configuration.master.raw)
    finally:
        process.stop()


@pytest.fixture(scope="session")
def real_api(salt_master: EmbeddedSalt, real_configuration: Configuration) -> Iterator[Api]:
    with real_sidecar(salt_master, real_configuration) as api:
        yield api


@pytest.fixture(scope="module", params=["fake", pytest.param("real", marks=pytest.mark.master)])
def api(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """The application over each master in turn. The tests of a file share the fake one; all share the real one, so none may need it fresh."""
    if request.param == "real":
        yield request.getfixturevalue("real_api")
        return
    folder = tmp_path_factory.mktemp("fake")
    made = fake_api(folder, **a_store(folder))
    yield made
    made.process.stop()


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.slow)])
def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    """Return what opens the store, again and again the same one."""
    if request.param == "sqlite":
        return lambda: SqliteStore(tmp_path / "jobs.db", on_commit=lambda _seconds: None, monotonic=time.monotonic)
    from service.jobs.stores.postgres.postgres_store import PostgresStore  # noqa: PLC0415 - psycopg takes a while to import

    server = request.getfixturevalue("postgres_server")
    url = server.new_database()
    return lambda: PostgresStore(url, server.password.encode, on_commit=lambda _seconds: None, monotonic=time.monotonic)


@pytest.fixture
def store(reopen: Open) -> Iterator[Store]:
    opened = reopen()
    yield opened
    opened.close()
