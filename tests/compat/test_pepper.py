"""pepper from PyPI, the program and the library, unmodified, against the sidecar."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from service.demo.embedded import EmbeddedSalt
from tests.compat.conftest import Site
from tests.compat.servers import ROOT

pytestmark = [pytest.mark.master, pytest.mark.slow]

BIN = ROOT / ".venv-pepper" / "bin"
EVERYBODY = {"minion-1": True, "minion-2": True}
LIBRARY = Path(__file__).parent / "pepper_library.py"


class Program:
    """The command line, at home in a folder of the test's own."""

    def __init__(self, home: Path, url: str, credentials: dict[str, str]) -> None:
        self.cache = home / "peppercache"
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("SALT", "PEPPER", "PYTHON"))}
        # pepper's import of pkg_resources warns.
        self._environ = kept | {"HOME": str(home), "PYTHONWARNINGS": "ignore"}
        self.login = ["--username", credentials["username"], "--password", credentials["password"], "-a", credentials["eauth"]]
        self._always = ["-u", url, "-x", str(self.cache), "-c", str(home / "pepperrc"), "--non-interactive"]

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([str(BIN / "pepper"), *self._always, *words], env=self._environ, capture_output=True, text=True, timeout=180, check=False)

    def answer(self, *words: str, login: bool = True) -> Any:
        """Run it and decode the last value that it prints."""
        ended = self.run(*(self.login if login else []), *words)
        assert ended.returncode == 0, ended.stderr + ended.stdout
        return json.loads(ended.stdout)


@pytest.fixture
def installed() -> None:
    if (BIN / "pepper").exists():
        return
    missing = "pepper is not installed: make clients"
    pytest.fail(missing) if os.environ.get("CI") else pytest.skip(missing)


@pytest.fixture
def program(installed: None, site: Site, salt_master: EmbeddedSalt, tmp_path: Path) -> Program:
    return Program(tmp_path, site.url, salt_master.credentials)


@pytest.fixture(scope="module")
def library(site: Site, salt_master: EmbeddedSalt) -> Callable[[], dict[str, Any]]:
    """Run the library's program once for all that look at its answers."""
    answers: dict[str, Any] = {}

    def answered() -> dict[str, Any]:
        if not answers:
            config = json.dumps({"url": site.url, "credentials": salt_master.credentials})
            # Isolated: what lies beside the program is not what it may import.
            argv = [str(BIN / "python"), "-I", "-W", "ignore", str(LIBRARY), config]
            ended = subprocess.run(argv, capture_output=True, text=True, timeout=180, check=False)
            assert ended.returncode == 0, ended.stderr
            answers.update(json.loads(ended.stdout))
        return answers

    return answered


def values(answer: Any) -> dict[str, Any]:
    """Return what each minion said; the program asks for full_return."""
    return {minion: full["ret"] for minion, full in answer["return"][0].items()}


class TestProgram:
    def test_it_runs_a_function_and_prints_what_each_minion_said(self, program: Program) -> None:
        assert values(program.answer("*", "test.ping")) == EVERYBODY

    @pytest.mark.parametrize(
        ("option", "target"), [("-L", "minion-1,minion-2"), ("-G", "role:*"), ("-C", "minion-1 or G@role:db"), ("-E", "minion-[12]"), ("-N", "all")]
    )
    def test_it_targets_by_every_kind_it_knows(self, program: Program, option: str, target: str) -> None:
        assert values(program.answer(option, target, "test.ping")) == EVERYBODY

    def test_it_passes_arguments(self, program: Program) -> None:
        answer = program.answer("minion-1", "demo.echo", "a", "b=1")

        assert values(answer) == {"minion-1": {"args": ["a"], "kwargs": {"b": 1}}}

    def test_it_asks_runners_and_wheel(self, program: Program) -> None:
        runner = program.answer("--client=runner", "test.arg", "a")
        wheel = program.answer("--client=wheel", "key.list_all")

        assert runner["return"][0]["data"]["return"]["args"] == ["a"]
        assert wheel["return"][0]["data"]["return"]["minions"] == ["minion-1", "minion-2"]

    def test_it_starts_jobs(self, program: Program) -> None:
        answer = program.answer("--client=local_async", "*", "test.ping")

        assert sorted(answer["return"][0]["minions"]) == ["minion-1", "minion-2"]

    def test_it_polls_for_the_returns_of_a_job(self, program: Program) -> None:
        ended = program.run(*program.login, "--fail-if-incomplete", "*", "test.ping")

        assert ended.returncode == 0, ended.stderr
        assert all(minion in ended.stdout for minion in EVERYBODY)

    def test_it_uses_run_with_a_salt_token(self, program: Program) -> None:
        assert values(program.answer("--run-uri", "*", "test.ping")) == EVERYBODY

    def test_it_keeps_its_token_in_a_file_and_needs_no_password_then(self, program: Program) -> None:
        first = program.answer("-T", "*", "test.ping")
        kept = json.loads(program.cache.read_text())
        again = program.answer("-T", "*", "test.ping", login=False)

        assert values(first) == values(again) == EVERYBODY
        assert kept["user"] == "demo"

    def test_a_wrong_password_is_an_authentication_error(self, program: Program) -> None:
        ended = program.run("--username", "demo", "--password", "wrong", "-a", "sharedsecret", "*", "test.ping")

        assert ended.returncode == 1
        assert "Authentication denied" in ended.stderr


@pytest.mark.usefixtures("installed")
class TestLibrary:
    def test_login_says_who_one_is_and_what_one_may(self, library: Callable[[], dict[str, Any]]) -> None:
        auth = library()["login"]

        assert auth["user"] == "demo"
        assert ".*" in auth["perms"]
        assert auth["expire"] > auth["start"]

    def test_each_client_answers(self, library: Callable[[], dict[str, Any]]) -> None:
        answers = library()

        assert answers["local"] == answers["run"] == {"return": [EVERYBODY]}
        assert sorted(answers["local_async"]["return"][0]["minions"]) == sorted(EVERYBODY)
        assert answers["lookup_jid"] == EVERYBODY
        assert sorted(answers["local_batch"]["return"], key=str) == [{"minion-1": True}, {"minion-2": True}]
        assert answers["runner"]["return"][0]["args"] == ["a"]
        assert list(answers["wheel"]["return"][0]["data"]["return"]["minions"]) == ["minion-1"]

    def test_minions_and_keys_are_listed(self, library: Callable[[], dict[str, Any]]) -> None:
        answers = library()

        assert sorted(answers["minions"]["return"][0]) == sorted(EVERYBODY)
        assert answers["keys"]["return"]["minions"] == sorted(EVERYBODY)

    def test_the_stream_carries_the_return_of_a_job(self, library: Callable[[], dict[str, Any]]) -> None:
        stream = library()["stream"]

        assert stream["first"] == "retry: 400"
        assert stream["tag"] == f"{stream['wanted']}minion-1"
        assert stream["data"]["tag"] == stream["tag"].removeprefix("tag: ")
        assert stream["data"]["data"]["return"] is True

    def test_after_logout_the_token_is_dead(self, library: Callable[[], dict[str, Any]]) -> None:
        answers = library()

        assert answers["logout"] == {"return": "Your token has been cleared"}
        assert answers["after"] == "Authentication denied"
