"""Kept logins: each a token that stands for the credentials it was made with, for some seconds; it never leaves this process."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

from service.auth.guard import ShownCredentials
from service.auth.identity import slots_name
from service.batcher import Batcher
from service.bounded import Bounded
from service.errors import Fault, MasterTimeout, MasterUnreachable, Unauthenticated
from service.gateway.clients.tokens import login_fields
from service.observe.metrics.domains import Copy, Use
from service.secrets.digests import Digests

MOST_KEPT = 1_000
# Credentials are one user's and differ in further fields only; more of them is somebody who tries how many we keep.
MOST_OF_A_USER = 8
MOST_GOOD = 10_000
# What the master's clock may be ahead of ours.
SLACK_SECONDS = 60.0


class LoginTokens(Protocol):
    """The master's token calls; see gateway/clients/tokens.py."""

    def mk_token(self, credentials: Mapping[str, Any]) -> dict[str, Any]:
        """Log in."""

    def get_token(self, token: str, timeout: float | None = None) -> dict[str, Any] | None:
        """Look a token up."""

    def discard(self, token: str) -> bool:
        """Remove a token that nobody was given; say whether it is gone."""


@dataclasses.dataclass(eq=False)
class Login:
    """
    One login, under way or kept. Guarded by the lock of `KeptLogins`, but what is set before `decided`.

    user: whose. until: no further low uses it then, on the monotonic clock. lows: those that use it now.
    token: empty if the master made none. expire: of the token, seconds since 1970. fault: why there is none, when the master did not say.
    """

    user: str
    until: float
    lows: int = 0
    ended: bool = False
    decided: threading.Event = dataclasses.field(default_factory=threading.Event, repr=False)
    token: str = dataclasses.field(default="", repr=False)
    expire: float = 0.0
    fault: Fault | None = None


class KeptLogins:
    """
    Logs in with credentials that the master has taken before, and keeps the token. Called from request threads.

    Credentials are known by a keyed digest of all their fields; themselves they are not kept.
    At each moment one request logs in with the same credentials, the others wait for it.
    A token is given up when its time is over and no low uses it any more; then the master's copy is removed, where we can.

    seconds: how long after a login its token is used; 0: never. deadline_seconds: of a low. wait_seconds: longest wait for another's login.
    on_use(use), on_given_up(copy): hear of each low and of each token that is over. on_crash(): called inside the `except` of a bug.
    """

    def __init__(
        self,
        tokens: LoginTokens,
        on_use: Callable[[Use], None],
        on_given_up: Callable[[Copy], None],
        *,
        seconds: float,
        deadline_seconds: float,
        wait_seconds: float,
        on_crash: Callable[[], None],
        most: int = MOST_KEPT,
        most_of_a_user: int = MOST_OF_A_USER,
        monotonic: Callable[[], float] = time.monotonic,
        time_of_day: Callable[[], float] = time.time,
    ) -> None:
        self._tokens = tokens
        self._on_use = on_use
        self._on_given_up = on_given_up
        self.seconds = seconds
        self._deadline_seconds = deadline_seconds
        self._wait_seconds = wait_seconds
        self._most = most
        self._most_of_a_user = most_of_a_user
        self._monotonic = monotonic
        self._time_of_day = time_of_day
        self._digests = Digests()
        self._lock = threading.Lock()
        self._good: Bounded[bytes, None] = Bounded(MOST_GOOD)  # what the master took itself; guarded by _lock, like all below
        self._kept: dict[bytes, Login] = {}
        self._ended: set[Login] = set()  # with a token still
        self._sweeper: Batcher[None] = Batcher("logins", lambda _: self._sweep(), limit_items=1, on_crash=lambda _: on_crash(), idle_seconds=self._until_next)

    def adjust(self, seconds: float, deadline_seconds: float) -> None:
        """Take new limits in a running process, and log in anew for whatever comes from now on."""
        self.seconds, self._deadline_seconds = seconds, deadline_seconds
        self._end_all()

    def stop(self, timeout: float) -> None:
        """Give up all tokens, those in use too; wait at most *timeout* seconds for our thread."""
        self._end_all()
        self._sweeper.stop(timeout)
        with self._lock:
            left, self._ended = self._ended, set()
        self._discard(left)

    def kept(self) -> int:
        """Return how many logins are under way or kept."""
        return len(self._kept)

    def shown(self, credentials: Mapping[str, Any]) -> ShownCredentials:
        """Return credentials with what they are known by here: every field counts, and every difference between values."""
        return ShownCredentials(credentials, self._digests.of(repr(sorted(credentials.items()))))

    def good(self, shown: ShownCredentials) -> None:
        """Hear that the master took the credentials themselves: a login with them will not be a guess."""
        with self._lock:
            self._good[shown.digest] = None

    def bad(self, shown: ShownCredentials) -> None:
        """Hear that the master refused the credentials themselves: nothing stands for them any more."""
        with self._lock:
            self._good.pop(shown.digest, None)
            login = self._kept.get(shown.digest)
            if login is not None:
                self._end(shown.digest, login)
        self._wake()

    @contextlib.contextmanager
    def held(self, shown: ShownCredentials, needed_seconds: float) -> Iterator[tuple[str, bool] | None]:
        """
        Let a low use the token of its credentials inside the block: yields it, and whether it was there before; None if there is none to use.

        needed_seconds: how long the low may need it. Raises what the master's absence raises.
        """
        login, ours = self._join(shown)
        try:
            yield None if login is None else self._token(login, shown, needed_seconds, ours=ours)
        finally:
            if login is not None:
                self._leave(login)

    def refused(self, shown: ShownCredentials, token: str) -> None:
        """Hear that the master refused a low with the token: for want of a right, or because the token is dead; then nobody uses it again."""
        self._on_use("refused")
        with contextlib.suppress(Fault):
            if self._tokens.get_token(token) is not None:
                return
        with self._lock:
            login = self._kept.get(shown.digest)
            if login is not None and login.token == token:
                self._end(shown.digest, login)
        self._wake()

    def _join(self, shown: ShownCredentials) -> tuple[Login | None, bool]:
        """Return the login to use or to wait for, and whether the caller is who logs in; None if there is to be none."""
        user = slots_name(str(shown.credentials["eauth"]), str(shown.credentials["username"]))
        with self._lock:
            if shown.digest not in self._good:
                use: Use = "first"
            else:
                login = self._kept.get(shown.digest)
                if login is not None and login.until > self._monotonic():
                    login.lows += 1
                    return login, False
                if login is not None:
                    self._end(shown.digest, login)
                if self._has_room(user):
                    self._kept[shown.digest] = login = Login(user, self._monotonic() + self.seconds, lows=1)
                    return login, True
                use = "full"
        self._on_use(use)
        return None, False

    def _has_room(self, user: str) -> bool:
        return len(self._kept) < self._most and sum(login.user == user for login in self._kept.values()) < self._most_of_a_user

    def _token(self, login: Login, shown: ShownCredentials, needed_seconds: float, *, ours: bool) -> tuple[str, bool] | None:
        """Log in, or wait until another has; return the token if it is good for the low."""
        if ours:
            self._log_in(login, shown)
        elif not login.decided.wait(self._wait_seconds):
            raise MasterTimeout("a login with the same credentials is under way, and the master has not answered it")
        if login.fault is not None:
            raise _like(login.fault)
        use: Use = "failed" if not login.token else "miss" if ours else "hit"
        if login.token and login.expire - self._time_of_day() < needed_seconds:
            use = "short"
        self._on_use(use)
        return (login.token, not ours) if use in {"hit", "miss"} else None

    def _log_in(self, login: Login, shown: ShownCredentials) -> None:
        """Ask the master for a token. A refusal is remembered as long as a token is, so that the credentials are shown in each low."""
        login.fault = MasterUnreachable("the login with these credentials came to no end")
        # The master ignores the lifetime where `token_expire_user_override` does not let the user choose it.
        lifetime = self.seconds + self._deadline_seconds + SLACK_SECONDS
        try:
            data = self._tokens.mk_token({**login_fields(shown.credentials), "token_expire": lifetime})
            login.token, login.expire, login.fault = data["token"], float(data["expire"]), None
        except Unauthenticated:
            login.fault = None
        except Fault as fault:
            login.fault = fault
        finally:
            if login.fault is not None:
                with self._lock:
                    self._end(shown.digest, login)
            login.decided.set()
            self._wake()

    def _leave(self, login: Login) -> None:
        with self._lock:
            login.lows -= 1
            is_over = login.ended and not login.lows
        if is_over:
            self._wake()

    def _end(self, digest: bytes, login: Login) -> None:
        """Let no further low use a login. The lock is held."""
        login.ended = True
        self._ended.add(login)
        if self._kept.get(digest) is login:
            del self._kept[digest]

    def _end_all(self) -> None:
        with self._lock:
            for digest, login in list(self._kept.items()):
                self._end(digest, login)
        self._wake()

    # The sweeper's thread.

    def _wake(self) -> None:
        if self._ended or self._kept:
            self._sweeper.put(None, items=0)

    def _until_next(self) -> float | None:
        """Return the seconds until the next login is over, None if there is none."""
        with self._lock:
            ends = [login.until for login in self._kept.values()]
        return max(0.0, min(ends) - self._monotonic()) if ends else None

    def _sweep(self) -> None:
        """End what is over, and give up what no low uses any more."""
        with self._lock:
            now = self._monotonic()
            for digest, login in list(self._kept.items()):
                if login.until <= now:
                    self._end(digest, login)
            unused = {login for login in self._ended if not login.lows}
            self._ended -= unused
        self._discard(unused)

    def _discard(self, logins: set[Login]) -> None:
        for login in logins:
            if login.token:
                self._on_given_up("removed" if self._tokens.discard(login.token) else "left")


def _like(fault: Fault) -> Fault:
    """Return a fault for another request that waited for the same thing; what is added to one must not be in the other."""
    return type(fault)(fault.reason, retry_after_seconds=fault.retry_after_seconds, **fault.details)
