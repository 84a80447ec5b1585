"""Who calls while a master is busy, frozen or gone, and the processes of a master that a test stops."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor

from service.demo.embedded import EmbeddedSalt
from service.demo.processes import command_line, send, session_members
from tests.real.sidecar import ANSWER_SECONDS, JSON, Answer, ask

WORKER = "MWorker"
PING = {"fun": "test.ping"}


def master_pids(salt: EmbeddedSalt) -> list[int]:
    return session_members(salt.pids["master"])


def worker_pids(salt: EmbeddedSalt) -> list[int]:
    """Return the processes that answer requests; the port is another one's."""
    found = [pid for pid in master_pids(salt) if WORKER in command_line(pid)]
    assert found, "no process of the master is called a worker"
    return found


@contextlib.contextmanager
def frozen(pids: Iterable[int]) -> Iterator[None]:
    """Stop processes inside the block; what they are sent waits."""
    stopped = list(pids)
    try:
        for pid in stopped:
            send(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in stopped:
            send(pid, signal.SIGCONT)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a caller got: its status, 0 for no answer at all, and after how long."""

    status: int
    seconds: float
    body: bytes


class Callers:
    """
    One caller of each kind, with a session of their own that the master knows.

    port: of the sidecar, or of rest_cherrypy. timeout: seconds that each waits for an answer.
    """

    def __init__(self, port: int, salt: EmbeddedSalt, timeout: float = ANSWER_SECONDS) -> None:
        self._port = port
        self._timeout = timeout
        self._credentials = salt.credentials
        self._threads = ThreadPoolExecutor(20)
        self.token = str(self._login().json()["return"][0]["token"])
        self.stream = Stream(port, self.token)

    def local(self, job: Mapping[str, object] = PING) -> Future[Outcome]:
        """A job of all minions in the session."""
        low = {"client": "local", "tgt": "*", **job}
        return self._start("POST", "/", json.dumps([low]).encode(), {**JSON, "X-Auth-Token": self.token})

    def login(self) -> Future[Outcome]:
        return self._threads.submit(lambda: _outcome(self._login))

    def stats(self) -> Future[Outcome]:
        return self._start("GET", "/stats", None, {"X-Auth-Token": self.token})

    def logout(self) -> Future[Outcome]:
        return self._start("POST", "/logout", b"", {"X-Auth-Token": self.token})

    def _login(self) -> Answer:
        return ask(self._port, "POST", "/login", json.dumps(self._credentials).encode(), JSON, self._timeout)

    def _start(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Future[Outcome]:
        return self._threads.submit(lambda: _outcome(lambda: ask(self._port, method, path, body, headers, self._timeout)))

    def close(self) -> None:
        self.stream.close()
        self._threads.shutdown()


class Stream:
    """A reader of `/events`, whose connection is noted to be open or not."""

    def __init__(self, port: int, token: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        # rest_cherrypy is silent as long as nothing happens.
        self._socket.settimeout(None)
        self._socket.sendall(f"GET /events HTTP/1.1\r\nHost: reader\r\nX-Auth-Token: {token}\r\n\r\n".encode())
        self._lock = threading.Lock()
        self._read = b""  # guarded by _lock
        self.ended_at: float | None = None
        threading.Thread(target=self._read_on, daemon=True).start()

    @property
    def read(self) -> bytes:
        with self._lock:
            return self._read

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def _read_on(self) -> None:
        with self._socket, contextlib.suppress(OSError):
            while chunk := self._socket.recv(65536):
                with self._lock:
                    self._read += chunk
        self.ended_at = time.monotonic()


def _outcome(call: Callable[[], Answer]) -> Outcome:
    began = time.monotonic()
    try:
        answer = call()
    except OSError as exc:
        return Outcome(0, time.monotonic() - began, repr(exc).encode())
    return Outcome(answer.status, answer.seconds, answer.body)
