"""The guard: keeps floods of bad logins away from the master, which holds a worker for a second over each."""

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
from service.errors import Forbidden, Throttled, Unauthenticated
from service.limits import Brake
from service.secrets.digests import Digests

MOST_PROVEN = 10_000
# Longest wait, and most callers waiting, for a login turn; others are told to come back. After a restart all callers come at once,
# unproven, and the first of them that the master accepts lets all with the same credentials through.
GATE_WAIT_SECONDS = 3.0
GATE_WAITING = 128
Keys = tuple[str, str]  # of an address and a user
NOTHING: Mapping[str, Any] = MappingProxyType({})
_TOO_MANY_FAILED = "too many failed logins; wait before the next"


class TokenDied(Unauthenticated):
    """The master knows no such token: it has expired, or never was one. Stays between the sessions and the guard; callers see Unauthenticated."""


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


class Guard:
    """
    Admits credentials to the master.

    The master alone decides whether they are good. Credentials that it accepted a short while ago pass freely;
    others pay in advance from the allowance of their address, of their user and of everybody together, get it back when
    the master accepts them, and go to the master only a few at a time.

    everybody: the master deals requests out to its workers in turn, also to one that sits over a failed login, so that a few a minute
    slow every caller; guesses from many addresses must not add up.

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
        on_attempt: Callable[[str, str], None],
        on_verdict: Callable[[Verdict], None] = lambda _verdict: None,
        on_decided: Callable[[str, float], None] = lambda _eauth, _seconds: None,
        monotonic: Callable[[], float] = time.monotonic,
        most_proven: int = MOST_PROVEN,
        gate_waiting: int = GATE_WAITING,
        gate_wait_seconds: float = GATE_WAIT_SECONDS,
    ) -> None:
        self._addresses = addresses
        self._users = users
        self._everybody = everybody
        self._gate = threading.Semaphore(concurrency)
        self._gate_waiting = gate_waiting
        self._gate_wait_seconds = gate_wait_seconds
        self._proven_seconds = proven_seconds
        self._on_attempt = on_attempt
        self._on_verdict = on_verdict
        self._on_decided = on_decided
        self._monotonic = monotonic
        self._digests = Digests()
        self._lock = threading.Lock()
        self._proven: Bounded[bytes, float] = Bounded(most_proven)  # digest -> end; guarded by _lock
        self.waiting = 0  # for a turn to authenticate; guarded by _lock

    def adjust(self, proven_seconds: float) -> None:
        """Change how long credentials stay proven, in a running process; those that are proven already keep their end."""
        self._proven_seconds = proven_seconds

    @contextlib.contextmanager
    def admit(
        self, credentials: Mapping[str, Any], address: str, asked: Mapping[str, Any] = NOTHING, *, is_login: bool = False
    ) -> Iterator[Callable[[], None]]:
        """
        Let credentials through to the master inside the block.

        asked: what they are used for, for the verdict; may still change inside the block. is_login: a success is always news. Yields a function to call when the master has accepted them. Raises Throttled.
        """
        eauth = "token" if "token" in credentials else str(credentials.get("eauth", "unknown"))
        attempt = _Attempt(self, self.digest_of(credentials), lambda: self._keys(credentials, address), lambda seconds: self._on_decided(eauth, seconds))
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
        except TokenDied:
            attempt.refused()
            result = "expired_token" if attempt.known else "bad_credentials"
            raise
        except Unauthenticated:
            attempt.refused()
            result = "forbidden" if attempt.proven else "bad_credentials"
            raise
        except Throttled as fault:
            result, wait = "throttled", fault.retry_after_seconds
            raise
        finally:
            attempt.leave()
            self._on_attempt(eauth, result)
            verdict = "success" if result == "error" and attempt.proven else result
            if verdict != "error" and (is_login or not (verdict == "success" and attempt.known)):
                self._on_verdict(Verdict(eauth, str(credentials.get("username", "")), verdict, wait, asked))

    def check(self, keys: Keys) -> None:
        """Raise Throttled if one of the allowances is used up; takes nothing from them."""
        wait = max(brake.wait(key) for brake, key in self._paid_to(keys))
        if wait:
            raise Throttled(_TOO_MANY_FAILED, retry_after_seconds=wait)

    def pay(self, keys: Keys) -> None:
        """Take one failure from the allowances in advance. Raises Throttled."""
        paid: list[tuple[Brake, str]] = []
        for brake, key in self._paid_to(keys):
            wait = brake.take(key)
            if wait:
                for earlier, its_key in paid:
                    earlier.give_back(its_key)
                raise Throttled(_TOO_MANY_FAILED, retry_after_seconds=wait)
            paid.append((brake, key))

    def refund(self, keys: Keys) -> None:
        """Give back what `pay` took."""
        for brake, key in self._paid_to(keys):
            brake.give_back(key)

    def enter_gate(self) -> None:
        """Wait for a turn to authenticate. Raises Throttled."""
        with self._lock:
            if self.waiting >= self._gate_waiting:
                raise self._too_many()
            self.waiting += 1
        try:
            if not self._gate.acquire(timeout=self._gate_wait_seconds):
                raise self._too_many()
        finally:
            with self._lock:
                self.waiting -= 1

    def leave_gate(self) -> None:
        """Let the next one authenticate."""
        self._gate.release()

    def now(self) -> float:
        """Return the time of our clock."""
        return self._monotonic()

    def is_proven(self, digest: bytes) -> bool:
        """Say whether the master accepted these credentials lately."""
        with self._lock:
            return self._proven.get(digest, 0.0) > self._monotonic()

    def prove(self, digest: bytes) -> None:
        """Remember that the master accepted these credentials."""
        with self._lock:
            self._proven[digest] = self._monotonic() + self._proven_seconds

    def disprove(self, digest: bytes) -> None:
        """Forget credentials that the master refused."""
        with self._lock:
            self._proven.pop(digest, None)

    def vouch(self, credentials: Mapping[str, Any]) -> None:
        """Let credentials pass that the master has just made: failures of a neighbour at the same address are not theirs."""
        self.prove(self.digest_of(credentials))

    def forget(self, credentials: Mapping[str, Any]) -> None:
        """Let credentials that the master has called dead pay like any others."""
        self.disprove(self.digest_of(credentials))

    def digest_of(self, credentials: Mapping[str, Any]) -> bytes:
        """Return what `prove` and `is_proven` know credentials by; another guard knows them by another."""
        text = "\0".join(f"{name}={len(str(value))}:{value}" for name, value in sorted(credentials.items()))
        return self._digests.of(text)

    def _too_many(self) -> Throttled:
        return Throttled("too many logins at one time", retry_after_seconds=self._gate_wait_seconds)

    def _paid_to(self, keys: Keys) -> tuple[tuple[Brake, str], ...]:
        return (self._addresses, keys[0]), (self._users, keys[1]), (self._everybody, "")

    def _keys(self, credentials: Mapping[str, Any], address: str) -> Keys:
        """Return the keys of the two allowances; a token has no user, but must not be tried without end either."""
        who = f"{credentials.get('eauth', '')}:{credentials.get('username', '')}" if "token" not in credentials else f"token from {address}"
        return address, hashlib.sha256(who.encode("utf-8", "surrogatepass")).hexdigest()


class _Attempt:
    """One pass of one request through the guard."""

    def __init__(self, guard: Guard, digest: bytes, find_keys: Callable[[], Keys], on_decided: Callable[[float], None]) -> None:
        """find_keys: called for credentials that are not proven; those that are pay nothing."""
        self._guard = guard
        self._digest = digest
        self._find_keys = find_keys
        self._on_decided = on_decided
        self._sent_at: float | None = None
        self._in_gate = False
        self._paid = False
        self.proven = False
        self.known = False  # the master need not judge them: it did so lately

    @functools.cached_property
    def _keys(self) -> Keys:
        return self._find_keys()

    def enter(self) -> None:
        """Pass the brakes; the credentials go to the master next."""
        self._pass()
        self._sent_at = self._guard.now()

    def _pass(self) -> None:
        """
        Pass at once when proven, else wait for a turn and pay.

        Paying comes last: whoever waits for a turn has not failed yet, and ten first calls with one good password must not
        use up each other's allowance.
        """
        self.proven = self.known = self._guard.is_proven(self._digest)
        if self.proven:
            return
        self._guard.check(self._keys)
        self._guard.enter_gate()
        self._in_gate = True
        self.proven = self.known = self._guard.is_proven(self._digest)
        if self.proven:
            self._leave_gate()
            return
        self._guard.pay(self._keys)
        self._paid = True

    def accepted(self) -> None:
        """Take the master's word that the credentials are good."""
        self._decided()
        self._guard.prove(self._digest)
        self.proven = True
        self._refund()
        self._leave_gate()

    def refused(self) -> None:
        """Take the master's word that the credentials are bad: what was paid is lost."""
        self._decided()
        self._paid = False

    def _decided(self) -> None:
        """Tell, once, how long the master took."""
        if self._sent_at is not None:
            self._on_decided(self._guard.now() - self._sent_at)
            self._sent_at = None

    def leave(self) -> None:
        """End the pass; a call that ended before the master judged the credentials costs nothing."""
        self._refund()
        self._leave_gate()

    def _refund(self) -> None:
        if self._paid:
            self._paid = False
            self._guard.refund(self._keys)

    def _leave_gate(self) -> None:
        if self._in_gate:
            self._in_gate = False
            self._guard.leave_gate()
