"""`/v1/jobs` beside a real master: what ran is counted on the minions, whatever becomes of the sidecar, the token or the request."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from benchmarks.stored import LookUps
from service.demo.embedded import PATIENCE_SECONDS, EmbeddedSalt
from service.jobs.job_request import digest_of, parse
from service.jobs.names import Jids
from service.jobs.running.inquiries import SETTLED_SECONDS
from service.jobs.stores.sqlite_store import SqliteStore
from service.jobs.stores.store import JobRecord
from tests.real.conftest import MakeSidecar
from tests.real.jobs.pipeline import USERS, Pipeline, gated_states
from tests.real.sidecar import Answer, ask

pytestmark = [pytest.mark.master, pytest.mark.slow]
# Those that a restart leaves open, and those who ask for some of them again at the same time.
OPEN_JOBS, CALLERS = 40, 8
# For a login and a few requests on a slow machine, and then for a question that is refused.
TOKEN_SECONDS, REFUSED_SECONDS = 10, 10


@pytest.fixture(scope="module")
def piped() -> Iterator[EmbeddedSalt]:
    """Start a master and two minions with the accounts of a pipeline, where a login may say how long its token lives."""
    master = {"token_expire_user_override": True}
    with tempfile.TemporaryDirectory() as folder, EmbeddedSalt(Path(folder), threads=True, users=USERS, master=master) as salt:
        yield salt


@pytest.fixture
def pipeline(piped: EmbeddedSalt, make_sidecar: MakeSidecar, tmp_path: Path) -> Pipeline:
    return Pipeline(piped, make_sidecar, tmp_path)


def test_a_job_that_outlives_its_sidecar_is_judged_by_what_the_master_kept(pipeline: Pipeline, tmp_path: Path) -> None:
    # One minion returns while nobody listens, the other one afterwards.
    gates = f"case $(tr '\\0' ' ' < /proc/$PPID/cmdline) in *minion-1*) gate={tmp_path}/1;; *) gate={tmp_path}/2;; esac"
    held = f"{gates}; while [ ! -e $gate ]; do sleep 0.2; done; touch $gate.passed"
    jid = pipeline.post(**pipeline.marking(held)).json()["jid"]
    pipeline.sidecar.wait(lambda: pipeline.runs == 2, "begun on both")
    pipeline.sidecar.kill()
    (tmp_path / "1").touch()
    pipeline.sidecar.wait((tmp_path / "1.passed").exists, "over on one")
    pipeline.again()
    assert pipeline.sidecar.wait_for_line("job.recovered")["count"] == 1
    pipeline.sidecar.wait(lambda: pipeline.get(f"/{jid}").json()["counts"].get("ok") == 1, "looked up")
    (tmp_path / "2").touch()
    job = pipeline.end_of(jid)

    assert (job["status"], job["exit_code"], job["counts"]) == ("succeeded", 0, {"ok": 2})
    assert sorted(part["source"] for part in job["minions"].values()) == ["bus", "job_cache"]
    assert pipeline.runs == 2


def test_open_jobs_are_looked_up_two_at_a_time_after_a_restart_whoever_asks_for_them_again(piped: EmbeddedSalt, pipeline: Pipeline, tmp_path: Path) -> None:
    asked, made = pipeline.marking(), Jids(time.time)
    pipeline.sidecar.kill()
    with contextlib.closing(SqliteStore(tmp_path / "jobs.db", on_commit=lambda _seconds: None, monotonic=time.monotonic)) as store:
        request, since = parse({"tgt": "*", **asked}), time.time() - SETTLED_SECONDS
        for number in range(OPEN_JOBS):
            ends = since + request.deadline
            arguments = digest_of(asked["arg"])
            store.intend(JobRecord(made.new(), "file:ci", f"k{number}", request.fingerprint, request.kept(), arguments, since, ends, "before", ends))
    with LookUps(piped.master_config) as look_ups, ThreadPoolExecutor(CALLERS) as callers:
        pipeline.again()
        jobs = list(callers.map(lambda number: pipeline.post("?wait=60", key=f"k{OPEN_JOBS - number}", **asked).json(), range(1, CALLERS + 1)))
        pipeline.sidecar.wait(lambda: look_ups.are_over(OPEN_JOBS), "looked up")

    assert [job["status"] for job in jobs] == ["succeeded"] * CALLERS
    assert pipeline.runs == CALLERS * len(piped.minions)
    assert (look_ups.at_once, OPEN_JOBS <= look_ups.made <= OPEN_JOBS + CALLERS) == (2, True)


def test_without_a_right_to_look_what_was_missed_is_unknown(piped: EmbeddedSalt, make_sidecar: MakeSidecar, tmp_path: Path) -> None:
    pipeline = Pipeline(piped, make_sidecar, tmp_path, recovers=False)
    jid = pipeline.post(**pipeline.marking("sleep 2"), timeout=1).json()["jid"]
    pipeline.sidecar.kill()
    time.sleep(6)  # See above.
    pipeline.again()
    job = pipeline.end_of(jid)

    assert (job["status"], job["exit_code"], pipeline.runs) == ("unknown", 6, 2)
    assert {part["why"] for part in job["minions"].values()} == {"no_right_to_look"}


@pytest.mark.parametrize("callers", [6])
def test_one_key_runs_once_however_many_ask_at_once(pipeline: Pipeline, callers: int) -> None:
    answers: list[Answer] = []
    start = threading.Barrier(callers)

    def call() -> None:
        start.wait()
        answers.append(pipeline.post("?wait=60", key="the-one", **pipeline.marking()))

    threads = [threading.Thread(target=call) for _ in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert {answer.status for answer in answers} <= {200, 409}
    assert len({answer.json()["jid"] for answer in answers}) == 1
    assert sum("idempotency-replayed" not in answer.headers for answer in answers if answer.status == 200) == 1
    assert pipeline.runs == 2


@pytest.mark.parametrize("milliseconds", [0, 4, 8, 15, 30, 60])
def test_a_sidecar_that_is_killed_in_the_request_runs_the_job_once_when_it_is_asked_again(pipeline: Pipeline, milliseconds: int) -> None:
    asked = {**pipeline.marking(), "on_doubt": "refuse"}

    def call() -> None:
        with contextlib.suppress(OSError):
            pipeline.post(key="k", **asked)

    caller = threading.Thread(target=call)
    caller.start()
    time.sleep(milliseconds / 1000)  # Somewhere between the first byte and the answer.
    pipeline.sidecar.kill()
    caller.join()
    pipeline.again()
    first, second = pipeline.post("?wait=60", key="k", **asked).json(), pipeline.post("?wait=60", key="k", **asked).json()

    assert (first["jid"], first["status"]) == (second["jid"], "succeeded")
    assert pipeline.runs == 2


def test_a_token_that_dies_in_mid_job_takes_nothing_from_it(piped: EmbeddedSalt, make_sidecar: MakeSidecar, tmp_path: Path) -> None:
    pipeline = Pipeline(piped, make_sidecar, tmp_path, recovers=False)
    jid = pipeline.post(**pipeline.marking("sleep 12"), timeout=1).json()["jid"]
    ask(pipeline.sidecar.api_port, "POST", "/logout", b"", {"X-Auth-Token": pipeline.token})
    assert pipeline.get(f"/{jid}").status == 401
    pipeline.token = pipeline.login()

    assert pipeline.end_of(jid)["status"] == "succeeded"


def test_a_token_that_expires_in_mid_job_costs_its_owner_the_stream_and_the_jobs_nothing(
    piped: EmbeddedSalt, make_sidecar: MakeSidecar, tmp_path: Path
) -> None:
    pipeline = Pipeline(piped, make_sidecar, tmp_path, recovers=False, EVENTS_HEARTBEAT_SECONDS=1)
    held = pipeline.marking(f"while [ ! -e {tmp_path}/gate ]; do sleep 0.2; done")
    steps = {"steps": [{"tgt": "minion-1", **held}, {"tgt": "minion-2", **pipeline.marking()}]}
    pipeline.token = pipeline.sidecar.login({**piped.credentials_of("ci"), "token_expire": str(TOKEN_SECONDS)})
    # Of the second one the minion would have to be asked when the token is dead, and the step of the third one has to begin then.
    late: dict[str, Any] = {"timeout": TOKEN_SECONDS + 1, "deadline": TOKEN_SECONDS + 1 + REFUSED_SECONDS}
    heard, silent = (pipeline.post(tgt="minion-1", **held, **more).json()["jid"] for more in ({}, late))
    sequence = pipeline.send(steps, key="k").json()["jid"]
    with ThreadPoolExecutor() as callers:
        waiting, following = callers.submit(pipeline.get, f"/{heard}?wait=60"), callers.submit(pipeline.get, f"/{heard}/events", "application/x-ndjson")
        cut = following.result()
        refused = [pipeline.get(f"/{heard}"), pipeline.cancel(heard), pipeline.send(steps, key="k")]
        # Before the owner is back, who would be asked for.
        judged = pipeline.sidecar.wait_for_line("job.over")
        pipeline.token = pipeline.login()
        unknown = pipeline.get(f"/{silent}").json()
        (tmp_path / "gate").touch()
        waited = waiting.result()

    # Who was let in is told the end; a stream says less than that, and whoever comes anew is to log in.
    assert (cut.status, b"succeeded" in cut.body, pipeline.sidecar.lines("stream.closed")[0]["reason"]) == (200, False, "token_expired")
    assert [(answer.status, answer.json()["error"]) for answer in refused] == [(401, "Unauthenticated")] * 3
    assert (waited.status, waited.json()["status"]) == (200, "succeeded")
    assert (judged["jid"], unknown["status"], unknown["exit_code"], unknown["minions"]["minion-1"]["why"]) == (silent, "unknown", 6, "credentials")
    pipeline.sidecar.wait(lambda: pipeline.get(f"/{silent}").json()["status"] == "succeeded", "corrected")
    pipeline.sidecar.wait(lambda: pipeline.get(f"/{sequence}").json().get("needs_owner"), "in need of its owner")
    assert pipeline.send(steps, key="k").json()["jid"] == sequence
    assert (pipeline.end_of(sequence)["status"], pipeline.runs) == ("succeeded", 4)


@pytest.mark.parametrize(
    "asked",
    [
        {"fun": "test.arg", "arg": [1, "2", 2.5, True, None, "x=1", "a b", {"k": [1, {"z": 2}]}], "kwarg": {"b": [1, 2], "c": {"d": None}}},
        {"fun": "test.echo", "arg": ["ä\u2028 \ud83d\ude00 " + "x" * 5000]},
        {"fun": ["test.ping", "test.echo"], "arg": [[], ["a"]]},
        {"fun": "state.apply", "arg": ["failing"], "dry_run": True},
        {"fun": "test.arg", "kwarg": {"when": "2026-01-01", "n": 10**15}},
    ],
)
def test_the_returns_of_a_job_are_known_by_its_arguments_whatever_those_are(pipeline: Pipeline, asked: dict[str, Any]) -> None:
    job = pipeline.post("?wait=60", **asked).json()

    assert (job["foreign_returns"], sum(job["counts"].get(end, 0) for end in ("ok", "failed"))) == (0, 2)


def test_a_job_is_followed_while_it_runs_and_afterwards(pipeline: Pipeline) -> None:
    jid = pipeline.post(**pipeline.marking("sleep 2")).json()["jid"]
    # The request is open until the job is over.
    live = pipeline.get(f"/{jid}/events", accept="application/x-ndjson")
    late = pipeline.get(f"/{jid}/events", accept="application/x-ndjson")
    happened = [json.loads(line) for line in live.body.splitlines() if line]

    assert [one["event"] for one in happened] == ["status", "minion", "minion", "status"]
    assert happened[-1]["status"] == "succeeded"
    assert [json.loads(line) for line in late.body.splitlines() if line] == happened


def test_a_process_that_stops_ends_waits_and_streams_and_the_job_goes_on(pipeline: Pipeline) -> None:
    jid = pipeline.post(**pipeline.marking("sleep 15")).json()["jid"]
    answers: dict[str, Answer] = {}
    paths = (f"/{jid}?wait=60", f"/{jid}/events")
    callers = [threading.Thread(target=lambda path=path: answers.update({path: pipeline.get(path)})) for path in paths]
    for caller in callers:
        caller.start()
    pipeline.sidecar.wait(lambda: len(pipeline.sidecar.lines("stream.opened")) == 1, "followed")
    assert pipeline.sidecar.stop() == 0
    for caller in callers:
        caller.join(60)
    assert {answer.status for answer in answers.values()} == {200, 202}
    pipeline.again()

    assert pipeline.end_of(jid)["status"] == "succeeded"
    assert pipeline.runs == 2


def test_a_state_that_fails_is_told_with_its_comment(pipeline: Pipeline) -> None:
    answer = pipeline.post("?wait=60&fail=1", fun="state.apply", arg=["failing"])
    job = answer.json()

    assert (answer.status, job["status"], job["exit_code"]) == (422, "failed", 1)
    for part in job["minions"].values():
        assert part["reason"] == "state_failed"
        assert part["states"]["failed"] == len(part["failures"]) == 1
        assert part["failures"][0]["comment"]


def test_each_state_is_seen_as_it_ends_and_a_forged_one_is_not(piped: EmbeddedSalt, pipeline: Pipeline, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    jid = pipeline.post(fun="state.apply", arg=[gated_states(piped, gate)], state_events=True).json()["jid"]
    with pipeline.following(jid) as happenings:
        live: list[dict[str, Any]] = []
        while [one["event"] for one in live].count("state") < 2:
            live.append(next(happenings))
        assert pipeline.get(f"/{jid}").json()["status"] == "running"
        lie = [{"ret": {"result": True, "name": "a lie"}, "len": 1}, f"salt/job/{jid}/prog/minion-2/7"]
        pipeline.sidecar.post({**piped.credentials, "client": "local", "tgt": "minion-1", "fun": "event.fire_master", "arg": lie})
        gate.touch()
        live += happenings
    late = [json.loads(line) for line in pipeline.get(f"/{jid}/events", accept="application/x-ndjson").body.splitlines() if line]

    for minion in ("minion-1", "minion-2"):
        told = [one for one in live if one.get("minion") == minion]
        states = [(one["id"], one["result"]) for one in told if one["event"] == "state"]
        assert states == [("one", "changed"), ("two", "changed"), ("three", "failed"), ("four", "not_run")]
        assert (told[-1]["status"], told[-1]["states"]) == ("failed", {"changed": 2, "failed": 1, "not_run": 1})
    assert late == live
    assert (live[-1]["status"], pipeline.get(f"/{jid}").json()["foreign_returns"]) == ("failed", 0)
    assert pipeline.sidecar.metric("salt_api_jobs_state_events_total", what="told") == 8
    assert pipeline.sidecar.metric("salt_api_jobs_state_events_total", what="odd") == 1


def test_a_command_that_the_minion_stopped_is_a_failure(pipeline: Pipeline) -> None:
    job = pipeline.post("?wait=60", fun="cmd.run", arg=["sleep 30"], kwarg={"timeout": 1}, tgt="minion-1").json()

    assert (job["status"], job["minions"]["minion-1"]["reason"]) == ("failed", "timed_out_on_minion")


def test_a_minion_that_is_away_is_missing_at_the_deadline(piped: EmbeddedSalt, pipeline: Pipeline) -> None:
    piped.stop_minion("minion-2")
    try:
        answer = pipeline.post("?wait=60&fail=1", fun="test.ping", deadline=15, timeout=1)
        job = answer.json()
        assert (answer.status, job["status"], job["cause"], job["exit_code"]) == (424, "failed", "missing", 3)
        assert job["minions"]["minion-2"]["status"] == "no_return"
    finally:
        piped.start_minion("minion-2")


def test_a_pipeline_follows_its_job_over_the_death_of_the_sidecar(pipeline: Pipeline, tmp_path: Path) -> None:
    program, port, gate = tmp_path / "ci.py", pipeline.sidecar.api_port, tmp_path / "gate"
    program.write_bytes(pipeline.sidecar.get("/v1/ci.py").body)
    environ = {"PATH": os.environ["PATH"], "SALT_API_URL": f"http://127.0.0.1:{port}", "SALT_TOKEN": pipeline.token}
    asked = f"{pipeline.marking()['arg'][0]}; while [ ! -e {gate} ]; do sleep 0.2; done; echo over"
    command = [sys.executable, str(program), "run", "*", "cmd.run", asked]
    with subprocess.Popen(command, env=environ, text=True, stdout=subprocess.PIPE) as process:
        pipeline.sidecar.wait(lambda: pipeline.runs == 2, "begun on both")
        pipeline.sidecar.kill()
        pipeline.again(API_PORT=port)
        gate.touch()
        out, _ = process.communicate(timeout=PATIENCE_SECONDS)

    assert process.returncode == 0, out
    assert out.count("  | over\n") == 2
    assert pipeline.runs == 2
