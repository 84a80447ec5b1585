"""`make bench`: every case, the peers one after the other in every round, medians, a table of targets, and a file with all of it."""

from __future__ import annotations

import argparse
import dataclasses
import datetime as dt
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.cases import (
    BAD,
    BAD_FLEET,
    BAD_MINIONS,
    CASES,
    CHERRYPY,
    EACH,
    EVERYBODY,
    FLOORS,
    LOCAL,
    LOCAL_ASYNC,
    MANY,
    NO_STORE,
    PUBLISHER,
    SIDECAR,
    STREAMS,
    TORNADO,
    WAITRESS,
    Case,
    StreamCase,
    Target,
)
from benchmarks.crowd_cases import CROWD, CROWD_FOLLOWED, CROWD_STREAMS, CROWDED, PAGES, RETURNS_PER_SECOND, SIZES
from benchmarks.job_cases import FINISHED_JOBS, FOLLOWED, IDLE_STORE, INTENT_CALLERS, INTENTS, JOBS, LARGE_JOB, OPEN_JOBS, RESTART, FollowCase
from benchmarks.judge import Verdict, judge, median, table
from benchmarks.login_cases import LOGINS, login_cases
from benchmarks.rig import Rig, prepared
from benchmarks.running import ROOT
from service.demo.embedded import StartFailed

RESULTS = ROOT / "benchmarks" / "results"
PACKAGES = ("salt", "waitress", "falcon", "CherryPy", "tornado", "pyzmq")
STARTS = (Target("start_s", 3), Target("idle_rss_mb", 110), Target("idle_cpu_percent", 0.5))
TARGETS = {**{case.name: case.targets for case in (*CASES, PUBLISHER, *BAD, *MANY)}, **{case.name: case.targets for case in STREAMS}, "start": STARTS}
TARGETS |= {**{case.name: case.targets for case in (*JOBS, LARGE_JOB)}, "intents": INTENTS, "restart": RESTART, "idle-store": IDLE_STORE}
TARGETS |= {case.name: case.targets for case in (*FOLLOWED, *CROWDED, CROWD_FOLLOWED, *PAGES, CROWD_STREAMS, *LOGINS)}
QUICK_CASES = ("local-1", "local-8", "async-16", "wheel-16", "runner-16", "streams-60", "silent", "start", "jobs-16", "intents")
QUICK_SECONDS = 2.0
QUICK_EVENTS_SECONDS = 3.0
IDLE_SECONDS = 10.0
IDLE_STORE_SECONDS = 60.0
INTENTS_SECONDS = 6.0
SHOWN = "rate p50_ms p99_ms cpu_ms cpu_us lost faults delivered_share rss_growth_mb master_ms beside_cores idle_percent start_s look_ups look_ups_at_once idle_rss_mb idle_cpu_percent intents per_commit fsyncs return_us minion_kb reader_kb".split()

Measure = Callable[[], dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class Step:
    """One measurement to come."""

    case: str
    title: str
    peer: str
    number: int
    measure: Measure


class Run:
    """All steps of a benchmark and what came of them."""

    def __init__(self, rig: Rig, chosen: argparse.Namespace) -> None:
        self._rig = rig
        self._chosen = chosen
        self._started = time.monotonic()
        self._done = 0
        self.rows: dict[str, dict[str, Any]] = {}

    def run(self) -> None:
        """Take every step; what fails is noted and the next one is taken."""
        small = [step for case in (*CASES, *JOBS, *login_cases(os.environ), PUBLISHER) if self._wants(case.name) for step in self._calls(case)]
        streams = [step for case in STREAMS if self._wants(case.name) for step in self._streams(case)]
        starts = [*(self._starts() if self._wants("start") else ()), *self._stores()]
        bad = [step for case in BAD if self._wants(case.name) for step in self._calls(case)]
        large = [step for case in (*MANY, LARGE_JOB) if self._wants(case.name) for step in self._calls(case)]
        large += [step for case in FOLLOWED if self._wants(case.name) for step in self._followers(case)]
        crowded = [step for case in CROWDED if self._wants(case.name) for step in self._calls(case)]
        crowded += list(self._followers(CROWD_FOLLOWED)) if self._wants(CROWD_FOLLOWED.name) else []
        sizes = {**SIZES, SIDECAR: CROWD}
        crowds = {size: list(self._crowd(peer)) for peer, size in sizes.items()}
        total = sum(map(len, (small, streams, starts, bad, large, crowded, *crowds.values())))
        for minions, behaviour, steps in ((10, {}, [*starts, *small, *streams]), (BAD_MINIONS, BAD_FLEET, bad), (1000, {}, large)):
            if steps:
                self._say(f"a fleet of {minions} minions signs in")
                self._rig.use_fleet(minions, **behaviour)
            for step in steps:
                self._take(step, total)
        crowds[CROWD] = [*crowded, *crowds[CROWD]]
        for size, steps in crowds.items():
            if steps:
                self._say(f"a crowd of {size} minions comes to the bus")
                self._rig.use_crowd(size, RETURNS_PER_SECOND)
            for step in steps:
                self._take(step, total)

    def _wants(self, name: str) -> bool:
        names = self._chosen.only.split(",") if self._chosen.only else QUICK_CASES if self._chosen.quick else ()
        return not names or name in names

    def _calls(self, case: Case) -> Iterator[Step]:
        seconds = min(case.seconds, QUICK_SECONDS) if self._chosen.quick else None
        self._add(case.name, case.title, callers=case.callers, minions=case.minions)
        for number, peer in self._order(case.peers, case.rounds):
            yield Step(case.name, case.title, peer, number, lambda peer=peer: self._rig.measure(peer, case, seconds=seconds))  # type: ignore[misc]

    def _streams(self, case: StreamCase) -> Iterator[Step]:
        chosen = dataclasses.replace(case, seconds=QUICK_EVENTS_SECONDS) if self._chosen.quick else case
        self._add(case.name, case.title, streams=case.streams)
        for number, peer in self._order(case.peers, case.rounds):
            yield Step(case.name, case.title, peer, number, lambda peer=peer: self._rig.watch_streams(peer, chosen))  # type: ignore[misc]

    def _followers(self, case: FollowCase) -> Iterator[Step]:
        self._add(case.name, case.title, streams=case.jobs * case.followers)
        for number, peer in self._order((SIDECAR,), 1):
            yield Step(case.name, case.title, peer, number, lambda: self._rig.follow(case))

    def _crowd(self, peer: str) -> Iterator[Step]:
        """Yield what is measured of a whole crowd, whose size is the peer's."""
        if peer not in self._chosen.peers:
            return
        for case in PAGES:
            if self._wants(case.name):
                self._add(case.name, case.title, callers=case.callers)
                yield Step(case.name, case.title, peer, 0, lambda case=case: self._rig.measure(peer, case))  # type: ignore[misc]
        if self._wants(CROWD_STREAMS.name):
            self._add(CROWD_STREAMS.name, CROWD_STREAMS.title, streams=CROWD_STREAMS.streams)
            yield Step(CROWD_STREAMS.name, CROWD_STREAMS.title, peer, 0, lambda: self._rig.watch_crowd(CROWD_STREAMS))

    def _starts(self) -> Iterator[Step]:
        self._add("start", "start, and 10 s without work")
        seconds = QUICK_EVENTS_SECONDS if self._chosen.quick else IDLE_SECONDS
        for number, peer in self._order((SIDECAR, CHERRYPY), 0):
            yield Step("start", "start", peer, number, lambda peer=peer: self._rig.start_and_idle(peer, seconds))  # type: ignore[misc]

    def _stores(self) -> Iterator[Step]:
        """Yield what is measured of the store of jobs beside requests."""
        quick = self._chosen.quick
        if self._wants("intents"):
            self._add("intents", f"the store alone, {INTENT_CALLERS} callers", callers=INTENT_CALLERS)
            for number, peer in self._order((SIDECAR,), 0):
                yield Step("intents", "intents", peer, number, lambda: self._rig.intend(QUICK_SECONDS if quick else INTENTS_SECONDS))
        if self._wants("restart"):
            self._add("restart", f"restart with {FINISHED_JOBS:,} jobs that are over and {OPEN_JOBS} that are not")
            for number, peer in self._order((SIDECAR,), 1):
                yield Step("restart", "restart", peer, number, lambda: self._rig.restart_with_jobs(FINISHED_JOBS))
        if self._wants("idle-store"):
            self._add("idle-store", f"{IDLE_STORE_SECONDS:.0f} s without work, with a store of jobs and without")
            for number, peer in self._order((SIDECAR, NO_STORE), 0):
                yield Step("idle-store", "idle store", peer, number, lambda peer=peer: self._rig.start_and_idle(peer, IDLE_STORE_SECONDS))  # type: ignore[misc]

    def _order(self, peers: tuple[str, ...], rounds: int) -> Iterator[tuple[int, str]]:
        """Yield the peers one after the other in each round. rest_tornado is started for each of its rounds, and gets one, as does the bare server."""
        for number in range(rounds or self._chosen.rounds):
            for peer in peers:
                if peer in self._chosen.peers and (peer not in {TORNADO, WAITRESS} or not number):
                    yield number, peer

    def _add(self, name: str, title: str, **facts: int) -> None:
        self.rows.setdefault(name, {"title": title, "samples": {}, "medians": {}, **facts})

    def _take(self, step: Step, total: int) -> None:
        begun = time.monotonic()
        try:
            sample = step.measure()
        except (StartFailed, RuntimeError, OSError, KeyError, subprocess.TimeoutExpired) as exc:
            sample = {"failed": f"{type(exc).__name__}: {exc}"[:2000]}
        row = self.rows[step.case]
        row["samples"].setdefault(step.peer, []).append(sample)
        row["medians"][step.peer] = median(row["samples"][step.peer])
        self._done += 1
        self._say(f"[{self._done}/{total}] {step.title}, {step.peer}, {time.monotonic() - begun:.0f} s: {summary(sample)}")

    def _say(self, text: str) -> None:
        minutes, seconds = divmod(int(time.monotonic() - self._started), 60)
        print(f"{minutes:02}:{seconds:02} {text}", flush=True)


def verdicts(rows: Mapping[str, Mapping[str, Any]]) -> list[Verdict]:
    """Hold every case against its targets."""
    return [verdict for name, row in rows.items() for verdict in judge(row["title"], TARGETS[name], row["medians"])]


def summary(sample: dict[str, Any]) -> str:
    """Return what a person wants to see go by."""
    if "failed" in sample:
        return str(sample["failed"])
    return ", ".join(f"{name} {sample[name]}" for name in SHOWN if sample.get(name) not in (None, {}))


def about() -> dict[str, Any]:
    """Return what the figures depend on."""
    model = [line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False, cwd=ROOT).stdout.strip()  # noqa: S607 - git
    return {
        "date": dt.datetime.now(dt.timezone.utc).isoformat(timespec="seconds"),
        "commit": commit,
        "machine": f"{os.cpu_count()} x {model[0] if model else platform.machine()}",
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
        "load_before": os.getloadavg()[0],
    }


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few cases, one round, short: to see that it works, not to judge by")
    parser.add_argument("--only", default="", metavar="CASE,CASE", help="these cases alone")
    parser.add_argument("--rounds", type=int, default=0, help="default 2, with --quick 1")
    everybody = [*EVERYBODY, *FLOORS, LOCAL_ASYNC, LOCAL, NO_STORE, EACH, *SIZES]
    parser.add_argument("--peers", nargs="+", default=everybody, choices=everybody, metavar="PEER", help="these alone, of: " + "; ".join(everybody))
    parser.add_argument("--output", type=Path, metavar="FILE", help="default benchmarks/results/DATE.json; with --quick or --only none")
    parser.add_argument("--into", type=Path, metavar="FILE", help="with --only: take the place of these cases in earlier results, and say so there")
    chosen = parser.parse_args()
    chosen.rounds = chosen.rounds or (1 if chosen.quick else 2)
    return chosen


def again(earlier: dict[str, Any], later: Mapping[str, Any]) -> dict[str, Any]:
    """Put cases that were measured again into earlier results."""
    note = {name: later["about"][name] for name in ("date", "commit", "load_before")} | {"cases": [row["title"] for row in later["cases"].values()]}
    about = {**earlier["about"], "again": [*earlier["about"].get("again", ()), note]}
    return {"about": about, "cases": {**earlier["cases"], **later["cases"]}}


def main() -> None:
    """Run, print the table, keep the results."""
    chosen = arguments()
    facts, started = about(), time.monotonic()
    print(f"{facts['machine']}, load {facts['load_before']:.1f}; Salt {facts['packages']['salt']}, {facts['commit']}", flush=True)
    with prepared() as rig:
        run = Run(rig, chosen)
        run.run()
    facts["minutes"] = round((time.monotonic() - started) / 60, 1)
    results = {"about": facts, "cases": run.rows}
    if chosen.into:
        results = again(json.loads(chosen.into.read_text(encoding="utf-8")), results)
    judged = verdicts(results["cases"])
    print("\n" + table(judged))
    output = chosen.into or chosen.output or (None if chosen.quick or chosen.only else RESULTS / f"{facts['date'][:16].replace(':', '')}.json")
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps({**results, "verdicts": [dataclasses.asdict(verdict) for verdict in judged]}, indent=1) + "\n")
        print(f"\n{facts['minutes']} minutes; kept in {output}")
    if any(verdict.met is None for verdict in judged):
        sys.exit("a figure is missing: see the lines above")


if __name__ == "__main__":
    main()
