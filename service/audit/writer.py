"""The writers: a thread for each sink, so that a disk that hangs delays no request for longer than `audit.write_seconds`."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable, Sequence

from service.audit.sinks import Sink
from service.batcher import Batcher

# Time for which records that nobody waits for are collected: one write and one thread switch cost more than many records.
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
        linger_seconds: float = LINGER_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """sync_seconds: how often the sink is synchronised; None: it does that by itself. write_seconds: a write that lasts longer counts as failing."""
        self.name = sink.name
        self._sink = sink
        self._resumed = resumed
        self._on_written, self._on_failed = on_written, on_failed
        self._write_seconds = write_seconds
        self._sync_seconds = sync_seconds
        self._monotonic = monotonic
        self._batcher: Batcher[Delivery] = Batcher(
            f"audit-{self.name}",
            self._handle,
            limit_items=queue_records,
            most_at_once=MOST_AT_ONCE,
            linger_seconds=linger_seconds,
            idle_seconds=self._pause,
            on_crash=lambda batch: self._fail(batch, "Crashed"),
            at_end=self._end,
        )
        self._lock = threading.Lock()
        self._reopen = False  # guarded by _lock
        self._lost = 0  # records since the sink last took one; changed under _lock
        self._writing_since: float | None = None  # changed under _lock
        # The thread's alone:
        self._unsynced_since: float | None = None

    def put(self, delivery: Delivery) -> None:
        """Queue records; when the sink hangs or too many wait they have failed already."""
        records = len(delivery.records)
        if self._hangs() or not self._batcher.put(delivery, items=records, urgent=delivery.awaited):
            self._fail([delivery], "QueueFull")

    def reopen(self) -> None:
        """Open the sink again before the next record."""
        with self._lock:
            self._reopen = True

    @property
    def failing(self) -> bool:
        """Whether records were lost since the sink last took one, or it has been busy with one for too long."""
        return self._lost > 0 or self._hangs()

    def close(self, timeout: float) -> None:
        """Write what is queued, for at most *timeout* seconds."""
        self._batcher.stop(timeout)

    def _hangs(self) -> bool:
        since = self._writing_since
        return since is not None and self._monotonic() - since > self._write_seconds

    def _fail(self, batch: Sequence[Delivery], error: str) -> None:
        count = sum(len(delivery.records) for delivery in batch)
        with self._lock:
            self._lost += count
        self._on_failed(self.name, error, count)
        for delivery in batch:
            delivery.settle(written=False)

    # The thread.

    def _pause(self) -> float | None:
        if self._lost:
            return RETRY_SECONDS
        return self._sync_seconds if self._unsynced_since is not None else None

    def _handle(self, batch: list[Delivery]) -> None:
        self._write(batch)
        self._sync_if_due()

    def _end(self) -> None:
        self._sync_if_due(now=True)
        self._sink.close()

    def _write(self, batch: list[Delivery]) -> None:
        records = [record for delivery in batch for record in delivery.records]
        self._batcher.release(len(records))
        with self._lock:
            lost, reopen, self._reopen = self._lost, self._reopen, False
            self._writing_since = self._monotonic()
        error = self._hand_over([self._resumed(lost), *records] if lost else records, reopen=reopen)
        if error and batch:
            self._fail(batch, error)
        with self._lock:
            self._writing_since = None
            self._lost -= 0 if error else lost
        written = 0 if error else sum(delivery.settle(written=True) for delivery in batch)
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
