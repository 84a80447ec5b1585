"""The thread that follows jobs: what it asks, what it stores, what it makes of a start in the middle. Minutes pass by a clock that the tests move."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import salt.payload

from service.demo.embedded import until
from service.errors import StorageFull
from service.events.event import read
from service.jobs.account import Waits
from service.jobs.inquiries import Cached, Credentials, Inquiries
from service.jobs.opened import Keeping, Terms
from service.jobs.running_jobs import RunningJobs
from service.jobs.sqlite_store import SqliteStore
from service.jobs.store import JobRecord, PartRecord
from tests.unit.jobs.kept import JID, job

TOKEN = {"token": "ab" * 32}
PATIENCE_SECONDS = 10.0


class Asked(Inquiries):
    """Keeps what is asked, and answers nothing by itself."""

    def __init__(self, *, may_look: bool) -> None:
        self.may_look = may_look
        self.questions: list[tuple[list[str], str, Credentials | None, Callable[[bool], None]]] = []
        self.look_ups: list[Callable[[Cached | None], None]] = []

    @property
    def can_look_up(self) -> bool:
        return self.may_look

    def stop(self) -> None: ...

    def ask(self, jid: str, minions: list[str], question: str, credentials: Credentials | None, on_asked: Callable[[bool], None]) -> None:
        assert jid == JID
        self.questions.append((minions, question, credentials, on_asked))

    def look_up(self, jid: str, credentials: Credentials | None, on_answer: Callable[[Cached | None], None]) -> None:
        assert jid == JID
        assert credentials in (None, TOKEN)
        self.look_ups.append(on_answer)


class Heard:
    """Keeps what is reported."""

    def __init__(self) -> None:
        self.ends: list[tuple[str, bool]] = []
        self.foreign: list[str] = []
        self.recovered: list[int] = []
        self.not_stored: list[str] = []
        self.crashes = 0

    def job_over(self, record: JobRecord, seconds: float, *, revised: bool) -> None:
        assert seconds >= 0
        self.ends.append((record.status, revised))

    def job_foreign_return(self, jid: str, minion: str) -> None:
        self.foreign.append(f"{jid} {minion}")

    def jobs_recovered(self, count: int) -> None:
        self.recovered.append(count)

    def jobs_not_stored(self, reason: str) -> None:
        self.not_stored.append(reason)

    def handler_crashed(self, consumer: str) -> None:
        assert consumer == "jobs"
        self.crashes += 1


class Sidecar:
    """One process' jobs over a store in a folder."""

    def __init__(self, folder: Path, *, may_look: bool = False, boot: str = "boot", now: float = 1000.0) -> None:
        self.now = now
        self.bus = True
        self.asked, self.report = Asked(may_look=may_look), Heard()
        self.store = SqliteStore(folder / "jobs.db", on_commit=lambda _seconds: None, monotonic=time.monotonic)
        self.jobs = RunningJobs(
            self.store,
            self.asked,
            Terms(10, Waits(first=5, answer=10, lost=45), None, 3600),
            Keeping(604_800, 10**9),
            self.report,
            new_jid=lambda: "9" * 19 + str(len(self.asked.questions)),
            boot=boot,
            bus_open=lambda: self.bus,
            monotonic=lambda: self.now,
            now=lambda: self.now,
            tick_seconds=0.002,
        )

    def begin(self, *minions: str, no_key: tuple[str, ...] = (), **fields: Any) -> None:
        record = job(**fields)
        self.store.intend(record)
        self.jobs.begin(record, TOKEN)
        self.jobs.published(JID, minions, no_key)

    def returns(self, minion: str, value: object = "a", jid: str = JID, **fields: Any) -> None:
        data = {"id": minion, "jid": jid, "fun": "test.echo", "fun_args": ["a"], "return": value, "retcode": 0, "success": True, **fields}
        self.jobs.take(read(f"salt/job/{jid}/ret/{minion}".encode() + b"\n\n" + salt.payload.dumps(data)))

    def answers(self, minion: str, running: object) -> None:
        """Let a minion answer the last question."""
        self.returns(minion, running, self.asked.questions[-1][1], fun="saltutil.find_job", fun_args=[JID])
        # What is said a second time changes nothing, and is answered when all before it is handled.
        self.jobs.published(JID, ())

    def until(self, holds: Callable[[], object]) -> None:
        for _ in until(PATIENCE_SECONDS, sleep=lambda _seconds: self.jobs.wait("a job that nobody has", 0.0)):
            if holds():
                return
        raise AssertionError(self.store.job(JID), self.statuses(), vars(self.report))

    @property
    def status(self) -> tuple[str, str | None]:
        record = self.store.job(JID)
        assert record is not None
        return record.status, record.cause

    def statuses(self) -> dict[str, str]:
        return {minion: part.status for minion, part in self.store.parts(JID, bodies=False).items()}

    def question(self, count: int) -> None:
        """Wait for this many questions."""
        self.until(lambda: len(self.asked.questions) == count)

    def kill(self) -> None:
        """End as a process does that is killed: nothing more is stored."""
        self.store.close()


@pytest.fixture
def sidecar(tmp_path: Path) -> Iterator[Sidecar]:
    made = Sidecar(tmp_path)
    yield made
    made.jobs.stop()
    made.kill()
    assert made.report.crashes == 0


def test_a_job_is_over_with_its_last_return_and_its_waiters_are_woken(sidecar: Sidecar) -> None:
    sidecar.begin("a", "b")
    sidecar.returns("a")
    sidecar.returns("b", {"x": 1}, retcode=2, success=False)
    sidecar.jobs.wait(JID, PATIENCE_SECONDS)

    assert sidecar.status == ("failed", None)
    assert sidecar.statuses() == {"a": "ok", "b": "failed"}
    assert sidecar.store.part(JID, "b") == PartRecord("failed", "exit_code", None, "bus", 2, {}, 1000.0, 7, b'{"x":1}')
    assert sidecar.report.ends == [("failed", False)]


def test_returns_that_come_before_the_masters_answer_count(sidecar: Sidecar) -> None:
    record = job()
    sidecar.store.intend(record)
    sidecar.jobs.begin(record, TOKEN)
    sidecar.returns("a")
    sidecar.returns("stranger")

    assert sidecar.jobs.published(JID, ["a"]).status == "succeeded"
    assert sidecar.statuses() == {"a": "ok"}


def test_a_return_that_cannot_be_written_counts(sidecar: Sidecar) -> None:
    deep: Any = "x"
    for _ in range(400):
        deep = [deep]
    sidecar.begin("a", "b")
    sidecar.returns("a", {"x": deep, 5: {"result": False, "changes": {}}})
    sidecar.returns("b", fun_args=[deep])
    sidecar.returns("b")
    sidecar.jobs.wait(JID, PATIENCE_SECONDS)

    assert sidecar.statuses() == {"a": "ok", "b": "ok"}
    assert sidecar.report.foreign == [f"{JID} b"]


def test_a_job_that_begins_while_the_bus_is_away_may_miss_returns(sidecar: Sidecar) -> None:
    sidecar.bus = False
    sidecar.begin("a", ends_at=1100.0)
    sidecar.now += 101
    sidecar.until(lambda: sidecar.status == ("unknown", None))


def test_a_forged_return_is_told_and_does_not_count(sidecar: Sidecar) -> None:
    sidecar.begin("a")
    sidecar.returns("a", fun="test.ping", fun_args=[])
    sidecar.until(lambda: sidecar.report.foreign == [f"{JID} a"])

    assert sidecar.statuses() == {"a": "waiting"}
    sidecar.returns("a")
    sidecar.until(lambda: sidecar.status == ("succeeded", None))
    record = sidecar.store.job(JID)
    assert record is not None
    assert record.strays == 1


def test_the_silent_are_asked_and_one_that_denies_twice_is_lost(sidecar: Sidecar) -> None:
    sidecar.begin("a", "b")
    sidecar.returns("b")
    sidecar.now += 5
    sidecar.question(1)
    assert sidecar.asked.questions[0][::2] == (["a"], TOKEN)
    sidecar.answers("a", {})
    sidecar.now += 50
    sidecar.question(2)
    sidecar.answers("a", {})
    sidecar.until(lambda: sidecar.status == ("failed", "missing"))

    assert sidecar.statuses() == {"a": "lost", "b": "ok"}
    sidecar.returns("a")
    sidecar.until(lambda: sidecar.status == ("succeeded", None))
    sidecar.until(lambda: sidecar.report.ends == [("failed", False), ("succeeded", True)])


def test_at_the_deadline_who_runs_the_job_has_timed_out_and_who_was_silent_is_missing(sidecar: Sidecar) -> None:
    sidecar.begin("a", "b", ends_at=1100.0)
    sidecar.now += 5
    sidecar.question(1)
    sidecar.answers("a", {"pid": 1, "jid": JID})
    sidecar.until(lambda: sidecar.statuses()["a"] == "running")
    sidecar.now += 100
    sidecar.until(lambda: sidecar.status == ("failed", None) or sidecar.status[0] != "running")

    assert sidecar.statuses() == {"a": "running", "b": "no_return"}


def test_nobody_is_given_up_before_the_job_cache_was_asked_since(tmp_path: Path) -> None:
    sidecar = Sidecar(tmp_path, may_look=True)
    sidecar.begin("a", "b", ends_at=1100.0)
    sidecar.now += 5
    sidecar.question(1)
    sidecar.answers("a", {})
    sidecar.now += 50
    sidecar.question(2)
    sidecar.answers("a", {})
    sidecar.until(lambda: len(sidecar.asked.look_ups) == 1)
    sidecar.asked.look_ups[0](Cached(known=True, minions=["a", "b"], returns={"a": {"return": "a", "retcode": 0, "success": True}}, complete=True))
    sidecar.until(lambda: sidecar.statuses() == {"a": "ok", "b": "waiting"})
    sidecar.now += 50
    sidecar.until(lambda: len(sidecar.asked.look_ups) == 2)
    assert sidecar.status == ("running", None)
    sidecar.asked.look_ups[1](Cached(known=True, minions=["a", "b"], complete=True))
    sidecar.until(lambda: sidecar.status == ("failed", "missing"))

    assert sidecar.statuses() == {"a": "ok", "b": "no_return"}
    sidecar.jobs.stop()
    sidecar.kill()


def test_without_credentials_silence_is_unknown(sidecar: Sidecar) -> None:
    sidecar.begin("a", ends_at=1100.0)
    sidecar.now += 5
    sidecar.question(1)
    sidecar.asked.questions[0][3](False)
    sidecar.now += 100
    sidecar.until(lambda: sidecar.status == ("unknown", None))

    part = sidecar.store.part(JID, "a")
    assert part is not None
    assert (part.status, part.why) == ("unknown", "credentials")


def test_after_the_bus_was_cut_a_return_may_have_been_missed(sidecar: Sidecar) -> None:
    sidecar.begin("a")
    sidecar.jobs.cut()
    sidecar.question(1)
    sidecar.answers("a", {})
    sidecar.now += 50
    sidecar.question(2)
    sidecar.answers("a", {})
    sidecar.until(lambda: sidecar.status == ("unknown", None))


def test_what_the_caller_was_refused_gives_its_key_back(sidecar: Sidecar) -> None:
    sidecar.store.intend(job(key="k"))
    sidecar.jobs.begin(job(key="k"), TOKEN)

    assert sidecar.jobs.refused(JID).status == "refused"
    assert sidecar.store.keyed("pam:ci", "k") is None


def recovered(folder: Path, **options: Any) -> Sidecar:
    again = Sidecar(folder, **options)
    again.jobs.start()
    again.until(lambda: again.report.recovered == [1])
    return again


@pytest.mark.parametrize(("complete", "status"), [(True, ("failed", "missing")), (False, ("unknown", None))])
def test_after_a_kill_the_job_cache_says_what_was_missed(tmp_path: Path, complete: bool, status: tuple[str, str | None]) -> None:
    sidecar = Sidecar(tmp_path)
    sidecar.begin("a", "b")
    sidecar.kill()
    again = recovered(tmp_path, may_look=True, now=1010.0)
    again.until(lambda: again.asked.look_ups)
    again.asked.look_ups[0](Cached(known=True, minions=["a", "b"], returns={"a": {"return": "a", "retcode": 0, "success": True}}, complete=complete))
    again.question(1)
    again.answers("b", {})
    again.now += 50
    again.until(lambda: len(again.asked.questions) == 2)
    again.answers("b", {})
    again.until(lambda: len(again.asked.look_ups) == 2)
    again.asked.look_ups[1](Cached(known=True, complete=complete))
    again.until(lambda: again.status == status)

    part = again.store.part(JID, "a")
    assert part is not None
    assert (part.status, part.source) == ("ok", "job_cache")
    again.jobs.stop()
    again.kill()


def test_after_a_kill_the_bus_goes_on_telling_and_the_owner_lends_a_token(tmp_path: Path) -> None:
    sidecar = Sidecar(tmp_path)
    sidecar.begin("a", "b")
    sidecar.returns("a")
    sidecar.until(lambda: sidecar.statuses()["a"] == "ok")
    sidecar.kill()
    again = recovered(tmp_path, now=1010.0)
    again.jobs.lend(JID, TOKEN)
    assert again.asked.look_ups
    again.returns("b")
    again.jobs.wait(JID, PATIENCE_SECONDS)

    assert again.status == ("succeeded", None)
    again.jobs.stop()
    again.kill()


def test_a_deadline_survives_a_restart_of_process_and_machine(tmp_path: Path) -> None:
    sidecar = Sidecar(tmp_path)
    sidecar.begin("a", deadline=1100.0, ends_at=1100.0)
    sidecar.kill()
    again = recovered(tmp_path, boot="another", now=1099.0)
    assert again.status == ("running", None)
    again.now = 1101.0
    again.until(lambda: again.status[0] != "running")
    again.jobs.stop()
    again.kill()


def test_what_was_being_published_when_we_were_killed_is_found_or_stays_in_the_open(tmp_path: Path) -> None:
    first = Sidecar(tmp_path)
    first.store.intend(job(key="k"))
    first.kill()
    again = recovered(tmp_path, may_look=True)
    again.until(lambda: again.asked.look_ups)
    again.asked.look_ups[0](Cached(known=False))
    assert again.status == ("publishing", None)
    record = again.store.job(JID)
    assert record is not None
    assert again.jobs.claim(record, TOKEN)
    assert not again.jobs.claim(record, TOKEN)
    again.jobs.published(JID, ["a"])
    again.returns("a")
    again.until(lambda: again.status == ("succeeded", None))
    again.jobs.stop()
    again.kill()


def test_what_cannot_be_stored_now_is_stored_later(sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch) -> None:
    save = sidecar.store.save
    sidecar.begin("a")
    failing = [True]

    def refuse(changes: Any) -> None:
        if failing[0]:
            raise StorageFull("full", retry_after_seconds=1)
        save(changes)

    monkeypatch.setattr(sidecar.store, "save", refuse)
    sidecar.returns("a")
    sidecar.until(lambda: sidecar.report.not_stored)
    assert sidecar.status == ("running", None)
    assert sidecar.report.ends == []
    failing[0] = False
    sidecar.until(lambda: sidecar.report.ends == [("succeeded", False)])

    assert dataclasses.asdict(sidecar.store.part(JID, "a") or PartRecord("unknown"))["body"] == b'"a"'
