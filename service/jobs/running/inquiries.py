"""
What is asked about a job: the minions, whether they still run it, and the master's job cache, what came of it.

All of it blocks, and the master forks for each look-up, so two threads do it: after a restart with many open jobs it is asked about two at a time.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import itertools
import queue
import time
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, TimeoutError  # noqa: A004 - before Python 3.11 it is not the built-in one
from typing import Any, Literal, Protocol, TypeVar

from service.clients import Client
from service.errors import Fault, InvalidConfiguration, MasterRefused, MasterTimeout, MasterUnreachable, Overloaded, Unauthenticated
from service.gateway.clients.local import Request
from service.gateway.clients.result import LowResult
from service.gateway.low import Low

THREADS = 2
LOOK_UP_SECONDS = 30.0
# Longest wait of a request for a look-up: until a thread is free, and then for the master.
REQUEST_SECONDS = 45.0
# A token is made anew this long before it dies by our clock; and when the master knows it no longer, but not more often than this.
RENEW_SECONDS = 60.0

Credentials = Mapping[str, Any]
# After these nobody can say whether the master has taken the job.
DOUBTFUL = (MasterTimeout, MasterUnreachable, MasterRefused)
# A publish may have waited in the master this long before it was taken.
SETTLED_SECONDS = 5.0
T = TypeVar("T")


class Turn(enum.IntEnum):
    """What goes first when all threads are busy: what a request waits for, then what a job does next, then what may have been missed."""

    REQUEST = 0
    JOB = 1
    MISSED = 2


@dataclasses.dataclass(frozen=True)
class Question:
    """What minions are asked about a job, under a jid of its own."""

    fun: Literal["saltutil.find_job", "saltutil.kill_job"]
    minions: list[str]
    jid: str


class Asker(Protocol):
    """The gateway's runner, or a fake of it."""

    def run(self, low: Low, request: Request) -> LowResult:
        """Run one low."""


@dataclasses.dataclass(frozen=True)
class Cached:
    """
    What the master's job cache says of a job. known: the master has it at all. minions: it was sent to these. returns: by minion, `return`, `retcode`, `success`.

    complete: who has returned is in it; not if the master keeps returns elsewhere, or not at all.
    """

    known: bool
    minions: list[str] = dataclasses.field(default_factory=list)
    returns: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    complete: bool = False


_NO_TOKEN: Mapping[str, Any] = {"expire": 0.0}


class RecoveryIdentity:
    """
    The account that may look jobs up, whoever owns them: it needs `jobs.list_job$`, and nothing else.

    mk_token(credentials): logs in. password: reads it; raises InvalidConfiguration. Called from the threads that ask.
    """

    def __init__(
        self,
        eauth: str,
        user: str,
        password: Callable[[], bytes],
        mk_token: Callable[[Mapping[str, Any]], Mapping[str, Any]],
        *,
        time_of_day: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._eauth, self._user, self._password = eauth, user, password
        self._mk_token = mk_token
        self._time_of_day, self._monotonic = time_of_day, monotonic
        self._token: Mapping[str, Any] = _NO_TOKEN
        self._made_at = 0.0

    def credentials(self) -> Credentials | None:
        """Return a token of the account; None if it cannot log in."""
        token = self._token
        if token["expire"] < self._time_of_day() + RENEW_SECONDS:
            try:
                token = self._mk_token({"eauth": self._eauth, "username": self._user, "password": self._password().decode()})
            except (Fault, InvalidConfiguration):
                return None
            self._token, self._made_at = token, self._monotonic()
        return {"token": token["token"]}

    def anew(self, refused: Credentials) -> Credentials | None:
        """
        Return a new token where the master refuses ours, as it does when it was restarted without its tokens, or the clocks differ.

        None if it is not ours, or was made just now: then it is the account that may not look.
        """
        if refused.get("token") != self._token.get("token") or self._monotonic() < self._made_at + RENEW_SECONDS:
            return None
        self._token = _NO_TOKEN
        return self.credentials()


class Inquiries:
    """
    Asks on threads of its own. identity: looks up jobs; None where there is none. keeps_returns: the master's own job cache has them.

    new_jid: makes the jids of questions. What is handed to `ask` and `look_up` is called on one of the threads.
    """

    def __init__(
        self,
        asker: Asker,
        identity: RecoveryIdentity | None,
        *,
        keeps_returns: bool,
        monotonic: Callable[[], float] = time.monotonic,
        request_seconds: float = REQUEST_SECONDS,
    ) -> None:
        self._asker = asker
        self.identity = identity
        self._keeps_returns = keeps_returns
        self._monotonic, self._request_seconds = monotonic, request_seconds
        self._threads = ThreadPoolExecutor(THREADS, "inquiries")
        self._due: queue.PriorityQueue[tuple[Turn, int, Future[Any], Callable[[], Any]]] = queue.PriorityQueue()
        self._numbers = itertools.count()

    @property
    def can_look_up(self) -> bool:
        """Whether jobs can be looked up whoever owns them."""
        return self.identity is not None

    def stop(self) -> None:
        """Drop what waits; what is being asked is not waited for."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        with contextlib.suppress(queue.Empty):
            while True:
                self._due.get_nowait()[2].cancel()

    def ask(self, question: Question, jid: str, credentials: Credentials | None, on_asked: Callable[[bool], None]) -> None:
        """
        Ask minions whether they run a job, or have them kill it; their answers come over the bus, as returns of the question's own jid.

        on_asked(permitted): called when that is known; False if nobody's credentials let us ask.
        """

        def asking() -> None:
            fields = {"tgt": question.minions, "tgt_type": "list", "arg": [jid], "jid": question.jid}
            low = Low(Client.LOCAL_ASYNC, question.fun, fields)
            on_asked(self._run(low, self._by_whom(credentials)) is not None)

        self._begin(asking, Turn.JOB)

    def publish(self, low: Low, credentials: Credentials, on_answer: Callable[[LowResult | Fault], None]) -> None:
        """Publish what belongs to a job, as its owner and nobody else. on_answer: gets what the master made of it."""

        def publishing() -> None:
            try:
                on_answer(self._asker.run(dataclasses.replace(low, fields={**low.fields, **credentials}), self._request()))
            except Fault as fault:
                on_answer(fault)

        self._begin(publishing, Turn.JOB)

    def look_up(self, jid: str, credentials: Credentials | None, on_answer: Callable[[Cached | None], None]) -> None:
        """Look a job up in the job cache. on_answer: gets None if nobody's credentials let us look, or the master is away."""
        self._begin(lambda: on_answer(self._look(jid, credentials)), Turn.MISSED)

    def cached(self, jid: str, credentials: Credentials | None) -> Cached | None:
        """Look a job up for a request, and wait for that; see `look_up`. Raises Overloaded if there is no answer in time."""
        looking = self._begin(lambda: self._look(jid, credentials), Turn.REQUEST)
        try:
            return looking.result(self._request_seconds)
        except (TimeoutError, CancelledError):
            looking.cancel()
            raise Overloaded("the job cache is being asked about other jobs; come back", retry_after_seconds=5) from None

    def _begin(self, what: Callable[[], T], turn: Turn) -> Future[T]:
        """Do something on one of the threads; nothing any more once they are stopped."""
        done: Future[T] = Future()
        self._due.put((turn, next(self._numbers), done, what))
        try:
            self._threads.submit(self._do_next)
        except RuntimeError:
            done.cancel()
        return done

    def _do_next(self) -> None:
        """Do what goes first of all that is due; there is one of these for each."""
        _, _, done, what = self._due.get_nowait()
        if done.set_running_or_notify_cancel():
            try:
                done.set_result(what())
            except Exception as exc:
                done.set_exception(exc)

    def _look(self, jid: str, credentials: Credentials | None) -> Cached | None:
        low = Low(Client.RUNNER, "jobs.list_job", {"kwarg": {"jid": jid}, "timeout": LOOK_UP_SECONDS})
        result = self._run(low, list(reversed(self._by_whom(credentials))))
        return self._cached(result.value) if isinstance(result, LowResult) else None

    def _run(self, low: Low, by_whom: list[Credentials]) -> LowResult | Fault | None:
        """Run a low with the first credentials that permit it; None if none do, a fault if the master is away: it is asked again later."""
        if not by_whom:
            return None
        shown, *others = by_whom
        try:
            return self._asker.run(dataclasses.replace(low, fields={**low.fields, **shown}), self._request())
        except Unauthenticated:
            anew = self.identity and self.identity.anew(shown)
            return self._run(low, [anew, *others] if anew else others)
        except Fault as fault:
            return fault

    def _by_whom(self, credentials: Credentials | None) -> list[Credentials]:
        ours = self.identity.credentials() if self.identity else None
        return [shown for shown in (credentials, ours) if shown]

    def _request(self) -> Request:
        return Request("", self._monotonic() + LOOK_UP_SECONDS, metadata=False)

    def _cached(self, job: object) -> Cached:
        """Read what the runner jobs.list_job answers. Source: salt/runners/jobs.py, list_job and _format_jid_instance."""
        if not isinstance(job, dict) or "Function" not in job:
            return Cached(known=False)
        results, minions = job.get("Result"), job.get("Minions")
        returns = {minion: result for minion, result in (results if isinstance(results, dict) else {}).items() if isinstance(result, dict)}
        return Cached(known=True, minions=list(minions) if isinstance(minions, list) else list(returns), returns=returns, complete=self._keeps_returns)
