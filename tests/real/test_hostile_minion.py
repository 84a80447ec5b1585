"""A minion with an accepted key that lies about every job, on a real master: the others' returns are theirs, and nothing ends in an error of ours."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from benchmarks import running
from benchmarks.behaviour import names
from service.demo.embedded import EmbeddedSalt
from tests.real.sidecar import Sidecar

pytestmark = [pytest.mark.master, pytest.mark.slow]

HOSTILE, *HONEST = names(4)
# The lies come before any return.
DELAY_SECONDS = 1.0
ECHO = {"tgt": "sim-*", "fun": "test.echo", "arg": ["hello"]}


@pytest.fixture(scope="module")
def master(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedSalt]:
    """Start a master with simulated minions, the first of them hostile."""
    folder = tmp_path_factory.mktemp("hostile")
    with (
        EmbeddedSalt(folder / "salt", minions=0, master={"timeout": 5, "gather_job_timeout": 10}) as salt,
        running.fleet(salt.master_config, folder / "fleet", 4, hostile=0.25, delay_seconds=DELAY_SECONDS),
    ):
        yield salt


@pytest.fixture(scope="module")
def sidecar(master: EmbeddedSalt, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sidecar]:
    with Sidecar(master.master_config, tmp_path_factory.mktemp("sidecar")) as running_one:
        yield running_one


def run(sidecar: Sidecar, master: EmbeddedSalt, **low: Any) -> list[Any]:
    """Run a low and return its values."""
    answer = sidecar.post({**master.credentials, **low})
    assert answer.status == 200, answer.body
    values: list[Any] = answer.json()["return"]
    return values


def test_a_job_has_the_others_returns_and_no_strangers(sidecar: Sidecar, master: EmbeddedSalt) -> None:
    (value,) = run(sidecar, master, client="local", **ECHO)

    assert {name: value[name] for name in HONEST} == dict.fromkeys(HONEST, "hello")
    assert value.keys() == {HOSTILE, *HONEST}


def test_a_full_return_shows_what_each_returned_itself(sidecar: Sidecar, master: EmbeddedSalt) -> None:
    (value,) = run(sidecar, master, client="local", full_return=True, **ECHO)

    assert {name: (value[name]["ret"], value[name]["retcode"]) for name in HONEST} == dict.fromkeys(HONEST, ("hello", 0))
    assert "retcode" not in value[HOSTILE]


def test_a_batch_has_the_others_returns(sidecar: Sidecar, master: EmbeddedSalt) -> None:
    values = run(sidecar, master, client="local_batch", batch=2, **ECHO)

    assert [{name: "hello"} in values for name in HONEST] == [True] * len(HONEST)
    assert {name for value in values for name in value} == {HOSTILE, *HONEST}


def test_a_runner_and_a_wheel_return_what_they_returned(sidecar: Sidecar, master: EmbeddedSalt) -> None:
    (lows,) = run(sidecar, master, client="runner", fun="test.arg", arg=["x"])
    (keys,) = run(sidecar, master, client="wheel", fun="key.list_all")

    assert lows["args"] == ["x"]
    assert set(keys["data"]["return"]["minions"]) == {HOSTILE, *HONEST}


def test_lies_are_counted_and_break_nothing(sidecar: Sidecar, master: EmbeddedSalt) -> None:
    before = {kind: sidecar.metric("salt_event_odd_total", kind=kind) for kind in ("tag", "identity", "field", "unexpected")}
    run(sidecar, master, client="local", **ECHO)
    sidecar.wait(lambda: all(sidecar.metric("salt_event_odd_total", kind=kind) > count for kind, count in before.items()), "counted", 60)

    assert sidecar.metric("salt_event_bus_handler_failures_total") == 0
