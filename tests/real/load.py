"""Callers who ask again and again, and the account of what they were answered."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

from tests.real.sidecar import Answer, Sidecar

END_SECONDS = 300.0
# Who is refused does not come back at once; without this, refusals would be most of what a load measures.
PAUSE_AFTER_REFUSAL_SECONDS = 0.05


@dataclasses.dataclass(frozen=True)
class Call:
    """One call: when it began, on the monotonic clock, and what came of it."""

    began: float
    answer: Answer

    @property
    def ended(self) -> float:
        return self.began + self.answer.seconds

    @property
    def status(self) -> int:
        return self.answer.status


class Load:
    """A number of callers, each with the next call after the answer to the last."""

    def __init__(self, sidecar: Sidecar, low: Mapping[str, Any], callers: int) -> None:
        self._sidecar = sidecar
        self._low = low
        self._callers = callers
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._calls: list[Call] = []  # guarded by _lock

    @property
    def calls(self) -> list[Call]:
        """The calls that were answered, in the order of their answers."""
        with self._lock:
            return list(self._calls)

    def statuses(self, since: float = 0.0) -> list[int]:
        return [call.status for call in self.calls if call.began >= since]

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Call inside the block; at its end every call must have been answered."""
        threads = [threading.Thread(target=self._call_on, daemon=True) for _ in range(self._callers)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            deadline = time.monotonic() + END_SECONDS
            for thread in threads:
                thread.join(max(0.0, deadline - time.monotonic()))
        assert not any(thread.is_alive() for thread in threads), "a call hangs"

    def _call_on(self) -> None:
        while not self._stop.is_set():
            call = self._call()
            with self._lock:
                self._calls.append(call)
            if call.status != 200:
                self._stop.wait(PAUSE_AFTER_REFUSAL_SECONDS)

    def _call(self) -> Call:
        began = time.monotonic()
        try:
            answer = self._sidecar.post(self._low)
        except OSError as exc:
            answer = Answer(0, {}, repr(exc).encode(), time.monotonic() - began)
        return Call(began, answer)
