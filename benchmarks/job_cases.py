"""What is measured of `/v1/jobs`, beside the same sidecar's `local_async` and `local`, and what that has to reach."""

from __future__ import annotations

import dataclasses

from benchmarks.cases import LOCAL, LOCAL_ASYNC, NO_STORE, NONE_LOST, PATIENT, SIDECAR, SIZED, Case, Target

PING = {"client": "local_async", "fun": "test.ping"}
BESIDE_ASYNC = (Target("cpu_ms", 2, to=LOCAL_ASYNC), Target("rate", 0.6, at_least=True, to=LOCAL_ASYNC), Target("p99_ms", 3, to=LOCAL_ASYNC), NONE_LOST)
# Before the silent would be asked.
DEADLINE_SECONDS = 50
JOBS = (
    Case("jobs-16", "`POST /v1/jobs`, 16 callers", PING, "job", 16, BESIDE_ASYNC, (SIDECAR, LOCAL_ASYNC), v1=("", "v1_job")),
    # No return comes: what the store costs beside the publish alone. Thousands of jobs stay open until their deadline.
    Case(
        "jobs-long-16",
        "`POST /v1/jobs` of a long job, 16 callers",
        {"client": "local_async", "fun": "test.sleep", "arg": [100_000], **PATIENT},
        "job",
        16,
        BESIDE_ASYNC,
        (SIDECAR, LOCAL_ASYNC),
        v1=("", "v1_job"),
    ),
    Case("jobs-64", "`POST /v1/jobs`, 64 callers", PING, "job", 64, BESIDE_ASYNC, (SIDECAR, LOCAL_ASYNC), v1=("", "v1_job")),
)
LARGE_JOB = Case(
    "jobs-sized-1000",
    "a job of 1,000 minions, 10 KB each, read whole",
    {**SIZED, **PATIENT},
    "returns",
    1,
    (Target("return_us", 150, minus=LOCAL), Target("rss_per_answer", 3), NONE_LOST),
    (SIDECAR, LOCAL),
    minions=1000,
    repeat=10_000,
    fresh=True,
    seconds=12,
    v1=("wait=60&fields=status,return,minions", "v1_returns"),
)
# Without a master: 64 threads ask the store to keep an intent, and each waits until it is on the disk.
INTENTS = (Target("intents", 300, at_least=True),)
INTENT_CALLERS = 64
FINISHED_JOBS, OPEN_JOBS = 10_000, 200
RESTART = (Target("start_s", 3), Target("look_ups_at_once", 2), Target("look_ups", OPEN_JOBS, at_least=True))
IDLE_STORE = (Target("idle_cpu_percent", 0.02, minus=NO_STORE),)


@dataclasses.dataclass(frozen=True)
class FollowCase:
    """One row of followers. jobs: how many run at once, each on as many minions; followers: of each."""

    name: str
    title: str
    jobs: int
    followers: int
    minions: int
    targets: tuple[Target, ...]


# Until all follow it, a job lasts; then its returns come as fast as the master takes them.
FOLLOWED_SECONDS = 20
SMALL = (NONE_LOST, Target("rss_growth_mb", 60))
FOLLOWED = (
    FollowCase("followers-1000", "1,000 followers of one job, 100 minions", 1, 1000, 100, (*SMALL, Target("cpu_us", 40))),
    # Here the CPU is the jobs' own: 2,000 returns to be judged and stored for 2,400 deliveries.
    FollowCase("followed-200", "200 jobs followed at once, 10 minions each", 200, 1, 10, SMALL),
)
