"""Claims: sends loads to the master, and notes whose the jobs are that come of them."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping
from typing import Any

from service.bounded import Bounded
from service.errors import Fault
from service.events.hub import Hub
from service.events.owners import Owner, taken
from service.gateway.clients.local import nobody_keeps
from service.gateway.clients.publish import Sender
from service.gateway.clients.tokens import is_token_data
from service.gateway.low import Low, session_over
from service.secrets.digests import Digests

MOST_TOKENS = 10_000
_STARTS = frozenset({"publish", "runner"})


class Claims:
    """
    Sends what *channels* send. Called from request threads.

    The user and the eauth module stand in the load. Of a token the master says them, always the same, so it is asked once; the answers are kept
    under keyed digests.
    """

    def __init__(self, channels: Sender, hub: Hub, *, most_tokens: int = MOST_TOKENS) -> None:
        self._channels = channels
        self._hub = hub
        self._owners = hub.owners
        self._digests = Digests()
        self._lock = threading.Lock()
        self._tokens: Bounded[bytes, Owner] = Bounded(most_tokens)  # guarded by _lock

    def send(self, load: dict[str, Any], *, timeout: float | None = None, slow: bool = False) -> Any:
        """Return the master's answer."""
        if load["cmd"] not in _STARTS:
            reply = self._channels.send(load, timeout=timeout, slow=slow)
            self._learn(reply)
            return reply
        with self._owners.starting():
            reply = self._channels.send(load, timeout=timeout, slow=slow)
            jid = _jid_of(reply)
            if jid:
                with contextlib.suppress(Fault):
                    self._owners.started(jid, self._owner(load.get("kwargs", load)))
        return reply

    def reserve(self, low: Low, is_kept: Callable[[str], bool] = nobody_keeps) -> contextlib.AbstractContextManager[None]:
        """
        Keep the jid that a low names, if it does, for its job inside the block.

        Raises Conflict if another job has it, one that a request waits for, or a stored one (is_kept); and what the look-up of the low's token raises.
        """
        jid = low.fields.get("jid") if low.client.kind == "local" else None
        if not jid:
            return contextlib.nullcontext()
        owner = self._owner(low.credentials)
        if self._hub.is_waited_for(jid) or is_kept(jid):
            raise taken(jid)
        return self._owners.reserve(jid, owner)

    def _owner(self, credentials: Mapping[str, Any]) -> Owner:
        """Return whose credentials these are, if they are good. Raises Unauthenticated for a dead token, and what the master's absence raises."""
        token = credentials.get("token")
        if token is None:
            return Owner(str(credentials.get("eauth", "")), str(credentials.get("username", "")))
        owner = self._known(token)
        if owner is None:
            self.send({"cmd": "get_token", "token": token})
            owner = self._known(token)
        if owner is None:
            raise session_over()
        return owner

    def _known(self, token: str) -> Owner | None:
        with self._lock:
            return self._tokens.get(self._digests.of(token))

    def _learn(self, reply: object) -> None:
        if is_token_data(reply):
            with self._lock:
                self._tokens[self._digests.of(reply["token"])] = Owner(reply["eauth"], reply["name"])


def _jid_of(reply: object) -> str | None:
    """Return the jid in the master's answer to a publish or a runner call; None if it took none."""
    load = reply.get("load", reply) if isinstance(reply, dict) else None
    jid = load.get("jid") if isinstance(load, dict) else None
    return jid if isinstance(jid, str) else None
