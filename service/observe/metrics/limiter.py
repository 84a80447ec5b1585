"""The values a label may take when others choose them: those listed, then the first that come, up to a limit."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from service.observe.metrics.domains import OTHER

# What functions and commands are called; anything else is an invention.
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]{0,63}")


class Limiter:
    """
    Folds what is over the limit into `other`.

    limit: how many values besides `other`. listed: values that always have a place.
    on_overflow(metric, count): so many samples were folded because there was no place left. For one thread.
    """

    def __init__(self, limit: int, on_overflow: Callable[[str, int], None], listed: Iterable[str] = ()) -> None:
        self._limit = limit
        self._on_overflow = on_overflow
        self._values = {value for value in listed if _NAME.fullmatch(value)}

    def admit(self, metric: str, value: str) -> str:
        """Return the label for a value, and give it a place if it has none yet and one is free."""
        if value not in self._values and _NAME.fullmatch(value) and len(self._values) < self._limit:
            self._values.add(value)
        return self.known(metric, value)

    def known(self, metric: str, value: str, count: int = 1) -> str:
        """Return the label for so many samples with a value; one that has no place gets none."""
        if value in self._values:
            return value
        if len(self._values) >= self._limit and _NAME.fullmatch(value):
            self._on_overflow(metric, count)
        return OTHER
