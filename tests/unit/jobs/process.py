"""One process' jobs over a store in a folder: what it is told, what it asks and reports, and a clock that tests move."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import salt.payload

from service.demo.embedded import until
from service.errors import Fault
from service.events.event import read
from service.gateway.clients.result import LowResult
from service.gateway.low import Low
from service.jobs.followers import shown
from service.jobs.job_request import JobRequest, parse
from service.jobs.running.account import Waits
from service.jobs.running.inquiries import Cached, Credentials, Inquiries, Question
from service.jobs.running.opened import Keeping, Terms
from service.jobs.running.running_jobs import RunningJobs
from service.jobs.stores.sqlite_store import SqliteStore
from service.jobs.stores.store import JobRecord
from service.jobs.wave_plan import Turns
from tests.unit.jobs.kept import JID, job

TOKEN = {"token": "ab" * 32}
# Of the same owner, after another login.
OTHER = {"token": "cd" * 32}
PATIENCE_SECONDS = 60.0


class Asked(Inquiries):
    """Keeps what is asked, and answers nothing by itself."""

    def __init__(self, *, may_look: bool) -> None:
        self.may_look = may_look
        self.questions: list[tuple[Question, Credentials | None, Callable[[bool], None]]] = []
        self.publishes: list[tuple[list[str], Credentials, Callable[[LowResult | Fault], None]]] = []
        self.looked_for: list[str] = []
        self.look_ups: list[Callable[[Cached | None], None]] = []

    @property
    def can_look_up(self) -> bool:
        return self.may_look

    def stop(self) -> None: ...

    def ask(self, question: Question, jid: str, credentials: Credentials | None, on_asked: Callable[[bool], None]) -> None:
        assert jid == JID
        self.questions.append((question, credentials, on_asked))

    def publish(self, low: Low, credentials: Credentials, on_answer: Callable[[LowResult | Fault], None]) -> None:
        self.publishes.append((low.fields["tgt"], credentials, on_answer))
        assert (low.fields["jid"], low.fun, low.fields["arg"]) == (JID, "test.echo", ["a"])

    def look_up(self, jid: str, credentials: Credentials | None, on_answer: Callable[[Cached | None], None]) -> None:
        self.looked_for.append(jid)
        assert credentials in (None, TOKEN, OTHER)
        self.look_ups.append(on_answer)


class Heard:
    """Keeps what is reported."""

    def __init__(self) -> None:
        self.ends: list[tuple[str, bool]] = []
        self.left: list[tuple[str, float]] = []
        self.foreign: list[str] = []
        self.recovered: list[int] = []
        self.handed_over: list[int] = []
        self.not_stored: list[str] = []
        self.crashes = 0
        self.states: list[str] = []
        self.odd: list[str] = []
        self.waves: list[tuple[int, int, int]] = []
        self.doubted: list[int] = []
        self.wave_ends: list[str] = []
        self.not_run: list[tuple[str, int]] = []

    def job_over(self, record: JobRecord, seconds: float, *, revised: bool) -> None:
        assert seconds >= 0
        self.ends.append((record.status, revised))

    def job_left(self, status: str, seconds: float) -> None:
        self.left.append((status, seconds))

    def job_foreign_return(self, jid: str, minion: str) -> None:
        self.foreign.append(f"{jid} {minion}")

    def job_state_event(self, what: str, odd: str | None = None) -> None:
        self.states.append(what)
        self.odd += [] if odd is None else [odd]

    def wave_taken(self, jid: str, wave: int, waves: int, minions: int) -> None:
        assert jid
        self.waves.append((wave, waves, minions))

    def wave_in_doubt(self, jid: str, wave: int) -> None:
        assert jid
        self.doubted.append(wave)

    def wave_over(self, outcome: str) -> None:
        self.wave_ends.append(outcome)

    def minions_not_run(self, why: str, count: int) -> None:
        self.not_run.append((why, count))

    def jobs_recovered(self, count: int) -> None:
        self.recovered.append(count)

    def jobs_handed_over(self, count: int) -> None:
        self.handed_over.append(count)

    def jobs_not_stored(self, reason: str) -> None:
        self.not_stored.append(reason)

    def handler_crashed(self, consumer: str) -> None:
        assert consumer == "jobs"
        self.crashes += 1


class Sidecar:
    """One process' jobs over a store in a folder."""

    def __init__(
        self,
        folder: Path,
        *,
        may_look: bool = False,
        boot: str = "boot",
        now: float = 1000.0,
        pace_seconds: float = 0.0,
        store: type[SqliteStore] = SqliteStore,
    ) -> None:
        self.now = now
        self.clock_set_by = 0.0
        self.bus = True
        self.owned: list[tuple[str, str]] = []
        self.asked, self.report = Asked(may_look=may_look), Heard()
        self.commits: list[float] = []
        self.store = store(folder / "jobs.db", on_commit=self.commits.append, monotonic=time.monotonic)
        self.jobs = RunningJobs(
            self.store,
            self.asked,
            Terms(10, Waits(first=5, answer=10, lost=45), None, 3600),
            Keeping(604_800, 10**9),
            self.report,
            new_jid=lambda: "9" * 19 + str(len(self.asked.questions)),
            boot=boot,
            bus_open=lambda: self.bus,
            own=lambda jid, owner: self.owned.append((jid, owner)),
            monotonic=lambda: self.now,
            now=self.time_of_day,
            tick_seconds=0.002,
            pace_seconds=pace_seconds,
        )

    def time_of_day(self) -> float:
        """Return what the clock on the wall says, which may be set."""
        return self.now + self.clock_set_by

    def begin(self, *minions: str, no_key: tuple[str, ...] = (), **fields: Any) -> None:
        record = job(**fields)
        self.jobs.begin(record, TOKEN)
        self.store.intend(record)
        self.jobs.published(record.jid, minions, no_key)

    def roll(self, *waves: list[str], silent: tuple[str, ...] = (), no_key: tuple[str, ...] = (), taken: bool = True, **asked: Any) -> None:
        """Begin a job in waves; its first one is taken by the master."""
        request = parse({"tgt": "*", "fun": "test.echo", "arg": ["a"], "batch": 1, **asked})
        record = job(request=request.kept(), deadline=1000.0 + request.deadline, ends_at=1000.0 + request.deadline)
        self.store.intend(record)
        self.jobs.begin(record, TOKEN)
        self.jobs.waves.plan(JID, Turns(list(waves), list(silent), list(no_key)), request)
        if taken:
            self.jobs.published(JID, waves[0])

    def lend(self, credentials: Credentials, request: JobRequest | None = None) -> None:
        """Let the job's owner come with a token, and perhaps say again what it runs."""
        record = self.store.job(JID)
        assert record is not None
        self.jobs.lending.lend(record, credentials, request)

    def publish(self, count: int) -> list[str]:
        """Wait for this many publishes of later waves; return whom the last one is for."""
        self.until(lambda: len(self.asked.publishes) == count)
        return self.asked.publishes[-1][0]

    def take(self, *minions: str) -> None:
        """Let the master take the last publish, for all that it is for or for these."""
        asked, _, on_answer = self.asked.publishes[-1]
        on_answer(LowResult({"jid": JID, "minions": list(minions) or asked}))

    def happened(self) -> list[dict[str, Any]]:
        """Return what followers of the job were told, without numbers and times."""
        return [{name: value for name, value in shown(one).items() if name not in {"seq", "at"}} for one in self.store.happenings(JID, 0, 1000)]

    def returns(self, minion: str, value: object = "a", jid: str = JID, **fields: Any) -> None:
        data = {"id": minion, "jid": jid, "fun": "test.echo", "fun_args": ["a"], "return": value, "retcode": 0, "success": True, **fields}
        self.jobs.take(read(f"salt/job/{jid}/ret/{minion}".encode() + b"\n\n" + salt.payload.dumps(data)))

    def runs(self, jid: str, what: str, **fields: Any) -> None:
        """Let the master announce a run of its own, or tell what came of it."""
        data = {"jid": jid, "fun": "runner.test.arg", "return": "x", "success": True, **fields}
        self.jobs.take(read(f"salt/run/{jid}/{what}".encode() + b"\n\n" + salt.payload.dumps(data)))

    def answers(self, minion: str, running: object) -> None:
        """Let a minion answer the last question."""
        self.returns(minion, running, self.asked.questions[-1][0].jid, fun=self.asked.questions[-1][0].fun, fun_args=[JID])
        # What is said a second time changes nothing, and is answered when all before it is handled.
        self.jobs.published(JID, ())

    def until(self, holds: Callable[[], object]) -> None:
        for _ in until(PATIENCE_SECONDS, sleep=lambda _seconds: time.sleep(0.002)):
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
