"""Sends each request to rest_cherrypy and to the sidecar, and says how the answers differ."""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import itertools
import json
import queue
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from service.demo.embedded import EmbeddedSalt
from tests.compat.compare import Aspects, Verdict, aspects, judge
from tests.compat.differences import DIFFERENCES, EVERYWHERE
from tests.compat.exchange import Answer, Request, Side, answer_of
from tests.compat.servers import PREFIX, Variant, pairs, passwords
from tests.compat.spelled import Respeller

EVENT_SECONDS = 60.0
STREAM_LINES = 2000
STREAM_PATH = "compat-stream"
STREAM_TAG = f"salt/netapi/hook/{STREAM_PATH}"


@dataclasses.dataclass(frozen=True)
class Outcome:
    """One request, both answers as they came, what was compared of them, and how it came out."""

    request: Request
    answers: tuple[Answer, Answer]
    aspects: tuple[Aspects, Aspects]
    verdict: Verdict

    def faults(self) -> list[str]:
        """Say what is wrong, one sentence for each aspect."""
        theirs, ours = self.aspects
        return [
            *(f"{name} differs and is not listed: theirs {theirs.get(name)!r:.300}, ours {ours.get(name)!r:.300}" for name in self.verdict.unlisted),
            *(f"{name} is not as listed: theirs {theirs.get(name)!r:.300}, ours {ours.get(name)!r:.300}" for name in self.verdict.stale),
        ]


class Observer:
    """Reads all events as rest_cherrypy shows them, whole, and keeps those of hooks."""

    def __init__(self, side: Side) -> None:
        self._side = side
        self._events: queue.Queue[dict[str, Any]] = queue.Queue()
        self._read_on()

    def await_stream(self) -> None:
        """Open the stream again if it has ended, as rest_cherrypy's do at an event with bytes."""
        if not self._thread.is_alive():
            self._read_on()

    def _read_on(self) -> None:
        self._open = threading.Event()
        self._thread = threading.Thread(target=self._read, args=(self._side,), daemon=True)
        self._thread.start()
        assert self._open.wait(EVENT_SECONDS), "rest_cherrypy opens no stream"

    def join(self) -> None:
        """Wait for the end of the stream, which comes with the server's."""
        self._thread.join(EVENT_SECONDS)

    def event(self, tag: str) -> Any:
        """Return the next event with a tag; None if none comes. Those before it were caused by requests that nobody waited for."""
        with contextlib.suppress(queue.Empty):
            while True:
                event = self._events.get(timeout=EVENT_SECONDS)
                if event["tag"] == tag:
                    return event
        return None

    def _read(self, side: Side) -> None:
        # The server is ended with the stream open.
        with contextlib.suppress(OSError, http.client.HTTPException), side.exchange(Request("observe", "GET", "/events", session="demo")) as response:
            response.readline()
            self._open.set()
            for line in iter(response.readline, b""):
                if line.startswith(b"data: ") and b"salt/netapi/hook" in line:
                    self._events.put(json.loads(line[6:]))


class Comparison:
    """Both servers in every variant, ready to be asked."""

    def __init__(self, sides: dict[Variant, tuple[Side, Side]], observer: Observer) -> None:
        self._sides = sides
        self._observer = observer
        self._numbers = itertools.count(1)

    def run(self, request: Request) -> Outcome:
        """Send a request to both and judge the answers."""
        theirs, ours = (self._ask(side, request) for side in self._sides[request.variant])
        verdict = judge(theirs[1], ours[1], DIFFERENCES.get(request.name), EVERYWHERE)
        return Outcome(request, (theirs[0], ours[0]), (theirs[1], ours[1]), verdict)

    def respeller(self) -> Respeller:
        """Return who sends spellings to both. `plain` has a reader of all events, which costs rest_cherrypy more than the calls."""
        return Respeller(*self._sides["site"])

    def _ask(self, side: Side, request: Request) -> tuple[Answer, Aspects]:
        sent = request.numbered(next(self._numbers))
        if sent.event:
            self._observer.await_stream()
        answer = self._stream(side, sent) if sent.stream else side.send(sent)
        event = self._observer.event(sent.event) if sent.event and answer.status == 200 else None
        if request.after:
            self._sides["plain"][0].send(Request("after", "POST", "/", dict(request.after), session="demo"))
        return answer, aspects(request, answer, event and event["data"])

    def _stream(self, side: Side, request: Request) -> Answer:
        """Open a stream, cause an event, and keep the stream's first line and that event."""
        with side.exchange(request) as response:
            if response.status != 200 or "event-stream" not in (response.getheader("Content-Type") or ""):
                return answer_of(response, response.read())
            lines = [response.readline()]
            # Without a session: what a token looks like in an event is compared elsewhere.
            self._sides["open"][0].send(Request("fire", "POST", f"{PREFIX}/calls/{STREAM_PATH}", {}))
            for _ in range(STREAM_LINES):
                line = response.readline()
                if line == f"tag: {STREAM_TAG}\n".encode():
                    lines += [line, response.readline(), response.readline()]
                    break
            return answer_of(response, b"".join(lines))


@contextlib.contextmanager
def comparison(folder: Path, salt: EmbeddedSalt) -> Iterator[Comparison]:
    """Start both servers in every variant beside a master that runs."""
    with contextlib.ExitStack() as afterwards, pairs(folder, salt) as servers:
        known = passwords(salt)
        first = Side(servers["plain"][0], "plain", known)
        observer = Observer(first)
        afterwards.callback(observer.join)
        token = first.send(Request("token", "POST", "/token", f"{{{known['@DEMO@']}}}")).json()[0]["token"]
        ping = {"client": "local", "tgt": "*", "fun": "test.ping", "full_return": True}
        returns = first.send(Request("job", "POST", "/", [ping], session="demo")).json()["return"][0]
        known |= {"@SALT@": token, "@JID@": returns["minion-1"]["jid"]}
        yield Comparison({variant: (Side(theirs, variant, known), Side(ours, variant, known)) for variant, (theirs, ours) in servers.items()}, observer)
