"""What bodies may take in memory: each by its bytes and values, all together by one limit."""

from __future__ import annotations

import contextlib
import gc
import threading
from collections.abc import Iterator

import falcon

from service.errors import Overloaded, TooLarge

MIB = 1024 * 1024
MEMORY_BYTES = 256 * MIB
VALUES = 500_000
# Of the memory, what is kept for bodies that take no more than SMALL_BYTES: large ones cannot keep everybody else out.
RESERVE_SHARE = 8
SMALL_BYTES = MIB
# Longest wait for a turn to be read, of a body that takes long.
TURN_SECONDS = 10.0
# Measured at the worst shapes; docs/operations.md has the formula, tests/server/test_body_memory.py tries it.
# A text outside of ASCII takes four bytes a character; the body, the parser's copy, the load and its copy on the way to the master come on top.
JSON_BYTES, WIDE_JSON_BYTES, JSON_VALUE_BYTES = 5, 10, 100
# PyYAML makes a node with two marks of each value first.
YAML_BYTES, YAML_VALUE_BYTES = 16, 850


class BodyMemory:
    """
    The memory that all requests' bodies may take at one time; falcon's middleware, which gives back a request's share when it is over.

    limit_bytes: for all bodies. most_values: in one body, names of fields included. turn_seconds: see `turn`.
    """

    def __init__(self, limit_bytes: int = MEMORY_BYTES, most_values: int = VALUES, turn_seconds: float = TURN_SECONDS) -> None:
        self._limit_bytes = limit_bytes
        self.most_values = most_values
        self._turn_seconds = turn_seconds
        self._turn = threading.Lock()
        self._lock = threading.Lock()
        self._taken = 0  # guarded by _lock

    def process_request(self, req: falcon.Request, _resp: falcon.Response) -> None:
        """Open the request's share."""
        req.context.share = Share(self)

    def process_response(self, req: falcon.Request, _resp: falcon.Response, _resource: object, _succeeded: bool) -> None:
        """Give back what the request took."""
        self.give_back(req.context.share.taken)

    def take(self, more: int, before: int) -> None:
        """Take bytes for a request that has taken some before. Raises TooLarge, Overloaded."""
        for_large = self._limit_bytes - self._limit_bytes // RESERVE_SHARE
        if before + more > for_large:
            raise TooLarge(
                f"the body would take {before + more} bytes of memory, more than {for_large} (api.body_memory_bytes); send less, or in several requests"
            )
        most = self._limit_bytes if before + more <= SMALL_BYTES else for_large
        with self._lock:
            if self._taken + more > most:
                raise Overloaded("the bodies of other requests take all memory that there is for bodies (api.body_memory_bytes)", retry_after_seconds=1.0)
            self._taken += more

    def give_back(self, taken: int) -> None:
        """Take back what a request took."""
        with self._lock:
            self._taken -= taken

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """
        Have one body at a time read inside the block. Raises Overloaded for who has waited `turn_seconds`.

        Python's collector rests meanwhile: nothing of a body is a cycle, and its passes over all that is being made of one would keep everybody
        waiting, /livez too, for most of a second.
        """
        if not self._turn.acquire(timeout=self._turn_seconds):
            raise Overloaded("too many large bodies wait to be read; send JSON, or less", retry_after_seconds=1.0)
        collects = gc.isenabled()
        gc.disable()
        try:
            yield
        finally:
            if collects:
                gc.enable()
            self._turn.release()


class Share:
    """What one request has taken. Of one thread."""

    def __init__(self, memory: BodyMemory) -> None:
        self._memory = memory
        self._values = 0
        self.turn = memory.turn
        self.taken = 0

    def take(self, more: int) -> None:
        """Take bytes. Raises TooLarge, Overloaded."""
        self._memory.take(more, self.taken)
        self.taken += more

    def take_yaml(self, values: int) -> None:
        """Take what YAML's values need, before they are made. Raises TooLarge, Overloaded."""
        self._count(values)
        self.take(values * YAML_VALUE_BYTES)

    def take_json(self, body: bytes) -> None:
        """Take what a JSON text needs, before it is parsed. Raises TooLarge, Overloaded."""
        wide = not body.isascii() or b"\\u" in body
        values = json_values(body, self._memory.most_values)
        self._count(values)
        self.take(len(body) * ((WIDE_JSON_BYTES if wide else JSON_BYTES) - 1) + values * JSON_VALUE_BYTES)

    def _count(self, values: int) -> None:
        self._values += values
        if self._values > self._memory.most_values:
            raise TooLarge(f"a body may have {self._memory.most_values} values (api.body_values_limit); send less, or in several requests")


def share_of(req: falcon.Request) -> Share:
    """Return the share of a request."""
    share: Share = req.context.share
    return share


def json_values(body: bytes, most: int) -> int:
    """
    Return an upper bound of the values and names in a JSON text, well or ill formed; exact to one for each container, unless it is over *most*.

    Every value but the first follows a comma, a colon or an opening bracket. Those inside of strings count only when all together are too many.
    """
    values = _separators(body)
    if values <= most:
        return values
    bare = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    strings = bare.count(b'"') // 2
    # Cut at the quotes, every second piece is outside of strings; that they are not too many is known before.
    return strings if strings > most else _separators(b"".join(bare.split(b'"')[::2]))


def _separators(body: bytes) -> int:
    return 1 + sum(map(body.count, (b",", b":", b"[", b"{")))
