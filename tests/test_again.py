"""What had to be run twice is named; what fails twice fails the run."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.again import MOST_FAILED, VARIABLE
from tests.conftest import FAST, has_nothing_fast
from tests.e2e.report import Report
from tests.e2e.shell import StepFailed
from tests.e2e.twice import until_done

ROOT = Path(__file__).parents[1]
# A test that passes when its file is there, and makes it.
SUITE = """
import pathlib, pytest
@pytest.mark.parametrize("name", ["a, b", "c [d]"])
def test_needs_a_second_run(name):
    mark = pathlib.Path(__file__).with_name(name)
    known = mark.exists()
    mark.touch()
    assert known
def test_is_well():
    pathlib.Path(__file__).with_name("runs").open("a").write("x")
"""
FLAKY = ["test_it.py::test_needs_a_second_run[a, b]", "test_it.py::test_needs_a_second_run[c [d]]"]
FAILS = "def test_fails():\n    assert False\n"


@pytest.fixture
def names(tmp_path: Path) -> Path:
    return tmp_path / "names"


@pytest.fixture
def run_suite(tmp_path: Path, names: Path) -> Callable[[str], int]:
    """Run a text as a test file through tests.again; return the exit status."""

    def run(text: str) -> int:
        suite = tmp_path / "suite"
        suite.mkdir()
        (suite / "pytest.ini").write_text("[pytest]\n")
        (suite / "test_it.py").write_text(text)
        environ = {**os.environ, VARIABLE: str(names), "PYTHONPATH": str(ROOT)}
        return subprocess.run([sys.executable, "-m", "tests.again", "-q"], cwd=suite, env=environ, capture_output=True, timeout=300, check=False).returncode

    return run


@pytest.mark.slow
def test_a_test_that_passes_only_the_second_time_is_named(run_suite: Callable[[str], int], names: Path, tmp_path: Path) -> None:
    status = run_suite(SUITE)

    assert status == 0
    assert names.read_text().splitlines() == FLAKY
    assert (tmp_path / "suite" / "runs").read_text() == "x"


@pytest.mark.slow
def test_a_test_that_fails_twice_fails_the_run(run_suite: Callable[[str], int], names: Path) -> None:
    status = run_suite(SUITE + FAILS)

    assert status == 1
    assert names.read_text().splitlines() == FLAKY


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("def test_is_well():\n    pass\n", 0, id="all is well"),
        pytest.param("import nothing_of_that_name\n", 2, id="nothing can be collected"),
        pytest.param("", 5, id="there is no test"),
        pytest.param("import os\ndef test_ends_everything():\n    os._exit(9)\n", 9, id="the process ends"),
        pytest.param(
            "import os, pytest\n@pytest.mark.parametrize('pid', [os.getpid()])\ndef test_is_not_found_again(pid):\n    assert False\ndef test_is_well():\n    pass\n",
            1,
            id="the test has another name each time",
        ),
        pytest.param(SUITE.replace('["a, b", "c [d]"]', f"range({MOST_FAILED})").replace("(name)", "(str(name))") + FAILS, 2, id="too many fail"),
    ],
)
def test_nothing_is_named_that_did_not_pass_the_second_time(run_suite: Callable[[str], int], names: Path, text: str, expected: int) -> None:
    status = run_suite(text)

    assert status == expected
    assert not names.exists()


def run_ci(folder: Path, make: str) -> subprocess.CompletedProcess[str]:
    """Run the real .ci/run with a `make` of ours; nothing is installed."""
    for name, text in {"make": make, "apt-get": "exit 0", "systemctl": "exit 0"}.items():
        (folder / name).write_text(f"#!/bin/bash\n{text}\n")
        (folder / name).chmod(0o755)
    environ = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}
    return subprocess.run([ROOT / ".ci" / "run"], env=environ, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "status", "last"),
    [
        pytest.param("exit 0", 0, "flaky: 0", id="nothing"),
        pytest.param(f'[ $1 != test ] || printf "%s\\n" "x.py::test_a[b, c]" "e2e: compose" >>"${VARIABLE}"', 0, "flaky: 2: x.py::test_a[b, c]; e2e: compose", id="two"),
        pytest.param(f'echo "x.py::test_a" >>"${VARIABLE}"; exit 2', 2, "flaky: 1: x.py::test_a", id="one, and the run fails"),
        pytest.param('case " $* " in *" e2e "*) exit 2 ;; esac', 2, "flaky: 0", id="e2e fails"),
    ],
)  # fmt: skip
def test_the_last_line_of_ci_counts_and_names_them(tmp_path: Path, make: str, status: int, last: str) -> None:
    done = run_ci(tmp_path, make)

    assert done.returncode == status, done.stderr
    assert done.stdout.splitlines()[-1] == last


class Steps:
    """An e2e of the steps a, b and c, some of which fail a given number of times; each engine is stopped in a step of its own."""

    def __init__(self, **failures: int) -> None:
        self.report = Report()
        self.engines: list[str] = []  # which steps ran on each
        self._left = deque("abc")
        self._failures = failures

    def run(self) -> None:
        self.engines.append("")
        try:
            while self._left:
                self._step(self._left[0])
                self._left.popleft()
        finally:
            self._step("stop")

    def _step(self, name: str) -> None:
        with self.report.step(name):
            self.engines[-1] += name
            self._failures[name] = self._failures.get(name, 0) - 1
            if self._failures[name] >= 0:
                raise StepFailed(f"{name} failed")


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch, names: Path) -> None:
    monkeypatch.setenv(VARIABLE, str(names))


@pytest.mark.usefixtures("counted")
def test_a_step_of_e2e_that_failed_is_tried_on_a_fresh_engine_and_named(names: Path) -> None:
    steps = Steps(b=1, c=1, stop=1)

    until_done(steps.run, steps.report)

    assert steps.engines == ["abstop", "bcstop", "cstop"]
    assert names.read_text().splitlines() == ["e2e: b", "e2e: c", "e2e: stop"]


@pytest.mark.usefixtures("counted")
def test_a_step_of_e2e_that_fails_twice_fails_the_run(names: Path) -> None:
    steps = Steps(a=1, b=2)

    with pytest.raises(StepFailed, match="b failed"):
        until_done(steps.run, steps.report)

    assert names.read_text().splitlines() == ["e2e: a"]


def test_who_works_on_e2e_waits_for_no_second_try(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    steps = Steps(a=1)

    with pytest.raises(StepFailed):
        until_done(steps.run, steps.report)

    assert steps.engines == ["astop"]


@pytest.mark.parametrize("marks", ["pytest.mark.slow", "[pytest.mark.master, pytest.mark.ipv6]", "[pytest.mark.timeout(600), pytest.mark.slow]"])
def test_a_file_that_is_slow_as_a_whole_has_nothing_fast(marks: str) -> None:
    assert has_nothing_fast(f"import pytest\n\npytestmark = {marks}\n")


@pytest.mark.parametrize("line", ["pytestmark = pytest.mark.timeout(600)", "@pytest.mark.slow", "ROW = pytest.param(1, marks=pytest.mark.slow)"])
def test_a_file_with_something_fast_is_collected(line: str) -> None:
    assert not has_nothing_fast(f"import pytest\n\n{line}\ndef test_it(): ...\n")


def test_make_asks_for_what_is_fast_in_these_words() -> None:
    assert f'-m "{FAST}"' in (ROOT / "Makefile").read_text(encoding="utf-8")
