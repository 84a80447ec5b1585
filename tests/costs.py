"""What something costs, as counts that are the same on every machine, however busy: calls of our own functions, memory while it lasts, and what stays."""

from __future__ import annotations

import dataclasses
import statistics
import sys
import tracemalloc
from collections.abc import Callable, Iterable
from pathlib import Path
from types import FrameType

import service
from service.demo.embedded import PATIENCE_SECONDS, until

OURS = str(Path(service.__file__).parent)


@dataclasses.dataclass(frozen=True)
class Cost:
    """
    Of one of many things that are alike. calls: of functions in `service`, on this thread, the turns of generators included.

    extra_bytes: most memory above what was there before, the median of all: a table that grows is copied now and then.
    """

    calls: float
    extra_bytes: float

    def is_about(self, other: Cost, share: float = 0.2, slack_bytes: float = 1024) -> bool:
        """Say whether this is hardly more than another cost. slack_bytes: what an object more or less takes."""
        return self.calls <= other.calls * (1 + share) and self.extra_bytes <= other.extra_bytes * (1 + share) + slack_bytes


def calls_of(do: Callable[[], object]) -> int:
    """Return how many of our functions something calls on this thread."""
    calls = 0

    def count(frame: FrameType, event: str, _: object) -> None:
        nonlocal calls
        calls += event == "call" and frame.f_code.co_filename.startswith(OURS)

    sys.setprofile(count)
    try:
        do()
    finally:
        sys.setprofile(None)
    return calls


def cost_of(things: Iterable[Callable[[], object]]) -> Cost:
    """Do things that are alike, one after the other, and return what one of them costs: the first half tells of memory, the second of calls."""
    doing = list(things)
    half = len(doing) // 2
    extra = [extra_bytes_of(do) for do in doing[:half]]
    calls = [calls_of(do) for do in doing[half:]]
    return Cost(statistics.fmean(calls), statistics.median(extra))


def extra_bytes_of(do: Callable[[], object]) -> int:
    """Return how much more memory is in use at some moment while something is done."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        do()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


def least_extra_bytes_of(do: Callable[[], object], times: int = 5) -> int:
    """Return the least extra memory of doing something so often: what other threads take meanwhile, once or twice, is counted too."""
    return min(extra_bytes_of(do) for _ in range(times))


def comes_to_take_at_most(most_bytes: int, do: Callable[[], object]) -> bool:
    """Say whether there is a time at which something takes so little extra memory: what other threads take meanwhile is counted too, until they are done."""
    return any(extra_bytes_of(do) <= most_bytes for _ in until(PATIENCE_SECONDS))


def kept_bytes_of(do: Callable[[], object]) -> int:
    """Return how much more memory is in use after something was done; what it returns is kept until then."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        kept = do()
        after = tracemalloc.get_traced_memory()[0]
        del kept
        return after - before
    finally:
        tracemalloc.stop()
