"""What an event of the bus may say. Whoever can fire one, perhaps a hostile minion, chose each of its fields; the tag is what Salt routes by."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from service.events.event import Event
from service.observe.metrics.domains import Oddity


def _text(value: object) -> bool:
    return isinstance(value, str)


def _truth(value: object) -> bool:
    return isinstance(value, bool)


def _texts(value: object) -> bool:
    return isinstance(value, list) and all(map(_text, value))


def _function(value: object) -> bool:
    """One function, or the several of a compound job."""
    return _text(value) or _texts(value)


def _each(fits: Callable[[object], bool]) -> Callable[[object], bool]:
    """One value; of a compound job several, by function or in their order."""
    return lambda value: fits(value) or all(map(fits, value.values() if isinstance(value, dict) else value if isinstance(value, list) else (value,)))


_code = _each(lambda value: value is None or isinstance(value, int))
_success = _each(lambda value: value is None or isinstance(value, bool))
# The fields that anybody here reads, by kind of event, and what they may be. Source: salt/master.py, ClearFuncs.publish; salt/minion.py, _return_pub.
_FIELDS: Mapping[str, Mapping[str, Callable[[object], bool]]] = {
    "job_new": {"fun": _function, "minions": _texts, "missing": _texts, "user": _text},
    "job_ret": {"id": _text, "fun": _function, "retcode": _code, "success": _success, "out": _text},
    "run_new": {"fun": _text, "user": _text},
    "run_ret": {"fun": _text, "success": _truth},
    "auth": {"id": _text, "act": _text, "result": _truth},
    "presence_present": {"present": _texts},
    "presence_change": {"new": _texts, "lost": _texts},
    "stats": {"stats": lambda value: isinstance(value, dict)},
}
# Without these an event is not what its tag says.
_NEEDED = {"job_ret": "return", "run_ret": "return"}


class Odd(Exception):
    """An event that cannot be believed. kind: in what respect."""

    def __init__(self, kind: Oddity) -> None:
        super().__init__(kind)
        self.kind: Oddity = kind


def checked(event: Event, fields: dict[str, Any], names: Collection[object] | None = None) -> dict[str, Any]:
    """
    Return an event's fields without those that have a type they cannot have: of a return, the rest of it still counts.

    names: of all fields, if not all are decoded. Raises Odd if it is about another job or minion than its tag, or if what makes it one of its kind is missing.
    """
    kind, jid = event.origin
    fits = _FIELDS.get(kind, {})
    wrong = [name for name, fit in fits.items() if name in fields and not fit(fields[name])]
    if fields.get("jid", jid) != jid or (kind == "job_ret" and (fields.get("resource_id") or fields.get("id")) != event.minion):
        raise Odd("identity")
    needed = _NEEDED.get(kind)
    if needed in wrong or (needed is not None and needed not in (fields if names is None else names)):
        raise Odd("field")
    return {name: value for name, value in fields.items() if name not in wrong} if wrong else fields
