"""`salt-ci` inside of this process, over a real connection: what each command ends with."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from service.ci.program import main
from tests.contract.conftest import Api, Listens
from tests.contract.test_v1_jobs import fake, gateway_of, token_of
from tests.receiver import receiving

__all__ = ["fake"]
Program = Callable[..., int]


@pytest.fixture
def program(fake: Api, listens: Listens, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Program]:
    """Call the program beside a fake master; return its exit code."""
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.chdir(tmp_path)
    for name, value in {"SALT_API_URL": listens(fake), "SALT_TOKEN": token_of(fake)}.items():
        monkeypatch.setenv(name, value)

    def call(*arguments: str) -> int:
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        assert isinstance(ended.value.code, int)
        return ended.value.code

    yield call
    signal.signal(signal.SIGTERM, before)


@pytest.mark.costly
def test_a_job_is_run_followed_awaited_and_cancelled_when_it_is_over(program: Program, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert program("run", "*", "test.echo", "hi", "--json", "--junit", "report.xml") == 0
    out, log = capsys.readouterr()
    job = json.loads(out)
    assert log.count("  | hi\n") == 2
    assert (tmp_path / "report.xml").read_bytes().startswith(b"<?xml")
    assert [program(command, job["jid"]) for command in ("follow", "wait", "cancel")] == [0, 0, 0]
    assert capsys.readouterr().out.count(f"job {job['jid']}: succeeded: 2 ok (exit code 0)\n") == 3


@pytest.mark.costly
def test_what_fails_is_folded_and_annotated(program: Program, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))

    assert program("run", "*", "test.nothing") == 1
    said = capsys.readouterr().out
    assert said.count("::group::") == said.count("::endgroup::") == 2
    assert said.count("::error title=minion-") == 2
    assert (tmp_path / "summary.md").read_text().count("| failed |") == 2
    assert program("run", "gone,minion-1", "-L", "test.ping") == 3
    assert program("run", "nobody", "test.ping") == 2


@pytest.mark.costly
@pytest.mark.parametrize(
    ("variable", "value", "code", "said"),
    [
        ("SALT_TOKEN", "0" * 64, 11, "401"),
        ("SALT_TOKEN", "", 64, "set SALT_TOKEN"),
        ("SALT_API_URL", "salt", 64, "URL"),
        ("SALT_API_CA", "gone", 64, "SALT_API_CA"),
    ],
)
def test_what_is_refused(
    program: Program, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], variable: str, value: str, code: int, said: str
) -> None:
    monkeypatch.setenv(variable, value)

    assert program("run", "*", "test.ping") == code
    assert said in capsys.readouterr().err


@pytest.mark.costly
def test_who_logs_in_by_password(program: Program, fake: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"SALT_TOKEN": "", "SALT_API_USER": "demo", "SALT_API_PASSWORD": fake.demo["password"], "SALT_API_EAUTH": "sharedsecret"}.items():
        monkeypatch.setenv(name, value)

    assert program("run", "*", "test.ping") == 0


@pytest.mark.costly
def test_who_cannot_be_reached(program: Program, fake: Api, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        monkeypatch.setenv("SALT_API_URL", f"http://127.0.0.1:{unused.getsockname()[1]}")

    assert program("run", "*", "test.ping", "--patience", "0") == 10
    assert "the same command with the same key is safe" in capsys.readouterr().err
    assert gateway_of(fake).master.published == {}


@pytest.mark.costly
def test_a_proxy_that_answers_for_a_server_that_is_away_is_no_server(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    with receiving() as proxy:
        proxy.answers = [502]
        monkeypatch.setenv("SALT_API_URL", proxy.url)

        assert program("run", "*", "test.ping", "--patience", "0") == 10
