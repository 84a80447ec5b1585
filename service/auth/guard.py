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
from typing import Any

from service.bounded import Bounded
from service.errors import Fault, Forbidden, Throttled, Unauthenticated
from service.gateway.clients.publish import UnclearRefusal
from service.limits import Brake
from service.secrets.digests import Digests

MOST_PROVEN = 10_000
# Longest wait, and most callers waiting, for a login turn; others are told to come back. After a restart all callers come at once,
# unproven, and the first of them that the master accepts lets all with the same credentials through.
GATE_WAIT_SECONDS = 3.0
GATE_WAITING = 128
Keys = tuple[str, str]  # the keys of an address and of a user
NOTHING: Mapping[str, Any] = MappingProxyType({})
_TOO_MANY_FAILED = "too many failed logins; wait before the next"


def _is_token(credentials: Mapping[str, Any]) -> bool:
    """Say whether a token is all there is. Beside an eauth it is one more field that the eauth's module may read."""
    return credentials.keys() == {"token"}


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


class Allowances:
    """
    The failures that an address, a user and everybody together may have.

    everybody: the master deals requests out to its workers in turn, also to one that sits over a failed login, so that a few a minute
    slow every caller; guesses from many addresses must not add up.
    """

    def __init__(self, addresses: Brake, users: Brake, everybody: Brake) -> None:
        self._addresses = addresses
        self._users = users
        self._everybody = everybody

    def adjust(self, burst: int, per_minute: float, per_minute_overall: float) -> None:
        """Change what may fail, in a running process; what has been used stays used."""
        self._addresses.adjust(burst, per_minute)
        self._users.adjust(burst, per_minute)
        self._everybody.adjust(burst, per_minute_overall)

    def check(self, keys: Keys) -> None:
        """Raise Throttled if one of the allowances is used up; takes nothing from them."""
        wait = max(brake.wait(key) for brake, key in self._of(keys))
        if wait:
            raise Throttled(_TOO_MANY_FAILED, retry_after_seconds=wait)

    def pay(self, keys: Keys) -> None:
        """Take one failure from the allowances in advance. Raises Throttled."""
        with contextlib.ExitStack() as paid:
            for brake, key in self._of(keys):
                wait = brake.take(key)
                if wait:
                    raise Throttled(_TOO_MANY_FAILED, retry_after_seconds=wait)
                paid.callback(brake.give_back, key)
            paid.pop_all()

    def refund(self, keys: Keys) -> None:
        """Give back what `pay` took."""
        for brake, key in self._of(keys):
            brake.give_back(key)

    def _of(self, keys: Keys) -> tuple[tuple[Brake, str], ...]:
        return (self._addresses, keys[0]), (self._users, keys[1]), (self._everybody, "")


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


class Proven:
    """
    The credentials that the master accepted lately, as digests.

    most: how many are remembered. seconds: how long; those that are proven already keep their end when it changes.
    """

    def __init__(self, most: int, seconds: float, monotonic: Callable[[], float]) -> None:
        self.seconds = seconds
        self._monotonic = monotonic
        self._digests = Digests()
        self._lock = threading.Lock()
        self._until: Bounded[bytes, float] = Bounded(most)  # by digest; guarded by _lock

    def digest_of(self, credentials: Mapping[str, Any]) -> bytes:
        """
        Return what credentials are known by; elsewhere they are known by another digest.

        Every field counts, and every difference between values: which of them an eauth module reads, only the master knows.
        """
        return self._digests.of(repr(sorted(credentials.items())))

    def has(self, digest: bytes) -> bool:
        """Say whether the master accepted these credentials lately."""
        with self._lock:
            return self._until.get(digest, 0.0) > self._monotonic()

    def add(self, digest: bytes) -> None:
        """Remember that the master accepted these credentials."""
        with self._lock:
            self._until[digest] = self._monotonic() + self.seconds

    def drop(self, digest: bytes) -> None:
        """Forget credentials that the master refused."""
        with self._lock:
            self._until.pop(digest, None)


@dataclasses.dataclass(repr=False)
class Attempt:
    """
    One pass of one request through the brakes to the master.

    are_good(credentials): asks the master whether it knows them; raises a Fault when it cannot say. on_decided(seconds): how long the master took to accept or refuse.
    good: the master accepted them, now or lately; known: lately, so that it need not judge them.
    """

    credentials: Mapping[str, Any]
    address: str
    allowances: Allowances
    gate: Gate
    proven: Proven
    are_good: Callable[[Mapping[str, Any]], bool]
    on_decided: Callable[[float], None]
    monotonic: Callable[[], float]
    good: bool = False
    known: bool = False

    def __post_init__(self) -> None:
        self._digest = self.proven.digest_of(self.credentials)
        self._sent_at: float | None = None
        self._turn = contextlib.ExitStack()
        self._paid = contextlib.ExitStack()  # gives back, when it is closed

    @functools.cached_property
    def _keys(self) -> Keys:
        """The keys of the two allowances; a token has no user, but must not be tried without end either."""
        mine = self.credentials
        who = f"token from {self.address}" if _is_token(mine) else f"{mine.get('eauth', '')}:{mine.get('username', '')}"
        return self.address, hashlib.sha256(who.encode("utf-8", "surrogatepass")).hexdigest()

    def enter(self) -> None:
        """
        Pass at once when proven, else wait for a turn and pay; the credentials go to the master next. Raises Throttled.

        The allowance is charged last: a caller who waits for a turn has not failed yet, and ten first calls with one good password must not
        use up each other's allowance.
        """
        if not self._is_known():
            self.allowances.check(self._keys)
            self._turn.enter_context(self.gate.turn())
            if self._is_known():
                self._turn.close()
            else:
                self.allowances.pay(self._keys)
                self._paid.callback(self.allowances.refund, self._keys)
        self._sent_at = self.monotonic()

    def _is_known(self) -> bool:
        self.good = self.known = self.proven.has(self._digest)
        return self.known

    def accepted(self) -> None:
        """Take the master's word that the credentials are good."""
        self._decided()
        self.proven.add(self._digest)
        self.good = True
        self.leave()

    def refused(self) -> str:
        """Take the master's word that the credentials are bad: what was paid is lost. Returns the result."""
        self._decided()
        self._paid.pop_all()
        return "expired_token" if self.good and _is_token(self.credentials) else "bad_credentials"

    def find_out(self, refusal: Unauthenticated) -> tuple[str, Unauthenticated]:
        """
        Learn what a refusal meant that may have been for a missing right; return the result, and what to raise.

        A password that was good lately is taken for good. Of others, and of tokens, which expire, the master is asked; if it cannot say, they cost nothing.
        """
        self._decided()
        try:
            good = (self.good and not _is_token(self.credentials)) or self.are_good(self.credentials)
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
        self._paid.close()
        self._turn.close()


class Guard:
    """
    Admits credentials to the master.

    The master alone decides whether they are good. Credentials that it accepted a short while ago pass freely;
    others pay in advance from the allowance of their address, of their user and of everybody together, get it back when
    the master accepts them, and go to the master only a few at a time.

    are_good(credentials): asks the master whether it knows credentials, whatever their rights; raises a Fault when it cannot say.
    on_attempt(eauth, result) hears how each attempt ended, on_verdict of those that are worth a log line;
    on_decided(eauth, seconds) how long the master took to accept or refuse.
    """

    def __init__(
        self,
        *,
        addresses: Brake,
        users: Brake,
        everybody: Brake,
        concurrency: int,
        proven_seconds: float,
        are_good: Callable[[Mapping[str, Any]], bool],
        on_attempt: Callable[[str, str], None],
        on_verdict: Callable[[Verdict], None] = lambda _verdict: None,
        on_decided: Callable[[str, float], None] = lambda _eauth, _seconds: None,
        monotonic: Callable[[], float] = time.monotonic,
        most_proven: int = MOST_PROVEN,
        gate_waiting: int = GATE_WAITING,
        gate_wait_seconds: float = GATE_WAIT_SECONDS,
    ) -> None:
        self._allowances = Allowances(addresses, users, everybody)
        self.gate = Gate(concurrency, gate_waiting, gate_wait_seconds)
        self.proven = Proven(most_proven, proven_seconds, monotonic)
        self._are_good = are_good
        self._on_attempt = on_attempt
        self._on_verdict = on_verdict
        self._on_decided = on_decided
        self._monotonic = monotonic

    def adjust(self, proven_seconds: float, burst: int, per_minute: float, per_minute_overall: float) -> None:
        """Change the allowances, and how long credentials stay proven, in a running process."""
        self.proven.seconds = proven_seconds
        self._allowances.adjust(burst, per_minute, per_minute_overall)

    @contextlib.contextmanager
    def admit(
        self, credentials: Mapping[str, Any], address: str, asked: Mapping[str, Any] = NOTHING, *, is_login: bool = False
    ) -> Iterator[Callable[[], None]]:
        """
        Let credentials through to the master inside the block.

        asked: what they are used for, for the verdict; may still change inside the block. is_login: a success is always news. Yields a function to call when the master has accepted them. Raises Throttled.
        """
        eauth = "token" if _is_token(credentials) else str(credentials.get("eauth", "unknown"))
        decided = functools.partial(self._on_decided, eauth)
        attempt = Attempt(credentials, address, self._allowances, self.gate, self.proven, self._are_good, decided, self._monotonic)
        result: str = "error"
        wait: float | None = None
        try:
            attempt.enter()
            yield attempt.accepted
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

    def vouch(self, credentials: Mapping[str, Any]) -> None:
        """Let credentials pass that the master has just made: failures of a neighbour at the same address are not theirs."""
        self.proven.add(self.proven.digest_of(credentials))

    def forget(self, credentials: Mapping[str, Any]) -> None:
        """Let credentials that the master has called dead pay like any others."""
        self.proven.drop(self.proven.digest_of(credentials))
