"""`salt-ci` as a pipeline calls it: the file that the API serves, over a real connection, against either master."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from service.api.v1.v1_ci import application
from service.demo.embedded import PATIENCE_SECONDS, until
from tests.contract.conftest import Api, Listens
from tests.contract.test_v1_jobs import fake, gateway_of, returned, token_of
from tests.fakes import SECRET
from tests.installed import python_of

__all__ = ["fake"]
pytestmark = pytest.mark.slow
PYTHONS = [f"3.{minor}" for minor in range(8, 15)]
CANARY = "CANARY-password"


@dataclasses.dataclass
class Run:
    """What came of a call."""

    code: int
    out: str
    err: str

    @property
    def jid(self) -> str:
        found = re.search(r"^job (\d{20}): http", self.out + self.err, re.MULTILINE)
        assert found, self
        return found[1]


class Pipeline:
    """Calls the program, with a token of demo's."""

    def __init__(self, api: Api, url: str, folder: Path) -> None:
        self.api = api
        self.url = url
        self.folder = folder
        self.program = folder / "ci.py"
        self.program.write_bytes(api.caller.get("/v1/ci.py").body)
        self.begun: list[subprocess.Popen[str]] = []
        self.environ = {"PATH": os.environ["PATH"], "SALT_API_URL": url, "SALT_TOKEN": token_of(api)}

    def begin(self, *arguments: str, python: str = sys.executable, **environ: str) -> subprocess.Popen[str]:
        command = [python, str(self.program), *arguments]
        self.begun.append(
            subprocess.Popen(command, cwd=self.folder, env={**self.environ, **environ}, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        )
        return self.begun[-1]

    def jobs(self) -> list[dict[str, Any]]:
        """Return demo's jobs, the newest first."""
        found: list[dict[str, Any]] = self.api.caller.get("/v1/jobs", x_auth_token=self.environ["SALT_TOKEN"]).json()["jobs"]
        return found

    def end(self, process: subprocess.Popen[str]) -> Run:
        out, err = process.communicate(timeout=PATIENCE_SECONDS)
        return Run(process.returncode, out, err)

    def __call__(self, *arguments: str, python: str = sys.executable, **environ: str) -> Run:
        return self.end(self.begin(*arguments, python=python, **environ))


@pytest.fixture
def pipeline(api: Api, listens: Listens, tmp_path: Path) -> Iterator[Pipeline]:
    """A pipeline beside either master."""
    yield from ended(Pipeline(api, listens(api), tmp_path))


@pytest.fixture
def alone(fake: Api, listens: Listens, tmp_path: Path) -> Iterator[Pipeline]:
    """A pipeline beside a fake master of its own."""
    yield from ended(Pipeline(fake, listens(fake), tmp_path))


def ended(pipeline: Pipeline) -> Iterator[Pipeline]:
    yield pipeline
    for process in pipeline.begun:
        process.kill()
        process.communicate()


def test_the_file_is_the_same_for_everybody_and_is_sent_once(api: Api) -> None:
    answer = api.caller.get("/v1/ci.py")

    assert (answer.status, answer.body) == (200, application())
    assert answer.headers["content-disposition"] == 'attachment; filename="ci.py"'
    assert api.caller.get("/v1/ci.py", if_none_match=answer.headers["etag"]).status == 304


@pytest.mark.parametrize("version", PYTHONS)
def test_it_runs_on_pythons_of_many_ages(alone: Pipeline, version: str) -> None:
    python = python_of(version)
    if python is None:
        pytest.skip(f"there is no Python {version} on this machine")
    how = {"PYTHONWARNINGS": "error", "GITHUB_ACTIONS": "true", "RUNNER_TEMP": str(alone.folder)}
    run = alone("run", "*", "test.echo", "hi", "--json", "--junit", "report.xml", python=python, **how)
    lines = (["follow", run.jid], ["cancel", run.jid], ["run", "*", "test.nothing"], ["apply", "web*"], ["run", "*"], ["run", "*", "test.ping", "--dry-run"])

    assert (run.code, run.err.count("  | hi\n"), json.loads(run.out)["status"]) == (0, 2, "succeeded"), run
    assert [alone(*line, python=python, **how).code for line in lines] == [0, 0, 1, 2, 64, 11]


def test_a_job_that_is_well(pipeline: Pipeline) -> None:
    run = pipeline("run", "*", "test.echo", "hi", "--json", "--junit", "report.xml", "--key", "step-1")
    job = json.loads(run.out)

    assert (run.code, job["status"], job["jid"]) == (0, "succeeded", run.jid)
    assert f"{pipeline.url}/v1/jobs/{run.jid}\n" in run.err
    assert "Idempotency-Key: step-1\n" in run.err
    assert run.err.count("  | hi\n") == 2
    assert run.err.splitlines()[-2] == f"job {run.jid}: succeeded: 2 ok (exit code 0)"
    assert ET.fromstring((pipeline.folder / "report.xml").read_bytes()).get("tests") == "2"
    again = pipeline("run", "*", "test.echo", "hi", "--key", "step-1")
    assert (again.code, again.jid) == (0, run.jid)
    late = pipeline("follow", run.jid)
    assert (late.code, late.out.count("  | hi\n")) == (0, 2)
    assert pipeline("wait", run.jid).code == 0
    assert pipeline("cancel", run.jid).code == 0  # it was over


def test_nobody_matched(pipeline: Pipeline) -> None:
    assert pipeline("run", "nobody*", "test.ping").code == 2


@pytest.mark.parametrize(
    ("arguments", "environ", "code", "said"),
    [
        (["run", "*", "test.ping"], {"SALT_TOKEN": "0" * 64}, 11, "401"),
        (["run", "*", "test.ping", "--dry-run"], {}, 11, "dry_run is for state functions only"),
        (["follow", "20200101000000000000"], {}, 11, "404"),
        (["run", "*", "test.ping"], {"SALT_TOKEN": "", "SALT_API_USER": "demo", "SALT_API_PASSWORD": CANARY}, 11, "401"),
        (["run", "*", "test.ping"], {"SALT_TOKEN": ""}, 64, "SALT_TOKEN"),
        (["run", "*", "test.ping"], {"SALT_TOKEN": "", "SALT_TOKEN_FILE": "nowhere"}, 64, "nowhere"),
        (["run", "*", "test.ping"], {"SALT_API_CERT": "nowhere"}, 64, "SALT_API_CERT"),
        (["run", "*", "test.ping"], {"SALT_API_URL": "salt:8000"}, 64, "SALT_API_URL"),
        (["run", "*"], {}, 64, "usage"),
    ],
)
def test_what_is_refused_is_not_tried_again(pipeline: Pipeline, arguments: list[str], environ: dict[str, str], code: int, said: str) -> None:
    run = pipeline(*arguments, **environ)

    assert run.code == code, run
    assert said in run.out + run.err
    assert CANARY not in run.out + run.err


def test_a_name_and_a_password_will_do(pipeline: Pipeline) -> None:
    (pipeline.folder / "password").write_text(pipeline.api.demo["password"] + "\n")
    who = {"SALT_API_USER": "demo", "SALT_API_PASSWORD_FILE": "password", "SALT_API_EAUTH": pipeline.api.demo["eauth"], "SALT_TOKEN": ""}

    run = pipeline("run", "*", "test.ping", **who)

    assert run.code == 0, run
    assert pipeline.api.demo["password"] not in run.out + run.err


def begun(pipeline: Pipeline) -> str:
    """Wait for the job that a call has begun; return its jid."""
    for _ in until(PATIENCE_SECONDS):
        for job in pipeline.jobs():
            if job["status"] == "running":
                return str(job["jid"])
    raise AssertionError("no job was begun")


def deliver(pipeline: Pipeline, jid: str, minion: str, **fields: Any) -> None:
    sent = [{"__kwarg__": True, "state_events": True}]
    gateway_of(pipeline.api).hub.deliver(returned(jid, minion, fun="state.apply", fun_args=sent, **fields))


FAILED = {
    "x_|-a_|-/a_|-managed": {"result": False, "changes": {}, "comment": "::error::no\n##[group]", "name": "/a", "__id__": "a", "__run_num__": 0, "__sls__": "s"}
}


def test_a_failing_state_is_shown_folded_marked_and_once_more_at_the_end(alone: Pipeline) -> None:
    gateway_of(alone.api).master.silent = {"minion-1", "minion-2"}
    summary = alone.folder / "summary.md"
    process = alone.begin("apply", "*", GITHUB_ACTIONS="true", GITHUB_STEP_SUMMARY=str(summary), RUNNER_TEMP=str(alone.folder))
    jid = begun(alone)
    deliver(alone, jid, "minion-1", **{"return": FAILED, "retcode": 2, "success": False})
    deliver(alone, jid, "minion-2", **{"return": {}, "retcode": 0, "success": True})
    run = alone.end(process)

    assert run.code == 1, run
    commands = [line.split("::")[1].split(" ")[0] for line in run.out.splitlines() if line.lstrip().startswith("::")]
    assert commands == ["add-mask", "group", "endgroup", "group", "endgroup", "error"]
    assert "##[" not in run.out
    assert run.out.count("   FAILED  a: /a\n") == 2
    assert "| minion-1 | failed | state&#95;failed |" in summary.read_text()


def test_minions_that_are_missing_have_a_code_of_their_own(alone: Pipeline) -> None:
    gateway_of(alone.api).master.silent = {"minion-1"}

    run = alone("run", "*", "test.ping", "--deadline", "2", "--timeout", "1")

    assert run.code == 3, run
    assert re.search(r"minion-1: (no_return|lost)", run.out)


@pytest.mark.parametrize(("option", "code", "status"), [([], 130, "running"), (["--cancel-on-interrupt"], 5, "running")])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_pipeline_that_is_cancelled_says_how_to_follow_or_cancels(alone: Pipeline, option: list[str], code: int, status: str, number: signal.Signals) -> None:
    gateway_of(alone.api).master.silent = {"minion-1", "minion-2"}
    process = alone.begin("apply", "*", *option)
    jid = begun(alone)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(f"job {jid}: http"):
            break
    process.send_signal(number)
    run = alone.end(process)
    job = alone.api.caller.get(f"/v1/jobs/{jid}", x_auth_token=alone.environ["SALT_TOKEN"]).json()

    assert (run.code, job["status"], job.get("cancel_asked", False)) == (code, status, bool(option))
    assert (f"salt-ci follow {jid}" in run.err) is not bool(option)


def test_a_job_that_waits_for_its_owner_is_asked_for_again(alone: Pipeline) -> None:
    master = gateway_of(alone.api).master
    master.silent = {"minion-1", "minion-2"}
    first = alone.begin("apply", "*", "--concurrency", "deploy")
    jid = begun(alone)
    account = {"SALT_TOKEN": "", "SALT_API_USER": "demo", "SALT_API_PASSWORD": SECRET, "SALT_API_EAUTH": "sharedsecret"}
    second = alone.begin("run", "*", "test.echo", "hi", "--concurrency", "deploy", "--key", "second", **account)
    for _ in until(PATIENCE_SECONDS):
        if [job["status"] for job in alone.jobs()].count("queued") == 1:
            break
    # Its turn comes when its session is dead.
    for token in [one for one in master.tokens if one != alone.environ["SALT_TOKEN"]]:
        del master.tokens[token]
    master.silent = set()
    for minion in ("minion-1", "minion-2"):
        deliver(alone, jid, minion, **{"return": {}, "retcode": 0, "success": True})
    run = alone.end(second)

    assert alone.end(first).code == 0
    assert (run.code, run.out.count("  | hi\n")) == (0, 2), run
    assert "asking for it again, with the same key" in run.out


class Cutting:
    """Passes connections on, and cuts those of streams, so many times, after their first lines."""

    def __init__(self, port: int, times: int) -> None:
        self._port = port
        self.left = times
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                here, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(here,), daemon=True).start()

    def _serve(self, here: socket.socket) -> None:
        with here, socket.create_connection(("127.0.0.1", self._port)) as there:
            asked = request_from(here)
            there.sendall(asked)
            is_stream = b"/events" in asked.split(b"\r\n")[0]
            while data := there.recv(65536):
                if is_stream and self.left and b'"seq"' in data:
                    self.left -= 1
                    here.sendall(data[: len(data) // 2])
                    return
                here.sendall(data)


def request_from(caller: socket.socket) -> bytes:
    """Read a whole request; its body may come in packets of its own."""
    asked = bytearray()
    while True:
        head, gap, body = asked.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        if gap and len(body) >= int(length[1] if length else 0):
            return bytes(asked)
        asked += caller.recv(65536)


def test_a_connection_that_is_cut_ten_times_costs_nothing(alone: Pipeline) -> None:
    cutting = Cutting(int(alone.url.rpartition(":")[2]), 10)
    run = alone("run", "*", "test.echo", "hi", "--url", cutting.url)
    cutting.close()

    assert cutting.left == 0, run
    assert (run.code, run.out.count("  | hi\n"), run.out.count("minion-1: ok\n")) == (0, 2, 1)


def test_a_server_that_is_not_there_is_told_from_a_job_that_failed(alone: Pipeline) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]

    run = alone("run", "*", "test.ping", "--patience", "1", "--url", f"http://127.0.0.1:{port}")

    assert run.code == 10, run
    assert "the same command with the same key is safe" in run.err


def test_a_step_that_is_tried_again_gets_the_job_of_the_first_try(alone: Pipeline) -> None:
    gateway_of(alone.api).master.silent = {"minion-1", "minion-2"}
    gitlab = {"GITLAB_CI": "true", "CI_PROJECT_ID": "1", "CI_JOB_ID": "2", "CI_PROJECT_DIR": str(alone.folder)}
    first = alone.begin("apply", "*", **gitlab)
    jid = begun(alone)
    first.kill()
    alone.end(first)
    second = alone.begin("apply", "*", **gitlab)
    for minion in ("minion-1", "minion-2"):
        deliver(alone, jid, minion, **{"return": {}, "retcode": 0, "success": True})
    run = alone.end(second)
    gateway_of(alone.api).master.silent = set()

    assert (run.code, run.jid) == (0, jid)
    assert alone("run", "*", "test.ping", **gitlab).jid != jid
