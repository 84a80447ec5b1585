"""Commands: what is checked before anything runs, what a failure carries, and what is counted and noted."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, cast

import pytest

from service.audit.records import Act
from service.audit.trail import Audit
from service.auth.guard import Guard
from service.auth.identity import Identity, Scope
from service.clients import CLIENTS
from service.commands import Commands, Policy
from service.errors import (
    BadRequest,
    Fault,
    Forbidden,
    JobTimeout,
    MasterRefused,
    MasterTimeout,
    MasterUnreachable,
    Overloaded,
    Throttled,
    Unauthenticated,
    UnknownFunction,
)
from service.gateway.clients.local import Request
from service.gateway.clients.result import LowResult
from service.gateway.low import Low
from service.http.addresses import Grouping
from service.http.request_info import new_info
from service.limits import Brake, Holder, Shares, Slots

TOKEN = "ab" * 32
SOMEBODY = Holder("192.0.2.9/32", "user pam:somebody")
PING = {"client": "local", "tgt": "*", "fun": "test.ping", "token": TOKEN}
RUNNER_ASYNC = {"client": "runner_async", "fun": "jobs.active", "token": TOKEN}


class FakeGateway:
    """Answers lows from a list, and remembers them; what is an exception is raised."""

    def __init__(self) -> None:
        self.answers: list[LowResult | Exception] = []
        self.lows: list[Low] = []
        self.requests: list[Request] = []
        self.accepts = True

    def run(self, low: Low, request: Request) -> LowResult:
        self.lows.append(low)
        self.requests.append(request)
        answer = self.answers.pop(0) if self.answers else LowResult(low.fun)
        if self.accepts:
            request.accepted()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def check_rights(self, low: Low, admitted: Callable[[], AbstractContextManager[Callable[[], None]]]) -> None:
        if "cmd.run" in low.fun:
            with admitted() as accepted:
                accepted()
                raise Forbidden("not each of them")


class FakeMetrics:
    def __init__(self) -> None:
        self.started: list[str] = []
        self.finished: list[tuple[str, str, float]] = []
        self.refused: list[tuple[str, str]] = []

    def client_started(self, client: str) -> None:
        self.started.append(client)

    def client_finished(self, client: str, outcome: str, seconds: float) -> None:
        self.finished.append((client, outcome, seconds))

    def client_refused(self, client: str, outcome: str) -> None:
        self.refused.append((client, outcome))


class FakeAudit:
    """Remembers who was said to do something."""

    enabled = True

    def __init__(self) -> None:
        self.acts: list[Act] = []

    def begin(self, _account: object, acts: list[Act]) -> None:
        self.acts += acts

    def returned(self, _account: object, _index: int, _value: object) -> None:
        pass


@dataclasses.dataclass(frozen=True)
class Assertion:
    """A proof that is no session: a signed sentence, which the master's eauth module checks."""

    identity: Identity
    credentials: Mapping[str, str]
    log_fields: Mapping[str, str]
    scope: Scope | None = None


class Desk:
    """Commands over fakes."""

    def __init__(self, audit: FakeAudit | None = None) -> None:
        self.now = 100.0
        self.gateway = FakeGateway()
        self.metrics = FakeMetrics()
        self.attempts: list[tuple[str, str]] = []
        self.strangers = Shares("callers who have not authenticated", 1, 1)
        self.sync_jobs, self.quick_calls = (Slots(kind, 1, strangers=self.strangers) for kind in ("sync jobs", "quick calls"))
        self.proven = True
        self.info = new_info({"REQUEST_METHOD": "POST", "REMOTE_ADDR": "192.0.2.1", "HTTP_X_REQUEST_ID": "request-1"})
        self.commands = Commands(
            self.gateway,
            Guard(
                addresses=Brake(100, 6),
                users=Brake(1, 6),
                newcomers=Brake(100, 6),
                repeaters=Brake(100, 6),
                concurrency=1,
                proven_seconds=9,
                known_seconds=900,
                grouping=Grouping(),
                are_good=lambda _credentials: False,
                on_attempt=lambda eauth, result: self.attempts.append((eauth, result)),
            ),
            self.metrics,
            Policy(lows_per_request=5, deadline_seconds=60, metadata=True),
            enabled_clients=tuple(client for client in CLIENTS if client != "wheel"),
            sync_jobs=self.sync_jobs,
            quick_calls=self.quick_calls,
            holder_of=lambda shown, address: Holder(address, str(shown.credentials), proven=self.proven),
            audit=cast("Audit | None", audit),
            monotonic=self._monotonic,
        )

    def _monotonic(self) -> float:
        self.now += 0.5
        return self.now

    def run(self, *lows: object) -> list[Any]:
        return self.commands.run(list(lows), self.info)

    def outcomes(self) -> list[tuple[str, str]]:
        return [(client, outcome) for client, outcome, _ in self.metrics.finished]


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_lows_run_in_order_and_each_gives_one_value(desk: Desk) -> None:
    assert desk.run(PING, {**PING, "fun": "test.echo"}, RUNNER_ASYNC) == ["test.ping", "test.echo", "jobs.active"]
    assert desk.commands.run(PING, desk.info) == ["test.ping"]


def test_a_batch_gives_a_value_for_each_return(desk: Desk) -> None:
    desk.gateway.answers = [LowResult([{"a": 1}, {"b": 2}])]

    assert desk.run({**PING, "client": "local_batch"}, PING) == [{"a": 1}, {"b": 2}, "test.ping"]


def test_a_value_that_is_a_list_stays_one_value(desk: Desk) -> None:
    desk.gateway.answers = [LowResult([1, 2])]

    assert desk.run(PING) == [[1, 2]]


@pytest.mark.parametrize("broken", [{}, {**PING, "tgt": 5}, {**PING, "client": "wheel"}, {**PING, "token": "x"}, 5])
def test_nothing_runs_when_any_low_is_wrong(desk: Desk, broken: object) -> None:
    with pytest.raises((BadRequest, Unauthenticated)) as caught:
        desk.run(PING, PING, broken)

    assert desk.gateway.lows == []
    assert desk.info.lows == []
    assert (desk.metrics.started, desk.metrics.refused) == ([], [("invalid", caught.value.outcome)])


def test_there_is_a_most_of_lows(desk: Desk) -> None:
    with pytest.raises(BadRequest, match="the most is 5"):
        desk.run(*[PING] * 6)


def test_a_request_knows_its_id_its_deadline_and_its_callers_wishes(desk: Desk) -> None:
    desk.run(PING, PING)
    first, second = desk.gateway.requests

    assert (first.request_id, first.metadata) == ("request-1", True)
    assert first.deadline == second.deadline == 160.5


def test_the_failure_of_a_later_low_carries_earlier_values_and_all_jids(desk: Desk) -> None:
    desk.gateway.answers = [LowResult("one", jid="1"), LowResult([{"a": 1}], jid="2"), JobTimeout("late", jid="3")]
    with pytest.raises(JobTimeout) as caught:
        desk.run(PING, {**PING, "client": "local_batch"}, PING, PING)

    assert caught.value.details == {"jid": "3", "completed": ["one", {"a": 1}], "jids": ["1", "2", "3"]}
    assert len(desk.gateway.lows) == 3


def test_the_failure_of_the_first_of_several_says_that_nothing_was_done(desk: Desk) -> None:
    desk.gateway.answers = [MasterUnreachable("down")]
    with pytest.raises(MasterUnreachable) as caught:
        desk.run(PING, PING)

    assert caught.value.details == {"completed": [], "jids": []}


def test_the_failure_of_a_single_low_carries_nothing_else(desk: Desk) -> None:
    desk.gateway.answers = [MasterUnreachable("down")]
    with pytest.raises(MasterUnreachable) as caught:
        desk.run(PING)

    assert caught.value.details == {}


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        (Unauthenticated("x"), "authn_error"),
        (Forbidden("x"), "authz_error"),
        (MasterUnreachable("x"), "master_unreachable"),
        (MasterTimeout("x"), "timeout"),
        (JobTimeout("x"), "timeout"),
        (MasterRefused("x"), "error"),
        (UnknownFunction("x"), "invalid"),
        (Overloaded("x"), "overloaded"),
    ],
)
def test_every_fault_has_its_outcome_in_metrics_and_account(desk: Desk, fault: Fault, outcome: str) -> None:
    desk.gateway.answers = [fault]
    with pytest.raises(type(fault)):
        desk.run(PING)

    assert desk.metrics.started == ["local"]
    assert desk.outcomes() == [("local", outcome)]
    assert [entry["outcome"] for entry in desk.info.lows] == [outcome]


def test_a_crash_is_counted_as_an_error(desk: Desk) -> None:
    desk.gateway.answers = [ZeroDivisionError()]
    with pytest.raises(ZeroDivisionError):
        desk.run(PING)

    assert desk.outcomes() == [("local", "error")]


def test_the_account_of_a_low_has_its_figures_and_no_arguments(desk: Desk) -> None:
    desk.gateway.answers = [LowResult({}, "partial", "77", expected=4, returned=3, failed=1, missing=1, reasons={"busy": 1})]
    desk.run({**PING, "fun": ["test.ping", "test.echo"], "arg": [[], ["hunter2"]]})

    assert desk.info.lows == [
        {
            "client": "local",
            "fun": "test.ping,test.echo",
            "tgt_type": "glob",
            "tgt_hash": "684888c0ebb17f37",
            "jid": "77",
            "minions_expected": 4,
            "minions_returned": 3,
            "minions_failed": 1,
            "minions_missing": 1,
            "failed_reasons": {"busy": 1},
            "outcome": "partial",
            "duration_s": 0.5,
        }
    ]
    assert desk.metrics.finished == [("local", "partial", 0.5)]


def test_a_runners_arguments_stay_out_of_the_account_whatever_they_are_called(desk: Desk) -> None:
    desk.run({**RUNNER_ASYNC, "tgt_type": {"password": "hunter2"}, "fun": "f" * 500})

    assert desk.info.lows[0]["tgt_type"] is None
    assert len(desk.info.lows[0]["fun"]) == 200
    assert "minions_expected" not in desk.info.lows[0]


def test_a_waiting_low_needs_a_slot_for_jobs_and_others_one_for_quick_calls(desk: Desk) -> None:
    with desk.sync_jobs.take(SOMEBODY):
        assert desk.run(RUNNER_ASYNC) == ["jobs.active"]
        with pytest.raises(Overloaded, match="sync jobs"):
            desk.run(RUNNER_ASYNC, PING)
    with desk.quick_calls.take(SOMEBODY):
        assert desk.run(RUNNER_ASYNC, PING) == ["jobs.active", "test.ping"]
        with pytest.raises(Overloaded, match="quick calls"):
            desk.run(RUNNER_ASYNC)


def test_who_has_not_authenticated_holds_a_slot_only_once_the_master_has_accepted_it(desk: Desk) -> None:
    desk.proven = False
    free: list[tuple[bool, bool]] = []

    def is_free(shares: AbstractContextManager[object]) -> bool:
        try:
            with shares:
                return True
        except Overloaded:
            return False

    def run(low: Low, request: Request) -> LowResult:
        for accepted in (False, True, True):
            if accepted:
                request.accepted()
            free.append((is_free(desk.strangers.take("b")), is_free(desk.sync_jobs.take(SOMEBODY))))
        return LowResult(low.fun)

    desk.gateway.run = run  # type: ignore[method-assign]
    desk.run(PING)

    assert free == [(False, True), (True, False), (True, False)]
    with desk.strangers.take("b"), pytest.raises(Throttled, match="have not authenticated"):
        desk.run(PING)
    assert desk.metrics.refused == [("local", "authn_error")]


def test_each_low_of_a_request_that_found_no_slot_is_counted(desk: Desk) -> None:
    with desk.sync_jobs.take(SOMEBODY), pytest.raises(Overloaded):
        desk.run(RUNNER_ASYNC, PING)

    assert desk.metrics.refused == [("runner_async", "overloaded"), ("local", "overloaded")]


def test_a_slot_is_free_again_after_a_failure(desk: Desk) -> None:
    desk.gateway.answers = [MasterTimeout("x"), ZeroDivisionError()]
    with pytest.raises(MasterTimeout):
        desk.run(PING)
    with pytest.raises(ZeroDivisionError):
        desk.run(PING)

    assert desk.run(PING) == ["test.ping"]


def test_failed_logins_are_throttled_before_they_reach_the_master(desk: Desk) -> None:
    desk.gateway.accepts = False
    desk.gateway.answers = [Unauthenticated("no")]
    with pytest.raises(Unauthenticated):
        desk.run(PING)
    with pytest.raises(Throttled):
        desk.run({**PING, "token": "cd" * 32})

    assert len(desk.gateway.lows) == 1
    assert desk.attempts == [("token", "bad_credentials"), ("token", "throttled")]
    assert desk.outcomes() == [("local", "authn_error"), ("local", "authn_error")]


def test_nothing_runs_before_every_low_is_permitted(desk: Desk) -> None:
    with pytest.raises(Forbidden):
        desk.run(PING, {**PING, "fun": ["test.ping", "cmd.run"], "arg": [[], ["id"]]})

    assert desk.gateway.lows == []
    assert desk.metrics.refused == [("local", "authz_error"), ("local", "authz_error")]
    assert desk.attempts == [("token", "forbidden")]


def test_whatever_proves_who_calls_takes_the_place_of_the_lows_credentials() -> None:
    audit = FakeAudit()
    desk = Desk(audit)
    credentials = {"eauth": "sidecar", "username": "ci:group/app", "password": "signed"}
    proof = Assertion(Identity("ci:group/app", "sidecar", ("ops",), [".*"], sees_everything=True), credentials, {})

    desk.commands.run([PING, {**RUNNER_ASYNC, "username": "root", "eauth": "pam"}], desk.info, proof=proof)

    assert [low.credentials for low in desk.gateway.lows] == [credentials] * 2
    assert [(act.user, act.eauth, act.groups) for act in audit.acts] == [("ci:group/app", "sidecar", ("ops",))] * 2
