"""Runs programs with a deadline, and says what they said when they fail."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

# Of pytest; it would push what failed out of the end that is shown.
PROGRESS = re.compile(r"[.a-zA-Z]+ +\[ *\d+%\]")


class StepFailed(Exception):
    """What was expected did not happen; the text is for a person."""


def run(
    *argv: str | Path,
    timeout: float = 300,
    environ: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    text: str | None = None,
    ok: tuple[int, ...] = (0,),
) -> str:
    """Return the standard output of a program. text: its standard input. Raises StepFailed with the end of what it said."""
    line = " ".join(str(word) for word in argv)
    try:
        done = subprocess.run(
            [str(word) for word in argv],
            check=False,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=timeout,
            env={**os.environ, **(environ or {})},
            cwd=cwd,
            input=text,
        )
    except FileNotFoundError:
        raise StepFailed(f"there is no program {argv[0]}") from None
    except subprocess.TimeoutExpired as exc:
        raise StepFailed(f"no end within {timeout:g} s: {line}\n{_end(exc.stdout)}{_end(exc.stderr)}") from None
    if done.returncode not in ok:
        raise StepFailed(f"exit code {done.returncode}: {line}\n{_end(done.stdout)}{_end(done.stderr)}")
    return done.stdout


def eventually(what: str, condition: Callable[[], bool], seconds: float = 300, pause: float = 0.25) -> float:
    """Ask again and again until it is so; return the seconds it took. Raises StepFailed."""
    started = time.monotonic()
    while not condition():
        if time.monotonic() - started > seconds:
            raise StepFailed(f"not within {seconds:g} s: {what}")
        time.sleep(pause)
    return time.monotonic() - started


def require(condition: bool, otherwise: str) -> None:
    """Raise StepFailed if it is not so."""
    if not condition:
        raise StepFailed(otherwise)


def _end(said: str | bytes | None) -> str:
    words = said.decode(errors="replace") if isinstance(said, bytes) else said or ""
    lines = [line for line in words.splitlines() if not PROGRESS.fullmatch(line)]
    return "".join(f"    {line}\n" for line in lines[-40:])
