"""The timeline of one request: where its time goes, and the trace it belongs to."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Generic, Literal, NamedTuple, TypeVar

from service.observe.trace.traceparent import TraceContext

Held = TypeVar("Held")

StageName = Literal["auth", "publish", "gather"]
# A batch publishes a hundred times; all of them count, but no more than this are recorded one by one.
MOST_STAGES = 32
# The names of the log line's fields.
FIELDS: dict[StageName, str] = {"auth": "auth_s", "publish": "publish_s", "gather": "wait_s"}


class Stage(NamedTuple):
    """A piece of a request's time. Seconds of the monotonic clock."""

    name: StageName
    started: float
    ended: float


class Timeline:
    """
    Only the request's own thread writes it.

    context: the place in a trace that all we cause belongs to, None while nobody traces: a trace that nobody samples would
    keep Salt from starting its own. span: the tracer's, see observe/trace/spans.py. now: its clock.
    """

    __slots__ = ("_published", "_sums", "context", "first_return_s", "now", "span", "stages")

    def __init__(self, context: TraceContext | None = None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.context = context
        self.span: Any = None
        self.stages: list[Stage] = []
        self.first_return_s: float | None = None
        self.now = clock
        self._sums: dict[StageName, float] = {}
        self._published: float | None = None

    def stage(self, name: StageName) -> _Timer:
        """Count the time inside a `with` block to a stage."""
        return _Timer(self, name)

    def entering(self, name: StageName, block: AbstractContextManager[Held]) -> _Entering[Held]:
        """Count the time to enter a `with` block to a stage, but not the time inside it."""
        return _Entering(self, name, block)

    def passed(self, name: StageName, started: float) -> None:
        """Count the time since *started* to a stage."""
        ended, stages = self.now(), self.stages
        self._sums[name] = self._sums.get(name, 0.0) + ended - started
        if name == "auth" and stages and stages[-1].name == "auth":
            stages[-1] = Stage(name, stages[-1].started, ended)  # an access list and the guard are one thing to whoever looks
        elif len(stages) < MOST_STAGES:
            stages.append(Stage(name, started, ended))
        if name == "publish" and self._published is None:
            self._published = ended

    def returned(self) -> None:
        """Note that a minion, or a runner, has returned; only the first counts."""
        if self.first_return_s is None and self._published is not None:
            self.first_return_s = self.now() - self._published

    def carrier(self) -> dict[str, str]:
        """Return what joins work elsewhere to this trace; nothing while nobody traces."""
        return self.context.carrier() if self.context else {}

    def fields(self) -> dict[str, float | str | None]:
        """Return what the log line says of it."""
        fields: dict[str, float | str | None] = {FIELDS[name]: round(seconds, 6) for name, seconds in self._sums.items()}
        if self.first_return_s is not None:
            fields["first_return_s"] = round(self.first_return_s, 6)
        if self.context is not None:
            fields |= {"trace_id": self.context.trace_id, "span_id": self.context.span_id, "trace_flags": f"{self.context.flags:02x}"}
        return fields


class _Timer:
    """A `with` block that is timed; cheaper than a generator on this path."""

    __slots__ = ("_name", "_started", "_timeline")

    def __init__(self, timeline: Timeline, name: StageName) -> None:
        self._timeline = timeline
        self._name = name

    def __enter__(self) -> None:
        self._started = self._timeline.now()

    def __exit__(self, *_: object) -> None:
        self._timeline.passed(self._name, self._started)


class _Entering(Generic[Held]):
    """A `with` block whose entrance is timed."""

    __slots__ = ("_block", "_name", "_timeline")

    def __init__(self, timeline: Timeline, name: StageName, block: AbstractContextManager[Held]) -> None:
        self._timeline = timeline
        self._name = name
        self._block = block

    def __enter__(self) -> Held:
        started = self._timeline.now()
        try:
            return self._block.__enter__()
        finally:
            self._timeline.passed(self._name, started)

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None) -> bool | None:
        return self._block.__exit__(kind, exc, traceback)
