"""Ten thousand minions on the bus alone: the master has their keys, and one process fires what they return, at an even rate. What a return costs the sidecar is the same."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import itertools
import json
import signal
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from benchmarks.behaviour import Behaviour, answer, names
from service.events.event import read
from service.gateway.transport.event_bus import Bus
from service.gateway.transport.event_writer import framed, packed

# Between two groups of returns.
PACE_SECONDS = 0.02
MOST_BYTES = 1_048_576


@dataclasses.dataclass(frozen=True)
class Saying:
    """What one minion says of a job, as an event. jid: of the job it is about, which it does not run any more then; empty for an answer to a question."""

    minion: str
    tag: str
    data: dict[str, Any]
    jid: str = ""


class Crowd:
    """
    Hears of jobs and answers for every minion that they were sent to.

    rate: returns a second, all jobs together. Answers to questions go in between, as many: nobody waits for another minion's return.
    """

    def __init__(self, minions: list[str], rate: float, behaviour: Behaviour) -> None:
        self._minions = frozenset(minions)
        self._rate = rate
        self._behaviour = behaviour
        self._running: dict[tuple[str, str], str] = {}  # functions by job and minion
        self._returns: deque[Saying] = deque()
        self._answers: deque[Saying] = deque()
        self.said = 0

    def hear(self, raw: bytes) -> None:
        """Take an event of the bus."""
        event = read(raw)
        if event.kind != "job_new":
            return
        job = event.data()
        for minion in filter(self._minions.__contains__, job.get("minions", ())):
            self._run(minion, job)

    def _run(self, minion: str, job: dict[str, Any]) -> None:
        fun, jid, arg = job["fun"], job["jid"], job.get("arg") or []
        asked = str(arg[0]) if arg else ""
        running = {asked: self._running[asked, minion]} if (asked, minion) in self._running else {}
        given = answer("good", self._behaviour, fun, arg, running)
        if given is None:
            return
        data = {"jid": jid, "id": minion, "fun": fun, "fun_args": arg, "return": given.value, "retcode": 0, "success": True, "cmd": "_return"}
        tag = f"salt/job/{jid}/ret/{minion}"
        if fun == "saltutil.find_job":
            self._answers.append(Saying(minion, tag, data))
            return
        self._running[jid, minion] = fun
        asyncio.get_running_loop().call_later(given.delay_seconds, self._returns.append, Saying(minion, tag, data, jid))

    def next(self, count: int) -> Iterator[bytes]:
        """Yield what is said next: at most so many returns, and as many answers."""
        for queue, _ in itertools.product((self._answers, self._returns), range(count)):
            if queue:
                saying = queue.popleft()
                self._running.pop((saying.jid, saying.minion), None)
                self.said += 1
                yield framed(packed(saying.tag, saying.data, MOST_BYTES))

    async def speak(self, writer: asyncio.StreamWriter) -> None:
        """Say what there is to say, until cancelled."""
        while True:
            writer.writelines(self.next(round(self._rate * PACE_SECONDS)))
            await writer.drain()
            await asyncio.sleep(PACE_SECONDS)


def accept(pki: Path, minions: list[str]) -> None:
    """Give the master a key of each minion, and of no other: the same one, as nobody will ever sign in with it."""
    key = (pki / "master.pub").read_bytes()
    (pki / "minions").mkdir(exist_ok=True)
    for former in {path.name for path in (pki / "minions").glob("sim-*")} - {*minions}:
        (pki / "minions" / former).unlink()
    for minion in minions:
        (pki / "minions" / minion).write_bytes(key)


async def run(chosen: argparse.Namespace) -> None:
    """Speak for a crowd until SIGTERM or SIGINT; prints one JSON line when it listens, and one at the end."""
    master, minions = yaml.safe_load(chosen.master_config.read_text()), names(chosen.minions)
    await asyncio.to_thread(accept, Path(master["pki_dir"]), minions)
    crowd, over = Crowd(minions, chosen.rate, Behaviour()), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, over.set)

    def told(connected: bool, _reason: str, _cause: str) -> None:
        if connected:
            print(json.dumps({"event": "ready", "minions": chosen.minions}), flush=True)

    bus = Bus(f"{master['sock_dir']}/master_event_pub.ipc", "", 0, deliver=crowd.hear, on_state=told)
    _, writer = await asyncio.open_unix_connection(f"{master['sock_dir']}/master_event_pull.ipc")
    working = [asyncio.create_task(work) for work in (bus.run(), crowd.speak(writer), over.wait())]
    done, _ = await asyncio.wait(working, return_when=asyncio.FIRST_COMPLETED)
    for task in working:
        task.cancel()
    writer.close()
    for task in done:
        task.result()
    print(json.dumps({"event": "over", "said": crowd.said}), flush=True)


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.crowd", description=__doc__)
    parser.add_argument(
        "--master-config", type=Path, required=True, metavar="FILE", help="of the master to speak to; the keys of the minions are written where it keeps keys"
    )
    parser.add_argument("--minions", type=int, default=10_000, metavar="N", help="how many, called sim-0000 and so on (default 10000)")
    parser.add_argument("--rate", type=float, default=2000.0, metavar="N", help="returns a second (default 2000)")
    return parser.parse_args(argv)


if __name__ == "__main__":
    asyncio.run(run(arguments()))
