"""Salt tokens: made, looked up and revoked at the master. A session is such a token."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeGuard

from service.bounded import Bounded
from service.clients import Client
from service.errors import BadRequest, Fault, MasterTimeout, MasterUnreachable, Unauthenticated
from service.gateway.clients.local import Request
from service.gateway.clients.publish import Sender
from service.gateway.clients.result import LowResult
from service.gateway.low import TOKEN, Low, rename_shared_secret
from service.gateway.master.acl_names import check_name, is_for_another, rules_of
from service.gateway.master.options import SALT_VERSION, MasterOptions
from service.secrets.digests import Digests

# How a token was revoked: its file removed by us, by the master's own runner, only refused by this process, or for now, until the master is back.
Revocation = Literal["file", "runner", "here", "later"]
# Hears how a revocation ended that was put off.
Settled = Callable[[Revocation], None]
MOST_REVOKED = 10_000
REVOKE_SECONDS = 10.0
# Rest_cherrypy's words, for every kind of login that fails.
REFUSED = "Could not authenticate using provided credentials"


class Tokens:
    """
    The token calls of the master. Called from request threads.

    Keeps one thing: keyed digests of revoked tokens until those expire, because a revocation may reach no further than
    this process, and because a look-up may be under way while its token is revoked. While the master is away it keeps the tokens themselves that
    are to be revoked there, in memory only.

    run: runs a low, for the runner that deletes a token. salt_version: of the master, which decides where its tokens are.
    """

    def __init__(
        self,
        channels: Sender,
        options: MasterOptions,
        run: Callable[[Low, Request], LowResult],
        *,
        salt_version: str = SALT_VERSION,
        most_revoked: int = MOST_REVOKED,
        time_of_day: Callable[[], float] = time.time,
    ) -> None:
        self._channels = channels
        self._external_auth = options.raw.get("external_auth")
        self._folder = _token_folder(options.raw, salt_version)
        # The `localfs` store of 3006 and 3007 names a token's file after the token; from 3008 on it is a cache bank of `.p` files.
        self._suffixes = (".p", "") if salt_version >= "3008" else ("", ".p")
        self._run = run
        self._time_of_day = time_of_day
        self._digests = Digests()
        self._lock = threading.Lock()
        self._revoked: Bounded[bytes, float] = Bounded(most_revoked)  # digest -> expiry; guarded by _lock
        self._owed: Bounded[str, tuple[float, Settled]] = Bounded(most_revoked)  # expiry, by token; guarded by _lock
        self._settling = threading.Lock()

    def mk_token(self, credentials: Mapping[str, Any]) -> dict[str, Any]:
        """
        Log in: return the master's token data, with at least `token`, `name`, `eauth`, `start` and `expire`.

        credentials: as `login_fields` returns them. Raises Unauthenticated, MasterUnreachable or MasterTimeout.
        """
        check_name(self._external_auth, credentials["eauth"], credentials.get("username", ""))
        # First-time logins may take a second (a wrong password) or more (LDAP): they must not hold up publishes.
        reply = self._channels.send({**credentials, "cmd": "mk_token"}, slow=True)
        # Anything but token data is a refusal: `""` in general, a sentence when the eauth module choked on what the caller sent.
        if not is_token_data(reply):
            raise Unauthenticated(REFUSED)
        return dict(reply)

    def are_good(self, credentials: Mapping[str, Any]) -> bool:
        """
        Say whether the master knows these credentials, whatever rights they have.

        The token that answers the question is given up where that costs nothing, else it expires unused.
        Raises MasterUnreachable or MasterTimeout when that cannot be found out now.
        """
        if "token" in credentials:
            return self.get_token(credentials["token"]) is not None
        try:
            token = self.mk_token(login_fields(credentials))["token"]
        except Unauthenticated:
            return False
        self._remove(token)
        return True

    def get_token(self, token: str, timeout: float | None = None) -> dict[str, Any] | None:
        """
        Return the data of a token that is alive, else None.

        timeout: seconds, default `master.rpc_timeout_seconds`. Raises MasterUnreachable or MasterTimeout when that cannot be found out now.
        """
        if not TOKEN.fullmatch(token) or self.is_revoked(token):
            return None
        reply = self._channels.send({"cmd": "get_token", "token": token}, timeout=timeout)
        if isinstance(reply, str) and reply:
            # "Some exception handling minion payload": the token's store is in trouble, which says nothing about the token.
            raise MasterUnreachable("the master cannot check the token now")
        # Salt once let an expired token be used one more time (CVE-2021-3144), so we look ourselves.
        if not is_token_data(reply) or reply["expire"] <= self._time_of_day() or self.is_revoked(token):
            return None
        # Made elsewhere, for a name that gets no token here.
        if is_for_another(rules_of(self._external_auth, reply["eauth"]), reply["name"]):
            return None
        return dict(reply)

    def revoke(self, token: str, expire: float, settled: Settled) -> Revocation:
        """
        Make a token useless as far as we can; return how far that is.

        expire: when it would have died, seconds since 1970. settled(how): called after `later`, by another thread.
        """
        self._forget(token, expire)
        try:
            return self._revoke_at_master(token)
        except (MasterUnreachable, MasterTimeout):
            return self.owe(token, expire, settled)

    def owe(self, token: str, expire: float, settled: Settled) -> Revocation:
        """Make a token useless here at once, and at the master when it is back; parameters as of `revoke`."""
        self._forget(token, expire)
        if not TOKEN.fullmatch(token) or self._folder is None:
            return "here"
        if self._remove(token):
            return "file"
        with self._lock:
            self._owed[token] = (expire, settled)
        return "later"

    def settle_soon(self) -> None:
        """Revoke what is owed, on a thread of its own: the master may be back. From any thread."""
        with self._lock:
            owing = bool(self._owed)
        if owing:
            threading.Thread(target=self.settle, name="revocations", daemon=True).start()

    def settle(self) -> None:
        """Revoke what is owed; what the master's absence prevents stays owed."""
        with self._settling:
            with self._lock:
                owed = list(self._owed.items())
                self._owed.clear()
            for token, (expire, settled) in owed:
                if expire > self._time_of_day() and (how := self.revoke(token, expire, settled)) != "later":
                    settled(how)

    def _revoke_at_master(self, token: str) -> Revocation:
        if not TOKEN.fullmatch(token) or self._folder is None:
            return "here"
        if self._remove(token):
            return "file"
        if any(self._delete(token, token + suffix) for suffix in self._suffixes):
            return "runner"
        return "here"

    def discard(self, token: str) -> bool:
        """Remove a token that nobody was given, if we share the master's folder; else it stays until it expires. Say whether it is gone."""
        return self._remove(token)

    def is_revoked(self, token: str) -> bool:
        """Say whether this process was told to take the token for dead."""
        if not self._revoked:
            return False
        with self._lock:
            return self._digests.of(token) in self._revoked

    def _forget(self, token: str, expire: float) -> None:
        now = self._time_of_day()
        with self._lock:
            # What is over goes first, so that it pushes no living token out.
            dead = [digest for digest, end in self._revoked.items() if end <= now]
            for digest in dead:
                del self._revoked[digest]
            self._revoked[self._digests.of(token)] = expire

    def _remove(self, token: str) -> bool:
        """Remove the token's file where we share the master's folder: at once, without a right, and without the token on the event bus."""
        return self._folder is not None and any(self._unlink(token + suffix) for suffix in self._suffixes)

    def _unlink(self, name: str) -> bool:
        try:
            os.unlink(os.path.join(str(self._folder), name))  # noqa: PTH108, PTH118 - Salt's string
        except OSError:
            return False
        return True

    def _delete(self, token: str, name: str) -> bool:
        """Let the master remove the file, with the token as its own credential; most users lack the right. Raises MasterUnreachable or MasterTimeout."""
        # salt/runners/auth.py takes a file name below `token_dir`, and 3008.3 forgets the suffix that its store adds.
        low = Low(Client.RUNNER, "auth.del_token", {"token": token, "arg": [name]})
        try:
            return self._run(low, Request("", time.monotonic() + REVOKE_SECONDS, metadata=False)).value is True
        except (MasterUnreachable, MasterTimeout):
            raise
        except Fault:
            return False


def login_fields(credentials: Mapping[str, Any]) -> dict[str, Any]:
    """
    Return what a login carries to the master, where the eauth module gets all of it, fields that we do not know too.

    Raises BadRequest, and Unauthenticated for what is bound to fail: the master would hold a worker for a second over it.
    """
    fields = {name: value for name, value in credentials.items() if isinstance(name, str) and value is not None and name not in {"cmd", "key"}}
    if fields.get("token") == "":
        del fields["token"]
    for name in ("eauth", "username", "password", "token", "sharedsecret"):
        if not isinstance(fields.get(name, ""), str):
            raise BadRequest(f"{name} must be a string", field=name)
    if "token_expire" in fields:
        fields["token_expire"] = _lifetime(fields["token_expire"])
    rename_shared_secret(fields)
    # 3006 and 3007 hang over a login without a password (salt#62188).
    if not fields.get("eauth") or not (fields.get("token") or ("username" in fields and "password" in fields)):
        raise Unauthenticated(REFUSED)
    return fields


def _lifetime(value: object) -> float:
    """Return a token's wanted lifetime in seconds; a form sends it as text, with which the master cannot count."""
    try:
        seconds = float(value) if isinstance(value, (int, float, str)) and not isinstance(value, bool) else -1.0
    except (ValueError, OverflowError):
        seconds = -1.0
    if not 0 < seconds < 1e10:
        raise BadRequest("token_expire must be a number of seconds", field="token_expire")
    return seconds


def is_token_data(reply: object) -> TypeGuard[dict[str, Any]]:
    """Say whether an answer of the master is a token's data, with at least `token`, `name`, `eauth`, `start` and `expire`."""
    if not isinstance(reply, dict) or not all(isinstance(reply.get(name), str) for name in ("token", "name", "eauth")):
        return False
    return all(isinstance(reply.get(name), (int, float)) for name in ("start", "expire"))


def _token_folder(raw: Mapping[str, Any], salt_version: str) -> str | None:
    """Return where the master keeps tokens as files, None when it keeps them elsewhere."""
    stores = {raw.get("eauth_tokens") or "localfs"}
    if salt_version >= "3008":
        stores.add(raw.get("eauth_tokens.cache_driver") or raw.get("cache") or "localfs")
    return str(raw["token_dir"]) if raw.get("token_dir") and stores == {"localfs"} else None
