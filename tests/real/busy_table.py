"""Prints what every caller gets, of rest_cherrypy and of the sidecar, while a real salt-master is busy, frozen, killed or behind a filter: `make busy`."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from service.demo.embedded import EmbeddedSalt, until
    from tests.compat.servers import rest_cherrypy, wait_ready
    from tests.real.callers import Callers, Outcome, frozen, master_pids, worker_pids
    from tests.real.conftest import kill_master
    from tests.real.held import Held
    from tests.real.relay import Gate
    from tests.real.sidecar import Sidecar

# Nobody waits longer. A master that has been silent for 60 s is down for the sidecar, so a new call is told something else then.
LONGEST_SECONDS = 200.0
LATE_SECONDS = 70.0
HEAR_SECONDS = 60.0
MINIONS = ["minion-1", "minion-2"]
COLUMNS = ("in flight", "new", f"new, {LATE_SECONDS:g} s later", "login", "`/stats`", "stream")


@dataclasses.dataclass(frozen=True)
class Trouble:
    """
    What happens to a master.

    begin: makes it so inside the block. seconds: how long; None until everybody has an answer, or has waited too long.
    gated: its port is reached through the gate.
    """

    name: str
    begin: Callable[[EmbeddedSalt, Gate], contextlib.AbstractContextManager[None]]
    seconds: float | None = None
    gated: bool = False


@contextlib.contextmanager
def killed(salt: EmbeddedSalt, _gate: Gate) -> Iterator[None]:
    kill_master(salt)
    try:
        yield
    finally:
        salt.start_master()


@contextlib.contextmanager
def filtered(_salt: EmbeddedSalt, gate: Gate) -> Iterator[None]:
    gate.shut()
    try:
        yield
    finally:
        gate.open()


TROUBLES = (
    *(Trouble(f"busy for {seconds} s", lambda salt, _gate: frozen(worker_pids(salt)), seconds) for seconds in (2, 5, 15, 40, 90)),
    Trouble("frozen", lambda salt, _gate: frozen(master_pids(salt))),
    Trouble("killed", killed),
    Trouble("port filtered", filtered, gated=True),
)


class Asked:
    """One server, and what its callers have been answered."""

    def __init__(self, name: str, port: int, salt: EmbeddedSalt, folder: Path) -> None:
        self.name = name
        # The table gives up first.
        self.callers = Callers(port, salt, 2 * LONGEST_SECONDS)
        self.held = Held(folder)
        self._calls: dict[str, Future[Outcome]] = {"in flight": self.callers.local(self.held.low)}

    def begin(self) -> None:
        """Let the job end that waits for its minions, and call."""
        self.held.let_go()
        self._calls |= {"new": self.callers.local(), "login": self.callers.login(), "`/stats`": self.callers.stats()}

    def call_late(self) -> None:
        self._calls[COLUMNS[2]] = self.callers.local()

    def has_all(self) -> bool:
        return all(call.done() for call in self._calls.values())

    def row(self) -> dict[str, str]:
        """Return what is known by now."""
        return {name: shown(name, call.result()) if call.done() else nothing(name) for name, call in self._calls.items()}


def nothing(name: str) -> str:
    waited = LONGEST_SECONDS - (LATE_SECONDS if name == COLUMNS[2] else 0)
    return f"nothing in {waited:g} s"


def shown(name: str, outcome: Outcome) -> str:
    """Say what a caller got, and when."""
    if outcome.status == 0:
        return f"no answer, {outcome.seconds:.1f} s"
    incomplete = outcome.status == 200 and name.startswith(("in", "new")) and not is_complete(json.loads(outcome.body))
    return f"{outcome.status}{' without the returns' if incomplete else ''}, {outcome.seconds:.1f} s"


def is_complete(body: Any) -> bool:
    """Say whether both minions' own returns are there."""
    returns = body["return"][0]
    return sorted(returns) == MINIONS and all(one in {True, "let go"} for one in returns.values())


def play(trouble: Trouble, salt: EmbeddedSalt, folder: Path) -> list[tuple[str, dict[str, str]]]:
    """Let both servers' callers live through a trouble; returns the name and the row of each."""
    with Gate(salt, folder) as gate, pair(gate.master_config if trouble.gated else salt.master_config, salt, folder) as asked:
        expect(lambda: all(one.held.running == len(MINIONS) for one in asked))
        with trouble.begin(salt, gate):
            began = time.monotonic()
            for one in asked:
                one.begin()
            last(trouble, asked, began)
            rows = [one.row() for one in asked]
        if trouble.seconds is not None:
            wait(lambda: all(one.has_all() for one in asked), LONGEST_SECONDS)
            rows = [one.row() for one in asked]
        streams = heard(asked, began)
    return [(one.name, {**row, "stream": stream}) for one, row, stream in zip(asked, rows, streams, strict=True)]


def last(trouble: Trouble, asked: list[Asked], began: float) -> None:
    """Return when the trouble is over: after its time, or with everybody answered. Call once more on the way."""
    seconds = LONGEST_SECONDS if trouble.seconds is None else trouble.seconds
    wait(lambda: False, min(seconds, LATE_SECONDS))
    if seconds > LATE_SECONDS:
        for one in asked:
            one.call_late()
        wait(lambda: trouble.seconds is None and all(one.has_all() for one in asked), began + seconds - time.monotonic())


def heard(asked: list[Asked], began: float) -> list[str]:
    """Say of each stream whether it is open, and hears of jobs when the master is back."""
    read = [len(one.callers.stream.read) for one in asked]
    sidecar = asked[-1].callers
    wait(lambda: sidecar.local().result().status == 200, HEAR_SECONDS)
    # A call of the sidecar's causes events for both.
    wait(lambda: all(b"salt/job/" in one.callers.stream.read[size:] for one, size in zip(asked, read, strict=True)), HEAR_SECONDS)
    return [_stream(one.callers, size, began) for one, size in zip(asked, read, strict=True)]


def _stream(callers: Callers, size: int, began: float) -> str:
    if callers.stream.ended_at is not None:
        return f"ended after {callers.stream.ended_at - began:.1f} s"
    return "goes on" if b"salt/job/" in callers.stream.read[size:] else "open, but silent for good"


@contextlib.contextmanager
def pair(master_config: Path, salt: EmbeddedSalt, folder: Path) -> Iterator[list[Asked]]:
    """Start both servers with fresh sessions, and a job in each that waits for its minions."""
    homes = [folder / name for name in ("rest_cherrypy", "sidecar")]
    for home in homes:
        home.mkdir()
    upstream = rest_cherrypy(homes[0], master_config, {})
    sidecar = Sidecar(master_config, homes[1])
    asked: list[Asked] = []
    try:
        sidecar.__enter__()
        wait_ready(upstream, f"http://127.0.0.1:{upstream.port}/")
        asked += [
            Asked(name, port, salt, home) for name, port, home in zip(("rest_cherrypy", "sidecar"), (upstream.port, sidecar.api_port), homes, strict=True)
        ]
        yield asked
    finally:
        upstream.process.stop()
        sidecar.kill()
        for one in asked:
            one.callers.close()


def wait(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait until something holds, no longer than this; say whether it does."""
    return any(condition() for _ in until(seconds))


def expect(condition: Callable[[], bool]) -> None:
    assert wait(condition, LONGEST_SECONDS), "the minions do not begin"


def main(words: list[str]) -> None:
    """Print a row for each server and trouble; words: only troubles with one of these in their names."""
    print(f"| the master | server | {' | '.join(COLUMNS)} |\n|{'---|' * (len(COLUMNS) + 2)}", flush=True)
    with tempfile.TemporaryDirectory() as name, EmbeddedSalt(Path(name) / "salt", threads=True) as salt:
        for number, trouble in enumerate(one for one in TROUBLES if not words or any(word in one.name for word in words)):
            folder = Path(name) / str(number)
            folder.mkdir()
            for server, row in play(trouble, salt, folder):
                print(f"| {trouble.name} | {server} | {' | '.join(row.get(column, '') for column in COLUMNS)} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
