"""`salt-sidecar demo`: everything on this machine in one command, in the foreground, gone after Ctrl-C."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from service.demo import calls
from service.demo.embedded import StartFailed
from service.demo.stack import Refused, Stack

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Asked(BaseException):
    """Somebody asked us to stop; a BaseException, so that no handler on the way takes it for a failure."""


def main(args: argparse.Namespace) -> int:
    """Run until asked to stop. Returns 0 if all that was started could be stopped."""
    try:
        with running(Stack(args.dir or default_folder(), api_port=args.api_port, ops_port=args.ops_port, minions=args.minions, say=say)) as stack:
            introduce(stack)
            reason = _watch(stack)
    except (Refused, StartFailed) as exc:
        print(exc, file=sys.stderr)
        return 1
    except Asked:
        say("stopped")
        return 0
    print(reason, file=sys.stderr)
    return 1


def default_folder() -> Path:
    """Return where the demo keeps its keys and passwords between starts."""
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "salt-sidecar" / "demo"


def say(line: str) -> None:
    print(line, flush=True)


def introduce(stack: Stack) -> None:
    """Print the three documented calls with this demo's credentials; the second is really sent, so that the third has a job to look up."""
    credentials = stack.salt.credentials
    status, answer = calls.post(stack.api_url, calls.documented(credentials, "")[1])
    if status != 200:
        raise StartFailed(f"the sidecar answered {status} to the first call: {answer}")
    say("\nThe three calls of rest_wsgi's documentation, ready to paste (the third looks up a job that was just run):\n")
    for low in calls.documented(credentials, answer["return"][0]["jid"]):
        say(f"  {calls.curl(stack.api_url, low)}\n")
    say(f"Probes and metrics: {stack.ops_url}/livez  {stack.ops_url}/readyz  {stack.ops_url}/metrics")
    say("Ctrl-C stops everything.")


@contextlib.contextmanager
def running(stack: Stack) -> Iterator[Stack]:
    """Run a stack inside the block. Raises Asked when a signal asks us to stop; no other one cuts the stopping short."""
    with stoppable(), stack:
        try:
            yield stack
        finally:
            ignore_signals()
            say("stopping everything")


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """Turn the signals that ask us to stop into an exception inside the block."""

    def asked(_number: int, _frame: object) -> None:
        ignore_signals()  # A second Ctrl-C must not cut the cleaning up short.
        raise Asked

    before = {number: signal.signal(number, asked) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def ignore_signals() -> None:
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _watch(stack: Stack) -> str:
    """Wait until a process ends by itself, and say which."""
    pause = threading.Event()
    while True:
        reason = stack.ended()
        if reason:
            return reason
        pause.wait(0.5)
