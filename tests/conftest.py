"""What every test needs: a Salt that is imported quietly, and a real master that starts when the first test asks."""

from __future__ import annotations

import gc
import os
import re
import socket
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from service.blocks import unseen
from service.clients import CLIENTS
from service.demo.embedded import EmbeddedSalt
from tests.installed import where

with unseen("rich"):
    import structlog

if TYPE_CHECKING:
    from tests.postgres_server import PostgresServer

# Until the tests are collected all that is made stays.
gc.disable()

with warnings.catch_warnings():
    # Salt's imports warn of its own doings; for everything else a warning is an error.
    warnings.simplefilter("ignore")
    from service.gateway.master.quiet_salt import tame_salt

    tame_salt()
    import service.gateway.gateway  # noqa: F401

# A busy machine is no fault of the code; the tests that run for long have a limit of their own. `make check` loads "few examples", which are
# others each time, and `make test` all.
settings.register_profile("all examples", max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("few examples", settings.get_profile("all examples"), max_examples=15)
settings.load_profile("all examples")

# Salt adds an importer of the old protocol, for PyNaCl's sake; pytest and later imports stumble over it.
sys.meta_path[:] = [finder for finder in sys.meta_path if hasattr(finder, "find_spec")]


# Without a configuration structlog paints every line for a terminal. Lines are still rendered, as in the process, but go nowhere.
structlog.configure(processors=[structlog.processors.JSONRenderer(default=str)], logger_factory=structlog.ReturnLoggerFactory())

# The chart's tests run in an environment of their own: `make chart`.
collect_ignore = ["helm"]
# What `make check` asks for, and more.
FAST = "not slow and not master"


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Pass over files in which `make check` has nothing to run: their imports, and those of PostgreSQL's driver and the like, are a part of its time."""
    is_asked = config.option.markexpr.startswith(FAST) and collection_path.match("test_*.py")
    return True if is_asked and has_nothing_fast(collection_path.read_text(encoding="utf-8")) else None


def has_nothing_fast(text: str) -> bool:
    """Say whether a file of tests is slow as a whole, or needs a master."""
    return re.search(r"^pytestmark = .*\bpytest\.mark\.(slow|master)\b", text, re.MULTILINE) is not None


def pytest_collection_finish() -> None:
    """Let the collector pass over what tests make only: Salt and the tests themselves are half a million objects, and stay."""
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
    gc.enable()


def pytest_sessionfinish() -> None:
    """Let pytest's last passes, which look for what nobody ended, be over what they find themselves."""
    gc.collect()
    gc.freeze()


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("ipv6"):
        need_ipv6()
    for salt in SHARED:
        make_whole(salt)


def need_ipv6() -> None:
    """Skip on a machine without it: an engine gives its containers none, unless it is told to."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError as fault:
        pytest.skip(f"this machine has no IPv6: {fault}")


# The master of the whole run, once it has started.
SHARED: list[EmbeddedSalt] = []


def make_whole(salt: EmbeddedSalt) -> None:
    """Start again who has ended, by whatever hand: the test that it happened to fails, and not all that come after it."""
    for name in salt.lost:
        print(f"{name} has ended, and is started again:\n{salt.last_words(name)}", file=sys.__stderr__)
        if name == "master":
            salt.start_master()
        else:
            salt.start_minion(name)


@pytest.fixture(scope="session")
def program() -> Callable[[str, str], str]:
    """Find a program of another world; CI has to have it, elsewhere its tests are skipped."""

    def find(name: str, package: str) -> str:
        found = where(name)
        if found is None and os.environ.get("CI"):
            pytest.fail(f"CI needs {name}: apt-get install {package}")
        if found is None:
            pytest.skip(f"there is no {name} on this machine: apt-get install {package}")
        return found

    return find


@pytest.fixture(scope="session")
def postgres_server(program: Callable[[str, str], str]) -> Iterator[PostgresServer]:
    """Start one server of PostgreSQL for the whole run; who needs a database makes one."""
    from tests.postgres_server import PostgresServer  # noqa: PLC0415 - psycopg takes a while to import

    with PostgresServer(Path(program("initdb", "postgresql")).resolve().parent) as server:
        yield server


@pytest.fixture(scope="session")
def salt_master(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedSalt]:
    """Start a master and two minions once for the whole run; a test that stops one of them starts it again."""
    # A minion that is only slow is waited for; one that is silent is for tests that say how long they wait.
    with EmbeddedSalt(tmp_path_factory.mktemp("salt"), threads=True, master={"gather_job_timeout": 30, "netapi_enable_clients": list(CLIENTS)}) as embedded:
        SHARED.append(embedded)
        yield embedded
        SHARED.remove(embedded)


@pytest.fixture
def own_salt(tmp_path: Path) -> Iterator[EmbeddedSalt]:
    """Make a master and two minions of this test's own, not yet started."""
    embedded = EmbeddedSalt(tmp_path, threads=True)
    yield embedded
    embedded.stop()
