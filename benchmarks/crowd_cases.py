"""What is measured of ten thousand minions: the same jobs, pages and streams with a hundred, a thousand and all of them, which have to cost the same for each return."""

from __future__ import annotations

import dataclasses
from typing import Any

from benchmarks.cases import NONE_LOST, PATIENT, SIDECAR, Case, Check, Target
from benchmarks.job_cases import FollowCase

CROWD = 10_000
# The same sidecar and the same crowd, but of it so many are asked: as many returns in more jobs.
SIZES = {"100 minions": 100, "1,000 minions": 1000}
RETURNS_PER_SECOND = 1500.0
# For each job the master looks at all keys: more at one time would measure that.
MOST_CALLERS = 2
# What a job costs by itself is shared by more returns, so they become cheaper; what has to be shown is that they do not become dearer.
FLAT = (*(Target("return_us", 1.2, to=size) for size in SIZES), NONE_LOST)
# As much as a return that is waited for takes, as bytes, as values and as JSON.
LEAN = Target("minion_kb", 4)


def _crowded(name: str, title: str, low: dict[str, Any], targets: tuple[Target, ...], **more: Any) -> Case:
    return Case(name, title, low, "returns", 1, targets, (SIDECAR, *SIZES), minions=CROWD, each=1, seconds=300, grace_seconds=120, **more)


def _page(name: str, title: str, get: str, check: Check, each: int) -> Case:
    """Return a case of a page. each: requests with all minions; with fewer there are as many more."""
    targets = (*FLAT, Target("minion_kb", 8))
    return Case(name, title, {}, check, 1, targets, (SIDECAR, *SIZES), minions=CROWD, each=each, seconds=300, grace_seconds=120, get=get, rounds=1)


CROWDED = (
    _crowded("crowd-local", "`local`, a crowd of 10,000 on the bus", {"client": "local", "fun": "test.ping", **PATIENT}, (*FLAT, LEAN)),
    # All are asked whether they still run it, and say so, before the first returns.
    _crowded(
        "crowd-asked",
        "`local` of 3 s, asked about after 1 s, a crowd of 10,000 on the bus",
        {"client": "local", "fun": "test.sleep", "arg": [3], "timeout": 1, "gather_job_timeout": 30},
        FLAT,
    ),
    _crowded(
        "crowd-jobs",
        "a job of `/v1`, read whole, a crowd of 10,000 on the bus",
        {"client": "local_async", "fun": "test.rand_str", "arg": [100], **PATIENT},
        (*FLAT, LEAN),
        repeat=100,
        v1=("wait=60&fields=status,return,minions", "v1_returns"),
    ),
)
CROWD_FOLLOWED = FollowCase("crowd-followed", "20 followers of one job of 10,000 minions", 1, 20, CROWD, (NONE_LOST, Target("cpu_us", 40)))


# Of crowds that are as large as the peer's name says. What a request costs by itself is shared by more minions, as above.
PAGES = (
    _page("crowd-minions", "`GET /minions`, the grains of the whole crowd", "/minions", "grains", 1),
    _page("crowd-v1-minions", "`GET /v1/minions?seen=1` of the whole crowd", "/v1/minions?seen=1", "v1_minions", 5),
    _page("crowd-keys", "`GET /keys` of the whole crowd", "/keys", "key_names", 5),
)


@dataclasses.dataclass(frozen=True)
class CrowdStreams:
    """Readers of `/events` while jobs run on a whole crowd. returns: of all jobs, which each reader has to get."""

    name: str
    title: str
    streams: int
    returns: int
    targets: tuple[Target, ...]
    peers: tuple[str, ...] = (SIDECAR, *SIZES)


CROWD_STREAMS = CrowdStreams(
    "crowd-streams", "10 event streams, 10,000 returns of jobs on the whole crowd", 10, CROWD, (*(Target("cpu_us", 1.2, to=size) for size in SIZES), NONE_LOST)
)


def sized(case: Case, peer: str) -> Case:
    """Return a case as it is measured under the name of a size: as many returns, of fewer minions in more requests."""
    minions = SIZES.get(peer, case.minions)
    requests = case.each * case.callers * case.minions // minions
    callers = min(MOST_CALLERS, requests) if peer in SIZES else case.callers
    return dataclasses.replace(case, minions=minions, callers=callers, each=requests // callers) if peer in SIZES else case
