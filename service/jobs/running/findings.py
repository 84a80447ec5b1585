"""What a return says besides its verdict: how its states ended, which failed and why, and whether the master cut it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Protocol

from service.gateway.clients.verdict import chunks_of
from service.observe.metrics.domains import Oddity, StateEventEnd

MOST_FAILURES = 100
LONGEST_COMMENT = 2000
# What the master puts in the place of a value that made an event too large. Source: salt/utils/dicttrim.py.
TRIMMED = b"VALUE_TRIMMED"


class StatesReport(Protocol):
    """Hears what became of what minions say of single states while they run. Called from any thread."""

    def job_state_event(self, what: StateEventEnd, odd: Oddity | None = None) -> None:
        """One of them has said something of a job. odd: in what respect it cannot be believed."""


def findings(value: object, body: bytes) -> dict[str, Any]:
    """
    Return what a return says of its states, empty where it has none.

    body: the return as it is kept. `states`: how many ended how; `failures`: those that failed, the first hundred; `dry_run`: some would have changed
    something; `truncated`: the master has cut the return.
    """
    found: dict[str, Any] = {"truncated": True} if TRIMMED in body else {}
    chunks = list(chunks_of(value, 3))
    if not chunks:
        return found
    ends = Counter(end_of(chunk) for _, chunk in chunks)
    failures = [_failure(name, chunk) for name, chunk in chunks if end_of(chunk) in {"failed", "not_run"}][:MOST_FAILURES]
    found |= {"states": dict(ends)}
    if ends["would_change"]:
        found["dry_run"] = True
    return {**found, "failures": failures} if failures else found


def end_of(chunk: Mapping[str, Any]) -> str:
    """Return how a state has ended: `would_change`, `not_run`, `failed`, `changed` or `unchanged`."""
    if chunk["result"] is None:
        return "would_change"
    if not chunk["result"]:
        return "not_run" if chunk.get("__state_ran__") is False else "failed"
    return "changed" if chunk.get("changes") else "unchanged"


def _failure(key: str, chunk: Mapping[str, Any]) -> dict[str, Any]:
    """Return what there is to say of a state that failed; its key is `state_|-id_|-name_|-function`."""
    state, _, rest = key.partition("_|-")
    fun = f"{state}.{rest.rpartition('_|-')[2]}" if rest else state
    return {
        "id": chunk.get("__id__"),
        "sls": chunk.get("__sls__"),
        "name": str(chunk.get("name", ""))[:LONGEST_COMMENT],
        "fun": fun,
        "comment": str(chunk.get("comment", ""))[:LONGEST_COMMENT],
    }
