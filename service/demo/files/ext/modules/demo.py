"""Functions that Salt's own modules lack: odd answers on purpose, for the demo and the test suites. Runs on the minion."""

from __future__ import annotations

import time
from typing import Any

__context__: dict[str, Any]  # Salt's loader puts it here.


def big(size: int) -> str:
    """Return *size* characters."""
    return "x" * int(size)


def raises() -> None:
    """Fail as a function with a bug does."""
    raise ZeroDivisionError("on purpose")


def retcode(code: int) -> str:
    """Return normally, and tell the master it went wrong with *code*."""
    __context__["retcode"] = int(code)  # noqa: F821 - ruff takes a bare annotation for no definition
    return f"retcode {code}"


def blob() -> bytes:
    """Return bytes that are no UTF-8."""
    return b"\xff\xfe\x00blob"


def unicode() -> dict[str, str]:
    """Return text of several scripts, in a key too."""
    return {"grüße": "žluťoučký kůň", "日本": "語", "emoji": "🧂"}


def sleep(seconds: float) -> float:
    """Return after *seconds*."""
    time.sleep(float(seconds))
    return seconds


def echo(*args: Any, **kwargs: Any) -> dict[str, Any]:
    """Return what arrived, without Salt's own keyword arguments."""
    return {"args": list(args), "kwargs": {name: value for name, value in kwargs.items() if not name.startswith("__pub_")}}
