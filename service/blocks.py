"""`with` blocks that several floors use."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Generic, TypeVar, cast

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


@contextmanager
def unseen(*packages: str) -> Iterator[None]:
    """
    Let imports inside the block find none of these packages: what can do without them does, and nobody waits for them.

    A package that is imported already stays, and afterwards each can be imported as ever. Only for a start, while there is one thread.
    """
    modules = cast("dict[str, ModuleType | None]", sys.modules)
    hidden = [name for name in packages if name not in modules]
    modules.update(dict.fromkeys(hidden))
    try:
        yield
    finally:
        for name in hidden:
            del modules[name]
