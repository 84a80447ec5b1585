"""Callers that never stop asking, and an account of what they were answered."""

from __future__ import annotations

import collections
import http.client
import json
import ssl
import threading
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

CALLERS = 6
PAUSE_SECONDS = 0.05
ANSWER_SECONDS = 150.0
SHOWN_CHARACTERS = 300
# What a caller may be told while the master is away; anything else, above all no answer, is a fault of the sidecar.
HONEST = frozenset({"200 from all minions", "200 from some minions", "503", "504"})


class Api:
    """The published port of a sidecar, or of nginx in front of two."""

    def __init__(self, port: int, secret: str, tls: ssl.SSLContext | None = None, address: str = "127.0.0.1") -> None:
        self.port = port
        self._address = address
        self._tls = tls
        self._credentials = {"eauth": "sharedsecret", "username": "admin", "sharedsecret": secret}

    def call(self, timeout: float = ANSWER_SECONDS, **low: Any) -> tuple[int, Any]:
        """Send one low over a connection of its own; return status and body. Raises OSError."""
        return self.request("POST", "/", [{**self._credentials, **low}], timeout)

    def ping(self, timeout: float = ANSWER_SECONDS) -> tuple[int, Any]:
        return self.call(timeout, client="local", tgt="*", fun="test.ping")

    def login(self) -> tuple[int, Any]:
        return self.request("POST", "/login", self._credentials)

    def request(
        self, method: str, path: str, body: object = None, timeout: float = ANSWER_SECONDS, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Any]:
        """Send a request; return status and body."""
        if self._tls:
            connection: http.client.HTTPConnection = http.client.HTTPSConnection("localhost", self.port, timeout=timeout, context=self._tls)
        else:
            connection = http.client.HTTPConnection(self._address, self.port, timeout=timeout)
        try:
            connection.request(method, path, None if body is None else json.dumps(body), {"Content-Type": "application/json", **(headers or {})})
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        try:
            return answer.status, json.loads(content)
        except ValueError:
            return answer.status, content.decode(errors="replace")


class Load:
    """Several callers that ping all minions, until the block ends. counts: how often what was answered; refused: the first words of each other answer than 200."""

    def __init__(self, api: Api, minions: int) -> None:
        self._api = api
        self._minions = minions
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self.counts: collections.Counter[str] = collections.Counter()
        self.refused: dict[str, str] = {}
        self.slowest = 0.0
        self._threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(CALLERS)]

    def __enter__(self) -> Load:  # noqa: PYI034 - Self is newer than Python 3.10
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, _kind: type[BaseException] | None, _exc: BaseException | None, _traceback: TracebackType | None) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(ANSWER_SECONDS)

    def __str__(self) -> str:
        counted = ", ".join(f"{number} x {what}" for what, number in sorted(self.counts.items()))
        return f"{counted}; slowest {self.slowest:.1f} s"

    def total(self) -> int:
        return sum(self.counts.values())

    def good(self) -> int:
        """Return how many were answered 200; on a busy machine a minion may be too slow for Salt's timeout, which nobody has lost."""
        return sum(number for what, number in self.counts.items() if what.startswith("200"))

    def _ask(self) -> None:
        while not self._stop.is_set():
            began = time.monotonic()
            what = self._answer()
            with self._lock:
                self.counts[what] += 1
                self.slowest = max(self.slowest, time.monotonic() - began)
            self._stop.wait(PAUSE_SECONDS)

    def _answer(self) -> str:
        try:
            status, body = self._api.ping()
        except (OSError, http.client.HTTPException) as exc:
            return type(exc).__name__
        if status != 200:
            self.refused.setdefault(str(status), str(body)[:SHOWN_CHARACTERS])
            return str(status)
        there = [value for value in body["return"][0].values() if value is True]
        return "200 from all minions" if len(there) == self._minions else "200 from some minions"
