"""The keys of an issuer (JWKS, RFC 7517): from a file, or fetched and kept; what an issuer or a caller does costs a bounded number of fetches."""

from __future__ import annotations

import http.client
import json
import threading
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from jwt import PyJWK
from jwt.exceptions import PyJWTError

from service.errors import ConfigFault, IdentityRefused, InvalidConfiguration, KeysUnavailable
from service.outgoing.look_ups import Found
from service.outgoing.one_request import answer_of
from service.secrets.secret_file import SecretFile

# What an id token may be signed with. None of them takes a public key for a secret.
ALGORITHMS = ("RS256", "ES256")
SMALLEST_RSA_BITS = 2048
MOST_KEYS = 100
MOST_BYTES = 256 * 1024
FETCH_SECONDS = 5.0
# Keys are fetched again after this time, and for a key that is not known, but never sooner than PAUSE_SECONDS after the last try.
FRESH_SECONDS = 600.0
PAUSE_SECONDS = 60.0
# While an issuer cannot be asked its keys stay good, so that pipelines go on; not without end, so that a key it withdraws is gone some day.
KEEP_SECONDS = 86_400.0
Keys = Mapping[str, PyJWK]


class IssuerKeys(Protocol):
    """The keys of one issuer. Called from request threads."""

    def key(self, kid: str) -> PyJWK:
        """Return a key. Raises IdentityRefused for one that the issuer does not have, KeysUnavailable while it cannot be asked."""


class FileKeys:
    """Keys in a file, which is read again when it is replaced. on_fault: hears once of a file that cannot be read."""

    def __init__(self, path: Path, setting: str, on_fault: Callable[[ConfigFault], object] = lambda _fault: None) -> None:
        self._file = SecretFile(path, setting, keys_of, on_fault)

    def key(self, kid: str) -> PyJWK:
        """As `IssuerKeys`."""
        try:
            return _one_of(self._file.value(), kid)
        except InvalidConfiguration:
            raise _unavailable() from None

    def faults(self) -> list[ConfigFault]:
        """Return why there are no keys."""
        return self._file.faults()


class FetchedKeys:
    """
    Keys that are fetched when they are first needed.

    One thread fetches at a time; meanwhile the others go on with what is known, or wait for it. fetch: returns the document, or raises as `fetched`.
    on_failure(reason): hears of each fetch that failed.
    """

    def __init__(self, fetch: Callable[[], bytes], on_failure: Callable[[str], None], *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._fetch = fetch
        self._on_failure = on_failure
        self._monotonic = monotonic
        self._fetching = threading.Lock()
        # Written by who holds _fetching only.
        self._keys: Keys = {}
        self._fetched_at = self._tried_at = float("-inf")

    def key(self, kid: str) -> PyJWK:
        """As `IssuerKeys`; takes up to FETCH_SECONDS. One that is newer than our last look is neither taken nor refused until the next."""
        asked_at = self._monotonic()
        if not (kid in self._keys and self._age(self._fetched_at) < FRESH_SECONDS):
            self._renew(must=kid not in self._keys)
        if self._age(self._fetched_at) >= KEEP_SECONDS or (kid not in self._keys and self._fetched_at < asked_at):
            raise _unavailable(max(1.0, PAUSE_SECONDS - self._age(self._tried_at)))
        return _one_of(self._keys, kid)

    def _renew(self, *, must: bool) -> None:
        """Fetch, unless somebody did lately, or does now and is not worth the wait."""
        if self._age(self._tried_at) < PAUSE_SECONDS and not self._fetching.locked():
            return
        if not self._fetching.acquire(timeout=FETCH_SECONDS if must else 0):
            return
        try:
            if self._age(self._tried_at) >= PAUSE_SECONDS:
                self._try()
        finally:
            self._fetching.release()

    def _try(self) -> None:
        tried_at = self._monotonic()
        try:
            self._keys = keys_of(self._fetch())
            self._fetched_at = tried_at
        except (OSError, ValueError, http.client.HTTPException) as exc:
            self._on_failure(f"{type(exc).__name__}: {exc}"[:200])
        finally:
            self._tried_at = tried_at

    def _age(self, at: float) -> float:
        return self._monotonic() - at


def fetched(url: str, look_up: Callable[[str, int, float], Found], seconds: float = FETCH_SECONDS) -> bytes:
    """Return what is at a URL. look_up: as LookUps.addresses. Raises OSError, http.client.HTTPException, and ValueError for any answer but a 200 of MOST_BYTES at most."""
    with answer_of("GET", url, seconds, look_up, headers={"Accept": "application/json"}) as answer:
        if answer.status != 200:
            raise ValueError(f"answered {answer.status}")
        content = answer.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise ValueError(f"answered more than {MOST_BYTES} bytes")
    return content


def keys_of(document: bytes) -> Keys:
    """Return the keys for signatures that we can use, by their ids. Raises ValueError for what is no JWKS, or has none of them."""
    try:
        listed = json.loads(document)["keys"]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise ValueError("is no JWKS") from None
    if not isinstance(listed, list) or len(listed) > MOST_KEYS:
        raise ValueError("is no JWKS, or has too many keys")
    found: dict[str, PyJWK] = {}
    for one in listed:
        if isinstance(one, dict) and isinstance(kid := one.get("kid"), str) and one.get("use", "sig") == "sig" and (key := _usable(one)):
            found.setdefault(kid, key)
    if not found:
        raise ValueError(f"has no key with an id for {' or '.join(ALGORITHMS)}")
    return found


def _usable(one: dict[str, Any]) -> PyJWK | None:
    """Return the key if it is a public one of ALGORITHMS that is long enough."""
    if one.get("kty") not in {"RSA", "EC"} or "d" in one:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            key = PyJWK(one)
    except (PyJWTError, ValueError, TypeError, KeyError, AttributeError, OverflowError):
        return None
    strong = one["kty"] == "EC" or key.key.key_size >= SMALLEST_RSA_BITS
    return key if key.algorithm_name in ALGORITHMS and strong else None


def _one_of(keys: Keys, kid: str) -> PyJWK:
    if kid not in keys:
        raise IdentityRefused("the id token is signed with a key that its issuer does not have", why="key")
    return keys[kid]


def _unavailable(seconds: float = PAUSE_SECONDS) -> KeysUnavailable:
    return KeysUnavailable("the keys of the id token's issuer cannot be had now", retry_after_seconds=seconds)
