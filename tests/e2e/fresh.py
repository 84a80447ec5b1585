"""A newcomer's first hour, on machines that hold the packages which README names and nothing else."""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import json
import os
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.e2e import standins
from tests.e2e.engine import Engine
from tests.e2e.images import ROOT
from tests.e2e.report import Report
from tests.e2e.shell import StepFailed, require, run
from tests.e2e.terminal import Terminal

RELEASES = {"Debian 12": "bookworm", "Debian 13": "trixie"}
# README's list, as a person would copy it.
NAMED = re.compile(r"^## Try it\n.*?`apt-get install ([^`]+)`", re.MULTILINE | re.DOTALL)
# What the installer says while it works, by its own clock.
BUILDING_SALT = re.compile(r"^ *(\d+) s: building .*\bsalt==", re.MULTILINE)
REPOSITORY = "/srv/salt-sidecar.git"
HOME = f"/home/{standins.NEWCOMER}"
CLONE = f"{HOME}/salt-sidecar"
MINIONS = {"minion-1", "minion-2"}
# For machines ten times slower than a usual one.
READY_SECONDS = 1200
CHECK_SECONDS = 1200
STOP_SECONDS = 120
# It says something every few seconds on an idle machine.
SILENCE_SECONDS = 60


@dataclasses.dataclass(frozen=True)
class Machine:
    """A container of a fresh Debian, in which a newcomer works."""

    engine: Engine
    name: str

    def shell(self, script: str, *, timeout: float = 60, folder: str = HOME) -> str:
        """Return what a command of the newcomer prints."""
        return self.engine.docker(*self._newcomer(folder), self.name, "sh", "-c", script, timeout=timeout)

    @contextlib.contextmanager
    def terminal(self, *argv: str) -> Iterator[Terminal]:
        """Run a command in a terminal of the newcomer's, in the clone."""
        words = [self.engine.client, *self._newcomer(CLONE), "--interactive", "--tty", self.name, *argv]
        terminal = Terminal(words, self.engine.environ)
        try:
            yield terminal
        finally:
            terminal.close()

    def processes(self) -> list[str]:
        """Return what runs besides the container's own two."""
        return self.engine.docker("top", self.name, "-eo", "pid,args").splitlines()[3:]

    @staticmethod
    def _newcomer(folder: str) -> tuple[str, ...]:
        return ("exec", "--user", standins.NEWCOMER, "--env", f"HOME={HOME}", "--workdir", folder)


def everything(engine: Engine, report: Report) -> None:
    """Try each release, all at once; FRESH_REF names another commit than HEAD."""
    packages = named_packages()
    report.found("README names", ", ".join(packages))
    commit = run("git", "-C", ROOT, "rev-parse", os.environ.get("FRESH_REF", "HEAD")).strip()
    publish(commit, engine.work / "fresh.git")
    with concurrent.futures.ThreadPoolExecutor(len(RELEASES)) as pool:
        trials = {release: pool.submit(tried, engine, suite, packages) for release, suite in RELEASES.items()}
    faults = {release: fault for release, trial in trials.items() if (fault := trial.exception())}
    for release in trials.keys() - faults:
        report.found(f"{release}, {commit[:7]}", trials[release].result())
    require(not faults, "\n".join(f"on a fresh {release}, at {commit[:7]}: {fault}" for release, fault in faults.items()))


def named_packages() -> list[str]:
    """Return the packages that README tells a newcomer to install."""
    named = NAMED.search((ROOT / "README.md").read_text(encoding="utf-8"))
    if named is None:
        raise StepFailed("README's `Try it` names no packages: `apt-get install ...`")
    return named.group(1).split()


def publish(commit: str, repository: Path) -> None:
    """Make a bare repository of one commit, which the newcomer's own git trusts."""
    run("git", "init", "--quiet", "--bare", "--initial-branch=main", repository)
    run("git", "-C", repository, "fetch", "--quiet", "--depth=1", f"file://{ROOT}", f"{commit}:refs/heads/main")
    for path in (repository, *repository.rglob("*")):
        shutil.chown(path, standins.NEWCOMER_UID)


def tried(engine: Engine, suite: str, packages: Sequence[str]) -> str:
    """Clone, run, call, stop and check on one release; return the figures."""
    standins.debian(engine, suite, packages)
    with machine(engine, suite) as fresh:
        began = time.monotonic()
        fresh.shell(f"git clone --quiet {REPOSITORY}")
        said = run_and_stop(fresh, began)
        left = fresh.processes()
        require(not left, f"left behind by `make run`: {left}")
        began = time.monotonic()
        fresh.shell("make check", timeout=CHECK_SECONDS, folder=CLONE)
        return f"{said}; make check {time.monotonic() - began:.0f} s"


@contextlib.contextmanager
def machine(engine: Engine, suite: str) -> Iterator[Machine]:
    """Have a fresh container inside the block."""
    volume = f"{engine.work / 'fresh.git'}:{REPOSITORY}:ro"
    name = engine.docker("run", "--detach", "--init", "--volume", volume, standins.fresh_tag(suite), "sleep", "infinity").strip()
    try:
        yield Machine(engine, name)
    finally:
        engine.docker("rm", "--force", name)


def run_and_stop(fresh: Machine, began: float) -> str:
    """Start the demo, paste its three calls into a shell, stop it with Ctrl-C; return the figures."""
    with fresh.terminal("make", "run") as terminal:
        terminal.wait_for("Ctrl-C stops everything.", READY_SECONDS)
        silence, before = terminal.longest_silence()
        building = [int(seconds) for seconds in BUILDING_SALT.findall(terminal.text())]
        curls = [line.strip() for line in terminal.text().splitlines() if line.startswith("  curl ")]
        require(len(curls) == 3, f"it printed {len(curls)} calls:\n{terminal.last_words()}")
        answers = [answer(fresh.shell(curls[0]))]
        seconds = time.monotonic() - began
        answers += [answer(fresh.shell(curl)) for curl in curls[1:]]
        terminal.press_ctrl_c(STOP_SECONDS)
        require("stopped" in terminal.text().splitlines(), f"after Ctrl-C:\n{terminal.last_words()}")
    require(answers[0] == dict.fromkeys(MINIONS, True), f"the first call's answer: {answers[0]}")
    require(set(answers[1]["minions"]) == MINIONS and answers[1]["jid"], f"the second call's answer: {answers[1]}")
    require(all(f'"{minion}": true' in json.dumps(answers[2]) for minion in MINIONS), f"the third call's answer: {answers[2]}")
    require(silence < SILENCE_SECONDS, f"`make run` said nothing for {silence:.0f} s after {before!r}")
    require(bool(building), f"`make run` does not say that it builds Salt:\n{terminal.text()[-3000:]}")
    built = max(building) - min(building)
    return f"{seconds:.0f} s from clone to the first answer, of which Salt's own build {built} s ({built / seconds:.0%}); longest silence {silence:.0f} s, after {before!r}"


def answer(said: str) -> Any:
    """Return what the first low of a call came to, out of what `curl -i` printed."""
    head, _, body = said.replace("\r\n", "\n").partition("\n\n")
    require(" 200 " in head.splitlines()[0], f"answered:\n{said}")
    return json.loads(body)["return"][0]
