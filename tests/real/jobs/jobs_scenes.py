"""What a pipeline meets with `/v1/jobs`, scene by scene, beside a real master: what each has to come to, and how often its job may run."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import http.client
import re
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from service.demo.embedded import EmbeddedSalt
from tests.installed import where
from tests.real.jobs.pipeline import USERS, Pipeline
from tests.real.sidecar import ANSWER_SECONDS, Answer, Sidecar

if TYPE_CHECKING:
    from typing_extensions import Self

MINIONS = 3
WAIT = "?wait=60&fail=1"
TEXT = "text/plain"


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a pipeline learns. ran: how often the minions have begun with the job, all together. also: what else there is to see."""

    http: int
    status: str
    exit_code: int
    ran: int
    also: str = ""


@dataclasses.dataclass(frozen=True)
class Scene:
    """One thing that happens to a pipeline. needs: a program without which it cannot be played."""

    title: str
    play: Callable[[Stage], Outcome]
    expected: Outcome
    needs: str | None = None


class Stage(contextlib.ExitStack):
    """
    One master with its minions and a sidecar, for all scenes in any order.

    folder: takes all files.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self._made = self._played = 0
        # Jobs in threads could not be cancelled one by one.
        self.salt = EmbeddedSalt(folder / "salt", minions=MINIONS, users={**USERS, "ci": [*USERS["ci"], "state.single", "saltutil.*"]})

    def __enter__(self) -> Self:
        self.enter_context(self.salt)
        return self

    @functools.cached_property
    def pipeline(self) -> Pipeline:
        """The caller of most scenes."""
        return Pipeline(self.salt, self.make, self._folder)

    @functools.cached_property
    def database(self) -> dict[str, object]:
        """The settings of sidecars that share a database of PostgreSQL."""
        from tests.postgres_server import PostgresServer  # noqa: PLC0415 - psycopg takes a while to import

        server = self.enter_context(PostgresServer(Path(where("initdb") or "").resolve().parent))
        password = self._folder / "database-password"
        password.write_text(server.password)
        return {"JOBS_STORE": server.new_database(), "JOBS_STORE_PASSWORD_FILE": password}

    @functools.cached_property
    def two_pipelines(self) -> tuple[Pipeline, Pipeline]:
        """The callers of two sidecars that share a database."""

        def make(master_config: Path, **settings: Any) -> Sidecar:
            return self.make(master_config, **{**settings, **self.database})

        one, other = (Pipeline(self.salt, make, self._folder) for _ in range(2))
        return one, other

    def make(self, master_config: Path, **settings: Any) -> Sidecar:
        """Make a sidecar, not yet started; it ends with the stage."""
        self._made += 1
        sidecar = Sidecar(master_config, self._folder / f"sidecar-{self._made}", **settings)
        self.callback(sidecar.kill)
        return sidecar

    def play(self, scene: Scene) -> Outcome:
        """Play a scene; its jobs are counted from nought."""
        self._played += 1
        self.pipeline.ran = self._folder / f"ran-{self._played}"
        return scene.play(self)

    def gate(self, name: str = "") -> Path:
        """Return a file of this scene that a job can wait for."""
        return self.pipeline.ran.with_name(f"{self.pipeline.ran.name}-gate{name}")

    def held(self, name: str = "", then: str = "true") -> dict[str, Any]:
        """Return a job that lasts until its gate is there; in the gate's name and afterwards Jinja is rendered by each minion."""
        return {**self.pipeline.marking(f"while [ ! -e {self.gate(name)} ]; do sleep 0.1; done; {then}"), "kwarg": {"template": "jinja"}}

    def begun(self) -> None:
        """Wait until the job runs on all minions."""
        self.pipeline.sidecar.wait(lambda: self.pipeline.runs == MINIONS, "begun on all")

    def outcome(self, answer: Answer, also: str = "") -> Outcome:
        """Return what an answer tells."""
        job = answer.json()
        return Outcome(answer.status, job["status"], job["exit_code"], self.pipeline.runs, also)

    def end_of(self, jid: str, also: str = "", pipeline: Pipeline | None = None) -> Outcome:
        """Wait for the end of a job. pipeline: whose it is."""
        pipeline = pipeline or self.pipeline
        answer = pipeline.get(f"/{jid}{WAIT}")
        while answer.status == http.client.ACCEPTED:
            answer = pipeline.get(f"/{jid}{WAIT}")
        return self.outcome(answer, also)


def success(stage: Stage) -> Outcome:
    return stage.outcome(stage.pipeline.post(WAIT, **stage.pipeline.marking()))


def failing_state(stage: Stage) -> Outcome:
    name = f"echo run >> {stage.pipeline.ran}; exit 3"
    answer = stage.pipeline.post(WAIT, fun="state.single", arg=["cmd.run"], kwarg={"name": name})
    return stage.outcome(answer, _told_of(answer.json(), "reason"))


def missing_minion(stage: Stage) -> Outcome:
    stage.salt.stop_minion("minion-3")
    try:
        answer = stage.pipeline.post(WAIT, **stage.pipeline.marking(), deadline=15, timeout=1)
    finally:
        stage.salt.start_minion("minion-3")
    return stage.outcome(answer, _told_of(answer.json(), "status"))


def no_match(stage: Stage) -> Outcome:
    return stage.outcome(stage.pipeline.post(WAIT, **stage.pipeline.marking(), tgt="nobody*"))


def followed_live(stage: Stage) -> Outcome:
    """A minion may only go on when the one before it has been heard of: a stream that is late would never end."""
    jid = stage.pipeline.post(**stage.held("-{{ grains.id }}")).json()["jid"]
    heard = []
    for line in _lines(stage.pipeline, jid):
        heard.append(_without_time(line))
        stage.gate(f"-minion-{len(heard)}").touch()
    return stage.end_of(jid, "; ".join(heard))


def followed_late(stage: Stage) -> Outcome:
    answer = stage.pipeline.post(WAIT, **stage.pipeline.marking())
    jid = answer.json()["jid"]
    first, second = (list(_lines(stage.pipeline, jid)) for _ in range(2))
    # That it runs is not said of a job that is over before anything could be said of it.
    told = [_without_time(line) for line in first if "running" not in line]
    return stage.outcome(answer, f"{'; '.join(sorted(told[:-1]))}; {told[-1]}; {'the same twice' if first == second else 'not the same'}")


def cancelled(stage: Stage) -> Outcome:
    return _cancelled(stage, stage.pipeline, stage.pipeline)


def _cancelled(stage: Stage, by: Pipeline, other: Pipeline) -> Outcome:
    """Let one start a job, and another one, perhaps, cancel and follow it."""
    jid = by.post(**stage.held()).json()["jid"]
    stage.begun()
    answer = other.cancel(jid)
    last = list(_lines(other, jid))[-1]
    told = stage.end_of(jid, f"DELETE: {answer.status}; followed to: {_without_time(last)}", other)
    stage.gate().touch()
    return told


def relaunched(stage: Stage) -> Outcome:
    """What was wrong on one minion is mended, and the job runs again there alone."""
    mended = stage.gate("-mended")
    job = stage.held(then=f"[ {{{{ grains.id }}}} != minion-2 ] || [ -e {mended} ]")
    stage.gate().touch()
    first = stage.pipeline.post(WAIT, **job).json()
    mended.touch()
    again = stage.pipeline.relaunch(first["jid"], "failed", WAIT)
    return stage.outcome(again, f"before: {first['status']}, {first['counts']}; again on: {', '.join(again.json()['minions'])}")


def stopped_waves(stage: Stage) -> Outcome:
    """The canary fails, so that the others are spared."""
    job = {**stage.pipeline.marking("[ {{ grains.id }} != minion-1 ]"), "kwarg": {"template": "jinja"}}
    answer = stage.pipeline.post(WAIT, **job, batch=[1, "100%"], stop_after_failures=1)
    return stage.outcome(answer, f"{answer.json()['cause']}; {_told_of(answer.json(), 'status')}")


def killed(stage: Stage) -> Outcome:
    jid = stage.pipeline.post(**stage.held()).json()["jid"]
    stage.begun()
    stage.pipeline.sidecar.kill()
    stage.gate().touch()
    stage.pipeline.again()
    last = list(_lines(stage.pipeline, jid))[-1]
    return stage.end_of(jid, f"followed to: {_without_time(last)}")


def repeated_step(stage: Stage) -> Outcome:
    first, again = (stage.pipeline.post(WAIT, key="gh-42-7-1-deploy", **stage.pipeline.marking()) for _ in range(2))
    return stage.outcome(again, _repeated(first, again))


def two_sidecars(stage: Stage) -> Outcome:
    """One key is sent to both at once; 409 is what one gets while the other is publishing."""

    def send(pipeline: Pipeline) -> Answer:
        answer = pipeline.post(WAIT, key="gh-42-7-1-deploy", **stage.pipeline.marking())
        while answer.status == http.client.CONFLICT:
            answer = pipeline.post(WAIT, key="gh-42-7-1-deploy", **stage.pipeline.marking())
        return answer

    with ThreadPoolExecutor(2) as threads:
        first, again = sorted(threads.map(send, stage.two_pipelines), key=_is_replayed)
    return stage.outcome(again, _repeated(first, again))


def cancelled_through_another(stage: Stage) -> Outcome:
    return _cancelled(stage, *stage.two_pipelines)


def _is_replayed(answer: Answer) -> bool:
    return answer.headers.get("idempotency-replayed") == "true"


def _repeated(first: Answer, again: Answer) -> str:
    jobs = len({answer.json()["jid"] for answer in (first, again)})
    return f"{jobs} job; Idempotency-Replayed: {', '.join('yes' if _is_replayed(answer) else 'no' for answer in (first, again))}"


def _told_of(job: Mapping[str, Any], name: str) -> str:
    """Return what is said of each minion, in their order, with its number for its name."""
    return ", ".join(f"{number}: {job['minions'][f'minion-{number}'][name]}" for number in range(1, MINIONS + 1))


def _without_time(line: str) -> str:
    return " ".join(line.split()[1:])


def _lines(pipeline: Pipeline, jid: str) -> Iterator[str]:
    """Yield the lines of a job's stream as they come, without heartbeats."""
    connection = http.client.HTTPConnection("127.0.0.1", pipeline.sidecar.api_port, timeout=ANSWER_SECONDS)
    with contextlib.closing(connection):
        connection.request("GET", f"/v1/jobs/{jid}/events", headers={"X-Auth-Token": pipeline.token, "Accept": TEXT})
        response = connection.getresponse()
        while line := response.readline():
            if re.match(rb"\d", line):
                yield line.decode()


LIVE = "job: running; minion-1: ok; minion-2: ok; minion-3: ok; job: succeeded"
CANCELLED = "DELETE: 202; followed to: job: cancelled"
SCENES = [
    Scene("success", success, Outcome(200, "succeeded", 0, 3)),
    Scene("failing state", failing_state, Outcome(422, "failed", 1, 3, "1: state_failed, 2: state_failed, 3: state_failed")),
    Scene("missing minion", missing_minion, Outcome(424, "failed", 3, 2, "1: ok, 2: ok, 3: no_return")),
    Scene("no match", no_match, Outcome(404, "no_match", 2, 0)),
    Scene("slow job, followed live", followed_live, Outcome(200, "succeeded", 0, 3, LIVE)),
    Scene("late follower", followed_late, Outcome(200, "succeeded", 0, 3, "minion-1: ok; minion-2: ok; minion-3: ok; job: succeeded; the same twice")),
    Scene("cancel", cancelled, Outcome(409, "cancelled", 5, 3, CANCELLED)),
    Scene("relaunch of the failed", relaunched, Outcome(200, "succeeded", 0, 4, "before: failed, {'ok': 2, 'failed': 1}; again on: minion-2")),
    Scene("canary, waves stopped by a failure", stopped_waves, Outcome(422, "failed", 1, 1, "stopped; 1: failed, 2: not_run, 3: not_run")),
    Scene("kill -9 of the sidecar, re-attach", killed, Outcome(200, "succeeded", 0, 3, "followed to: job: succeeded")),
    Scene("repeated step, same key", repeated_step, Outcome(200, "succeeded", 0, 3, "1 job; Idempotency-Replayed: no, yes")),
    Scene("two sidecars on PostgreSQL, one key", two_sidecars, Outcome(200, "succeeded", 0, 3, "1 job; Idempotency-Replayed: no, yes"), needs="initdb"),
    Scene("two sidecars, cancelled by the other", cancelled_through_another, Outcome(409, "cancelled", 5, 3, CANCELLED), needs="initdb"),
]
