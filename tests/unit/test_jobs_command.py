"""`salt-sidecar jobs`: what it says of a store, which a sidecar may have meanwhile, and its exit codes."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import syslog
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from service.cli import main
from service.jobs.stores.sqlite_rows import MIGRATIONS
from service.jobs.stores.sqlite_store import SqliteStore
from service.jobs.stores.store import Change, PartRecord
from tests.unit.jobs.kept import JID, OWNER, job

Asked = Callable[..., tuple[int, str, str]]
OPEN, OLD = "1" * 20, "3" * 20
RETURN = PartRecord("failed", "exit_code", source="bus", retcode=3, flags={"truncated": True}, at=1001.5, size=10, body=b'"a secret"')


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Asked:
    """Return what runs `salt-sidecar jobs`, and gives its exit code and what it said."""
    monkeypatch.setenv("SALT_MASTER_CONFIG", str(tmp_path / "master"))
    monkeypatch.setenv("SIDECAR_JOBS_STORE", f"sqlite://{tmp_path}/jobs.db")

    def ask(*arguments: str) -> tuple[int, str, str]:
        status = main(["jobs", *arguments])
        return status, *capsys.readouterr()

    return ask


@pytest.fixture(autouse=True)
def noted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the system's log is told."""
    said: list[str] = []
    monkeypatch.setattr(syslog, "syslog", lambda _priority, text: said.append(text))
    return said


def opened(folder: Path) -> SqliteStore:
    return SqliteStore(folder / "jobs.db", on_commit=lambda _seconds: None, monotonic=time.monotonic)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    """Return a store as a sidecar has it, with a job that is open, one that has just ended and one that ended long ago."""
    with_jobs = opened(tmp_path)
    with_jobs.intend(job(OPEN, key="open", owner="ldap:anna"))
    with_jobs.save([Change(job(since=2000.0, status="failed", finished=time.time(), expected=1, parent=OLD), {"web1": RETURN})])
    with_jobs.save([Change(job(OLD, status="succeeded", finished=3000.0), {"web1": RETURN})])
    yield with_jobs
    with_jobs.close()


def jids(listed: str) -> list[str]:
    return [found["jid"] for found in json.loads(listed)]


@pytest.mark.costly
@pytest.mark.parametrize("runs", [True, False])
def test_jobs_are_listed_and_shown_without_their_returns_whether_the_sidecar_runs_or_not(asked: Asked, store: SqliteStore, runs: bool) -> None:
    if not runs:
        store.close()
    status, listed, _ = asked("list", "--json")
    lines = asked("list")[1].splitlines()
    shown = asked("show", JID)[1]
    whole = json.loads(asked("show", JID, "--json")[1])

    assert (status, jids(listed)) == (0, [JID, OLD, OPEN])
    assert lines[0].split() == ["JID", "STATUS", "SINCE", "OWNER", "FUN", "TGT"]
    assert lines[1].split() == [JID, "failed", "1970-01-01T00:33:20Z", OWNER, "test.echo", "*"]
    assert f"parent       {OLD}" in shown
    assert "minions      1 failed" in shown
    assert "web1    failed  exit_code  3" in shown
    assert whole["minions"]["web1"] == {
        "status": "failed", "reason": "exit_code", "why": None, "source": "bus", "retcode": 3, "flags": {"truncated": True}, "at": 1001.5, "size": 10, "wave": None
    }  # fmt: skip
    assert "secret" not in shown + json.dumps(whole)


@pytest.mark.costly
def test_jobs_are_chosen_by_owner_status_and_number(asked: Asked, store: SqliteStore) -> None:
    assert jids(asked("list", "--json", "--owner", "ldap:anna")[1]) == [OPEN]
    assert jids(asked("list", "--json", "--status", "succeeded")[1]) == [OLD]
    assert jids(asked("list", "--json", "--limit", "1")[1]) == [JID]
    assert asked("show", "9" * 20) == (1, "", f"{'9' * 20}: there is no such job\n")


@pytest.mark.costly
def test_what_a_caller_chose_does_not_steer_the_terminal(asked: Asked, store: SqliteStore) -> None:
    store.intend(job("7" * 20, request={"tgt": "\x1b[2Jweb*"}))

    assert "\x1b" not in asked("list")[1] + asked("show", "7" * 20)[1]
    assert '"\\u001b[2Jweb*"' in asked("list")[1]


@pytest.mark.costly
def test_what_is_long_over_is_removed_while_the_sidecar_goes_on(asked: Asked, store: SqliteStore) -> None:
    assert asked("prune", "--dry-run") == (0, "1 jobs would be removed\n", "")
    assert store.job(OLD) is not None
    assert asked("prune", "--json") == (0, '{"removed": 1, "found": 1}\n', "")

    assert (store.job(OLD), store.part(OLD, "web1")) == (None, None)
    assert store.part(JID, "web1") == RETURN
    assert store.intend(job("5" * 20)) is None


@pytest.mark.costly
def test_what_the_sidecar_may_still_correct_goes_only_when_it_is_stopped_and_what_is_not_over_never(asked: Asked, store: SqliteStore) -> None:
    status, _, said = asked("prune", "--older-than", "59m")
    assert (status, store.job(JID) is not None) == (64, True)
    assert "jobs.revise_seconds" in said
    store.close()

    assert asked("prune", "--older-than", "0") == (0, "2 jobs removed\n", "")
    assert jids(asked("list", "--json")[1]) == [OPEN]


@pytest.mark.costly
def test_more_jobs_than_fit_into_one_transaction_are_removed_too(asked: Asked, store: SqliteStore) -> None:
    store.save([Change(job(f"{number:020}", status="succeeded", finished=1500.0), {}) for number in range(50)])

    assert asked("prune", "--older-than", "1d")[1] == "51 jobs removed\n"


@pytest.mark.costly
def test_a_copy_is_sound_while_the_sidecar_goes_on_and_nobody_else_reads_it(asked: Asked, store: SqliteStore, tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    copy = tmp_path / "kept" / "jobs.db"
    store.intend(job("5" * 20))
    assert asked("backup", str(copy)) == (0, "", "")
    assert copy.stat().st_mode & 0o77 == 0
    with contextlib.closing(opened(copy.parent)) as restored:
        assert [restored.job(jid) for jid in (JID, OPEN, "5" * 20)] == [store.job(jid) for jid in (JID, OPEN, "5" * 20)]
        assert restored.part(JID, "web1") == RETURN

    assert asked("backup", str(copy)) == (73, "", f"{copy}: File exists\n")


@pytest.mark.parametrize("age", ["-1", "7w", "inf", "nan", ""])
def test_what_is_no_age_is_refused(asked: Asked, age: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        asked("prune", f"--older-than={age}")

    assert "--older-than" in capsys.readouterr().err


@pytest.mark.costly
def test_a_store_that_is_well_is_said_to_be_and_who_has_it(asked: Asked, store: SqliteStore, tmp_path: Path) -> None:
    status, said, _ = asked("check")
    assert status == 0
    assert f"version {len(MIGRATIONS)}, a sidecar has it" in said
    assert "jobs         1 failed, 1 publishing, 1 succeeded" in said
    assert said.endswith("all well\n")
    store.close()
    (tmp_path / "jobs.db.ballast").unlink()
    state = json.loads(asked("check", "--json")[1])

    assert (state["held"], state["kept_back"], state["damage"]) == (False, False, [])
    assert 0 < state["bytes"] <= state["file_bytes"] < state["free_bytes"]
    assert "nothing is kept back" in asked("check")[1]


@pytest.mark.costly
def test_damage_is_found(asked: Asked, store: SqliteStore, tmp_path: Path) -> None:
    store.close()
    with sqlite3.connect(tmp_path / "jobs.db") as db:
        db.execute("PRAGMA writable_schema = ON")
        db.execute("DELETE FROM sqlite_schema WHERE name = 'job_owner'")
    db.close()
    status, said, _ = asked("check")

    assert status == 1
    assert "FAULT" in said
    assert "damaged: stop the sidecar" in said


@pytest.mark.costly
def test_a_store_of_another_version_is_not_pruned(asked: Asked, store: SqliteStore, tmp_path: Path) -> None:
    store.close()
    with sqlite3.connect(tmp_path / "jobs.db") as db:
        db.execute("PRAGMA user_version = 99")
    db.close()

    assert asked("prune")[0] == 78
    assert (asked("check")[0], jids(asked("list", "--json")[1])) == (1, [JID, OLD, OPEN])


@pytest.mark.costly
def test_what_is_removed_or_copied_leaves_a_line_in_the_systems_log(asked: Asked, store: SqliteStore, noted: list[str], tmp_path: Path) -> None:
    for command in (["list"], ["show", JID], ["check"], ["prune", "--older-than", "2d", "--dry-run"]):
        asked(*command)
    asked("prune", "--older-than", "2d")
    asked("backup", str(tmp_path / "a\ncopy"))

    removed, copied = noted
    assert removed.startswith("jobs prune: 1 jobs removed that were over before ")
    assert "(uid " in removed
    assert copied.startswith('jobs "backup: copied to ')
    assert "\n" not in copied


@pytest.mark.costly
@pytest.mark.parametrize("command", [["list"], ["show", JID], ["prune"], ["check"], ["backup", "copy.db"]])
def test_where_there_is_no_store_it_says_so(asked: Asked, command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    status, _, said = asked(*command)
    assert (status, list(tmp_path.iterdir())) == (78, [])
    assert "no such file" in said
    (tmp_path / "jobs.db").write_text("this is no database, and it is long enough to be looked at" * 100)
    assert "not a database" in asked(*command)[2]
    monkeypatch.setenv("SIDECAR_JOBS_STORE", f"sqlite:///{'long' * 100}/jobs.db")
    assert "File name too long" in asked(*command)[2]
    monkeypatch.setenv("SIDECAR_JOBS_STORE", "")

    assert "jobs.store: is empty" in asked(*command)[2]
