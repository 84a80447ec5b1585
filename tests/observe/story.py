"""The story: one thing after the other goes wrong with a real fleet, until the alert that is made for it fires."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from service.demo.embedded import EmbeddedSalt, until
from tests.meanwhile import repeated
from tests.observe.faster import TICK, write_faster, write_faster_notices
from tests.observe.promtool import CONFIG
from tests.observe.server import Alertmanager, Prometheus
from tests.real.load import Load
from tests.real.sidecar import JSON, Sidecar, ask
from tests.receiver import Receiver, receiving

# A minute of these seconds is an hour of the rules; on a busy machine an act takes a few times as long as on a calm one.
ACT_SECONDS = 300.0
SETTINGS: dict[str, Any] = {"JOBS_TRACKING_WINDOW_SECONDS": 2, "EVENTS_QUEUE_EVENTS": 10, "HOOK_REQUIRE_LOGIN": "true"}
EVENT_BYTES = 200_000
EXPECTED = (
    "SaltAPIAuthFailureSpike",
    "SaltJobReturnsMissing",
    "SaltStreamEventsDropped",
    "SaltMasterUnreachable",
    "SaltEventBusDisconnected",
    "SaltAPIErrorBudgetBurn",
    "SaltAPIDown",
)
FIGURES = {
    "targets up": "sum(up)",
    "calls/s": "sum(job_client:salt_api_client_requests:rate5m)",
    "calls that we failed": "job:salt_api_client_errors:ratio_rate5m",
    "logins refused": "sum(job_eauth:salt_api_auth_refused:increase5m)",
    "returns missing": "job:salt_job_missing_returns:ratio_rate15m",
    "stream events lost/s": "sum(rate(salt_api_stream_events_dropped_total[5s]))",
    "bus events/s": "sum(rate(salt_event_bus_events_total[5s]))",
    "bus connected": "salt_event_bus_connected",
    "master up": "salt_master_up",
}


@dataclasses.dataclass(frozen=True)
class Change:
    """An alert began to fire, or ended; at: seconds since the story began."""

    at: float
    alert: str
    fires: bool


@dataclasses.dataclass(frozen=True)
class Notice:
    """What a receiver was told of an alert; group: what all alerts of the message have in common."""

    receiver: str
    alert: str
    status: str
    runbook: str
    group: dict[str, str]


@dataclasses.dataclass(frozen=True)
class Scene:
    """One act's end: the figures as they were then."""

    title: str
    figures: dict[str, float | None]


class Story:
    """
    Plays the acts, and writes down what Prometheus says meanwhile.

    told: where Alertmanager's webhooks go. say: takes a line for a person.
    """

    def __init__(self, salt: EmbeddedSalt, sidecar: Sidecar, prometheus: Prometheus, told: Receiver, say: Callable[[str], None]) -> None:
        self.changes: list[Change] = []
        self.scenes: list[Scene] = []
        self._salt = salt
        self._sidecar = sidecar
        self._prometheus = prometheus
        self._told = told
        self._say = say
        self._started = time.monotonic()
        self._firing: set[str] = set()

    @property
    def fired(self) -> set[str]:
        return {change.alert for change in self.changes if change.fires}

    def calm(self) -> None:
        """Call each client once; nothing may alarm."""
        # Prometheus takes five seconds to find its targets, which are as many minutes here: long enough to miss us.
        for _ in until(ACT_SECONDS):
            if self._prometheus.value("sum(up)") == 1 and not self._prometheus.firing():
                break
        for low in each_client(self._salt.credentials):
            answer = self._sidecar.post(low)
            assert answer.status == 200, (low["client"], answer.body)
        self._until(lambda: (self._prometheus.value(FIGURES["calls/s"]) or 0.0) > 0, "seen in Prometheus")
        self._note("calm")

    def bad_logins(self) -> None:
        self._say("somebody guesses passwords")
        low = {"client": "local", "tgt": "*", "fun": "test.ping", "eauth": "file", "username": "pinger", "password": "guessed"}
        with repeated(lambda: self._sidecar.post(low), 0.02):
            self._until_firing("SaltAPIAuthFailureSpike")
            self._note("bad logins")

    def a_minion_is_away(self) -> None:
        self._say("minion-2 is stopped; jobs go to all")
        self._salt.stop_minion("minion-2")
        low = {**self._salt.credentials, "client": "local_async", "tgt": "*", "fun": "test.ping"}
        with repeated(lambda: self._sidecar.post(low), 0.3):
            self._until_firing("SaltJobReturnsMissing")
            self._note("minion away")
        self._salt.start_minion("minion-2")

    def a_reader_is_slow(self) -> None:
        self._say("a stream reader does not read; large events are fired")
        login = ask(self._sidecar.api_port, "POST", "/login", json.dumps(self._salt.credentials).encode(), JSON)
        token = str(login.json()["return"][0]["token"])
        body = json.dumps({"text": "x" * EVENT_BYTES}).encode()
        headers = {**JSON, "X-Auth-Token": token}
        with slow_reader(self._sidecar, token), repeated(lambda: ask(self._sidecar.api_port, "POST", "/hook/story", body, headers), 0.02):
            self._until_firing("SaltStreamEventsDropped")
            self._note("slow reader")

    def the_master_is_away(self) -> None:
        self._say("the master is stopped under load")
        low = {**self._salt.credentials, "client": "local", "tgt": "*", "fun": "test.ping"}
        with Load(self._sidecar, low, 3).running():
            self._salt.stop_master()
            self._until_firing("SaltMasterUnreachable", "SaltEventBusDisconnected", "SaltAPIErrorBudgetBurn")
            self._note("master away")
        self._say("the master is started")
        self._salt.start_master()
        self._sidecar.wait_ready()
        self._until(lambda: not {"SaltMasterUnreachable", "SaltEventBusDisconnected"} & self._firing, "calm again")
        self._note("master back")

    def the_sidecar_ends(self) -> None:
        self._say("the sidecar is stopped")
        self._sidecar.stop()
        self._until_firing("SaltAPIDown")
        self._note("sidecar away")

    @property
    def acts(self) -> list[Callable[[], None]]:
        """What happens, in its order."""
        return [self.calm, self.bad_logins, self.a_minion_is_away, self.a_reader_is_slow, self.the_master_is_away, self.the_sidecar_ends]

    def notice(self, receiver: str, alert: str, status: str = "firing") -> Notice:
        """Wait until Alertmanager has told this receiver of an alert; return how."""
        for _ in until(ACT_SECONDS):
            for found in self.notices():
                if (found.receiver, found.alert, found.status) == (receiver, alert, status):
                    return found
        raise AssertionError(f"nobody told {receiver} that {alert} is {status}: {self.notices()}")

    def notices(self) -> list[Notice]:
        """Return what Alertmanager has told until now."""
        bodies = [json.loads(body) for _path, _headers, body in list(self._told.got)]
        return [
            Notice(body["receiver"], said["labels"]["alertname"], said["status"], said["annotations"]["runbook_url"], body["groupLabels"])
            for body in bodies
            for said in body["alerts"]
        ]

    def _until_firing(self, *alerts: str) -> None:
        self._until(lambda: set(alerts) <= self.fired, f"{', '.join(alerts)} firing")

    def _until(self, condition: Callable[[], bool], what: str) -> None:
        for _ in until(ACT_SECONDS):
            self._look()
            if condition():
                return
            threading.Event().wait(0.2)
        raise AssertionError(f"not {what} within {ACT_SECONDS:g} s; firing: {sorted(self._firing)}; figures: {self._figures()}")

    def _look(self) -> None:
        """Write down which alerts began to fire or ended since the last look."""
        now = self._prometheus.firing()
        for alert in sorted(now ^ self._firing):
            self.changes.append(Change(time.monotonic() - self._started, alert, alert in now))
            self._say(f"    {alert} {'fires' if alert in now else 'has ended'}")
        self._firing = now

    def _note(self, title: str) -> None:
        self.scenes.append(Scene(title, self._figures()))

    def _figures(self) -> dict[str, float | None]:
        return {name: self._prometheus.value(expr) for name, expr in FIGURES.items()}


def each_client(credentials: dict[str, str]) -> list[dict[str, object]]:
    """Return a low for each client."""
    ping: dict[str, object] = {**credentials, "tgt": "*", "fun": "test.ping"}
    runner: dict[str, object] = {**credentials, "fun": "jobs.active"}
    wheel: dict[str, object] = {**credentials, "fun": "key.list_all"}
    return [
        {**ping, "client": "local"},
        {**ping, "client": "local_async"},
        {**ping, "client": "local_subset", "subset": 1},
        {**ping, "client": "local_batch", "batch": "1"},
        {**runner, "client": "runner"},
        {**runner, "client": "runner_async"},
        {**wheel, "client": "wheel"},
        {**wheel, "client": "wheel_async"},
    ]


@contextlib.contextmanager
def observed(salt: EmbeddedSalt, folder: Path, say: Callable[[str], None], tick: str = TICK) -> Iterator[tuple[Story, Sidecar, Prometheus]]:
    """Start a sidecar beside a running master, a Prometheus with our rules in quick motion that scrapes it, and an Alertmanager that tells what it alarms of."""
    servers = folder / "prometheus"
    servers.mkdir(parents=True)
    with (
        Sidecar(salt.master_config, folder / "sidecar", JOBS_STORE=f"sqlite://{folder}/jobs.db", **SETTINGS) as sidecar,
        receiving() as told,
        Alertmanager(write_faster_notices(CONFIG, servers, told.url), servers) as alertmanager,
    ):
        say("starting Prometheus")
        configuration = write_faster(CONFIG, servers, f"127.0.0.1:{sidecar.ops_port}", f"127.0.0.1:{alertmanager.port}", tick)
        with Prometheus(configuration, servers) as prometheus:
            yield Story(salt, sidecar, prometheus, told, say), sidecar, prometheus


@contextlib.contextmanager
def slow_reader(sidecar: Sidecar, token: str) -> Iterator[None]:
    """Hold a stream open that is never read, inside the block; a new one once the sidecar has dropped it."""
    with contextlib.ExitStack() as held:
        dropped = -1.0

        def hold() -> None:
            nonlocal dropped
            ended = sidecar.metric("salt_api_stream_disconnects_total")
            if ended > dropped:
                dropped = ended
                held.enter_context(unread_stream(sidecar.api_port, token))

        hold()
        with repeated(hold, 0.2):
            yield


def unread_stream(port: int, token: str) -> socket.socket:
    reader = socket.socket()
    # Room for so little that the sidecar notices soon.
    reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    reader.settimeout(10)
    reader.connect(("127.0.0.1", port))
    reader.sendall(f"GET /events HTTP/1.1\r\nHost: story\r\nX-Auth-Token: {token}\r\n\r\n".encode())
    return reader
