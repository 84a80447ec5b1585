"""Probe: callers send one body at once to an application under the documented memory limit. Prints statuses and peak. `bodies.py SHAPE CALLERS`."""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import falcon
import falcon.testing

import service.wiring.process  # noqa: F401 - the memory of the whole process counts
from service.gateway.transport.wire import enveloped
from service.http.app import build
from service.http.media import FORM, JSON, TEXT, YAML, decode
from service.http.middleware import Canonical
from service.server.runtime import tame_malloc
from service.wiring.requests import Unmeasured
from tests.caller import open_to_all

MIB = 1024 * 1024
# Of what compose.yaml and the chart give, what is left beside a full /tmp.
LIMIT = (512 - 128) * MIB
LARGEST, LARGEST_SLOW = 16 * MIB, MIB
WIDE = "\N{GRINNING FACE}"


def json_of(piece: str, values: int, fill: str = "x") -> str:
    """Return the largest body that has *values* values in pieces of such a number, and a text."""
    pieces = ",".join([piece] * (values // (piece.count("{") * 2 + piece.count(":") + piece.count("[") or 1)))
    text = f'[{pieces},"{fill}'
    return text + "x" * (LARGEST - len(text.encode()) - 2) + '"]'


SHAPES: dict[str, tuple[str, Callable[[], str]]] = {
    "objects": (JSON, lambda: json_of('{"":{}}', 400_000, WIDE)),
    "empty objects": (JSON, lambda: json_of("{}", 400_000, WIDE)),
    "short strings": (JSON, lambda: json_of('"ab"', 400_000, WIDE)),
    "ascii": (JSON, lambda: json_of("{}", 400_000)),
    "escapes": (JSON, lambda: json_of("{}", 400_000, "\\ud83d\\ude00")),
    "as text": (TEXT, lambda: json_of('{"":{}}', 400_000, WIDE)),
    "no JSON": (TEXT, lambda: WIDE + "x" * (LARGEST - 4)),
    "cut short": (JSON, lambda: json_of('{"":{}}', 400_000, WIDE)[:-1]),
    "yaml": (YAML, lambda: "[" + ",".join(["{a}"] * 88_000) + "]"),
    "yaml, empty": (YAML, lambda: "[" + ",".join(["{}"] * 260_000) + "]"),
    "yaml, text": (YAML, lambda: WIDE + "x" * (LARGEST_SLOW - 4)),
    "form": (FORM, lambda: "arg=[" + ",".join(["{a}"] * 88_000) + "]"),
    "form, many": (FORM, lambda: "&".join(["arg=[" + ",".join(["{a}"] * 80) + "]"] * 999)),
    "too many values": (JSON, lambda: "[" + ",".join(["{}"] * (LARGEST // 3 - 1)) + "]"),
    "too many in yaml": (YAML, lambda: "[" + ",".join(["{a}"] * (LARGEST_SLOW // 4 - 1)) + "]"),
}


class Taker:
    """Decodes a body and makes a load of it, and keeps both until every caller has got as far or was refused."""

    def __init__(self, callers: int) -> None:
        self.all_there = threading.Barrier(callers, timeout=120)

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        value = decode(req)
        load = enveloped({"cmd": "publish", "arg": value})
        self.all_there.wait()
        resp.data = str(len(load)).encode()


def kib(field: str) -> int:
    """Return a figure of /proc/self/status."""
    return next(int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{field}:"))


def main(shape: str, callers: int) -> None:
    """Send the body, and print what came of it."""
    tame_malloc(os.environ)
    media_type, make = SHAPES[shape]
    kept = tempfile.TemporaryFile()  # noqa: SIM115 - as the server keeps a large body
    length = kept.write(make().encode())
    kept.flush()
    taker = Taker(callers)
    app: Any = Canonical(build(open_to_all({"/": taker}), on_crash=lambda _info: None), Unmeasured(), lambda *_: None)
    statuses: list[int] = []
    started = threading.Barrier(callers + 1)

    def call() -> None:
        started.wait()
        with open(f"/proc/self/fd/{kept.fileno()}", "rb") as body:  # noqa: PTH123 - a descriptor of its own
            environ = falcon.testing.create_environ(method="POST", headers={"Content-Type": media_type, "Content-Length": str(length)})
            environ["wsgi.input"] = body
            app(environ, lambda status, _headers, _exc=None: statuses.append(int(status.split()[0]))).close()
        if statuses[-1] != 200:
            taker.all_there.wait()

    threads = [threading.Thread(target=call) for _ in range(callers)]
    for thread in threads:
        thread.start()
    # What the process may still take until the limit, in addresses: the libraries' are far more than their memory.
    most = (kib("VmSize") - kib("VmRSS")) * 1024 + LIMIT
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    started.wait()
    for thread in threads:
        thread.join()
    print(json.dumps({"statuses": sorted(statuses), "peak_mib": kib("VmHWM") // 1024}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
