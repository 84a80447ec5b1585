"""A mapping that never holds more than its limit."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Bounded(OrderedDict[K, V]):
    """
    Makes room for a new entry by dropping the one that was set longest ago; setting an entry again makes it the newest, reading it does not.

    most: entries. on_evict(key, value) hears of each that had to go. No more thread-safe than a dict.
    """

    def __init__(self, most: int, on_evict: Callable[[K, V], object] = lambda _key, _value: None) -> None:
        super().__init__()
        self._most = most
        self._on_evict = on_evict

    def __setitem__(self, key: K, value: V) -> None:
        super().__setitem__(key, value)
        self.move_to_end(key)
        if len(self) > self._most:
            self._on_evict(*self.popitem(last=False))
