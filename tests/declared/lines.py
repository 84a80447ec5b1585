"""Which log events the code writes, and with which fields."""

from __future__ import annotations

import ast
import dataclasses
import functools
from collections.abc import Iterator

from tests.declared.code import outside, text_of

# The declarations themselves, ECS's name for the field `event`, and what writes into the master's log.
NOT_LOGGING = ("service/observe/log/event_names.py", "service/observe/log/shapes.py", "service/identities/files/sidecar.py")
LEVELS = frozenset({"debug", "info", "warning", "error", "critical", "exception"})
EXCEPTION_FIELDS = frozenset({"error.type", "error.message", "error.causes", "frames"})  # what the log makes of `exc_info`


@dataclasses.dataclass(frozen=True)
class Line:
    """One place that logs. fields: those written there; open: further ones come in a dictionary."""

    event: str
    fields: frozenset[str]
    open: bool


@functools.cache
def lines() -> tuple[Line, ...]:
    """Return every place that logs an event of ours: `log.info("area.happened", ...)`, or a dictionary with `event`."""
    return tuple(_lines())


def _lines() -> Iterator[Line]:
    for node in outside(*NOT_LOGGING):
        if isinstance(node, ast.Call) and node.args and _writes(node.func) and (event := text_of(node.args[0])):
            yield _line(event, [(keyword.arg, keyword.value) for keyword in node.keywords])
        elif isinstance(node, ast.Dict):
            items = [(text_of(key), value) for key, value in zip(node.keys, node.values, strict=True)]
            if event := text_of(dict(items).get("event")):
                yield _line(event, [(name, value) for name, value in items if name not in {"event", "level"}])


def _writes(function: ast.expr) -> bool:
    """Say whether this is `log.info` of any log, or `getattr(log, level)`."""
    if isinstance(function, ast.Call):
        return ast.unparse(function.func) == "getattr" and "log" in ast.unparse(function.args[0])
    return isinstance(function, ast.Attribute) and function.attr in LEVELS and "log" in ast.unparse(function.value)


def _line(event: str, given: list[tuple[str | None, ast.expr]]) -> Line:
    fields = {name for name, _ in given if name}
    is_open = False
    for value in (value for name, value in given if not name):
        names = [text_of(key) for key in value.keys] if isinstance(value, ast.Dict) else [None]
        fields |= {name for name in names if name}
        is_open |= None in names
    if "exc_info" in fields:
        fields = fields - {"exc_info"} | EXCEPTION_FIELDS
    return Line(event, frozenset(fields), is_open)
