"""What a minion's return says of its job, and how its states ended."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Literal

from service.gateway.clients.verdict import chunks_of

StateResult = Literal["unchanged", "changed", "failed", "test"]
# The longest a state is believed to have run.
_DAY_MILLISECONDS = 86_400_000.0


@dataclasses.dataclass(frozen=True)
class States:
    """How the states in a return ended. seconds: the sum of their durations."""

    results: Mapping[StateResult, int]
    seconds: float


def names_of(fun: object) -> list[str]:
    """Return the functions of a job, of which `fun` is one or a list."""
    if isinstance(fun, str):
        return [fun]
    return [name for name in (fun if isinstance(fun, list) else ()) if isinstance(name, str)]


def label_of(fun: object) -> str:
    """Return what a job is counted under: its function, or `multiple`."""
    names = names_of(fun)
    return names[0][:200] if len(names) == 1 else "multiple" if names else ""


def states_of(value: object) -> States | None:
    """
    Return how the states of a return ended, None if there are none in it.

    value: what the minion returned; of a job with many functions their returns by function, some of which are states.
    """
    counts: dict[StateResult, int] = {}
    milliseconds = 0.0
    for _, chunk in chunks_of(value):
        result = _result_of(chunk)
        counts[result] = counts.get(result, 0) + 1
        milliseconds += _duration_of(chunk)
    return States(counts, milliseconds / 1000) if counts else None


def is_full_highstate(fun: object, arguments: object) -> bool:
    """Say whether a job applied all states that a minion should have, and not only tried them."""
    if fun not in ("state.highstate", "state.apply") or not isinstance(arguments, list | None):
        return False
    words = [argument for argument in arguments or [] if not isinstance(argument, dict)]
    keywords: dict[Any, Any] = {}
    for argument in arguments or []:
        keywords |= argument if isinstance(argument, dict) else {}
    if keywords.get("test") or any(isinstance(word, str) and word.replace(" ", "").lower() == "test=true" for word in words):
        return False
    return fun == "state.highstate" or not (words or keywords.get("mods"))


def _result_of(chunk: Mapping[str, Any]) -> StateResult:
    if chunk["result"] is None:
        return "test"
    if not chunk["result"]:
        return "failed"
    return "changed" if chunk.get("changes") else "unchanged"


def _duration_of(chunk: Mapping[str, Any]) -> float:
    """Return milliseconds; a number, and in old Salts a text such as `3.2 ms`."""
    value = chunk.get("duration", 0.0)
    try:
        number = float(value.split()[0] if isinstance(value, str) else value)
    except (TypeError, ValueError, IndexError):
        return 0.0
    return number if math.isfinite(number) and 0 <= number <= _DAY_MILLISECONDS else 0.0
