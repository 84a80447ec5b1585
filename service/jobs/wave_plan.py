"""Which minions of a rolling job have their turn together, and when too many have failed for another turn. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

from service.gateway.clients.batch import batch_size
from service.jobs.outcome import MinionStatus

# One or several sizes: a number, or a share of all minions such as `10%`.
Batch = int | str | Sequence[int | str]
# Those for whose sake no further wave begins: one of which nothing is known may have failed as well.
FAILURES: frozenset[MinionStatus] = frozenset({"failed", "lost", "no_return", "unknown"})


@dataclasses.dataclass(frozen=True)
class Turns:
    """Who of a job's minions has which turn. waves: in their order. silent: did not answer a ping, so have none. no_key: the master does not know them."""

    waves: list[list[str]]
    silent: list[str]
    no_key: list[str]


def plan(minions: Sequence[str], batch: Batch) -> list[list[str]]:
    """Deal minions out to waves, in their order: each size is for one wave, the last one for all that follow. A share rounds down, but never to nobody."""
    return list(_waves(minions, [batch] if isinstance(batch, int | str) else batch))


def _waves(minions: Sequence[str], sizes: Sequence[int | str]) -> Iterator[list[str]]:
    begun = number = 0
    while begun < len(minions):
        size = batch_size(sizes[min(number, len(sizes) - 1)], len(minions))
        yield list(minions[begun : begun + size])
        begun, number = begun + size, number + 1


def is_too_many(counts: Mapping[MinionStatus, int], limit: int | str | None, minions: int) -> bool:
    """Say whether so many have failed that no further wave begins. limit: a number, or a share of the *minions* of all waves; None for no limit."""
    failures = sum(counts.get(status, 0) for status in FAILURES)
    if limit is None or not failures:
        return False
    return failures * 100 >= float(limit.rstrip("%")) * minions if isinstance(limit, str) else failures >= limit
