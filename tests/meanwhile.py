"""What goes on while a block runs: something done again and again, and a reader of the event stream, which comes back when it has ended; and the wait for what others do."""

from __future__ import annotations

import contextlib
import http.client
import threading
import time
from collections.abc import Callable, Iterator, Mapping

# What is in flight when the block ends is waited for; a stream is quiet no longer than `events.heartbeat_seconds`.
END_SECONDS = 60.0


@contextlib.contextmanager
def meanwhile(work: Callable[[threading.Event], None]) -> Iterator[None]:
    """Work in a thread inside the block; work(over) returns soon after that is set."""
    over = threading.Event()
    thread = threading.Thread(target=work, args=(over,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(END_SECONDS)


def repeated(action: Callable[[], object], pause_seconds: float) -> contextlib.AbstractContextManager[None]:
    """Do something again and again inside the block; what it answers does not matter."""

    def work(over: threading.Event) -> None:
        while not over.wait(pause_seconds):
            with contextlib.suppress(OSError):
                action()

    return meanwhile(work)


def reading_events(port: int, session: Callable[[], Mapping[str, str]], pause_seconds: float) -> contextlib.AbstractContextManager[None]:
    """Read the event stream inside the block. session(): headers that name one; pause_seconds: until it comes back."""

    def work(over: threading.Event) -> None:
        while not over.is_set():
            with (
                contextlib.suppress(OSError, ValueError, http.client.HTTPException),
                contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=END_SECONDS)) as connection,
            ):
                connection.request("GET", "/events", headers=dict(session()))
                stream = connection.getresponse()
                while not over.is_set() and stream.readline():
                    pass
            over.wait(pause_seconds)

    return meanwhile(work)


def eventually(condition: Callable[[], bool], seconds: float = 60.0) -> bool:
    """Wait for what another thread is about to do; return whether it came true."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True
