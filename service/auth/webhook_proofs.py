"""What a webhook shows to be let in: a signature over its body, its time and its path, or a fixed token in a header."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

from service.auth.replays import Replays
from service.errors import InvalidConfiguration, SecretUnavailable, Unauthenticated
from service.secrets.secret_file import ROTATION_SECONDS, SecretFile, is_same, sent_token
from service.settings.settings import HookEndpoint

# Returns a header of the request.
Header = Callable[[str], str | None]
_PREFIX = "sha256="
_MOST_DIGITS = 12


class WebhookSignature:
    """The signature that an endpoint asks for, and the memory of those that it has taken."""

    def __init__(self, endpoint: HookEndpoint, secret: SecretFile[bytes], time_of_day: Callable[[], float] = time.time) -> None:
        self._endpoint = endpoint
        self._secret = secret
        self._time_of_day = time_of_day
        self._replays = Replays()

    def check(self, path: str, body: bytes, header: Header) -> AbstractContextManager[None]:
        """
        Check signature and time, and return in what the webhook has to be done: it is entered once for each signature; see replays.py.

        path: as in the event's tag. Raises Unauthenticated with the reason, SecretUnavailable.
        """
        given = self._given(header)
        stamp = self._time(header)
        signed = (f"{stamp}." if stamp else "").encode() + (f"{path}\n".encode() if self._endpoint.sign_path else b"") + body
        expected = hmac.digest(in_force(self._secret), signed, hashlib.sha256)
        if not is_same(given, expected.hex().encode()):
            raise Unauthenticated("the signature does not fit what was sent; docs/events.md says what it signs")
        return self._replays.once(expected, path, int(stamp) if stamp else None)

    def _given(self, header: Header) -> str:
        name = self._endpoint.signature_header
        given = (header(name) or "").strip().lower()
        if not given:
            raise Unauthenticated(f"no signature: the header {name} is missing")
        if not given.startswith(_PREFIX):
            raise Unauthenticated(f"the signature in {name} does not begin with {_PREFIX}")
        return given[len(_PREFIX) :]

    def _time(self, header: Header) -> str:
        """Return the time as it was sent, nothing where none is asked for."""
        name = self._endpoint.timestamp_header
        if not name:
            return ""
        stamp = (header(name) or "").strip()
        if not (stamp.isascii() and stamp.isdecimal() and len(stamp) <= _MOST_DIGITS):
            raise Unauthenticated(f"the header {name} does not hold a Unix time")
        if abs(self._time_of_day() - int(stamp)) > self._endpoint.tolerance_seconds:
            raise Unauthenticated(f"the time in {name} is more than {self._endpoint.tolerance_seconds:g} s away from ours")
        return stamp


def check_token(name: str, token: SecretFile[bytes], header: Header) -> None:
    """Raise Unauthenticated if the header of that name does not hold the token; in `Authorization` it follows `Bearer`. Raises SecretUnavailable."""
    value = (header(name) or "").strip()
    if not value:
        raise Unauthenticated(f"the header {name}, with the token, is missing")
    sent = sent_token(value) if name.lower() == "authorization" else value
    if not is_same(sent, in_force(token)):
        raise Unauthenticated(f"the token in {name} is not the one of this path")


def in_force(secret: SecretFile[bytes]) -> bytes:
    """Return a secret. Raises SecretUnavailable."""
    try:
        return secret.value()
    except InvalidConfiguration as exc:
        raise SecretUnavailable(exc.faults[0].where + ": the file holds no secret; the log says more", retry_after_seconds=ROTATION_SECONDS) from exc
