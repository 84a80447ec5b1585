"""`make messages`: what callers cost a master in messages, through the sidecar and by Salt's own client, counted on the master's bus: no other work changes a count."""

from __future__ import annotations

import dataclasses
import json
import sys
import threading
import urllib.request
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from benchmarks.behaviour import names
from benchmarks.cases import PATIENT, SIDECAR
from benchmarks.probes import BusWatch
from benchmarks.rig import Rig, generated, prepared
from benchmarks.run import RESULTS, about
from benchmarks.stored import BusReader
from service.demo.embedded import until
from service.events.event import read
from service.gateway.clients.gathering import QUESTION

LOCAL_CLIENT = "LocalClient"
# Of four minions the first answers nothing.
MINIONS, SILENT_SHARE = 4, 0.25
SILENT, *GOOD = names(MINIONS)
HASTY = {"timeout": 1, "gather_job_timeout": 2}
LONG_SECONDS = 20
ANSWER_SECONDS = 600.0
# Nothing on the bus for so long: what callers began is over.
QUIET_SECONDS = 3.0


@dataclasses.dataclass(frozen=True)
class Asked:
    """What each caller asks once. callers: how many at one time, one row each. answers: who is in the answer."""

    title: str
    low: Mapping[str, Any]
    callers: tuple[int, ...]
    answers: tuple[str, ...]


def _asked(title: str, callers: tuple[int, ...], minions: tuple[str, ...], **fields: Any) -> Asked:
    return Asked(title, {"client": "local", "tgt": list(minions), "tgt_type": "list", **fields}, callers, minions)


# A hundred and more of Salt's clients, each of which reads the whole bus, ask nothing but what is answered at once.
ASKED = (
    _asked(
        f"a job of {LONG_SECONDS} s, two minions, `timeout` 1 s, `gather_job_timeout` 2 s",
        (1, 16),
        tuple(GOOD[:2]),
        fun="test.sleep",
        arg=[LONG_SECONDS],
        **HASTY,
    ),
    _asked("`test.ping`, two minions, one of them silent, the same timeouts", (1, 16), (SILENT, GOOD[0]), fun="test.ping", **HASTY),
    _asked("`test.ping`, two minions, `timeout` 60 s", (1, 16, 128), tuple(GOOD[:2]), fun="test.ping", **PATIENT),
)


def counted_as(raw: bytes) -> str:
    """Say what an event is: of `publishes`, jobs that are announced, but for `questions`, which ask whether a job still runs; of `returns` of both; of `others`."""
    event = read(raw)
    if event.kind == "job_new":
        return "questions" if event.data().get("fun") == QUESTION else "publishes"
    return "returns" if event.kind == "job_ret" else "others"


class BusCount(BusReader):
    """Counts the events of a master inside the block."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.kinds: Counter[str] = Counter()
        self._heard = threading.Event()

    def wait_quiet(self) -> None:
        """Wait until there was nothing for some seconds."""
        for _ in until(ANSWER_SECONDS):
            self._heard.clear()
            if not self._heard.wait(QUIET_SECONDS):
                return

    def take(self, raw: bytes) -> None:
        self.kinds[counted_as(raw)] += 1
        self._heard.set()


def by_sidecar(rig: Rig, asked: Asked, callers: int) -> list[list[str]]:
    """Send a low as so many callers at once; return who is in each answer."""
    with rig.using(SIDECAR) as peer:
        headers = {**peer.headers, "Content-Type": "application/json", "Accept": "application/json"}
        request = urllib.request.Request(f"http://127.0.0.1:{peer.port}/", json.dumps([asked.low]).encode(), headers)

        def call() -> list[str]:
            with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as answer:  # noqa: S310 - our own server
                return sorted(json.load(answer)["return"][0])

        with ThreadPoolExecutor(callers) as threads:
            return [one.result() for one in [threads.submit(call) for _ in range(callers)]]


def by_local_client(rig: Rig, asked: Asked, callers: int) -> list[list[str]]:
    """Do the same with Salt's own client."""
    given = {"master_config": str(rig.salt.master_config), "callers": callers, "low": asked.low}
    found: list[list[str]] = generated("benchmarks.local_clients", given, ANSWER_SECONDS)["answers"]
    return found


THROUGH = {SIDECAR: by_sidecar, LOCAL_CLIENT: by_local_client}


def count(rig: Rig, asked: Asked, callers: int, through: str) -> dict[str, Any]:
    """Count what one row costs."""
    with BusCount(rig.bus_path) as bus:
        bus.wait_quiet()
        bus.kinds.clear()
        with BusWatch(rig.bus_path) as watch:
            answers = THROUGH[through](rig, asked, callers)
            bus.wait_quiet()
        right = sum(answer == sorted(asked.answers) for answer in answers)
        figures = {name: bus.kinds[name] for name in ("publishes", "questions", "returns", "others")}
    return {"title": asked.title, "callers": callers, "through": through, "right": right, **figures, "connections": watch.opened}


def main() -> None:
    """Count every row, print it, and keep what there is after each: nothing is lost when a run is stopped."""
    facts, rows = about(), []
    keep = RESULTS / f"messages-{facts['date'][:16].replace(':', '')}.json"
    with prepared() as rig:
        rig.use_fleet(MINIONS, silent=SILENT_SHARE)
        with rig.using(SIDECAR):
            # Its own connection to the bus is there before anybody calls, and stays.
            rig.settle()
        for asked, callers, through in [(one, number, way) for one in ASKED for number in one.callers for way in THROUGH]:
            rows.append(count(rig, asked, callers, through))
            print(json.dumps(rows[-1]), flush=True)
            keep.write_text(json.dumps({"about": facts, "rows": rows}, indent=1) + "\n", encoding="utf-8")
    print(f"kept in {keep}; make bench-report writes the table")
    if wrong := [row for row in rows if row["through"] == SIDECAR and row["right"] != row["callers"]]:
        sys.exit(f"not all answers were right: {wrong}")


if __name__ == "__main__":
    main()
