"""Returns in an answer of `/v1`: as JSON they are taken over as they were stored, without being read."""

from __future__ import annotations

import json
import random
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from service.jobs.stores.store import Change, PartRecord
from tests.caller import Caller
from tests.contract.conftest import Api, a_store, fake_api, login
from tests.unit.jobs.kept import JID, job

SIZE, MINIONS = 20_000, 10
PATH = f"/v1/jobs/{JID}?fields=return,minions"


@pytest.fixture
def large(tmp_path: Path) -> Iterator[Api]:
    """The application that has a job of large returns, which hardly pack."""
    made = fake_api(tmp_path, **a_store(tmp_path))
    body = json.dumps(random.Random(1).randbytes(SIZE // 2).hex()).encode()
    parts = {f"minion-{number}": PartRecord("ok", source="bus", retcode=0, at=1001.0, size=len(body), body=body) for number in range(MINIONS)}
    over = job(owner="sharedsecret:demo", status="succeeded", finished=1002.0, expected=MINIONS)
    made.process.jobs.submissions().store.save([Change(over, parts)])
    yield made
    made.process.stop()


@pytest.mark.costly
def test_an_answer_holds_returns_as_they_are_stored_and_as_they_are_sent(large: Api) -> None:
    caller, token = Caller(large.process.api), login(large, large.demo)
    caller.get(PATH, x_auth_token=token)
    tracemalloc.start()
    answer = caller.get(PATH, x_auth_token=token)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert len(answer.body) > MINIONS * SIZE
    assert peak < 2.75 * len(answer.body)


@pytest.mark.costly
def test_returns_are_the_same_in_json_and_yaml(large: Api) -> None:
    token = login(large, large.demo)
    shown = large.caller.get(PATH, x_auth_token=token).json()

    assert {len(part["return"]) for part in shown["minions"].values()} == {SIZE}
    assert yaml.safe_load(large.caller.get(PATH, x_auth_token=token, accept="application/x-yaml").body) == shown
