"""Sessions: Salt tokens, looked up at the master, so they survive restarts and count on every sidecar beside it."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Protocol

from service.audit.records import Act, Entry
from service.audit.trail import Account
from service.auth.guard import NOTHING, Guard, ShownCredentials
from service.auth.identity import SCOPED_TOKEN, Identity, Scope, Session, is_named, slots_name
from service.auth.perms import EVERYTHING, perms_of
from service.bounded import Bounded
from service.errors import BadRequest, Fault, MasterTimeout, MasterUnreachable, Overloaded, Unauthenticated
from service.gateway.clients.tokens import login_fields
from service.gateway.low import TOKEN, check_token, session_over
from service.gateway.master.acl_names import check_name
from service.http.addresses import HOLDERS
from service.http.request_info import RequestInfo
from service.limits import Holder, Slots
from service.secrets.digests import Digests

MOST_REMEMBERED = 10_000
# Time in which a dead token that is sent again does not count as another guess.
DEAD_SECONDS = 600.0
# How long we ask a master about a token that we would believe without it.
OFFLINE_PATIENCE_SECONDS = 1.0


class TokenStore(Protocol):
    """The master's token calls; see gateway/clients/tokens.py."""

    def mk_token(self, credentials: Mapping[str, Any]) -> dict[str, Any]:
        """Log in."""

    def get_token(self, token: str, timeout: float | None = None) -> dict[str, Any] | None:
        """Look a token up."""

    def revoke(self, token: str, expire: float, settled: Callable[[str], None]) -> str:
        """Make a token useless; say how."""

    def owe(self, token: str, expire: float, settled: Callable[[str], None]) -> str:
        """Make a token useless here, and at the master once that can be asked; say so."""

    def is_revoked(self, token: str) -> bool:
        """Say whether `revoke` was told of it."""


class TokenOpener(Protocol):
    """Opens scoped tokens; see tokens/scoped_tokens.py."""

    def opened(self, token: str) -> tuple[str, Scope, float]:
        """Return the Salt token behind one, what it is for, and when it expires. Raises Unauthenticated, and StorageUnavailable when nobody can say."""


class UserAccess(Protocol):
    """Which users may call from where; see http/access.py."""

    @property
    def knows_users(self) -> bool:
        """Whether it matters who calls."""

    def admit(self, address: str, user: str) -> None:
        """Raise Unauthenticated if this user may not call from there."""


class Sessions:
    """
    Opens, finds and ends sessions. Called from request threads.

    Remembers what the master said of a token, under keyed digests, and nothing else: for all requests `cache_seconds`, and while the master
    cannot be asked `offline_seconds` for those that need no master.

    slots: held while the master is asked. access: asked about every user, however they come. on_revoked(session, how) hears of every logout.
    audit: hears of logins and logouts before they are done; it may refuse them.
    """

    def __init__(
        self,
        tokens: TokenStore,
        guard: Guard,
        slots: Slots,
        access: UserAccess,
        *,
        cookie_name: str,
        cache_seconds: float,
        offline_seconds: float,
        external_auth: Mapping[str, Any],
        see_all: Collection[str] = (),
        on_revoked: Callable[[Session, str], None],
        audit: Callable[[Account, Sequence[Act]], Sequence[Entry]] = lambda _account, _acts: (),
        monotonic: Callable[[], float] = time.monotonic,
        time_of_day: Callable[[], float] = time.time,
        most_remembered: int = MOST_REMEMBERED,
    ) -> None:
        self._tokens = tokens
        self._guard = guard
        self._slots = slots
        self._access = access
        self.cookie_name = cookie_name
        self._cache_seconds = cache_seconds
        self._offline_seconds = offline_seconds
        self._external_auth = external_auth
        self._see_all = frozenset(see_all)
        self._on_revoked = on_revoked
        self._audit = audit
        self._monotonic = monotonic
        self._time_of_day = time_of_day
        self._digests = Digests()
        self._scoped: TokenOpener | None = None
        self._lock = threading.Lock()
        # Whom the master knew, and when it said so; the oldest first; both guarded by _lock.
        self._alive: Bounded[bytes, tuple[Session, float]] = Bounded(most_remembered)
        self._dead: Bounded[bytes, float] = Bounded(most_remembered)

    def take_scoped(self, tokens: TokenOpener) -> None:
        """Take scoped tokens too."""
        self._scoped = tokens

    def login(self, credentials: object, environ: Mapping[str, Any], identity: Mapping[str, str] = NOTHING) -> Session:
        """
        Open a session with what a login carries.

        identity: who was proven elsewhere, for the audit trail. Raises BadRequest, Unauthenticated, Throttled, and what the master's absence raises.
        """
        session = self._session(self.mk_token(credentials, environ, identity))
        self._remember(self._digests.of(session.token), session)
        RequestInfo.of(environ).who.update(session.log_fields)
        return session

    def mk_token(self, credentials: object, environ: Mapping[str, Any], identity: Mapping[str, str] = NOTHING) -> dict[str, Any]:
        """Return a new token's data as the master gives it. Parameters and faults as of `login`."""
        if not isinstance(credentials, dict):
            raise BadRequest("a login is an object with username, password and eauth")
        info = RequestInfo.of(environ)
        user, eauth = (str(credentials.get(name, "")) for name in ("username", "eauth"))
        entries = self._audit(info, [Act("login" if info.route == "/login" else "token", user=user, eauth=eauth, identity=identity)])
        self._access.admit(info.address, user)
        fields = login_fields(credentials)
        shown = self._guard.shown(fields)
        with (
            self._slots.take(self.holder_of(shown, info.address)),
            info.timeline.stage("auth"),
            self._guard.admit(shown, info.address, is_login=True) as accepted,
        ):
            data = self._tokens.mk_token(fields)
            accepted()
        self._guard.vouch({"token": data["token"]})
        for entry in entries:
            entry.done = True
        return data

    def of(self, environ: Mapping[str, Any]) -> Session:
        """
        Return whose request this is.

        The token comes from `X-Auth-Token`, else `Authorization: Bearer`, else the cookie. Raises Unauthenticated
        for a missing or dead one, Throttled, and MasterUnreachable or MasterTimeout when the master cannot say now.
        """
        return self._whose(environ, self._look_up)

    def of_lately(self, environ: Mapping[str, Any]) -> Session:
        """Return whose request this is, which needs no master: while that cannot say, the token counts if it knew it within `offline_seconds`. Raises as `of`."""
        return self._whose(environ, self._look_up_lately)

    def _whose(self, environ: Mapping[str, Any], look_up: Callable[[str, str], Session]) -> Session:
        info = RequestInfo.of(environ)
        token = token_of(environ, self.cookie_name)
        if token is None:
            raise Unauthenticated("No session: log in first, or send credentials to /run")
        with info.timeline.stage("auth"):
            session = (
                self._within(self._scoped, token, info.address, look_up) if self._scoped and SCOPED_TOKEN.fullmatch(token) else look_up(token, info.address)
            )
        info.who.update(session.log_fields)
        self._access.admit(info.address, session.identity.user)
        return session

    def _within(self, scoped: TokenOpener, token: str, address: str, look_up: Callable[[str, str], Session]) -> Session:
        """Return the session that a scoped token was made from, with no more rights than the token has."""
        inner, scope, expire = scoped.opened(token)
        return look_up(inner, address).within(scope, expire)

    def find(self, environ: Mapping[str, Any]) -> Session | None:
        """Return whose request this is, None when it names no session at all. Raises as `of`."""
        return None if token_of(environ, self.cookie_name) is None else self.of(environ)

    def whose(self, credentials: Mapping[str, Any], address: str) -> Identity | None:
        """Return who is behind the token inside a low, None if there is none. Raises Unauthenticated for a dead one, and what the master's absence raises."""
        return self._look_up(credentials["token"], address).identity if "token" in credentials else None

    def admit(self, credentials: Mapping[str, Any], address: str) -> None:
        """Raise Unauthenticated if the user of credentials inside a low may not call from there, or under that name; says nothing of whether they are good."""
        if "token" not in credentials:
            check_name(self._external_auth, credentials["eauth"], credentials.get("username", ""))
        if not self._access.knows_users:
            return
        token = credentials.get("token")
        self._access.admit(address, str(credentials.get("username", "")) if token is None else self._look_up(token, address).identity.user)

    def holder_of(self, shown: ShownCredentials, address: str) -> Holder:
        """Return whose share of the slots a call with these credentials counts to: a user's, if the master accepted them lately."""
        credentials = shown.credentials
        token = credentials.get("token")
        if token is None or "eauth" in credentials:
            name = slots_name(str(credentials.get("eauth", "")), str(credentials.get("username", "")))
            return Holder(HOLDERS.of(address), name, self._guard.knows(shown))
        digest = self._digests.of(token)
        with self._lock:
            session, _ = self._alive.get(digest, (None, 0.0))
            dead = digest in self._dead
        return Holder(HOLDERS.of(address), session.identity.slots_name if session else f"token {digest.hex()}", not dead and self._guard.knows(shown))

    def _look_up(self, token: str, address: str) -> Session:
        check_token(token)
        return self._remembered(token, self._cache_seconds) or self._ask(token, address)

    def _look_up_lately(self, token: str, address: str) -> Session:
        check_token(token)
        if self._remembered(token, self._offline_seconds) is None:
            return self._look_up(token, address)
        try:
            return self._remembered(token, self._cache_seconds) or self._ask(token, address, OFFLINE_PATIENCE_SECONDS)
        except (MasterUnreachable, MasterTimeout, Overloaded):
            known = self._remembered(token, self._offline_seconds)
            if known is None:
                raise
            return dataclasses.replace(known, offline=True)

    def _remembered(self, token: str, seconds: float) -> Session | None:
        """Return the session that the master knew within the last *seconds*, unless it is over since."""
        digest = self._digests.of(token)
        with self._lock:
            session, at = self._alive.get(digest, (None, 0.0))
        if session is not None and self._monotonic() < at + seconds and session.expire > self._time_of_day() and not self._tokens.is_revoked(token):
            return session
        return None

    def active(self) -> int:
        """Return how many tokens were alive when the master was last asked, and have not expired."""
        with self._lock:
            known = list(self._alive.values())
        now = self._time_of_day()
        return sum(session.expire > now for session, _ in known)

    def logout(self, session: Session, environ: Mapping[str, Any]) -> str:
        """End a session: here at once, at the master now or when it is back, as far as it lets us; return how. Of a scoped token only that ends, everywhere."""
        who = session.identity
        self._audit(RequestInfo.of(environ), [Act("logout", user=who.user, eauth=who.eauth, groups=who.groups)])
        if session.scope is not None:
            session.scope.revoke()
            self._on_revoked(session, "store")
            return "store"
        self._bury(self._digests.of(session.token))
        settled = functools.partial(self._on_revoked, session)
        how = self._revoke(session, RequestInfo.of(environ).address, settled)
        settled(how)
        return how

    def _revoke(self, session: Session, address: str, settled: Callable[[str], None]) -> str:
        if not session.offline:
            with contextlib.suppress(Overloaded), self._slots.take(session.identity.holder_at(address)):
                return self._tokens.revoke(session.token, session.expire, settled)
        return self._tokens.owe(session.token, session.expire, settled)

    def _ask(self, token: str, address: str, timeout: float | None = None) -> Session:
        """Ask the master. A token that it called dead lately is no further guess, so only its first use pays at the guard."""
        digest = self._digests.of(token)
        with self._lock:
            died = self._dead.get(digest)
        age = DEAD_SECONDS if died is None else self._monotonic() - died
        if age < self._cache_seconds:
            raise session_over()
        shown = self._guard.shown({"token": token})
        with self._slots.take(self.holder_of(shown, address)):
            data = self._tokens.get_token(token, timeout) if age < DEAD_SECONDS else self._guarded(shown, token, address, timeout)
        if data is None:
            self._bury(digest)
            raise session_over()
        session = self._session(data)
        self._remember(digest, session)
        return session

    def _guarded(self, shown: ShownCredentials, token: str, address: str, timeout: float | None) -> dict[str, Any] | None:
        told: dict[str, Any] = {}
        try:
            with self._guard.admit(shown, address, told) as accepted:
                data = self._known(token, timeout)
                told |= {"user.name": data["name"], "auth.eauth": data["eauth"]}
                accepted()
        except Unauthenticated:
            self._guard.forget(shown)
            return None
        return data

    def _known(self, token: str, timeout: float | None) -> dict[str, Any]:
        data = self._tokens.get_token(token, timeout)
        if data is None:
            raise Unauthenticated("the master does not know the token")
        return data

    def _remember(self, digest: bytes, session: Session) -> None:
        with self._lock:
            self._alive[digest] = (session, self._monotonic())
            self._dead.pop(digest, None)

    def _bury(self, digest: bytes) -> None:
        with self._lock:
            self._alive.pop(digest, None)
            self._dead[digest] = self._monotonic()

    def _session(self, data: Mapping[str, Any]) -> Session:
        perms = perms_of(data, self._external_auth)
        return Session(
            Identity(
                user=data["name"],
                eauth=data["eauth"],
                groups=tuple(str(group) for group in data.get("groups") or ()),
                perms=perms,
                sees_everything=(isinstance(perms, list) and EVERYTHING in perms) or is_named(self._see_all, data["eauth"], data["name"]),
            ),
            token=data["token"],
            digest=self._digests.of(data["token"]).hex()[:16],
            start=float(data["start"]),
            expire=float(data["expire"]),
        )


class StreamSessions(Protocol):
    """The sessions, as far as a stream needs them."""

    def of(self, environ: Mapping[str, Any]) -> Session:
        """Return whose request this is. Raises Unauthenticated when that cannot be, or is over."""


def still_holds(find: Callable[[Mapping[str, Any]], Session], environ: Mapping[str, Any]) -> bool:
    """Say whether the session of a request that goes on is still one; while the master cannot say, it is."""
    try:
        find(environ)
    except Unauthenticated:
        return False
    except Fault:
        return True
    return True


def token_of(environ: Mapping[str, Any], cookie_name: str) -> str | None:
    """
    Return the token a request names, None if it names none.

    An empty X-Auth-Token is none: SaltGUI sends it before the login. Bearer values and cookies that cannot be tokens are
    other people's, and are passed over.
    """
    token, cookies = _header_token(environ), environ.get("HTTP_COOKIE")
    return token if token or not cookies else next(filter(TOKEN.fullmatch, _cookies(cookies, cookie_name)), None)


def is_cookie_alone(environ: Mapping[str, Any], cookie_name: str) -> bool:
    """Say whether the token that a request names stands in its cookie, which browsers send unasked."""
    return "HTTP_COOKIE" in environ and _header_token(environ) is None and token_of(environ, cookie_name) is not None


def _header_token(environ: Mapping[str, Any]) -> str | None:
    header: str = environ.get("HTTP_X_AUTH_TOKEN", "").strip()
    if header:
        return header
    authorization: str = environ.get("HTTP_AUTHORIZATION", "")
    if not authorization:
        return None
    scheme, _, value = authorization.strip().partition(" ")
    return value.strip() if scheme.lower() == "bearer" and (TOKEN.fullmatch(value.strip()) or SCOPED_TOKEN.fullmatch(value.strip())) else None


def _cookies(header: str, name: str) -> Iterator[str]:
    """Yield the values of a cookie. A jar with garbage in it does not matter, which Python's own parser cannot promise."""
    for pair in header.split(";"):
        key, _, value = pair.partition("=")
        if key.strip() == name:
            yield value.strip().strip('"')
