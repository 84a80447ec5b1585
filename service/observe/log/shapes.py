"""The shapes of a log line: our names, those of the Elastic Common Schema, or text for people."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, Literal

Shape = Literal["json", "ecs", "console"]

ECS_VERSION: Final = "8.17.0"
# Where the schema has a name of its own, or uses one of ours for an object (`event`, `source`, `network.protocol`).
ECS_NAMES: Final[Mapping[str, str]] = {
    "timestamp": "@timestamp",
    "level": "log.level",
    "logger": "log.logger",
    "event": "event.action",
    "source": "config.source",
    "request_id": "http.request.id",
    "trace_id": "trace.id",
    "span_id": "span.id",
    "service.instance.id": "service.node.name",
    "network.protocol.version": "http.version",
    "http.request.body.size": "http.request.body.bytes",
    "http.response.body.size": "http.response.body.bytes",
    "thread": "process.thread.name",
    "frames": "error.stack_trace",
}
# What every line has; on a terminal it says nothing.
_CONSTANT = frozenset({"timestamp", "level", "event", "service.name", "service.version", "service.instance.id"})


def ecs(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return an event under the schema's names; where it has no message, its name is one."""
    named = {ECS_NAMES.get(name, name): value for name, value in event.items()}
    if "frames" in event:
        named["error.stack_trace"] = "\n".join(map(str, event["frames"]))
    named.setdefault("message", event["event"])
    return {**named, "ecs.version": ECS_VERSION}


def console(event: Mapping[str, Any]) -> str:
    """Return an event as one line for people."""
    time = str(event["timestamp"])[11:23]
    fields = " ".join(f"{name}={_shown(value)}" for name, value in event.items() if name not in _CONSTANT)
    return f"{time} {event['level']:<8} {event['event']} {fields}".rstrip()


def _shown(value: object) -> str:
    """Return a value without anything that a terminal would obey."""
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text if text and text.isascii() and text.isprintable() and " " not in text else json.dumps(text)
