"""A thousand who follow one job, and as many jobs followed at once as there may be: each is told all, in order, and the memory for it is bounded."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.contract.conftest import Api, a_store, fake_api
from tests.contract.test_v1_jobs import gateway_of, get, post, returned, token_of
from tests.listening import Listening

pytestmark = pytest.mark.slow

FOLLOWERS = 1000
MINIONS = 100
JOBS = 200
GROWTH_BYTES = 200_000_000


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    made = fake_api(tmp_path, SIDECAR_EVENTS_STREAMS=str(FOLLOWERS), SIDECAR_JOBS_OPEN=str(JOBS), **a_store(tmp_path))
    yield made
    made.process.stop()


class Follower(threading.Thread):
    """Follows a job to its end, and keeps nothing but how far it has got. faults: what came out of turn."""

    def __init__(self, api: Api, jid: str, token: str) -> None:
        super().__init__()
        self._stream = Listening(api.process.api, token, path=f"/v1/jobs/{jid}/events", accept="application/x-ndjson")
        self.seq = 0
        self.minions: set[str] = set()
        self.last: dict[str, Any] = {}

    def run(self) -> None:
        """Read until the stream ends."""
        with self._stream as stream:
            while chunk := stream.chunk():
                for line in chunk.splitlines():
                    if line:
                        self.take(json.loads(line))

    def take(self, happening: dict[str, Any]) -> None:
        assert happening["seq"] == self.seq + 1
        self.seq, self.last = happening["seq"], happening
        self.minions |= {happening.get("minion", "")} - {""}


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def test_a_thousand_follow_one_job(api: Api) -> None:
    gateway = gateway_of(api)
    names = [f"minion-{number}" for number in range(MINIONS)]
    gateway.master.minions, gateway.master.silent = names, set(names)
    jid, token = post(api, "").json()["jid"], token_of(api)
    before = resident_bytes()
    followers = [Follower(api, jid, token) for _ in range(FOLLOWERS)]
    for follower in followers:
        follower.start()
    for name in names:
        gateway.hub.deliver(returned(jid, name))
        # Some hear of each return by itself, those that are slow of several at once.
        get(api, f"/{jid}")
    assert get(api, f"/{jid}?wait=60").json()["status"] == "succeeded"
    grown = resident_bytes() - before
    for follower in followers:
        follower.join(60)

    assert {(follower.seq, len(follower.minions), follower.last["status"]) for follower in followers} == {(MINIONS + 2, MINIONS, "succeeded")}
    assert grown < GROWTH_BYTES


def test_two_hundred_jobs_are_followed_at_once(api: Api) -> None:
    gateway = gateway_of(api)
    gateway.master.silent = {"minion-1", "minion-2"}
    token = token_of(api)
    jids = [post(api, "").json()["jid"] for _ in range(JOBS)]
    followers = [Follower(api, jid, token) for jid in jids]
    for follower in followers:
        follower.start()
    for minion in ("minion-1", "minion-2"):
        for jid in jids:
            gateway.hub.deliver(returned(jid, minion))
    for follower in followers:
        follower.join(60)

    assert {(follower.seq, len(follower.minions), follower.last["status"]) for follower in followers} == {(4, 2, "succeeded")}
