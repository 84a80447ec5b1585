"""A waitress that answers every request with the returns of `test.ping`, made once: what HTTP alone costs."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

import orjson
import waitress

from benchmarks.behaviour import names

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

THREADS = 32


def application(minions: int) -> WSGIApplication:
    """Make the application. minions: how many returns the answer has."""
    body = orjson.dumps({"return": [dict.fromkeys(names(minions), True)]})
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]

    def answer(_environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", headers)
        return [body]

    return answer


if __name__ == "__main__":
    waitress.serve(application(int(sys.argv[2])), host="127.0.0.1", port=int(sys.argv[1]), threads=THREADS, _quiet=True)
