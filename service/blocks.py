"""`with` blocks that begin and end with a call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Block(Generic[T]):
    """
    A `with` block for the path of every request, where contextlib's generators take twice the time.

    begin(): what the block yields; if it raises, there is no block. end(yielded): called however the block ends.
    """

    __slots__ = ("_begin", "_end", "_yielded")

    def __init__(self, begin: Callable[[], T], end: Callable[[T], object]) -> None:
        self._begin = begin
        self._end = end

    def __enter__(self) -> T:
        self._yielded = self._begin()
        return self._yielded

    def __exit__(self, *_: object) -> None:
        self._end(self._yielded)
