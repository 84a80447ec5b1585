"""What a pipeline's log shows of `salt-ci`, scene by scene, on each platform, beside a real master."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from service.demo.embedded import PATIENCE_SECONDS, EmbeddedSalt, until
from tests.real.jobs.pipeline import USERS, Pipeline, gated_states
from tests.real.sidecar import Sidecar

if TYPE_CHECKING:
    from typing_extensions import Self

PLATFORMS: Mapping[str, Mapping[str, str]] = {
    "GitHub Actions": {
        "GITHUB_ACTIONS": "true", "GITHUB_SERVER_URL": "https://github.example.org", "GITHUB_REPOSITORY": "team/app", "GITHUB_REPOSITORY_ID": "42",
        "GITHUB_RUN_ATTEMPT": "1", "GITHUB_JOB": "deploy", "RUNNER_NAME": "runner-1",
    },
    "GitLab CI": {"GITLAB_CI": "true", "CI_PROJECT_ID": "42", "CI_JOB_URL": "https://gitlab.example.org/team/app/-/jobs/7"},
    "Jenkins": {"JENKINS_URL": "https://jenkins.example.org", "BUILD_URL": "https://jenkins.example.org/job/app/7"},
}  # fmt: skip
# What makes each run of a scene a pipeline of its own, and its folder.
RUN_OF = {"GitHub Actions": ("GITHUB_RUN_ID", "RUNNER_TEMP"), "GitLab CI": ("CI_JOB_ID", "CI_PROJECT_DIR"), "Jenkins": ("BUILD_TAG", "WORKSPACE_TMP")}


@dataclasses.dataclass(frozen=True)
class Played:
    """What came of a scene. ran: how often its job was begun on the two minions, all together."""

    code: int
    ran: int
    log: str


class CiStage(contextlib.ExitStack):
    """A master, two minions and a sidecar, and the program as that serves it. folder: takes all files."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self._played = 0
        # Jobs in threads could not be cancelled one by one.
        self._salt = EmbeddedSalt(folder / "salt", users={**USERS, "ci": [*USERS["ci"], "saltutil.*"]})

    def __enter__(self) -> Self:
        self.enter_context(self._salt)
        self.pipeline = Pipeline(self._salt, self._make, self._folder)
        self._program = self._folder / "ci.py"
        self._program.write_bytes(self.pipeline.sidecar.get("/v1/ci.py").body)
        return self

    def _make(self, master_config: Path, **settings: Any) -> Sidecar:
        sidecar = Sidecar(master_config, self._folder / f"sidecar-{self._played}", **settings)
        self.callback(sidecar.kill)
        return sidecar

    def play(self, scene: Scene, platform: str) -> Played:
        """Play a scene as a pipeline of its own."""
        self._played += 1
        folder = self._folder / f"run-{self._played}"
        folder.mkdir()
        self.pipeline.ran = folder / "ran"
        run, home = RUN_OF[platform]
        environ = {
            "PATH": os.environ["PATH"],
            "SALT_API_URL": f"http://127.0.0.1:{self.pipeline.sidecar.api_port}",
            "SALT_TOKEN": self.pipeline.token,
            **PLATFORMS[platform],
            run: str(self._played),
            home: str(folder),
        }
        code, log = scene.play(self, environ)
        return Played(code, self.pipeline.runs, log)

    def begin(self, environ: Mapping[str, str], *arguments: str) -> subprocess.Popen[str]:
        """Call the program."""
        process = subprocess.Popen(
            [sys.executable, str(self._program), *arguments], env=environ, text=True, encoding="utf-8", stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        self.callback(process.communicate)
        self.callback(process.kill)
        return process

    def run(self, environ: Mapping[str, str], *arguments: str) -> tuple[int, str]:
        """Call the program; return its exit code and its log."""
        process = self.begin(environ, *arguments)
        log, _ = process.communicate(timeout=PATIENCE_SECONDS)
        return process.returncode, log

    @property
    def gate(self) -> Path:
        """The file that a held job waits for."""
        return self.pipeline.ran.with_name("gate")

    def held(self) -> list[str]:
        """Return the arguments of a job that is over when its gate is there."""
        return ["run", "*", "cmd.run", f"echo run >> {self.pipeline.ran}; while [ ! -e {self.gate} ]; do sleep 0.2; done; echo done"]

    def gated(self) -> str:
        """Return the name of states that end when the gate is there."""
        return gated_states(self._salt, self.gate)

    def begun(self) -> None:
        """Wait until both minions have begun with the held job."""
        for _ in until(PATIENCE_SECONDS):
            if self.pipeline.runs == 2:
                return
        raise AssertionError("the minions have not begun")


@dataclasses.dataclass(frozen=True)
class Scene:
    """One thing that happens to a pipeline's step."""

    title: str
    play: Callable[[CiStage, Mapping[str, str]], tuple[int, str]]
    code: int
    ran: int = 0


def cancelled(stage: CiStage, environ: Mapping[str, str]) -> tuple[int, str]:
    process = stage.begin(environ, *stage.held(), "--cancel-on-interrupt")
    stage.begun()
    process.send_signal(signal.SIGTERM)
    log, _ = process.communicate(timeout=PATIENCE_SECONDS)
    return process.returncode, log


def seen_live(stage: CiStage, environ: Mapping[str, str]) -> tuple[int, str]:
    """The gate opens when the first state of each minion is in the log."""
    process = stage.begin(environ, "apply", "*", stage.gated(), "--deadline", "120")
    assert process.stdout is not None
    lines: list[str] = []
    while sum(line.startswith("minion-") and "changed  one" in line for line in lines) < 2:
        lines.append(process.stdout.readline())
        assert lines[-1], lines
    stage.gate.touch()
    log, _ = process.communicate(timeout=PATIENCE_SECONDS)
    return process.returncode, "".join(lines) + log


def followed_over_a_kill(stage: CiStage, environ: Mapping[str, str]) -> tuple[int, str]:
    process = stage.begin(environ, *stage.held())
    stage.begun()
    port = stage.pipeline.sidecar.api_port
    stage.pipeline.sidecar.kill()
    stage.pipeline.again(API_PORT=port)
    stage.gate.touch()
    log, _ = process.communicate(timeout=PATIENCE_SECONDS)
    return process.returncode, log


def repeated(stage: CiStage, environ: Mapping[str, str]) -> tuple[int, str]:
    first = stage.begin(environ, *stage.held())
    stage.begun()
    first.kill()
    stage.gate.touch()
    return stage.run(environ, *stage.held())


SCENES = [
    Scene("success", lambda stage, environ: stage.run(environ, "apply", "*", "good"), 0),
    Scene("a failing state", lambda stage, environ: stage.run(environ, "apply", "*", "failing"), 1),
    Scene("states are seen as they end", seen_live, 1),
    Scene("a minion that is missing", lambda stage, environ: stage.run(environ, "run", "minion-1,gone", "-L", "test.ping"), 3),
    Scene("a cancelled pipeline", cancelled, 5, 2),
    Scene("kill -9 of the sidecar", followed_over_a_kill, 0, 2),
    Scene("a step that is tried again", repeated, 0, 2),
]
