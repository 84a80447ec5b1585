"""Two sidecars on one database of PostgreSQL, beside the two masters of one Salt master cluster: a job of one is everybody's, and runs once, whoever dies."""

from __future__ import annotations

import functools
import json
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.real.callers import frozen
from tests.real.conftest import MakeSidecar, kill_master
from tests.real.jobs.cluster import Cluster
from tests.real.jobs.pipeline import Pipeline
from tests.real.jobs.survival import CUTS, SIDES, Scene, table
from tests.real.sidecar import Answer, ask

if TYPE_CHECKING:
    from tests.postgres_server import PostgresServer

# Masters of a cluster that is made, or come back to, may need minutes to agree where there is little of a processor.
pytestmark = [pytest.mark.master, pytest.mark.slow, pytest.mark.timeout(1800)]

Pair = tuple[Pipeline, Pipeline]
# What `tests.real.jobs.dying` ends with.
DIED = 9
MINIONS = ("minion-of-1", "minion-of-2")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster() as running:
        yield running


@pytest.fixture
def pair(cluster: Cluster, postgres_server: PostgresServer, make_sidecar: MakeSidecar, tmp_path: Path) -> Pair:
    """Start a sidecar beside each master; the first dies where a file says so."""
    (tmp_path / "database").write_text(postgres_server.password)
    database: dict[str, Any] = {"JOBS_STORE": postgres_server.new_database(), "JOBS_STORE_PASSWORD_FILE": tmp_path / "database"}
    mined: dict[str, Any] = {"under": [sys.executable, "-m", "tests.real.jobs.dying"], "environ": {"DIE_AT": str(tmp_path / "aim")}}
    one, two = cluster.masters
    return Pipeline(one, make_sidecar, tmp_path, **mined, **database), Pipeline(two, make_sidecar, tmp_path, **database)


def together(*calls: Callable[[], Answer]) -> list[Answer]:
    """Make calls at the same time; return their answers in the order of the calls."""
    answers: dict[int, Answer] = {}
    start = threading.Barrier(len(calls))

    def make(number: int) -> None:
        start.wait()
        answers[number] = calls[number]()

    threads = [threading.Thread(target=make, args=(number,)) for number in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [answers[number] for number in range(len(calls))]


def cancel(pipeline: Pipeline, jid: str) -> Answer:
    return ask(pipeline.sidecar.api_port, "DELETE", f"/v1/jobs/{jid}", headers={"X-Auth-Token": pipeline.token})


def rolled(pipeline: Pipeline, folder: Path) -> str:
    """Start a job in two waves of one minion, each of which names itself and waits for the gate; return its id when the first wave runs."""
    turn = f"echo {{{{ grains.id }}}} >> {folder}/rolled; while [ ! -e {folder}/gate ]; do sleep 0.2; done"
    jid: str = pipeline.post(fun="cmd.run", arg=[turn], kwarg={"template": "jinja"}, batch=1).json()["jid"]
    pipeline.sidecar.wait((folder / "rolled").exists, "the first wave")
    return jid


def has_rolled_on(pipeline: Pipeline, jid: str, folder: Path) -> None:
    """Wait for the end of such a job, which needs the token of its owner, who looks at it here; each minion has had its turn once."""
    job = pipeline.end_of(jid)
    assert (job["status"], job["counts"], job["waves"]) == ("succeeded", {"ok": 2}, 2)
    assert {minion: part["wave"] for minion, part in job["minions"].items()} == {"minion-of-1": 1, "minion-of-2": 2}
    assert (folder / "rolled").read_text().split() == [*MINIONS]


@pytest.mark.parametrize("what", CUTS)
def test_what_is_cut_has_the_effect_that_the_documentation_says(
    cluster: Cluster, pair: Pair, postgres_server: PostgresServer, tmp_path: Path, what: str
) -> None:
    said = [table()[what, side] for side in SIDES]

    assert Scene(cluster, pair, postgres_server, tmp_path, what).played(said) == said


def test_a_session_of_one_counts_at_the_other_until_a_logout_at_either_ends_it(pair: Pair) -> None:
    headers = {"X-Auth-Token": pair[0].token}

    def is_in(pipeline: Pipeline) -> bool:
        return ask(pipeline.sidecar.api_port, "GET", "/v1/session", headers=headers).status == 200

    assert [is_in(pipeline) for pipeline in pair] == [True, True]
    assert ask(pair[1].sidecar.api_port, "POST", "/logout", headers=headers).status == 200
    # What the master said of a token counts for session.cache_seconds.
    pair[0].sidecar.wait(lambda: not is_in(pair[0]), "logged out here too")
    assert pair[1].sidecar.wait_for_line("auth.token.revoked")["by"] == "file"
    assert not is_in(pair[1])


def test_one_key_that_is_sent_to_both_at_once_runs_once(pair: Pair) -> None:
    here = pair[0]
    for number in range(5):
        calls = [functools.partial(pipeline.post, key=f"k{number}", **here.marking()) for pipeline in pair]
        together(*calls)
        first, second = (call(query="?wait=60").json() for call in calls)

        assert (first["jid"], first["status"], first["counts"]) == (second["jid"], "succeeded", {"ok": 2})
        assert here.runs == (number + 1) * len(MINIONS)


def test_a_job_of_one_is_read_followed_and_cancelled_through_the_other(pair: Pair) -> None:
    here, there = pair
    jid = here.post(**here.marking(f"sleep 100; echo late >> {here.ran}")).json()["jid"]
    here.sidecar.wait(lambda: here.runs == len(MINIONS), "begun")
    seen = there.get(f"/{jid}").json()
    followed, cancelled = together(
        lambda: there.get(f"/{jid}/events", accept="application/x-ndjson"),
        lambda: cancel(there, jid),
    )
    told = [json.loads(line) for line in followed.body.splitlines() if line]

    assert (seen["status"], seen["expected"]) == ("running", 2)
    assert (cancelled.status, cancelled.json()["cancel_asked"]) == (202, True)
    for pipeline in pair:
        job = pipeline.end_of(jid)
        assert (job["status"], job["exit_code"], job["counts"]) == ("cancelled", 5, {"cancelled": 2})
    assert {one["minion"]: one["status"] for one in told if one["event"] == "minion"} == dict.fromkeys(MINIONS, "cancelled")
    assert told[-1]["status"] == "cancelled"
    assert here.runs == len(MINIONS)


def test_what_goes_on_is_killed_through_the_other_and_runs_again_there(cluster: Cluster, pair: Pair, tmp_path: Path) -> None:
    here, there = pair
    asked = here.marking(f"[ -e {tmp_path}/mended ] || {{ sleep 100; echo late >> {here.ran}; }}")
    jid = here.post(**asked).json()["jid"]
    here.sidecar.wait(lambda: here.runs == len(MINIONS), "begun")
    # What runs the job is a process of its own; the one that would be asked to end it hears nothing until it is asked again.
    with frozen([cluster.masters[1].pids["minion-1"]]):
        assert cancel(there, jid).status == 202
        here.sidecar.wait(lambda: cluster.asked("saltutil.kill_job", jid) == 1, "killed")
    killed = here.end_of(jid)
    (tmp_path / "mended").touch()
    again = there.relaunch(jid, "not_ok", "?wait=60").json()

    assert (killed["status"], killed["counts"], there.get(f"/{jid}").json()["counts"]) == ("cancelled", {"cancelled": 2}, {"cancelled": 2})
    assert (again["parent"], again["status"], again["counts"]) == (jid, "succeeded", {"ok": 2})
    assert here.get(f"/{again['jid']}").json()["minions"] == again["minions"]
    assert here.runs == 2 * len(MINIONS)


def test_the_jobs_of_a_sidecar_that_is_killed_are_closed_by_the_other_and_rolled_on(pair: Pair, tmp_path: Path) -> None:
    here, there = pair
    rolling = rolled(here, tmp_path)
    good, bad = (here.post(**here.marking(then)).json()["jid"] for then in ("sleep 10", "sleep 10; false"))
    here.sidecar.wait(lambda: here.runs == 2 * len(MINIONS), "begun")
    here.sidecar.kill()
    (tmp_path / "gate").touch()

    assert (there.get(f"/{good}").json()["status"], there.end_of(good)["counts"]) == ("running", {"ok": 2})
    assert (there.end_of(bad)["status"], there.end_of(bad)["counts"]) == ("failed", {"failed": 2})
    assert here.runs == 2 * len(MINIONS)
    has_rolled_on(there, rolling, tmp_path)


def test_the_jobs_of_a_sidecar_whose_master_is_gone_are_closed_by_the_other_meanwhile(cluster: Cluster, pair: Pair, tmp_path: Path) -> None:
    here, there = pair
    jid = here.post(tgt="minion-of-2", **here.marking(f"while [ ! -e {tmp_path}/gate ]; do sleep 0.2; done")).json()["jid"]
    here.sidecar.wait(lambda: here.runs == 1, "begun")
    kill_master(cluster.masters[0])
    try:
        (tmp_path / "gate").touch()
        ended = there.end_of(jid)
        here.sidecar.wait_for_line("job.handed_over")
    finally:
        cluster.bring_back(cluster.masters[0])

    assert (ended["status"], ended["counts"]) == ("succeeded", {"ok": 1})
    assert here.runs == 1


def test_waves_go_on_at_the_sidecar_that_their_owner_comes_to_though_another_follows_them(pair: Pair, tmp_path: Path) -> None:
    here, there = pair
    rolling = rolled(here, tmp_path)
    here.sidecar.kill()
    here.again()
    here.sidecar.wait(lambda: any(one.sidecar.lines("job.recovered") for one in pair), "followed again, without a token")
    (tmp_path / "gate").touch()

    has_rolled_on(there, rolling, tmp_path)


@pytest.mark.parametrize("point", ["before-publish", "in-flight", "taken"])
def test_a_step_whose_sidecar_is_killed_in_the_publish_runs_once_when_it_is_repeated_at_the_other(pair: Pair, tmp_path: Path, point: str) -> None:
    here, there = pair
    asked = here.marking()
    (tmp_path / "aim").write_text(point)
    with pytest.raises(OSError):  # noqa: PT011 - however the connection ends
        here.post(key="k", **asked)
    assert here.sidecar.end() == DIED
    answer = there.post("?wait=60", key="k", **asked)
    job = there.end_of(answer.json()["jid"])

    assert answer.headers["idempotency-replayed"] == "true"
    assert (job["status"], job["counts"]) == ("succeeded", {"ok": 2})
    assert here.runs == len(MINIONS)
