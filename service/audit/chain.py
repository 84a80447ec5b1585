"""The hash chain: each line carries its number and the hash of the line before, so that a line cut out or changed shows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import orjson

START = "0" * 64


class Chain:
    """The end of a chain: number and hash of its last line."""

    def __init__(self, number: int = 0, head: str = START) -> None:
        self.number = number
        self.head = head

    @classmethod
    def after(cls, line: bytes) -> Chain:
        """Go on after a line that is there already, also one that is no record of ours."""
        return cls(_number(line), digest(line))

    def extended(self, records: Iterable[bytes]) -> tuple[list[bytes], Chain]:
        """Return the records, JSON objects, as links of this chain, and the chain that ends with them."""
        number, head, lines = self.number, self.head, []
        for record in records:
            number += 1
            line = b'%s,"seq":%d,"prev":"%s"}' % (record[:-1], number, head.encode())
            head = digest(line)
            lines.append(line)
        return lines, Chain(number, head)


def digest(line: bytes) -> str:
    """Return a line's hash, which the next line carries."""
    return hashlib.sha256(line).hexdigest()


class Verifier:
    """Follows the lines of one file, or of several in their order."""

    def __init__(self) -> None:
        self.lines = 0
        self._first = 0
        self._chain: Chain | None = None

    @property
    def extent(self) -> str:
        """Say which numbers were seen and how the chain ends, so that people can compare."""
        return f", numbers {self._first} to {self._chain.number}, last hash {self._chain.head}" if self._chain else ""

    def take(self, line: bytes) -> str | None:
        """Take the next line, without its line feed; return what is wrong with it, None if nothing."""
        self.lines += 1
        try:
            record = orjson.loads(line)
            number, prev = int(record["seq"]), str(record["prev"])
        except (ValueError, TypeError, KeyError):
            return "is no complete record of a chain"
        before, self._chain = self._chain, Chain(number, digest(line))
        if before is None:
            self._first = number
            return None
        if prev == before.head:
            return None if number == before.number + 1 else f"has the number {number} after {before.number}"
        if prev == START:
            return "begins a new chain"
        return "does not follow the line before it" + (f": {number - before.number - 1} lines are missing" if number > before.number + 1 else "")


def _number(line: bytes) -> int:
    try:
        return int(orjson.loads(line)["seq"])
    except (ValueError, TypeError, KeyError):
        return 0
