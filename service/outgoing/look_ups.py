"""Look-ups of hosts' names within a deadline, which the system's own do not have."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NothingYet  # Before Python 3.11 it is not the built-in one.
from typing import Any

# Most that hang at one time; more than there are threads that send.
MOST = 8

# What `socket.getaddrinfo` gives: family, kind, protocol, canonical name, address.
Found = Sequence[tuple[Any, ...]]


class LookUps:
    """
    Each has a thread of its own, since a resolver that does not answer holds it for half a minute or longer; who asked waits no longer than they want to.

    The threads end with the process, however long they would go on. find: as `socket.getaddrinfo`. `addresses` may be called from any thread.
    """

    def __init__(self, most: int = MOST, *, find: Callable[..., Found] = socket.getaddrinfo) -> None:
        self._find = find
        self._free = threading.Semaphore(most)

    def addresses(self, host: str, port: int, seconds: float) -> Found:
        """Return the addresses that a name has, in the order in which they are to be tried. Raises OSError, UnicodeError, and TimeoutError after *seconds*."""
        if not self._free.acquire(blocking=False):
            raise TimeoutError(f"{host} was not looked up: the resolver answers no other look-up")
        done: Future[Found] = Future()
        threading.Thread(target=self._look_up, args=(host, port, done), name="look-up", daemon=True).start()
        try:
            return done.result(seconds)
        except NothingYet:
            raise TimeoutError(f"{host} was not looked up within {seconds:.3g} s") from None

    def _look_up(self, host: str, port: int, done: Future[Found]) -> None:
        try:
            done.set_result(self._find(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as exc:
            done.set_exception(exc)
        finally:
            self._free.release()
