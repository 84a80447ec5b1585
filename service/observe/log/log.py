"""The log: one JSON line per thing that happened, and nothing but JSON lines, on standard output."""

from __future__ import annotations

import atexit
import contextlib
import functools
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping, MutableMapping
from contextvars import ContextVar
from types import MappingProxyType, TracebackType
from typing import Any, Final, cast

import orjson

from service import __version__
from service.blocks import unseen
from service.observe import redact
from service.observe.log.bridge import Bridge, ExcInfo, cut, level_of, number_of
from service.observe.log.capture import FdCapture, LineLogger
from service.observe.log.shapes import Shape, console, ecs
from service.observe.log.sink import LogSink

# structlog would paint tracebacks for a terminal with it, which we never do: a tenth of the whole start.
with unseen("rich"):
    import structlog
    from structlog.tracebacks import ExceptionDictTransformer
    from structlog.typing import FilteringBoundLogger

Event = MutableMapping[str, Any]

SERVICE_NAME: Final = "salt-sidecar"
# In Kubernetes the name of the pod.
INSTANCE: Final = socket.gethostname()
_SERVICE: Final = {"service.name": SERVICE_NAME, "service.version": __version__, "service.instance.id": INSTANCE}
_FRAMES = 30
_REPR_LIMIT = 500
_JSON = orjson.OPT_NON_STR_KEYS | orjson.OPT_UTC_Z

_NOTHING: Final[Mapping[str, object]] = MappingProxyType({})
# One variable for all: structlog's own has one for each field, and looks through the whole context for each line.
_bound: ContextVar[Mapping[str, object]] = ContextVar("bound", default=_NOTHING)

# show_locals is off: a frame's local variables are where the credentials are.
_transform = ExceptionDictTransformer(show_locals=False, max_frames=_FRAMES)


class Pipeline:
    """From a dictionary to a line: context, level, time, exception, redaction, JSON, sink."""

    def __init__(self, sink: LogSink, level: str) -> None:
        self.sink = sink
        self.threshold = number_of(level)
        self.shape: Shape = "json"

    def emit(self, level: str, fields: dict[str, Any]) -> None:
        """Log what did not come through structlog."""
        with contextlib.suppress(structlog.DropEvent):
            self.msg(*self.process(None, level, fields)[0])

    def foreign(self, logger: str, level: str) -> Callable[[str], None]:
        """Return a function that logs a text as the message of *logger*."""
        return lambda text: self.emit(level, {"event": "log", "logger": logger, "message": cut(text)})

    def msg(self, line: bytes, level: str) -> None:
        """Hand a rendered line to the sink; structlog calls it by the name of the level."""
        self.sink.put(line, level)

    debug = info = warning = error = critical = exception = msg

    def process(self, _logger: object, method: str, event: Event) -> tuple[tuple[bytes, str], dict[str, Any]]:
        """Return the line and its level, as arguments of `msg`; structlog's only processor: a chain of them costs each line a call for each."""
        level = "error" if method == "exception" else method
        if number_of(level) < self.threshold:
            raise structlog.DropEvent
        line = _head(level, event)
        if "exc_info" in line:
            _tell_exception(line)
        return (self._render(cast("Event", redact.redact(line))), level), {}

    def _render(self, line: Event) -> bytes:
        if self.shape == "console":
            return console(line).encode("utf-8", "backslashreplace")
        return _json(ecs(line) if self.shape == "ecs" else line)


class _Installation:
    """What `install` changed in this process."""

    def __init__(self, level: str, queue_lines: int) -> None:
        self.pipeline = Pipeline(LogSink(os.dup(1), queue_lines), level)
        configure(self.pipeline)
        self.bridge = Bridge(self.pipeline.emit)
        self._adopt_stdlib()
        self._adopt_streams()
        os.register_at_fork(after_in_child=self.pipeline.sink.after_fork)
        atexit.register(close)

    def set_level(self, level: str) -> None:
        self.pipeline.threshold = number_of(level)
        logging.getLogger().setLevel(number_of(level))

    def close(self, timeout: float) -> bool:
        for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
            if stream is not None and not stream.closed:
                stream.flush()
        for capture in self._captures:
            capture.close(timeout / 4)
        return self.pipeline.sink.close(timeout / 2)

    def _adopt_stdlib(self) -> None:
        root = logging.getLogger()
        root.handlers[:] = [self.bridge]
        root.setLevel(self.pipeline.threshold)
        logging.captureWarnings(True)
        sys.excepthook = self._crashed
        threading.excepthook = self._thread_crashed

    def _adopt_streams(self) -> None:
        out, err = self.pipeline.foreign("captured.stdout", "info"), self.pipeline.foreign("captured.stderr", "warning")
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        self._captures = [FdCapture(1, out), FdCapture(2, err)]
        sys.stdout, sys.stderr = LineLogger(out, 1), LineLogger(err, 2)

    def _crashed(self, kind: type[BaseException], exc: BaseException, traceback: TracebackType | None) -> None:
        self.pipeline.emit("critical", {"event": "crash", "thread": threading.current_thread().name, "exc_info": (kind, exc, traceback)})

    def _thread_crashed(self, args: threading.ExceptHookArgs, /) -> None:
        if args.exc_type is SystemExit or args.exc_value is None:
            return
        name = args.thread.name if args.thread else None
        self.pipeline.emit("critical", {"event": "crash", "thread": name, "exc_info": (args.exc_type, args.exc_value, args.exc_traceback)})


# A process has one standard output, one root logger and one excepthook: this is the one place with state of the module.
_installation: _Installation | None = None


def install(level: str = "info", queue_lines: int = 10_000, shape: Shape = "json") -> bool:
    """
    Take over standard output, standard error, logging, warnings and uncaught exceptions of this process.

    Call it first, and `gateway.master.quiet_salt.tame_salt` right after. A second call sets the level, the bound of the queue and the shape.
    Returns False if the shape is not to be had: `console` is for a terminal, and elsewhere becomes `json`.
    """
    global _installation  # noqa: PLW0603
    if _installation is None:
        _installation = _Installation(level, queue_lines)
    else:
        _installation.set_level(level)
        _installation.pipeline.sink.limit(queue_lines)
    possible = shape != "console" or _installation.pipeline.sink.is_terminal()
    _installation.pipeline.shape = shape if possible else "json"
    return possible


def configure(pipeline: Pipeline) -> None:
    """Make structlog's loggers write to *pipeline*; loggers are not cached, so that tests can do this again."""
    structlog.configure(
        processors=[pipeline.process],
        wrapper_class=structlog.make_filtering_bound_logger(logging.NOTSET),
        logger_factory=lambda *_: pipeline,
        cache_logger_on_first_use=False,
    )


def get() -> FilteringBoundLogger:
    """Return the logger for our own events: `get().info("area.happened", field=value)`."""
    # Bound now: a proxy would make a logger for each line.
    return cast("FilteringBoundLogger", structlog.get_logger().bind())


def set_level(level: str) -> None:
    """Change the lowest level written, for our events and for everybody else's."""
    if _installation is not None:
        _installation.set_level(level)


def bind(**fields: object) -> None:
    """Add these fields, and no others any more, to every line this thread logs from now on, also Salt's; waitress reuses threads."""
    _bound.set(fields)


def clear() -> None:
    """Forget the fields bound."""
    _bound.set(_NOTHING)


def dropped() -> int:
    """Return how many lines were lost because standard output did not take them."""
    return _installation.pipeline.sink.dropped() if _installation else 0


def write_record(line: bytes, seconds: float) -> bool:
    """Write a line that must not be lost, past the queue; False if standard output did not take it in time."""
    return _installation is not None and _installation.pipeline.sink.write_now(line, time.monotonic() + seconds)


def line_counts() -> dict[str, int]:
    """Return how many lines were written, by level."""
    return _installation.pipeline.sink.counts() if _installation else {}


def close(timeout: float = 2.0) -> bool:
    """Flush everything, for at most *timeout* seconds; True if all of it went out. Later lines are written at once."""
    return _installation.close(timeout) if _installation else True


def _head(level: str, event: Event) -> Event:
    """Put the fields people look for first at the front of the line, then what this thread's request has bound; what the event says itself counts."""
    name = event.pop("event", "log")
    line = {"timestamp": None, "level": level, "event": None, **_bound.get(), **event, **_SERVICE}
    seconds, microseconds = divmod(time.time_ns() // 1000, 1_000_000)
    line["timestamp"] = f"{_second(seconds)}.{microseconds:06}Z"
    line["event"] = name
    return line


@functools.lru_cache(maxsize=2)
def _second(since_1970: int) -> str:
    """Return a second as RFC 3339 writes it, for all lines of that second: it takes longer than the rest of their head."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(since_1970))


def _tell_exception(event: Event) -> None:
    """Turn `exc_info`, in place, into `error.type`, `error.message` and frames without local variables."""
    if (exc_info := _exc_info(event.pop("exc_info"))) is None:
        return
    stack, *causes = _transform(exc_info)
    event["error.type"] = stack["exc_type"]
    event["error.message"] = cut(stack["exc_value"])
    event["frames"] = [f"{frame['filename']}:{frame['lineno']} {frame['name']}" for frame in stack["frames"]]
    if causes:
        event["error.causes"] = [f"{cause['exc_type']}: {redact.redact_text(cut(cause['exc_value']))}" for cause in causes]


def _exc_info(given: object) -> ExcInfo | None:
    if isinstance(given, BaseException):
        return type(given), given, given.__traceback__
    found = given if isinstance(given, tuple) else sys.exc_info() if given else None
    return cast("ExcInfo", found) if found and found[0] else None


def _json(event: Event) -> bytes:
    try:
        return orjson.dumps(event, default=_unknown, option=_JSON)
    except TypeError:
        return orjson.dumps(_plain(event), default=_unknown, option=_JSON)


def _unknown(value: object) -> str:
    # Somebody else's __repr__ may raise; the line is worth more than the value.
    try:
        return redact.redact_text(repr(value)[:_REPR_LIMIT])
    except Exception as exc:
        return f"<{type(value).__name__}: {type(exc).__name__}>"


def _plain(value: object) -> object:
    """Return what orjson can write: it refuses integers over 64 bits and text with lone surrogates."""
    if isinstance(value, dict):
        return {_plain(redact.name_of(key)): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, float | bool | None):
        return value
    return str(value) if isinstance(value, int) else _unknown(value)


__all__ = ["bind", "clear", "close", "configure", "dropped", "get", "install", "level_of", "line_counts", "set_level"]
