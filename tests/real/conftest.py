"""The sidecar as a real process beside a real master."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from service.demo.embedded import EmbeddedSalt, until
from service.demo.processes import end_session
from tests.real.held import Held
from tests.real.sidecar import Sidecar

MakeSidecar = Callable[..., Sidecar]


def kill_master(salt: EmbeddedSalt) -> None:
    """End the master and all it forked, without a word to anybody."""
    end_session(salt.pids["master"])
    assert any("master" not in salt.pids for _ in until(60))


@pytest.fixture(scope="module")
def fragile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedSalt]:
    """Start a master and two minions for a module whose tests stop and freeze the master; the minions stay."""
    with EmbeddedSalt(tmp_path_factory.mktemp("fragile"), threads=True) as embedded:
        yield embedded


@pytest.fixture
def salt(fragile: EmbeddedSalt) -> EmbeddedSalt:
    """The fragile master and its minions, running; a module may have a `salt` of its own."""
    if "master" not in fragile.pids:
        fragile.start_master()
    return fragile


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Held]:
    """A job that lasts until the test lets it end, or ends."""
    job = Held(tmp_path)
    yield job
    job.let_go()


@pytest.fixture
def make_sidecar(tmp_path: Path) -> Iterator[MakeSidecar]:
    """Make sidecars, not yet started; end them afterwards."""
    made: list[Sidecar] = []
    numbers = itertools.count()  # of several threads too

    def make(master_config: Path, environ: dict[str, str] | None = None, **settings: Any) -> Sidecar:
        sidecar = Sidecar(master_config, tmp_path / f"sidecar-{next(numbers)}", environ, **settings)
        made.append(sidecar)
        return sidecar

    yield make
    for sidecar in made:
        sidecar.kill()


@pytest.fixture(scope="session")
def sidecar(salt_master: EmbeddedSalt, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sidecar]:
    """Run one sidecar for all tests that leave it as it is: no failed logins, no signals."""
    with Sidecar(salt_master.master_config, tmp_path_factory.mktemp("sidecar")) as running:
        yield running
