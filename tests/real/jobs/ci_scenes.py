"""What a pipeline's log shows of `salt-ci`, scene by scene, on each platform: behind the nginx of compose.yaml, a sidecar and a real master."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from service.demo.embedded import PATIENCE_SECONDS, EmbeddedSalt, until
from service.demo.ports import free_ports
from tests.certificates import certificate
from tests.real.jobs.pipeline import USERS, Pipeline, gated_states
from tests.real.jobs.stages import Played, StageSet, StepScene
from tests.real.relay import Cable
from tests.real.sidecar import Sidecar
from tests.server.nginx import compose_site, running

if TYPE_CHECKING:
    pass

PLATFORMS: Mapping[str, Mapping[str, str]] = {
    "GitHub Actions": {
        "GITHUB_ACTIONS": "true", "GITHUB_SERVER_URL": "https://github.example.org", "GITHUB_REPOSITORY": "team/app", "GITHUB_REPOSITORY_ID": "42",
        "GITHUB_RUN_ATTEMPT": "1", "GITHUB_JOB": "deploy", "RUNNER_NAME": "runner-1",
    },
    "GitLab CI": {"GITLAB_CI": "true", "CI_PROJECT_ID": "42", "CI_JOB_URL": "https://gitlab.example.org/team/app/-/jobs/7"},
    "Jenkins": {"JENKINS_URL": "https://jenkins.example.org", "BUILD_URL": "https://jenkins.example.org/job/app/7"},
}  # fmt: skip
JID = re.compile(r"\b\d{20}\b")
FIRST_STATE = re.compile(r"^minion-.*changed  one", re.MULTILINE)
CUTS = 10
QUIET_SECONDS = 8
# What makes each run of a scene a pipeline of its own, and its folder.
RUN_OF = {"GitHub Actions": ("GITHUB_RUN_ID", "RUNNER_TEMP"), "GitLab CI": ("CI_JOB_ID", "CI_PROJECT_DIR"), "Jenkins": ("BUILD_TAG", "WORKSPACE_TMP")}


class Call:
    """One call of the program, and the file that has its log."""

    def __init__(self, process: subprocess.Popen[bytes], path: Path) -> None:
        self.process = process
        self._path = path

    @property
    def log(self) -> str:
        """What it has written so far."""
        return self._path.read_text(encoding="utf-8")

    def said(self, text: str) -> None:
        """Wait for a text in the log. Fails if it ends before."""
        for _ in until(PATIENCE_SECONDS):
            over = self.process.poll() is not None
            if text in self.log:
                return
            assert not over, self.log
        raise AssertionError(self.log)

    def end(self) -> tuple[int, str]:
        """Wait for its end; return the exit code and the log."""
        return self.process.wait(PATIENCE_SECONDS), self.log


class CiStage(StageSet):
    """
    A master, two minions, a sidecar and compose.yaml's nginx before it, and the program as the sidecar serves it.

    folder: takes all files. nginx: the program.
    """

    def __init__(self, folder: Path, nginx: str) -> None:
        super().__init__()
        self._folder = folder
        self._nginx = nginx
        self._played = self._made = 0
        # Jobs in threads could not be cancelled one by one.
        self._salt = EmbeddedSalt(folder / "salt", users={**USERS, "ci": [*USERS["ci"], "saltutil.*"]})

    def _start(self) -> None:
        self.enter_context(self._salt)
        self._cache = Path(yaml.safe_load(self._salt.master_config.read_text())["cachedir"])
        self.pipeline = Pipeline(self._salt, self._make, self._folder)
        self._program = self._folder / "ci.py"
        self._program.write_bytes(self.pipeline.sidecar.get("/v1/ci.py").body)
        self._port = self.pipeline.sidecar.api_port
        self._site = self._folder / "nginx"
        self.cable = self.enter_context(self._proxy())

    def _proxy(self) -> Cable:
        """Start nginx; return the cable that leads to it."""
        self._site.mkdir()
        (port,) = free_ports(1)
        self._pair = certificate(self._site)
        (self._site / "nginx.conf").write_text(compose_site(self._site, port, self._port, self._pair))
        self.enter_context(running(self._nginx, self._site, port))
        return Cable(port)

    def streams(self) -> int:
        """Return how many streams nginx has brought to an end, however they ended."""
        return (self._site / "access.log").read_text(encoding="utf-8").count("/events ")

    def opened(self) -> int:
        """Return how many streams the sidecar that runs has begun."""
        return len(self.pipeline.sidecar.lines("stream.opened"))

    def has_opened(self, count: int) -> bool:
        return self.opened() >= count

    def again(self, **settings: object) -> None:
        """Start the sidecar again where nginx expects it."""
        self.pipeline.again(API_PORT=self._port, **settings)

    def _make(self, master_config: Path, **settings: Any) -> Sidecar:
        self._made += 1
        sidecar = Sidecar(master_config, self._folder / f"sidecar-{self._made}", **settings)
        self.callback(sidecar.kill)
        return sidecar

    def play(self, scene: Scene, platform: str) -> Played:
        """Play a scene as a pipeline of its own."""
        self._played += 1
        if not self.pipeline.sidecar.running:
            self.again()
        folder = self._folder / f"run-{self._played}"
        folder.mkdir()
        self.pipeline.ran = folder / "ran"
        run, home = RUN_OF[platform]
        environ = {
            "PATH": os.environ["PATH"],
            "SALT_API_URL": f"https://127.0.0.1:{self.cable.port}",
            "SALT_API_CA": str(self._pair),
            "SALT_TOKEN": self.pipeline.token,
            **PLATFORMS[platform],
            run: str(self._played),
            home: str(folder),
        }
        code, log = scene.play(self, environ)
        return Played(code, self.pipeline.runs, log)

    def begin(self, environ: Mapping[str, str], *arguments: str) -> Call:
        """Call the program."""
        path = self.pipeline.ran.with_name(f"log-{uuid.uuid4()}")
        with path.open("wb") as log:
            process = subprocess.Popen([sys.executable, str(self._program), *arguments], env=environ, stdout=log, stderr=subprocess.STDOUT)
        self.callback(process.wait)
        self.callback(process.kill)
        return Call(process, path)

    @property
    def gate(self) -> Path:
        """The file that a held job waits for."""
        return self.pipeline.ran.with_name("gate")

    def held(self, first: str = "true") -> list[str]:
        """Return the arguments of a job that is over when its gate is there. first: what the minions do before they wait."""
        return ["run", "*", "cmd.run", f"echo run >> {self.pipeline.ran}; {first}; while [ ! -e {self.gate} ]; do sleep 0.2; done; echo done"]

    def gated(self) -> str:
        """Return the name of states that end when the gate is there."""
        return gated_states(self._salt, self.gate)

    def begun(self) -> None:
        """Wait until both minions have begun with the held job."""
        self.wait(lambda: self.pipeline.runs == 2, "begun")

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        self.pipeline.sidecar.wait(condition, what)

    def stored(self, jid: str) -> bool:
        """Say whether the master has stored what both minions returned. Source: salt/returners/local_cache.py, and salt/utils/jid.py, jid_dir."""
        digest = hashlib.sha256(jid.encode()).hexdigest()
        return len([*(self._cache / "jobs" / digest[:2] / digest[2:]).glob("*/return.p")]) == 2


Play = Callable[[CiStage, Mapping[str, str]], tuple[int, str]]


Scene = StepScene[Play]


def cancelled(stage: CiStage, environ: Mapping[str, str]) -> tuple[int, str]:
    return _interrupted(stage, environ, "--cancel-on-interrupt")


def interrupted(stage: CiStage, environ: Mapping[str, str]) -> tuple[int, str]:
    told = _interrupted(stage, environ)
    stage.gate.touch()
    return told


def _interrupted(stage: CiStage, environ: Mapping[str, str], *options: str) -> tuple[int, str]:
    call = stage.begin(environ, *stage.held(), *options)
    stage.begun()
    call.said("/v1/jobs/")
    call.process.send_signal(signal.SIGTERM)
    return call.end()


def too_late(stage: CiStage, environ: Mapping[str, str]) -> tuple[int, str]:
    told = stage.begin(environ, *stage.held(), "--timeout", "1", "--deadline", "5").end()
    stage.gate.touch()
    return told


def seen_live(stage: CiStage, environ: Mapping[str, str]) -> tuple[int, str]:
    """The gate opens when the first state of each minion is in the log."""
    call = stage.begin(environ, "apply", "*", stage.gated(), "--deadline", "120")
    stage.wait(lambda: len(FIRST_STATE.findall(call.log)) == 2, "told")
    stage.gate.touch()
    return call.end()


def followed_over_a_kill(stage: CiStage, environ: Mapping[str, str]) -> tuple[int, str]:
    call = stage.begin(environ, *stage.held())
    stage.begun()
    stage.pipeline.sidecar.kill()
    stage.again()
    stage.gate.touch()
    return call.end()


def nobody_can_tell(stage: CiStage, environ: Mapping[str, str]) -> tuple[int, str]:
    """The minions return while no sidecar is there to hear it, and the next one has nobody who may look it up."""
    call = stage.begin(environ, *stage.held())
    call.said("/v1/jobs/")
    stage.begun()
    stage.pipeline.sidecar.kill()
    stage.gate.touch()
    stage.wait(lambda: stage.stored(JID.findall(call.log)[0]), "stored")
    stage.again(JOBS_RECOVERY_USER=None, JOBS_RECOVERY_PASSWORD_FILE=None)
    told = call.end()
    stage.pipeline.sidecar.kill()
    return told


def away(stage: CiStage, environ: Mapping[str, str]) -> tuple[int, str]:
    stage.pipeline.sidecar.kill()
    return stage.begin(environ, "run", "*", "test.ping", "--patience", "1").end()


def cut_ten_times(stage: CiStage, environ: Mapping[str, str]) -> tuple[int, str]:
    """Each time a stream is cut when the sidecar has begun it."""
    before = stage.opened()
    call = stage.begin(environ, *stage.held())
    for number in range(1, CUTS + 1):
        stage.wait(partial(stage.has_opened, before + number), f"stream {number} open")
        stage.cable.cut()
    stage.gate.touch()
    return call.end()


def quiet_after_an_early_line(stage: CiStage, environ: Mapping[str, str]) -> tuple[int, str]:
    """One minion is heard of at once; then nothing happens for a while, in one and the same stream, until the other one returns."""
    before = stage.streams()
    call = stage.begin(environ, *stage.held(f"mkdir {stage.gate}-first 2>/dev/null && echo early && exit"))
    call.said("| early")
    with pytest.raises(subprocess.TimeoutExpired):
        call.process.wait(QUIET_SECONDS)
    assert (stage.streams() - before, "| done" in call.log) == (0, False)
    stage.gate.touch()
    return call.end()


def repeated(stage: CiStage, environ: Mapping[str, str]) -> tuple[int, str]:
    first = stage.begin(environ, *stage.held())
    stage.begun()
    first.process.kill()
    stage.gate.touch()
    return stage.begin(environ, *stage.held()).end()


def called(*arguments: str, **changes: str) -> Play:
    """Return a scene in which nothing happens but a call. changes: of the environment."""
    return lambda stage, environ: stage.begin({**environ, **changes}, *arguments).end()


SCENES = [
    Scene("success", called("apply", "*", "good"), 0),
    Scene("a failing state", called("apply", "*", "failing"), 1),
    Scene("states are seen as they end", seen_live, 1),
    Scene("nobody matches", called("run", "nobody*", "test.ping"), 2),
    Scene("a minion that is missing", called("run", "minion-1,gone", "-L", "test.ping"), 3),
    Scene("a deadline that passes", too_late, 4, 2),
    Scene("a cancelled pipeline", cancelled, 5, 2),
    Scene("returns that nobody heard", nobody_can_tell, 6, 2),
    Scene("a sidecar that is away", away, 10),
    Scene("a function without a right", called("run", "*", "pkg.install", "app"), 11),
    Scene("a token that is none", called("run", "*", "test.ping", SALT_TOKEN="0" * 64), 11),
    Scene("wrong use", called("run", "*"), 64),
    Scene("an interrupted pipeline", interrupted, 130, 2),
    Scene("kill -9 of the sidecar", followed_over_a_kill, 0, 2),
    Scene("a step that is tried again", repeated, 0, 2),
    Scene("ten cuts", cut_ten_times, 0, 2),
    Scene("a line, and then silence", quiet_after_an_early_line, 0, 2),
]
