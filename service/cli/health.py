"""`salt-sidecar health`: asks the ops listener, for those who probe with a command: Docker's HEALTHCHECK, an exec probe, a person."""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import math
from collections.abc import Mapping
from typing import Any

from service.secrets.reading import first_line, read
from service.settings.locations import NotPlain, OpsAddress, quick_address

# An answer has a few hundred bytes; another program on that port cannot make us read more.
ANSWER_BYTES = 64 * 1024
_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}


class _Unusable(Exception):
    """The configuration has a fault."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what to ask the listener, and how long to wait."""
    parser.add_argument("--ready", action="store_true", help="ask /readyz, which depends on the master, instead of /livez, which does not")
    parser.add_argument("--timeout", type=_seconds, default=3.0, metavar="SECONDS", help="longest wait for the answer (default: %(default)g)")


def main(args: argparse.Namespace) -> int:
    """Print one line; return 0 if the answer is 200, else 1."""
    try:
        ops = _address(args.environ)
    except _Unusable as exc:
        print(f"not well: {exc}")
        return 1
    token = b""
    with contextlib.suppress(OSError, ValueError):  # Without it there is an answer too, with less in it.
        token = first_line(read(ops.token_file)) if ops.token_file else b""
    well, line = ask(_LOOPBACK.get(ops.host, ops.host), ops.port, "/readyz" if args.ready else "/livez", args.timeout, token)
    print(f"{'well' if well else 'not well'}: {line}")
    return 0 if well else 1


def ask(host: str, port: int, path: str, timeout: float, token: bytes = b"") -> tuple[bool, str]:
    """Return whether the answer is 200, and one line that says what it is. timeout: seconds, for each wait. token: of ops.token_file."""
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}{path}"
    connection = http.client.HTTPConnection(host, port, timeout=timeout)
    try:
        connection.request("GET", path, headers={"Authorization": b"Bearer " + token} if token else {})
        answer = connection.getresponse()
        body = answer.read(ANSWER_BYTES)
    except (OSError, http.client.HTTPException) as exc:
        why = getattr(exc, "strerror", None) or str(exc) or type(exc).__name__
        return False, f"no answer from {url} ({why}); is `salt-sidecar serve` running with the same settings?"
    finally:
        connection.close()
    return answer.status == 200, f"{url} answers {answer.status}{_failures(body)}"


def _address(environ: Mapping[str, str]) -> OpsAddress:
    """Return where the listener is. Not by the master configuration: nothing in it moves the listener. Raises _Unusable."""
    try:
        return quick_address(environ)
    except NotPlain:
        # Half a second of imports: see service/settings/locations.py.
        from service.errors import InvalidConfiguration  # noqa: PLC0415
        from service.settings.sources import load  # noqa: PLC0415

        try:
            ops = load(environ).ops
        except InvalidConfiguration as exc:
            raise _Unusable(exc.faults[0]) from None
        return OpsAddress(ops.host, ops.port, ops.token_file)


def _failures(body: bytes) -> str:
    """Return the checks that fail, by name and reason."""
    try:
        report: Any = json.loads(body)
        failing = [f"{name}: {check['reason']}" for name, check in report.get("checks", {}).items() if not check["ok"]]
    except (ValueError, AttributeError, TypeError, KeyError):
        return ""
    return "".join(f"; {line}" for line in [*failing, *report.get("warnings", [])])


def _seconds(text: str) -> float:
    seconds = float(text)
    if not (math.isfinite(seconds) and 0 < seconds <= 600):
        raise argparse.ArgumentTypeError("more than 0, at most 600")
    return seconds
