"""What a job goes by: its jid, its owner, and the key of its request."""

from __future__ import annotations

import datetime as dt
import re
import secrets
import time
from collections.abc import Callable

from service.auth.identity import Identity
from service.errors import BadRequest

_KEY = re.compile(r"[\x21-\x7e]{1,255}")


def owner_of(identity: Identity) -> str:
    """Return whose a job is."""
    return f"{identity.eauth}:{identity.user}"


def new_jid(now: Callable[[], float] = time.time) -> str:
    """Return a job id as Salt has them, which nobody can guess: who knows one before its job is published can publish something else under it."""
    moment = dt.datetime.fromtimestamp(now(), dt.timezone.utc)
    return f"{moment:%Y%m%d%H%M%S}{secrets.randbelow(10**6):06d}"


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
