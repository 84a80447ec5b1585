"""What a soak mixes: every kind of caller, well-mannered and not, each a process of its own beside the others."""

from __future__ import annotations

import dataclasses
import json
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.behaviour import names
from benchmarks.cases import CASES, PATIENT, SIDECAR, Case
from benchmarks.followers import Follow
from benchmarks.misuse import Misuse
from benchmarks.peers import Peer
from benchmarks.rig import Rig, generated
from benchmarks.streams import OPEN_SECONDS, Watch
from service.demo.embedded import until

# Callers of each kind, at one time.
MIX = {"local-8": 4, "async-16": 2, "wheel-16": 1, "runner-16": 1, "jobs-read": 2}
# A stored job, waited for and read whole: its answer has every minion's return.
STORED = Case(
    "jobs-read",
    "a stored job, read whole",
    {"client": "local_async", "fun": "test.rand_str", "arg": [100], **PATIENT},
    "returns",
    2,
    minions=2,
    repeat=100,
    v1=("wait=60&fields=status,return,minions", "v1_returns"),
)
# A round of a load that is bounded by requests is given up after this long.
MOST_SECONDS = 900.0
# An accepted job has come to its end this long after the last request.
END_SECONDS = 120.0
Part = Callable[[], dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class Dose:
    """
    How much of everything there is in a round.

    seconds: callers begin no request after that. each: most requests of one caller, 0 for no limit. few: those of a runner, which costs the master a process.
    minions: asked by a `local` call. pause_seconds: of every caller, between two requests. jobs: that are followed, each by so many followers. streams: of events, with one more that reads nothing.
    """

    seconds: float
    each: int = 0
    few: int = 0
    minions: int = 10
    pause_seconds: float = 0.0
    jobs: int = 10
    followers: int = 3
    streams: int = 5
    events_per_second: float = 20.0
    events: int = 500
    rounds: int = 0


LONG = Dose(30.0)
# Mostly pauses: it runs beside other sets of tests.
SHORT = Dose(MOST_SECONDS, each=40, few=2, minions=2, pause_seconds=0.5, jobs=4, streams=3, events=200, events_per_second=10.0, rounds=5)


def parts(rig: Rig, peer: Peer, dose: Dose) -> Mapping[str, Part]:
    """Return all kinds of load, each as what runs it and returns at least `requests` and `lost`. Whatever listens for callers belongs here."""
    loads = {case.name: _load(rig, case, dose) for case in (*CASES, STORED) if case.name in MIX}
    return {**loads, "followers": lambda: _follow(peer, dose), "streams": lambda: _watch(rig, peer, dose), "misuse": lambda: _misuse(peer, dose)}


def _load(rig: Rig, case: Case, dose: Dose) -> Part:
    # Asynchronous jobs to every minion would leave the master no time for anything but their returns.
    minions = 1 if case.check == "job" else min(case.minions, dose.minions)
    each = dose.few if case.check == "runner" else dose.each
    # A minion that is only slow, on a machine that is, is nobody's loss.
    low = {**case.low, **(PATIENT if case.check == "returns" else {})}
    pause_seconds = dose.pause_seconds * (dose.each / each if each else 1)
    chosen = dataclasses.replace(case, low=low, callers=MIX[case.name], minions=minions, who=tuple(names(minions)), each=each, pause_seconds=pause_seconds)
    return lambda: rig.measure(SIDECAR, chosen, seconds=dose.seconds, alone=False)


def _follow(peer: Peer, dose: Dose) -> dict[str, Any]:
    """Start jobs, and follow each to its end: every minion, once, in order."""
    low = {"fun": "test.ping", "tgt": names(dose.minions), "tgt_type": "list", **PATIENT}
    follow = Follow(peer.port, peer.headers, json.dumps(low), dose.jobs, dose.followers, dose.minions, peer.process.pid)
    sample = generated("benchmarks.followers", dataclasses.asdict(follow), OPEN_SECONDS + follow.grace_seconds)
    return sample | {"requests": dose.jobs * (1 + dose.followers)}


def _watch(rig: Rig, peer: Peer, dose: Dose) -> dict[str, Any]:
    """Read streams of events, one of them slower than any."""
    config = str(rig.salt.master_config)
    path = "/events?tag=bench/small"
    watch = Watch(peer.port, peer.headers, config, dose.streams, dose.events_per_second, dose.events, path, peer.process.pid, MOST_SECONDS, stalled=True)
    sample = generated("benchmarks.streams", dataclasses.asdict(watch), OPEN_SECONDS + dose.events / dose.events_per_second + watch.grace_seconds)
    return sample | {"requests": dose.streams + 1}


def _misuse(peer: Peer, dose: Dose) -> dict[str, Any]:
    misuse = Misuse(peer.port, peer.headers, names(1)[0], seconds=dose.seconds, each=dose.each, pause_seconds=dose.pause_seconds)
    return generated("benchmarks.misuse", dataclasses.asdict(misuse), dose.seconds)


def open_jobs(peer: Peer) -> int:
    """Wait until every job that was accepted has come to an end; return how many have not."""
    open_now = 0
    for _ in until(END_SECONDS):
        open_now = sum(len(_jobs(peer, status)) for status in ("publishing", "in_doubt", "running"))
        if not open_now:
            break
    return open_now


def _jobs(peer: Peer, status: str) -> list[Any]:
    asked = urllib.request.Request(f"http://127.0.0.1:{peer.port}/v1/jobs?status={status}", headers=dict(peer.headers))
    with urllib.request.urlopen(asked, timeout=60) as answer:  # noqa: S310 - our own server
        found: list[Any] = json.load(answer)["jobs"]
        return found
