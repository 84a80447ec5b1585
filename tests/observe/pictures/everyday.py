"""A short day: what people and pipelines do all the time, so that every panel has something to show, and what goes wrong meanwhile."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from service.demo.embedded import EmbeddedSalt
from tests.meanwhile import reading_events, repeated
from tests.observe.story import EVENT_BYTES, each_client, slow_reader
from tests.real.sidecar import JSON, Sidecar, ask

# What is waited for between two rounds; each round is a few calls of each kind.
PAUSE_SECONDS = 5.0
# Of the master: what docs/monitoring.md says that figures need, more often than once a minute.
MASTER: dict[str, Any] = {"presence_events": True, "master_stats": True, "master_stats_event_iter": 2}


@contextlib.contextmanager
def everyday(salt: EmbeddedSalt, sidecar: Sidecar) -> Iterator[None]:
    """Keep all of it going inside the block."""
    people = People(salt.credentials, sidecar)
    people.post(
        {"client": "local", "tgt": "minion-1", "fun": "schedule.add", "arg": ["story"], "kwarg": {"function": "test.ping", "seconds": 5, "persist": False}}
    )
    with repeated(people.call_each_client, PAUSE_SECONDS), repeated(people.run_jobs, PAUSE_SECONDS), people.reading_events():
        yield


def a_day(salt: EmbeddedSalt, sidecar: Sidecar) -> Iterator[tuple[str, float]]:
    """Let things go wrong, one after the other; yield what it is, and for how many seconds it is to be so."""
    people = People(salt.credentials, sidecar)
    yield "nothing is wrong", 100
    with repeated(people.guess, 1):
        yield "somebody guesses passwords", 60
    salt.stop_minion("minion-2")
    yield "minion-2 is away", 70
    salt.start_minion("minion-2")
    with slow_reader(sidecar, sidecar.login(salt.credentials)), repeated(people.fire_much, 0.5):
        yield "a reader is slow", 60
    yield "nothing is wrong", 40
    salt.stop_master()
    yield "the master is away", 50
    salt.start_master()
    sidecar.wait_ready()
    yield "all is well again", 120


class People:
    """Callers with all rights, who do not mind what they are answered."""

    def __init__(self, credentials: dict[str, str], sidecar: Sidecar) -> None:
        self._credentials = credentials
        self._sidecar = sidecar

    def post(self, low: Mapping[str, object]) -> None:
        self._sidecar.post({**self._credentials, **low})

    def call_each_client(self) -> None:
        """Run a round of lows, with a state that fails, and make the mistakes that people make."""
        local: dict[str, object] = {"client": "local", "tgt": "*"}
        states = [{**local, "fun": "state.sls", "arg": [name]} for name in ("good", "failing")]
        for low in (
            *each_client(self._credentials),
            *states,
            {**local, "fun": "cmd.run", "arg": ["exit 3"]},
            {**local, "fun": "test.ping", "password": "guessed"},
        ):
            self.post(low)
        ask(self._sidecar.api_port, "GET", "/nowhere")

    def guess(self) -> None:
        """Try a password."""
        self.post({"client": "local", "tgt": "*", "fun": "test.ping", "eauth": "file", "username": "pinger", "password": "guessed"})

    def fire_much(self) -> None:
        """Fire an event that takes a slow reader long."""
        ask(self._sidecar.api_port, "POST", "/hook/story", json.dumps({"text": "x" * EVENT_BYTES}).encode(), self._session())

    def run_jobs(self) -> None:
        """Let a pipeline run a job, one with events of its states, one in waves, and let somebody fire a webhook."""
        headers = self._session()
        for job in (
            {"tgt": "*", "fun": "test.ping"},
            {"tgt": "*", "fun": "state.sls", "arg": ["good"], "state_events": True},
            {"tgt": "*", "fun": "test.ping", "batch": 1},
        ):
            ask(self._sidecar.api_port, "POST", "/v1/jobs?wait=10", json.dumps(job).encode(), headers)
        ask(self._sidecar.api_port, "POST", "/hook/story", b'{"text": "x"}', headers)

    def reading_events(self) -> contextlib.AbstractContextManager[None]:
        """Read the event stream inside the block, and come back when it has ended."""
        return reading_events(self._sidecar.api_port, self._session, PAUSE_SECONDS)

    def _session(self) -> dict[str, str]:
        login = ask(self._sidecar.api_port, "POST", "/login", json.dumps(self._credentials).encode(), JSON)
        return {**JSON, "X-Auth-Token": str(login.value["token"])} if login.status == 200 else JSON
