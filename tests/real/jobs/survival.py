"""What survives when a part of a cluster is cut: plays a cut, and tells it in the words of the table in docs/scale-out.md."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from service.demo.embedded import until
from tests.real.callers import Stream
from tests.real.conftest import kill_master
from tests.real.jobs.pipeline import Pipeline
from tests.real.relay import Cable
from tests.real.sidecar import Answer

if TYPE_CHECKING:
    from tests.postgres_server import PostgresServer
    from tests.real.jobs.cluster import Cluster

PAGE = Path(__file__).parents[3] / "docs" / "scale-out.md"
CUTS = ("master 1", "sidecar 1", "the database", "the link")
SIDES = ("sidecar 1", "sidecar 2")
# Seconds: for a probe to notice, for the events of a job that cannot all come, and until a new job and one under way are judged.
NOTICE, SILENCE, NEW, UNDER_WAY = 60.0, 15.0, 25, 300
# The deadline of the job under way: until the cut was looked at from all sides and mended, which takes minutes on a slow machine.
LONG = 1500
# Where nobody could hear how the job under way ended, it ends when that is mended.
UNHEARD = ("master 1", "the link")
SUCCEEDED = "succeeds"
# Whether the return of the minion of the own master is in a stream, and that of the other's.
SHOWN = {(True, True): "goes on", (True, False): "its own minion"}

Row = dict[str, str]


def table() -> dict[tuple[str, str], Row]:
    """Return what the documentation says: by what is cut and which sidecar is asked, the cells by their columns."""
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    (start,) = (number for number, cells in enumerate(lines) if cells[:2] == ["cut", "asked"])
    rows = [cells for cells in lines[start + 1 :] if len(cells) == len(lines[start])]
    return {(cells[0], cells[1]): dict(zip(lines[start][2:], cells[2:], strict=True)) for cells in rows}


class Follower:
    """Follows a job to its end, or until the stream is cut."""

    def __init__(self, pipeline: Pipeline, jid: str) -> None:
        self.state = "waits"
        threading.Thread(target=self._follow, args=(pipeline, jid), daemon=True).start()

    def _follow(self, pipeline: Pipeline, jid: str) -> None:
        with contextlib.suppress(OSError), pipeline.following(jid) as happenings:
            for one in happenings:
                if one.get("exit_code") is not None:
                    self.state = "goes on"
        if self.state == "waits":
            self.state = "is cut"


class Scene:
    """A cluster with a job that is done, one that runs until it is let go, and readers of both streams at each sidecar; all began at the first one."""

    def __init__(self, cluster: Cluster, pair: tuple[Pipeline, Pipeline], server: PostgresServer, folder: Path, what: str) -> None:
        here = pair[0]
        self._cluster, self._pair, self._server, self._what = cluster, pair, server, what
        self._gate = folder / "gate"
        self._ping: dict[str, Any] = {"fun": "test.ping", "timeout": 5}
        assert here.post("?wait=60", key="done", **self._ping).json()["status"] == "succeeded"
        asked = here.marking(f"while [ ! -e {self._gate} ]; do sleep 0.2; done")
        self._jid: str = here.post(**asked, deadline=LONG).json()["jid"]
        here.sidecar.wait(lambda: here.runs == len(pair), "begun")
        self._followers = [Follower(pipeline, self._jid) for pipeline in pair]
        self._streams = [Stream(pipeline.sidecar.api_port, pipeline.token) for pipeline in pair]

    def played(self, expected: list[Row]) -> list[Row]:
        """Cut, ask both sidecars, and mend; return their rows. expected: how long to wait for what takes time."""
        cut, mend = self._ways()
        cut()
        try:
            if self._what not in UNHEARD:
                self._gate.touch()
            with ThreadPoolExecutor(len(self._pair)) as pool:
                rows = list(pool.map(self._asked, range(len(self._pair)), expected))
        finally:
            mend()
        for pipeline in self._pair:
            self._wait_well(pipeline)
        self._gate.touch()
        for number, row in enumerate(rows):
            self._then(number, row)
            self._streams[number].close()
        return rows

    def _ways(self) -> tuple[Callable[[], object], Callable[[], object]]:
        first, link = self._cluster.masters[0], self._cluster.link
        ways: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
            "master 1": (lambda: kill_master(first), lambda: self._cluster.bring_back(first)),
            "sidecar 1": (self._pair[0].sidecar.kill, self._pair[0].again),
            "the database": (self._server.end, self._server.start),
            "the link": (lambda: _each(Cable.sever, link), lambda: _each(Cable.mend, link)),
        }
        return ways[self._what]

    def _wait_well(self, pipeline: Pipeline) -> None:
        """Wait until a sidecar has its master and its store again; it asks for the store once a second."""
        pipeline.sidecar.wait_ready()
        pipeline.sidecar.wait(lambda: pipeline.get(f"/{self._jid}").status in {200, 202}, "with its store")

    def _asked(self, number: int, expected: Row) -> Row:
        pipeline = self._pair[number]
        row = {"/readyz": _settled(lambda: _status(pipeline.sidecar.probe("/readyz")), expected["/readyz"])}
        row["login"] = _said(lambda: pipeline.sidecar.try_login(pipeline.who), lambda _: "yes")
        row["stream"] = self._stream(number)
        row["idempotent repeat"] = _said(
            lambda: pipeline.post("?wait=5", key="done", **self._ping), lambda answer: "replayed" if answer.headers.get("idempotency-replayed") else ""
        )
        row["new job"] = _said(lambda: pipeline.post("?wait=60", key=f"new-{number}", deadline=NEW, **self._ping), self._ran)
        row["running job"] = _settled(lambda: _said(lambda: pipeline.get(f"/{self._jid}?wait=5"), _state), expected["running job"], UNDER_WAY)
        row["followed job"] = _settled(lambda: self._followers[number].state, expected["followed job"])
        return row

    def _then(self, number: int, row: Row) -> None:
        """Add how the job under way ended after the mending, where it had not before."""
        if row["running job"] != SUCCEEDED:
            job = self._pair[number].end_of(self._jid)
            assert job["status"] == "succeeded", self._told(number, row, job)
            row["running job"] += f", then {SUCCEEDED}"
        if row["followed job"] == "waits":
            row["followed job"] += f", then {_settled(lambda: self._followers[number].state, 'goes on')}"

    def _told(self, number: int, row: Row, job: dict[str, Any]) -> str:
        """Tell of a job under way that did not end well: what was cut, the job, what the asked sidecar had answered, and what both say of it now."""
        now = [_said(functools.partial(pipeline.get, f"/{self._jid}"), lambda answer: answer.body.decode()) for pipeline in self._pair]
        return f"cut: {self._what}; asked: {SIDES[number]}\njob: {job}\nanswers: {row}\nnow: {now}"

    def _ran(self, answer: Answer) -> str:
        job = answer.json()
        return "runs" if job["status"] == "succeeded" else f"{job['cause']} minion" if job["counts"].get("ok") == 1 else str(job)

    def _stream(self, number: int) -> str:
        """Say how much of a job that this sidecar starts its stream shows."""
        pipeline, stream = self._pair[number], self._streams[number]
        low = {"client": "local_async", "tgt": "*", "fun": "test.ping"}
        jid = _said(lambda: pipeline.sidecar.post(low, headers={"X-Auth-Token": pipeline.token}), lambda answer: str(answer.value["jid"]))
        own, other = (f"salt/job/{jid}/ret/minion-of-{minion}".encode() for minion in (number + 1, 2 - number))

        def shown() -> str:
            read = stream.read
            return SHOWN.get((own in read, other in read), "silent") if stream.ended_at is None else "is cut"

        return _settled(shown, "goes on", SILENCE)


def _each(do: Callable[[Cable], None], link: Iterable[Cable]) -> None:
    for cable in link:
        do(cable)


def _status(status: int) -> str:
    return str(status) if status else "no answer"


def _state(answer: Answer) -> str:
    status: str = answer.json()["status"]
    return {"succeeded": SUCCEEDED, "running": "waits"}.get(status, status)


def _said(call: Callable[[], Answer], tell: Callable[[Answer], str]) -> str:
    """Return what an answer tells, or its status if that is no success."""
    try:
        answer = call()
    except OSError:
        return "no answer"
    return tell(answer) if answer.status in {200, 202} else str(answer.status)


def _settled(look: Callable[[], str], expected: str, patience: float = NOTICE) -> str:
    """Return what there is to see as soon as it is as expected, or when the patience is over."""
    found = look()
    for _ in until(patience):
        if expected.partition(",")[0] == found:
            break
        found = look()
    return found
