"""How a job is begun, once: every way in which it can be interrupted, and what the same request again makes of that."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from service.auth.identity import Identity, Session
from service.clients import Client
from service.errors import BadRequest, Conflict, Forbidden, KeyReused, MasterTimeout, Overloaded, StorageFull
from service.gateway.clients.batch import Present
from service.gateway.clients.local import Request
from service.gateway.clients.result import LowResult
from service.gateway.low import Low
from service.http.request_info import RequestInfo, new_info
from service.jobs.job_request import parse
from service.jobs.names import Jids, key_of
from service.jobs.rollout import Rollouts
from service.jobs.running.inquiries import Cached, Inquiries
from service.jobs.submission import Call, Submissions
from tests.unit.jobs.process import TOKEN, Sidecar

SESSION = Session(Identity("ci", "pam", (), [], sees_everything=False), TOKEN["token"], "digest", 0.0, 9e9)
FOUND = Cached(known=True, minions=["a"])
UNKNOWN = Cached(known=False)


class Killed(BaseException):
    """The process is gone at this point."""


class Cache(Inquiries):
    """A job cache that answers what the test says."""

    def __init__(self, answer: Cached | None) -> None:
        self.answer = answer
        self.is_busy = False

    def cached(self, jid: str, credentials: object) -> Cached | None:
        if self.is_busy:
            raise Overloaded("busy", retry_after_seconds=5)
        return self.answer


class Desk:
    """Takes jobs in. publish: what becomes of each publish, in their order; what is not said is taken by the master."""

    def __init__(self, folder: Path, *publish: BaseException | Callable[[], None] | None, cache: Cached | None = None) -> None:
        self.sidecar = Sidecar(folder)
        self.publishes = list(publish)
        self.client = Client.LOCAL_ASYNC
        self.executed: list[str] = []
        self.targets: list[Any] = []
        self.pings: list[BaseException | Present] = []
        self.pinged: list[Any] = []
        self.ping_seconds: float | None = None
        self.paused: list[float] = []
        self.session = SESSION
        self.infos: list[RequestInfo] = []
        self.begun: list[RequestInfo] = []  # of queued jobs, when their turn has come
        self.cancelling: Exception | None = None
        self.terminated: list[str] = []
        self.cache = Cache(cache)
        self.desk = Submissions(
            self.command,
            self.sidecar.store,
            self.sidecar.jobs,
            self.cache,
            Rollouts(self, self.sidecar.jobs),
            new_jid=Jids(self.sidecar.time_of_day).new,
            boot="boot",
            monotonic=lambda: self.sidecar.now,
            now=self.sidecar.time_of_day,
            pause=self.paused.append,
            on_begun=lambda info, _seconds: self.begun.append(info),
        )

    def command(
        self,
        body: Any,
        info: RequestInfo,
        *,
        proof: Session,
        client: Client,
        ready: Callable[[list[Low]], None],
        run_low: Callable[[Low, Request], LowResult] | None = None,
    ) -> list[Any]:
        """Do as Commands.run: check, be ready, publish."""
        assert (proof, client) == (self.session, self.client)
        (fields,) = body
        if fields["fun"] == "saltutil.term_job":
            if self.cancelling is not None:
                raise self.cancelling
            self.terminated += fields["arg"]
            ready([Low(client, fields["fun"], fields)])
            return [{"jid": fields["jid"], "minions": fields["tgt"]}]
        low = Low(client, fields["fun"], fields)
        ready([low])
        return [(run_low or self.run)(low, Request("", 0.0)).value]

    def present(self, low: Low, request: Request) -> Present:
        """Ping whom a low is for."""
        del request
        self.pinged.append(low.fields["tgt"])
        self.ping_seconds = low.fields.get("timeout")
        what = self.pings.pop(0) if self.pings else Present(["a"], [], [])
        if isinstance(what, BaseException):
            raise what
        return what

    def run(self, low: Low, request: Request) -> LowResult:
        """Publish."""
        del request
        fields = low.fields
        what = self.publishes.pop(0) if self.publishes else None
        if isinstance(what, BaseException):
            raise what
        if what is not None:
            what()
        self.executed.append(fields["jid"])
        self.targets.append(fields["tgt"])
        return LowResult({"jid": fields["jid"], "minions": ["a"]})

    def start_ssh(self, low: Low, request: Request) -> LowResult:
        """Start the runner of a low for ssh."""
        del request
        self.targets.append(low.fields["tgt"])
        return LowResult({"tag": "salt/run/1", "jid": "20270101000000000000"}, "ok", "20270101000000000000")

    def submit(self, key: str | None = "k", **fields: Any) -> tuple[str, str, bool]:
        """Return the job's jid, its status, and whether it was there already."""
        tgt = {"tgt": "*"} if self.client is Client.LOCAL_ASYNC else {}
        self.infos.append(new_info({"REQUEST_METHOD": "POST"}))
        call = Call(parse({**tgt, "fun": "test.echo", "arg": ["a"], **fields}), self.session, self.infos[-1])
        record, replayed = self.desk.submit(call, key)
        return record.jid, record.status, replayed

    def crash(self, folder: Path, cache: Cached | None = None) -> Desk:
        """Let the process die, and another take its place."""
        self.sidecar.kill()
        again = Desk(folder, cache=cache)
        again.sidecar.jobs.start()
        return again

    def close(self) -> None:
        self.sidecar.jobs.stop()
        self.sidecar.kill()


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.close()


@pytest.mark.costly
def test_a_job_is_published_once_however_often_it_is_asked_for_with_its_key(desk: Desk) -> None:
    jid, status, replayed = desk.submit()
    found = [desk.submit() for _ in range(3)]

    assert (status, replayed) == ("running", False)
    assert found == [(jid, "running", True)] * 3
    assert desk.executed == [jid]
    assert desk.submit(None)[0] != desk.submit(None)[0]


def test_a_key_is_for_one_request(desk: Desk) -> None:
    desk.submit()
    with pytest.raises(KeyReused):
        desk.submit(arg=["b"])

    assert len(desk.executed) == 1


@pytest.mark.parametrize("fault", [Forbidden("no"), Overloaded("full", retry_after_seconds=1), BadRequest("odd")])
def test_what_was_certainly_not_published_gives_its_key_back(tmp_path: Path, fault: Exception) -> None:
    desk = Desk(tmp_path, fault)
    with pytest.raises(type(fault)):
        desk.submit()
    desk.submit()

    assert len(desk.executed) == 1
    desk.close()


def test_where_the_intent_cannot_be_stored_nothing_is_published(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_job: object, _inputs: object) -> None:
        raise StorageFull("full", retry_after_seconds=60)

    monkeypatch.setattr(desk.sidecar.store, "intend", full)
    with pytest.raises(StorageFull):
        desk.submit()

    assert desk.executed == []
    assert desk.sidecar.jobs.watched.open_jobs == 0


def test_a_bug_of_ours_leaves_the_job_in_doubt(tmp_path: Path) -> None:
    desk = Desk(tmp_path, ZeroDivisionError(), cache=FOUND)
    with pytest.raises(ZeroDivisionError):
        desk.submit()

    assert desk.submit()[1:] == ("running", True)
    assert desk.executed == []
    desk.close()


@pytest.mark.costly
@pytest.mark.parametrize(
    ("cache", "on_doubt", "executed", "status"),
    [(FOUND, "refuse", 0, "running"), (UNKNOWN, "refuse", 1, "running"), (None, "refuse", 0, "in_doubt"), (None, "republish", 1, "running")],
)
@pytest.mark.parametrize("crash", [False, True])
def test_after_a_publish_of_which_nothing_is_known(tmp_path: Path, cache: Cached | None, on_doubt: str, executed: int, status: str, crash: bool) -> None:
    """The same request again looks first; the answer was lost, or with it the process."""
    desk = Desk(tmp_path, Killed() if crash else MasterTimeout("no answer"), cache=cache)
    if crash:
        with pytest.raises(Killed):
            desk.submit(on_doubt=on_doubt)
        desk = desk.crash(tmp_path, cache)
    else:
        assert desk.submit(on_doubt=on_doubt)[1:] == ("in_doubt", False)
    jid, found, replayed = desk.submit(on_doubt=on_doubt)

    assert (found, replayed) == (status, True)
    assert desk.executed == [jid] * executed
    assert desk.paused == [5.0]
    assert desk.submit(on_doubt=on_doubt)[:2] == (jid, status)
    assert len(desk.executed) == executed + (on_doubt == "republish" and status == "in_doubt")
    desk.close()


def test_who_comes_while_too_many_jobs_are_looked_up_publishes_nothing_and_may_come_back(tmp_path: Path) -> None:
    desk = Desk(tmp_path, MasterTimeout("no answer"), cache=UNKNOWN)
    jid, _, _ = desk.submit(on_doubt="republish")
    desk.cache.is_busy = True
    with pytest.raises(Overloaded):
        desk.submit(on_doubt="republish")
    assert desk.executed == []
    desk.cache.is_busy = False

    assert desk.submit(on_doubt="republish") == (jid, "running", True)
    assert desk.executed == [jid]
    desk.close()


@pytest.mark.costly
def test_what_has_returned_before_the_job_was_found_counts(tmp_path: Path) -> None:
    returns = {"a": {"return": "a", "retcode": 0, "success": True}}
    desk = Desk(tmp_path, Killed())
    with pytest.raises(Killed):
        desk.submit()
    desk = desk.crash(tmp_path, Cached(known=True, minions=["a"], returns=returns, complete=True))

    assert desk.submit()[1:] == ("succeeded", True)
    assert desk.executed == []
    desk.close()


def test_a_master_that_may_have_forgotten_the_job_is_not_asked_to_run_it_again(tmp_path: Path) -> None:
    desk = Desk(tmp_path, MasterTimeout("no answer"), cache=UNKNOWN)
    desk.submit(deadline=86_400)
    desk.sidecar.now += 3601

    assert desk.submit(deadline=86_400)[1] == "in_doubt"
    assert desk.executed == []
    desk.close()


def test_what_runs_on_the_master_is_never_published_again(tmp_path: Path) -> None:
    """The master gives it an id of its own, so that ours, being unknown there, says nothing."""
    desk = Desk(tmp_path, MasterTimeout("no answer"), cache=UNKNOWN)
    desk.client = Client.RUNNER_ASYNC

    assert [desk.submit(client="runner")[1:] for _ in range(3)] == [("in_doubt", False), ("in_doubt", True), ("in_doubt", True)]
    assert desk.executed == []
    desk.close()


@pytest.mark.parametrize("set_by", [-7200.0, 7200.0])
@pytest.mark.parametrize(("seconds", "executed"), [(1, 1), (3601, 0)])
def test_how_old_a_job_is_does_not_depend_on_who_sets_the_clock(tmp_path: Path, set_by: float, seconds: float, executed: int) -> None:
    desk = Desk(tmp_path, MasterTimeout("no answer"), cache=UNKNOWN)
    desk.submit(deadline=86_400)
    desk.sidecar.clock_set_by = set_by
    desk.sidecar.now += seconds
    desk.submit(deadline=86_400)

    assert len(desk.executed) == executed
    assert desk.paused == [max(0.0, 5.0 - seconds)]
    desk.close()


def test_while_the_first_request_is_at_it_the_second_is_told_to_come_back(tmp_path: Path) -> None:
    found: list[object] = []
    busy = Desk(tmp_path)

    def meanwhile() -> None:
        with pytest.raises(Conflict) as caught:
            busy.submit()
        found.append(caught.value.details["jid"])

    busy.publishes = [meanwhile]
    jid, _, _ = busy.submit()

    assert found == busy.executed == [jid]
    assert sum(busy.paused) == pytest.approx(2.0)
    busy.close()


def test_of_two_that_have_looked_the_one_that_stores_first_publishes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(tmp_path)
    jid, _, _ = desk.submit()
    monkeypatch.setattr(desk.sidecar.store, "keyed", lambda _owner, _key: None)

    assert desk.submit() == (jid, "running", True)
    assert desk.executed == [jid]
    desk.close()


@pytest.mark.costly
def test_so_many_jobs_at_a_time_and_no_more(desk: Desk) -> None:
    for number in range(10):
        desk.submit(f"k{number}")

    with pytest.raises(Overloaded):
        desk.submit("one too many")
    assert desk.submit("k1")[1:] == ("running", True)


def test_whom_a_list_names_and_the_master_does_not_know_is_missing(desk: Desk) -> None:
    jid, _, _ = desk.submit(tgt=["a", "ghost"], tgt_type="list")

    assert {minion: part.status for minion, part in desk.sidecar.store.parts(jid, bodies=False).items()} == {"a": "waiting", "ghost": "no_key"}


def test_a_jid_is_one_of_salts_and_cannot_be_guessed() -> None:
    jids = Jids(lambda: 1_767_225_600.0)
    made = {jids.new() for _ in range(100)}

    assert all(re.fullmatch("20260101000000[0-9]{6}", jid) for jid in made)
    assert len(made) == 100


def test_no_two_jobs_have_one_jid() -> None:
    drawn, now = iter([7, 7, 7, 8, 7]), [1_767_225_600.0]
    jids = Jids(lambda: now[0], lambda _most: next(drawn))
    made = [jids.new(), jids.new()]
    now[0] += 1

    assert [*made, jids.new()] == ["20260101000000000007", "20260101000000000008", "20260101000001000007"]


@pytest.mark.parametrize(("header", "key"), [(None, None), ("k", "k"), ('"k"', "k"), (" k ", "k"), ("a-b:c/d", "a-b:c/d"), ("x" * 255, "x" * 255)])
def test_a_key_is_a_string_or_a_bare_word(header: str | None, key: str | None) -> None:
    assert key_of(header) == key


@pytest.mark.parametrize("header", ["", '""', "a b", "x" * 256, "ä", "a\x00"])
def test_anything_else_is_no_key(header: str) -> None:
    with pytest.raises(BadRequest):
        key_of(header)


def test_a_job_over_ssh_is_started_at_the_master_and_not_waited_for(desk: Desk) -> None:
    desk.client = Client.SSH

    jid, status, _ = desk.submit(client="ssh", tgt="edge-*")

    assert (status, desk.targets, desk.executed) == ("running", ["edge-*"], [])
    stored = desk.sidecar.store.job(jid)
    assert stored is not None
    assert stored.master_jid == "20270101000000000000"
