"""Probe: a whole process around a small application. Prints its ports, then lives as `server.lifecycle.run` says. `process.py NOTICE DRAIN`."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from service.errors import ConfigFault, InvalidConfiguration
from service.observe.log import log
from service.server.intake import Patience
from service.server.lifecycle import Life, Signals, run
from service.server.listener import Listener
from service.settings.settings import DrainSettings

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

state = {"ready": True, "reloads": 0}


def say(event: str, **fields: object) -> None:
    log.get().info(event, **fields)


def api_app(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    size = int(environ["QUERY_STRING"] or 2)
    say("entered", path=environ["PATH_INFO"])
    if environ["PATH_INFO"] == "/slow":
        time.sleep(1)
    if environ["PATH_INFO"] == "/endless":
        time.sleep(60)
    start_response("200 OK", [("Content-Length", str(size))])
    return [b"x" * size]


def ops_app(_environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
    body = json.dumps(state).encode()
    start_response("200 OK" if state["ready"] else "503 Service Unavailable", [("Content-Length", str(len(body)))])
    yield body


def reload() -> None:
    state["reloads"] += 1
    say("reloaded")
    if state["reloads"] > 1:
        raise InvalidConfiguration([ConfigFault("log.level", "is wrong", "correct it")])


def main(notice_seconds: float, drain_seconds: float) -> int:
    log.install()
    signals = Signals()
    common = {"host": "127.0.0.1", "port": 0, "connection_limit": 100, "body_limit_bytes": 1000, "patience": Patience(10)}
    api = Listener(api_app, name="api", threads=4, **common)  # type: ignore[arg-type]
    ops = Listener(ops_app, name="ops", threads=2, **common)  # type: ignore[arg-type]
    say("ports", api=api.port, ops=ops.port)
    life = Life(
        api=api,
        ops=ops,
        drain=DrainSettings(notice_seconds=notice_seconds, drain_seconds=drain_seconds),
        on_draining=lambda: state.update(ready=False),
        on_reload=reload,
        on_stopped=lambda: say("stopped"),
        on_closing=lambda: say("closing"),
    )
    return run(life, signals)


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), float(sys.argv[2])))
