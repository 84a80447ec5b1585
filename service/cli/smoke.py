"""`salt-sidecar smoke`: the demo on free ports, one call of each client over HTTP, every answer checked, everything stopped."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from service.cli.demo import Asked, running, say
from service.demo import calls
from service.demo.embedded import PATIENCE_SECONDS, StartFailed, until
from service.demo.processes import session_members
from service.demo.stack import Refused, Stack

Check = Callable[[list[Any]], bool]
PONG = {"minion-1": True, "minion-2": True}
BOTH = sorted(PONG)


def main(_args: argparse.Namespace) -> int:
    """Return 0 only if every answer was right and no process is left."""
    with tempfile.TemporaryDirectory(prefix="salt-sidecar-smoke-") as folder:
        try:
            with running(Stack(Path(folder) / "demo", api_port=0, ops_port=0, say=say)) as stack:
                sessions = list(stack.pids.values())
                wrong = _documented(stack) + _others(stack)
        except (Refused, StartFailed) as exc:
            print(exc, file=sys.stderr)
            return 1
        except Asked:
            say("stopped before the end")
            return 1
    left = [pid for session in sessions for pid in session_members(session)]
    say(f"stopped; processes left: {left or 'none'}")
    say(f"{9 - len(wrong)} passed, {len(wrong)} failed" + (": " + ", ".join(wrong) if wrong else ""))
    return 1 if wrong or left else 0


def _documented(stack: Stack) -> list[str]:
    """Send the three calls of rest_wsgi's documentation; returns the names of those answered wrongly."""
    credentials = stack.salt.credentials
    jids: list[str] = []

    def is_job(values: list[Any]) -> bool:
        (job,) = values
        jids.append(str(job["jid"]))
        return len(jids[-1]) == 20 and sorted(job["minions"]) == BOTH

    ping, published, _ = calls.documented(credentials, "")
    wrong = _sent(stack, ping, lambda values: values == [PONG]) + _sent(stack, published, is_job)
    lookup = calls.documented(credentials, jids[0] if jids else "")[2]
    for _ in until(PATIENCE_SECONDS):
        # The job runs on its own; its returns are there when the last minion has answered.
        if calls.post(stack.api_url, lookup) == (200, {"return": [PONG]}):
            break
    return wrong + _sent(stack, lookup, lambda values: values == [PONG])


def _others(stack: Stack) -> list[str]:
    everybody = {"tgt": "*", "fun": "test.ping"}
    expected: list[tuple[dict[str, Any], Check]] = [
        ({"client": "local_subset", **everybody, "subset": 1}, lambda values: values in [[{minion: True}] for minion in BOTH]),
        ({"client": "local_batch", **everybody, "batch": "1"}, lambda values: sorted(values, key=sorted) == [{minion: True} for minion in BOTH]),
        ({"client": "runner", "fun": "manage.up"}, lambda values: [sorted(up) for up in values] == [BOTH]),
        ({"client": "runner_async", "fun": "manage.up"}, is_started),
        ({"client": "wheel", "fun": "key.list_all"}, lambda values: [sorted(value["data"]["return"]["minions"]) for value in values] == [BOTH]),
        ({"client": "wheel_async", "fun": "key.list_all"}, is_started),
    ]
    return [name for low, check in expected for name in _sent(stack, {**stack.salt.credentials, **low}, check)]


def is_started(values: list[Any]) -> bool:
    """Say whether this is the answer to one asynchronous runner or wheel."""
    (started,) = values
    return len(started["jid"]) == 20 and started["tag"].startswith("salt/")


def _sent(stack: Stack, low: Mapping[str, Any], check: Check) -> list[str]:
    """Send a call, print both sides; returns the client's name in a list if the answer is wrong."""
    name = low["client"] if low.get("fun") != "jobs.lookup_jid" else "runner jobs.lookup_jid"
    say(f"\n> POST {stack.api_url}  {calls.masked(low)}")
    status, answer = calls.post(stack.api_url, low)
    say(f"< {status} {json.dumps(answer)}")
    right = status == 200 and isinstance(answer, dict) and list(answer) == ["return"] and holds(check, answer["return"])
    say("  right" if right else "  WRONG")
    return [] if right else [name]


def holds(check: Check, values: Any) -> bool:
    """Say whether an answer is as expected; one of another shape is not."""
    try:
        return check(values)
    except (AttributeError, KeyError, TypeError, ValueError):
        return False
