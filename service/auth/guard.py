"""The guard: keeps floods of bad logins away from the master, where each occupies a worker for a second."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from service.auth.allowances import Allowances, Caller, Lately
from service.errors import Fault, Forbidden, Throttled, Unauthenticated
from service.gateway.clients.publish import UnclearRefusal
from service.http.addresses import Grouping
from service.limits import Brake
from service.secrets.digests import Digests

MOST_PROVEN = 10_000
# Longest wait, and most callers waiting, for a login turn; others are told to come back. After a restart all callers come at once,
# unproven, and the first of them that the master accepts lets all with the same credentials through.
GATE_WAIT_SECONDS = 3.0
GATE_WAITING = 128
NOTHING: Mapping[str, Any] = MappingProxyType({})


def _is_token(credentials: Mapping[str, Any]) -> bool:
    """Say whether a token is all there is. Beside an eauth it is one more field that the eauth's module may read."""
    return credentials.keys() == {"token"}


def _caller_of(credentials: Mapping[str, Any], address: str) -> Caller:
    """Return who tries. A token has no user, but must not be tried without end either."""
    who = f"token from {address}" if _is_token(credentials) else f"{credentials.get('eauth', '')}:{credentials.get('username', '')}"
    return Caller(address, hashlib.sha256(who.encode("utf-8", "surrogatepass")).hexdigest())


@dataclasses.dataclass(frozen=True)
class Verdict:
    """
    What came of credentials. eauth, user: as the caller sent them. result: `success`, `bad_credentials`, `expired_token`, `forbidden` or `throttled`. wait_seconds: until a throttled caller may come back.

    asked: what they were used for. A success is one only when it is news: a login, or credentials that the master has not judged lately.
    """

    eauth: str
    user: str
    result: str
    wait_seconds: float | None
    asked: Mapping[str, Any]


class Gate:
    """
    Lets a few callers at a time go to the master, while a bounded number waits for a turn.

    concurrency: how many go. most_waiting, wait_seconds: how many wait, and how long; the others are told to come back.
    """

    def __init__(self, concurrency: int, most_waiting: int, wait_seconds: float) -> None:
        self._turns = threading.Semaphore(concurrency)
        self._most_waiting = most_waiting
        self._wait_seconds = wait_seconds
        self._lock = threading.Lock()
        self.waiting = 0  # guarded by _lock

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for a turn, and keep it inside the block. Raises Throttled."""
        self._wait()
        try:
            yield
        finally:
            self._turns.release()

    def _wait(self) -> None:
        with self._lock:
            if self.waiting >= self._most_waiting:
                raise self._too_many()
            self.waiting += 1
        try:
            if not self._turns.acquire(timeout=self._wait_seconds):
                raise self._too_many()
        finally:
            with self._lock:
                self.waiting -= 1

    def _too_many(self) -> Throttled:
        return Throttled("too many logins at one time", retry_after_seconds=self._wait_seconds)


@dataclasses.dataclass(frozen=True)
class Gates:
    """Those from whose address somebody has logged in well lately do not queue with strangers, who have half of the turns."""

    known: Gate
    strangers: Gate


class ShownCredentials(NamedTuple):
    """Credentials as somebody shows them. digest: what `Proven` knows them by, worked out once for all that is done with them."""

    credentials: Mapping[str, Any]
    digest: bytes


class Proven(Lately[bytes]):
    """The credentials that the master accepted lately, as digests; parameters as for `Lately`."""

    def __init__(self, most: int, seconds: float, monotonic: Callable[[], float]) -> None:
        super().__init__(most, seconds, monotonic)
        self._digests = Digests()

    def digest_of(self, credentials: Mapping[str, Any]) -> bytes:
        """
        Return what credentials are known by; elsewhere they are known by another digest.

        Every field counts, and every difference between values: which of them an eauth module reads, only the master knows.
        """
        return self._digests.of(repr(sorted(credentials.items())))


@dataclasses.dataclass(repr=False)
class Attempt:
    """
    One pass of one request through the brakes to the master.

    are_good(credentials): asks the master whether it knows them; raises a Fault when it cannot say. on_decided(seconds): how long the master took to accept or refuse.
    good: the master accepted them, now or lately; known: lately, so that it need not judge them.
    """

    shown: ShownCredentials
    address: str
    allowances: Allowances
    gates: Gates
    proven: Proven
    are_good: Callable[[Mapping[str, Any]], bool]
    on_decided: Callable[[float], None]
    monotonic: Callable[[], float]
    good: bool = False
    known: bool = False

    def __post_init__(self) -> None:
        self._caller = _caller_of(self.shown.credentials, self.address)
        self._sent_at: float | None = None
        self._turn: contextlib.ExitStack | None = None
        self._paid: contextlib.ExitStack | None = None  # gives back, when it is closed

    def enter(self) -> None:
        """
        Pass at once when proven, else wait for a turn and pay; the credentials go to the master next. Raises Throttled.

        The allowance is charged last: a caller who waits for a turn has not failed yet, and ten first calls with one good password must not
        use up each other's allowance.
        """
        if not self._is_known():
            self.allowances.check(self._caller)
            self._turn = contextlib.ExitStack()
            self._turn.enter_context(self._gate.turn())
            if self._is_known():
                self._turn.close()
            else:
                self._paid = self.allowances.pay(self._caller)
        self._sent_at = self.monotonic()

    @property
    def _gate(self) -> Gate:
        return self.gates.known if self.allowances.knows(self._caller) else self.gates.strangers

    def _is_known(self) -> bool:
        self.good = self.known = self.proven.has(self.shown.digest)
        return self.known

    def accepted(self) -> None:
        """Take the master's word that the credentials are good."""
        self._decided()
        self.proven.add(self.shown.digest)
        self.allowances.worked(self._caller)
        self.good = True
        self.leave()

    def refused(self) -> str:
        """Take the master's word that the credentials are bad: what was paid is lost. Returns the result."""
        self._decided()
        self._paid = None
        self.allowances.failed(self._caller)
        return "expired_token" if self.good and _is_token(self.shown.credentials) else "bad_credentials"

    def find_out(self, refusal: Unauthenticated) -> tuple[str, Unauthenticated]:
        """
        Learn what a refusal meant that may have been for a missing right; return the result, and what to raise.

        A password that was good lately is taken for good. Of others, and of tokens, which expire, the master is asked; if it cannot say, they cost nothing.
        """
        self._decided()
        try:
            good = (self.good and not _is_token(self.shown.credentials)) or self.are_good(self.shown.credentials)
        except Fault:
            return "error", Unauthenticated(refusal.reason)
        if not good:
            return self.refused(), Unauthenticated(refusal.reason)
        self.accepted()
        return "forbidden", Forbidden(refusal.reason)

    def _decided(self) -> None:
        """Tell, once, how long the master took."""
        if self._sent_at is not None:
            self.on_decided(self.monotonic() - self._sent_at)
            self._sent_at = None

    def leave(self) -> None:
        """End the pass; a call that ended before the master judged the credentials costs nothing."""
        for held in (self._paid, self._turn):
            if held is not None:
                held.close()


class Guard:
    """
    Admits credentials to the master.

    The master alone decides whether they are good. Credentials that it accepted a short while ago pass freely;
    others pay in advance from the allowance of their address, of their user and of everybody together (see `Allowances`), get
    it back when the master accepts them, and go to the master only a few at a time.

    grouping: which addresses count as one. known_seconds: as `Allowances` takes it.

    are_good(credentials): asks the master whether it knows credentials, whatever their rights; raises a Fault when it cannot say.
    on_attempt(eauth, result) hears how each attempt ended, on_verdict of those that are worth a log line;
    on_decided(eauth, seconds) how long the master took to accept or refuse.
    """

    def __init__(
        self,
        *,
        addresses: Brake,
        users: Brake,
        newcomers: Brake,
        repeaters: Brake,
        concurrency: int,
        known_seconds: float,
        proven_seconds: float,
        grouping: Grouping,
        are_good: Callable[[Mapping[str, Any]], bool],
        on_attempt: Callable[[str, str], None],
        on_verdict: Callable[[Verdict], None] = lambda _verdict: None,
        on_decided: Callable[[str, float], None] = lambda _eauth, _seconds: None,
        monotonic: Callable[[], float] = time.monotonic,
        most_proven: int = MOST_PROVEN,
        gate_waiting: int = GATE_WAITING,
        gate_wait_seconds: float = GATE_WAIT_SECONDS,
    ) -> None:
        self._allowances = Allowances(addresses, users, newcomers, repeaters, known_seconds=known_seconds, monotonic=monotonic)
        strangers = max(1, concurrency // 2)
        self.gates = Gates(*(Gate(turns, gate_waiting, gate_wait_seconds) for turns in (max(1, concurrency - strangers), strangers)))
        self._grouping = grouping
        self.proven = Proven(most_proven, proven_seconds, monotonic)
        self._are_good = are_good
        self._on_attempt = on_attempt
        self._on_verdict = on_verdict
        self._on_decided = on_decided
        self._monotonic = monotonic

    def adjust(self, proven_seconds: float, **allowances: Any) -> None:
        """Change how long credentials stay proven, and the allowances, as `Allowances.adjust` takes them, in a running process."""
        self.proven.seconds = proven_seconds
        self._allowances.adjust(**allowances)

    def shown(self, credentials: Mapping[str, Any]) -> ShownCredentials:
        """Take credentials as somebody shows them."""
        return ShownCredentials(credentials, self.proven.digest_of(credentials))

    @contextlib.contextmanager
    def admit(
        self,
        shown: ShownCredentials,
        address: str,
        asked: Mapping[str, Any] = NOTHING,
        *,
        is_login: bool = False,
        on_accepted: Callable[[], None] = lambda: None,
    ) -> Iterator[Callable[[], None]]:
        """
        Let credentials through to the master inside the block.

        asked: what they are used for, for the verdict; may still change inside the block. is_login: a success is always news.
        Yields a function to call when the master has accepted them, which calls on_accepted then. Raises Throttled.
        """
        credentials = shown.credentials
        eauth = "token" if _is_token(credentials) else str(credentials.get("eauth", "unknown"))
        decided = functools.partial(self._on_decided, eauth)
        attempt = Attempt(shown, self._grouping.of(address), self._allowances, self.gates, self.proven, self._are_good, decided, self._monotonic)
        result: str = "error"
        wait: float | None = None

        def accepted() -> None:
            attempt.accepted()
            on_accepted()

        try:
            attempt.enter()
            yield accepted
            result = "success"
        except Forbidden:
            attempt.accepted()
            result = "forbidden"
            raise
        except UnclearRefusal as refusal:
            result, fault = attempt.find_out(refusal)
            raise fault from None
        except Unauthenticated:
            result = attempt.refused()
            raise
        except Throttled as fault:
            result, wait = "throttled", fault.retry_after_seconds
            raise
        finally:
            attempt.leave()
            self._on_attempt(eauth, result)
            verdict = "success" if result == "error" and attempt.good else result
            if verdict != "error" and (is_login or not (verdict == "success" and attempt.known)):
                self._on_verdict(Verdict(eauth, str(credentials.get("username", "")), verdict, wait, asked))

    def judging(self, what: str, address: str) -> contextlib.AbstractContextManager[None]:
        """Judge inside the block a secret that the master does not know, and that is guessed as passwords are; as `Allowances.judging`."""
        return self._allowances.judging(f"{what} from {self._grouping.of(address)}")

    def knows(self, shown: ShownCredentials) -> bool:
        """Say whether the master accepted these credentials lately, so that they need no turn."""
        return self.proven.has(shown.digest)

    def vouch(self, credentials: Mapping[str, Any]) -> None:
        """Let credentials pass that the master has just made: failures of a neighbour at the same address are not theirs."""
        self.proven.add(self.proven.digest_of(credentials))

    def forget(self, shown: ShownCredentials) -> None:
        """Let credentials that the master has called dead pay like any others."""
        self.proven.drop(shown.digest)
