"""Ill-mannered callers, a process of its own: bad bodies, wrong logins, connections that are given up; each has to be told what is wrong, or can be forgotten."""

from __future__ import annotations

import dataclasses
import http.client
import itertools
import json
import socket
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

ANSWER_SECONDS = 120.0
# What a reader that wants no more has taken by then.
FIRST_BYTES = 1000
JSON = {"Content-Type": "application/json"}


@dataclasses.dataclass(frozen=True)
class Misuse:
    """
    How long to misbehave. port: of the sidecar. headers: of a session. minion: one that answers.

    seconds: callers begin nothing after that. each: most requests of one caller; 0 for no limit. pause_seconds: between two of them.
    """

    port: int
    headers: Mapping[str, str]
    minion: str
    callers: int = 2
    seconds: float = 30.0
    each: int = 0
    pause_seconds: float = 0.0


class Offender:
    """Offends in every way. Each way returns whether the answer was right; those that wait for none are always."""

    def __init__(self, misuse: Misuse) -> None:
        self._misuse = misuse
        self._headers = {**misuse.headers, **JSON}

    @property
    def ways(self) -> tuple[Callable[[], bool], ...]:
        """All of them."""
        return (
            self.half_a_body,
            self.wrong_type,
            self.wrong_media,
            self.too_long,
            self.no_length,
            self.wrong_password,
            self.dead_token,
            self.unknown_url,
            self.wrong_method,
            self.wrong_job,
            self.unknown_job,
            self.given_up_while_sending,
            self.given_up_while_waiting,
            self.given_up_while_reading,
            self.left_open,
            self.asked_twice,
        )

    def half_a_body(self) -> bool:
        return self._status("POST", "/", b'[{"client": "local", "tgt": ') == 400

    def wrong_type(self) -> bool:
        return self._status("POST", "/", b'[{"client": "local", "tgt": {"a": 1}, "fun": 7}]') == 400

    def wrong_media(self) -> bool:
        return self._status("POST", "/", b"<low/>", {"Content-Type": "application/xml"}) == 406

    def too_long(self) -> bool:
        return self._raw(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 99999999999\r\n\r\n") == 413

    def no_length(self) -> bool:
        return self._raw(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: many\r\n\r\n") == 400

    def wrong_password(self) -> bool:
        asked = {"eauth": "file", "username": f"nobody-{uuid.uuid4().hex[:8]}", "password": "wrong"}
        return self._status("POST", "/login", json.dumps(asked).encode(), JSON, bare=True) in {401, 429}

    def dead_token(self) -> bool:
        return self._status("GET", "/v1/session", headers={"X-Auth-Token": uuid.uuid4().hex * 2}, bare=True) in {401, 429}

    def unknown_url(self) -> bool:
        return self._status("GET", f"/{uuid.uuid4().hex}") == 404

    def wrong_method(self) -> bool:
        return self._status("DELETE", "/v1/session") == 405

    def wrong_job(self) -> bool:
        return self._status("POST", "/v1/jobs", b'{"fun": 7}') in {400, 422}

    def unknown_job(self) -> bool:
        return self._status("GET", f"/v1/jobs/{time.time_ns()}") == 404

    def given_up_while_sending(self) -> bool:
        return self._send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n" + b"[" * FIRST_BYTES)

    def given_up_while_waiting(self) -> bool:
        return self._send(self._request("POST", "/", json.dumps([{"client": "local", "fun": "test.ping", "tgt": self._misuse.minion}]).encode()))

    def given_up_while_reading(self) -> bool:
        """Ask for a large page, and go after its beginning."""
        with self._connected() as sock:
            sock.sendall(self._request("GET", "/openapi.json"))
            return bool(sock.recv(FIRST_BYTES))

    def left_open(self) -> bool:
        """Send a part of a head, wait, and go."""
        with self._connected() as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nHo")
            time.sleep(1)
        return True

    def asked_twice(self) -> bool:
        """Start a job, go before its answer, and ask again under the same key: it has to come to a good end, whichever request it was begun by."""
        key, body = {"Idempotency-Key": uuid.uuid4().hex}, json.dumps({"fun": "test.ping", "tgt": self._misuse.minion}).encode()
        self._send(self._request("POST", "/v1/jobs", body, key))
        for _ in range(round(ANSWER_SECONDS)):
            status, answer = self._exchange("POST", "/v1/jobs?wait=60", body, {**self._headers, **key})
            # While the first request is at it, another with its key is told to come back.
            if status != 409:
                return status == 200 and answer.get("status") == "succeeded"
            time.sleep(1)
        return False

    def _status(self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None, *, bare: bool = False) -> int:
        return self._exchange(method, path, body, {**({} if bare else self._headers), **(headers or {})})[0]

    def _exchange(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self._misuse.port, timeout=ANSWER_SECONDS)
        try:
            connection.request(method, path, body, {**headers, "Accept": "application/json"})
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        return answer.status, json.loads(content) if answer.status == 200 else None

    def _request(self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> bytes:
        lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in {**self._headers, **(headers or {})}.items()]
        return "\r\n".join([*lines, "", ""]).encode() + body

    def _send(self, data: bytes) -> bool:
        with self._connected() as sock:
            sock.sendall(data)
        return True

    def _raw(self, data: bytes) -> int:
        """Send what no client library would; return the status."""
        with self._connected() as sock:
            sock.sendall(data)
            return int(sock.recv(FIRST_BYTES).split(b" ", 2)[1])

    def _connected(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self._misuse.port), timeout=ANSWER_SECONDS)


def misbehave(misuse: Misuse) -> dict[str, Any]:
    """Let all callers go through all ways, again and again; return how many requests there were, and which were not answered as they should be."""
    faults: Counter[str] = Counter()
    begun = itertools.count()
    over = time.monotonic() + misuse.seconds

    def call() -> None:
        ways = itertools.cycle(Offender(misuse).ways)
        for made in itertools.count():
            if time.monotonic() >= over or (misuse.each and made >= misuse.each):
                return
            way = next(ways)
            next(begun)
            try:
                right = way()
            except (OSError, http.client.HTTPException, ValueError, IndexError) as exc:
                faults[f"{way.__name__}: {type(exc).__name__}"] += 1
            else:
                faults[way.__name__] += not right
            time.sleep(misuse.pause_seconds)

    threads = [threading.Thread(target=call) for _ in range(misuse.callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {"requests": next(begun), "lost": faults.total(), "faults": dict(+faults), "beside": {}}


def main() -> None:
    """Read how to misbehave as JSON from standard input, print what came of it."""
    print(json.dumps(misbehave(Misuse(**json.load(sys.stdin)))))


if __name__ == "__main__":
    main()
