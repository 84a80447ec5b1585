"""What one request costs, in calls of our own functions: time says little on a machine with other work, calls are the same everywhere."""

from __future__ import annotations

import sys
from pathlib import Path
from types import FrameType

import service
from tests.contract.conftest import Api, fake_api
from tests.fakes import FakeGateway

OURS = str(Path(service.__file__).parent)
# Of a `local` request to two minions, and of each further minion: what it takes now, and a twentieth more.
MOST_CALLS, MOST_CALLS_A_MINION = 439, 41


def calls_of(api: Api, minions: int) -> int:
    """Return how many of our functions one `local` request calls, once all that is remembered has been worked out."""
    assert isinstance(api.process.gateway, FakeGateway)
    master = api.process.gateway.master
    master.minions = [f"minion-{number}" for number in range(minions)]
    master.keys = set(master.minions)
    calls = 0

    def count(frame: FrameType, event: str, _: object) -> None:
        nonlocal calls
        calls += event == "call" and frame.f_code.co_filename.startswith(OURS)

    low = {"client": "local", "tgt": "*", "fun": "test.ping", **api.demo}
    api.caller.post(low)
    sys.setprofile(count)
    try:
        answer = api.caller.post(low)
    finally:
        sys.setprofile(None)
    assert len(answer.json()["return"][0]) == minions
    return calls


def test_a_request_to_minions_is_hardly_more_work_than_it_was(tmp_path: Path) -> None:
    api = fake_api(tmp_path)
    two, twelve = calls_of(api, 2), calls_of(api, 12)

    assert two <= MOST_CALLS
    assert twelve - two <= 10 * MOST_CALLS_A_MINION
