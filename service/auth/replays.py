"""Remembers the signatures that were accepted, so that whoever recorded a call can send it neither again nor elsewhere."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from service.bounded import Bounded
from service.errors import Unauthenticated

# Only who has the secret can fill this. Some 2 MiB.
MOST_SIGNATURES = 10_000


class Replays:
    """
    The last signatures of one endpoint.

    One with a time counts once. One without cannot tell a second call from a repeated one, so it counts again, but on the path it first came by.
    When there are too many the oldest is forgotten, and from then on no time up to its own counts any more: a burst shortens the window and opens no gap.
    """

    def __init__(self, most: int = MOST_SIGNATURES) -> None:
        self._lock = threading.Lock()
        self._seen: Bounded[bytes, tuple[str, int]] = Bounded(most, self._forgot)  # path and time, by signature; guarded by _lock
        self._forgotten_to = 0  # guarded by _lock

    @contextmanager
    def once(self, signature: bytes, path: str, at: int | None) -> Iterator[None]:
        """
        Do what the signature is for in the block; where that fails, the sender may try again with the same one.

        at: the time that is signed, in seconds since 1970. Raises Unauthenticated for a signature that has been used.
        """
        with self._lock:
            self._check(signature, path, at)
            self._seen[signature] = (path, at or 0)
        try:
            yield
        except BaseException:
            if at is not None:
                with self._lock:
                    self._seen.pop(signature, None)
            raise

    def _check(self, signature: bytes, path: str, at: int | None) -> None:
        used_by, _ = self._seen.get(signature, (path, 0))
        if used_by != path:
            raise Unauthenticated("the signature was used for another path")
        if at is None:
            return
        if signature in self._seen:
            raise Unauthenticated("the signature was used already")
        if at <= self._forgotten_to:
            raise Unauthenticated("the time is older than the signatures that are remembered: too many webhooks came at once")

    def _forgot(self, _signature: bytes, used: tuple[str, int]) -> None:
        self._forgotten_to = max(self._forgotten_to, used[1])
