"""The writers: a thread for each sink, so that a disk that hangs holds nobody up for longer than agreed."""

from __future__ import annotations

import errno
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from service.audit.sinks import Sink

# Time for which records that nobody waits for are collected: one write, and one change of threads, costs more than many records.
LINGER_SECONDS = 0.1
MOST_AT_ONCE = 1000
# While a sink fails and nobody writes, this is the pause between two attempts.
RETRY_SECONDS = 1.0


class Delivery:
    """Records on their way to every sink; one that takes them is enough."""

    def __init__(self, records: Sequence[bytes], sinks: int, *, awaited: bool) -> None:
        self.records = records
        self.awaited = awaited
        self._lock = threading.Lock()
        self._left = sinks  # guarded by _lock
        self._written = False  # guarded by _lock
        self._settled = threading.Event() if awaited else None

    def settle(self, written: bool) -> int:
        """Hear of one sink; return how many records are safe since then, which is all or none."""
        with self._lock:
            self._left -= 1
            first, self._written = written and not self._written, self._written or written
            settled = self._written or not self._left
        if settled and self._settled is not None:
            self._settled.set()
        return len(self.records) if first else 0

    def wait(self, seconds: float) -> bool:
        """Wait until one sink has the records or none will; say whether one has."""
        if self._settled is not None:
            self._settled.wait(seconds)
        with self._lock:
            return self._written


class Writer:
    """
    Hands records to one sink, in their order, in a thread of its own that starts with the first.

    resumed(lost): makes the record that is written first when a sink that failed takes records again.
    on_written(count): records are in the first of their sinks. on_failed(sink, error, count): this one did not take them. Both from any thread.
    """

    def __init__(
        self,
        sink: Sink,
        resumed: Callable[[int], bytes],
        *,
        on_written: Callable[[int], None],
        on_failed: Callable[[str, str, int], None],
        queue_records: int,
        write_seconds: float,
        sync_seconds: float | None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """sync_seconds: how often the sink is synchronised; None: it does that by itself. write_seconds: a write that lasts longer counts as failing."""
        self.name = sink.name
        self._sink = sink
        self._resumed = resumed
        self._on_written, self._on_failed = on_written, on_failed
        self._queue_records = queue_records
        self._write_seconds = write_seconds
        self._sync_seconds = sync_seconds
        self._monotonic = monotonic
        self._wake = threading.Condition()
        self._queue: deque[Delivery] = deque()  # guarded by _wake
        self._queued = 0  # records in it; guarded by _wake
        self._hurry = False  # somebody waits, or the queue is half full; guarded by _wake
        self._closed = False  # guarded by _wake
        self._reopen = False  # guarded by _wake
        self._lost = 0  # records since the sink last took one; guarded by _wake
        self._writing_since: float | None = None  # guarded by _wake
        self._thread: threading.Thread | None = None  # guarded by _wake
        # The thread's alone:
        self._unsynced_since: float | None = None

    def put(self, delivery: Delivery) -> None:
        """Queue records; when the sink hangs or too many wait they have failed already."""
        with self._wake:
            refused = self._closed or self._hangs() or self._queued + len(delivery.records) > self._queue_records
            if refused:
                self._lost += len(delivery.records)
            else:
                self._enqueue(delivery)
        if refused:
            self._on_failed(self.name, "QueueFull", len(delivery.records))
            delivery.settle(written=False)

    def reopen(self) -> None:
        """Open the sink anew before the next record."""
        with self._wake:
            self._reopen = True

    @property
    def failing(self) -> bool:
        """Whether records were lost since the sink last took one, or it has been busy with one for too long."""
        with self._wake:
            return bool(self._lost) or self._hangs()

    def close(self, timeout: float) -> None:
        """Write what is queued, for at most *timeout* seconds."""
        with self._wake:
            self._closed = True
            self._wake.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join(timeout)

    def _hangs(self) -> bool:
        return self._writing_since is not None and self._monotonic() - self._writing_since > self._write_seconds

    def _enqueue(self, delivery: Delivery) -> None:
        self._queue.append(delivery)
        self._queued += len(delivery.records)
        hurries = not self._hurry and (delivery.awaited or self._queued * 2 > self._queue_records)
        self._hurry = self._hurry or hurries
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=f"audit-{self.name}", daemon=True)
            self._thread.start()
        if hurries or len(self._queue) == 1:
            self._wake.notify()

    def _run(self) -> None:
        while (batch := self._next()) is not None:
            self._write(batch)
            self._sync_if_due()
        self._sync_if_due(now=True)
        self._sink.close()

    def _next(self) -> list[Delivery] | None:
        """Wait for records, or for something else that is due: then there are none. None at the end."""
        with self._wake:
            if not self._queue and not self._closed:
                self._wake.wait(self._pause())
            if self._queue and not self._hurry and not self._closed:
                self._wake.wait_for(lambda: self._hurry or self._closed, LINGER_SECONDS)
            if self._closed and not self._queue:
                return None
            batch = [self._queue.popleft() for _ in range(min(len(self._queue), MOST_AT_ONCE))]
            self._queued -= sum(len(delivery.records) for delivery in batch)
            self._hurry = any(delivery.awaited for delivery in self._queue)
            return batch

    def _pause(self) -> float | None:
        if self._lost:
            return RETRY_SECONDS
        return self._sync_seconds if self._unsynced_since is not None else None

    def _write(self, batch: list[Delivery]) -> None:
        with self._wake:
            lost, reopen, self._reopen = self._lost, self._reopen, False
            self._writing_since = self._monotonic()
        records = [record for delivery in batch for record in delivery.records]
        error = self._hand_over([self._resumed(lost), *records] if lost else records, reopen=reopen)
        with self._wake:
            self._writing_since = None
            self._lost += len(records) if error else -lost
        if error and records:
            self._on_failed(self.name, error, len(records))
        written = sum(delivery.settle(written=not error) for delivery in batch)
        if written:
            self._on_written(written)

    def _hand_over(self, records: list[bytes], *, reopen: bool) -> str | None:
        """Return the kind of error, None if all went well."""
        try:
            if reopen:
                self._sink.close()
            if records:
                self._sink.write(records)
                self._unsynced_since = self._unsynced_since or self._monotonic()
        except Exception as exc:  # The edge of this thread: whatever it is, the next record is tried again.
            return _named(exc)
        return None

    def _sync_if_due(self, *, now: bool = False) -> None:
        if self._sync_seconds is None or self._unsynced_since is None:
            return
        if not now and self._monotonic() - self._unsynced_since < self._sync_seconds:
            return
        self._unsynced_since = None
        try:
            self._sink.sync()
        except OSError as exc:
            self._on_failed(self.name, _named(exc), 1)


def _named(exc: Exception) -> str:
    """Return what went wrong, by the system's name for it where it has one."""
    return errno.errorcode.get(exc.errno or 0, type(exc).__name__) if isinstance(exc, OSError) else type(exc).__name__
