"""What a job goes by: its jid, its owner, and the key of its request."""

from __future__ import annotations

import datetime as dt
import re
import secrets
import threading
import time
from collections.abc import Callable

from service.auth.identity import Identity
from service.errors import BadRequest

_KEY = re.compile(r"[\x21-\x7e]{1,255}")


def owner_of(identity: Identity) -> str:
    """Return whose a job is."""
    return f"{identity.eauth}:{identity.user}"


def owns(identity: Identity, owner: str, token: str | None) -> bool:
    """Say whether somebody's own is what has an owner, and was asked for with a scoped token, if with one: of who uses one themselves nothing else is."""
    return owner == owner_of(identity) and identity.token in {None, token}


class Jids:
    """
    Makes job ids as Salt has them. May be called from any thread.

    Nobody can guess one: who knows it before its job is published can publish something else under it. None comes twice: with a hundred a second that would happen every few minutes.
    """

    def __init__(self, now: Callable[[], float] = time.time, below: Callable[[int], int] = secrets.randbelow) -> None:
        self._now, self._below = now, below
        self._lock = threading.Lock()
        self._second = ""
        self._taken: set[int] = set()  # in that second

    def new(self) -> str:
        """Return one."""
        second = f"{dt.datetime.fromtimestamp(self._now(), dt.timezone.utc):%Y%m%d%H%M%S}"
        with self._lock:
            if second != self._second:
                self._second, self._taken = second, set()
            while (number := self._below(10**6)) in self._taken:
                pass
            self._taken.add(number)
        return f"{second}{number:06d}"


def key_of(header: str | None) -> str | None:
    """Return the key in an `Idempotency-Key`, a string in quotes or bare; None if there is no header. Raises BadRequest."""
    if header is None:
        return None
    key = header.strip()
    if len(key) > 1 and key[0] == key[-1] == '"':
        key = key[1:-1]
    if not _KEY.fullmatch(key):
        raise BadRequest("an Idempotency-Key has 1 to 255 visible ASCII characters")
    return key


def step_key(jid: str, number: int) -> str:
    """Return the key of a step of a sequence. Nobody can guess it, and a step that is begun again is the same job."""
    return f"{jid}/{number}"
