"""What an event of the bus may say. Whoever can fire one, perhaps a hostile minion, chose each of its fields; the tag is what Salt routes by."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from service.events.event import Event
from service.observe.metrics.domains import Oddity

# A field has one of these types, or else this is true of it.
Fit = tuple[type | tuple[type, ...], Callable[[object], bool]]


def _never(_value: object) -> bool:
    return False


def _texts(value: object) -> bool:
    return isinstance(value, list) and set(map(type, value)) <= {str}


def _or_several(*types: type) -> Fit:
    """One value; of a compound job several, by function or in their order."""

    def several(value: object) -> bool:
        values = value.values() if isinstance(value, dict) else value if isinstance(value, list) else (value,)
        return all(isinstance(each, types) for each in values)

    return types, several


_TEXT: Fit = (str, _never)
_TRUTH: Fit = (bool, _never)
_TEXTS: Fit = ((), _texts)
# One function, or the several of a compound job.
_FUNCTION: Fit = (str, _texts)
# The fields that anybody here reads, by kind of event, and what they may be. Source: salt/master.py, ClearFuncs.publish; salt/minion.py, _return_pub.
_FIELDS: Mapping[str, Mapping[str, Fit]] = {
    "job_new": {"fun": _FUNCTION, "minions": _TEXTS, "missing": _TEXTS, "user": _TEXT},
    "job_ret": {"id": _TEXT, "fun": _FUNCTION, "retcode": _or_several(int, type(None)), "success": _or_several(bool, type(None)), "out": _TEXT},
    "job_prog": {"id": _TEXT, "data": (dict, _never)},
    "run_new": {"fun": _TEXT, "user": _TEXT},
    "run_ret": {"fun": _TEXT, "success": _TRUTH},
    "auth": {"id": _TEXT, "act": _TEXT, "result": _TRUTH},
    "presence_present": {"present": _TEXTS},
    "presence_change": {"new": _TEXTS, "lost": _TEXTS},
    "stats": {"stats": (dict, _never)},
}
# Without these an event is not what its tag says.
_NEEDED = {"job_ret": "return", "job_prog": "data", "run_ret": "return"}


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
    wrong = [name for name, (types, fit) in fits.items() if name in fields and not (isinstance(fields[name], types) or fit(fields[name]))]
    if fields.get("jid", jid) != jid or not _is_about_its_minion(kind, event, fields):
        raise Odd("identity")
    needed = _NEEDED.get(kind)
    if needed in wrong or (needed is not None and needed not in (fields if names is None else names)):
        raise Odd("field")
    return {name: value for name, value in fields.items() if name not in wrong} if wrong else fields


def _is_about_its_minion(kind: str, event: Event, fields: Mapping[str, Any]) -> bool:
    if kind == "job_prog":
        return bool(fields.get("id") == event.state[0])
    return kind != "job_ret" or bool((fields.get("resource_id") or fields.get("id")) == event.minion)
