"""Tells of jobs that are over. What is to be told stands in the store until it was taken, or was tried often enough, so a restart loses none."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Literal, Protocol
from urllib.parse import urlsplit

from service.batcher import Batcher
from service.errors import InvalidConfiguration, StorageUnavailable
from service.http.media import encode, moment
from service.jobs.outcome import codes_of
from service.jobs.stores.store import JobRecord, Store

# That are sent at one time.
MOST_SENT = 4
# Between the tries; after the last one it is given up.
PAUSES_SECONDS = (5.0, 30.0, 120.0, 600.0)
TRIES = len(PAUSES_SECONDS) + 1
TRY_SECONDS = 10.0
# Most that are thought of at one time; others wait in the store.
MOST_AT_ONCE = 1000
TICK_SECONDS = 1.0
EVENT = "job.over"

# Sends a body to a URL; see delivery.py, and raises InvalidConfiguration when there is no secret to sign it with.
Send = Callable[[str, bytes], str | None]


class NoticesReport(Protocol):
    """Hears what becomes of notices."""

    def job_notified(self, jid: str, to: str, tries: int) -> None:
        """A notice was taken. to: the host."""

    def job_not_notified(self, jid: str, to: str, tries: int, reason: str, *, given_up: bool) -> None:
        """A notice was not taken."""

    def handler_crashed(self, consumer: str) -> None:
        """A bug; called inside the `except`."""


@dataclasses.dataclass
class _Notice:
    """One that stands in the store. due: of the next try, on the monotonic clock. state: `over` when it was taken or given up, and is to be removed."""

    due: float
    tries: int = 0
    state: Literal["waiting", "sending", "over"] = "waiting"


@dataclasses.dataclass(frozen=True)
class _Tried:
    """What became of a try. to: the host; nothing where the job is gone. reason: why it was not taken."""

    jid: str
    to: str
    reason: str | None


class Notifier:
    """
    Sends notices from threads of its own, each a few times, with growing pauses.

    is_allowed(url): the settings still allow it.
    """

    def __init__(
        self,
        store: Store,
        send: Send,
        is_allowed: Callable[[str], bool],
        report: NoticesReport,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        tick_seconds: float = TICK_SECONDS,
    ) -> None:
        self._store, self._send, self._is_allowed, self._report = store, send, is_allowed, report
        self._monotonic = monotonic
        self._notices: dict[str, _Notice] = {}  # by jid; the thread's
        self._is_stopping = False
        self._batcher: Batcher[_Tried] = Batcher(
            "notify",
            self._handle,
            limit_items=MOST_AT_ONCE,
            idle_seconds=lambda: tick_seconds,
            on_crash=lambda _batch: report.handler_crashed("notify"),
        )

    def start(self) -> None:
        """Send what was left, and what comes."""
        self._batcher.start()

    def stop(self, timeout: float = 2.0) -> None:
        """Send no more; what is being sent is not waited for, and is sent again after the next start."""
        self._is_stopping = True
        self._batcher.stop(timeout)

    # The thread.

    def _handle(self, tried: list[_Tried]) -> None:
        now = self._monotonic()
        for one in tried:
            self._take(one, now)
        with contextlib.suppress(StorageUnavailable):
            self._exchange(now)
        for jid in () if self._is_stopping else self._due(now):
            self._notices[jid].state = "sending"
            # Not of a pool: the end of the process would wait for its threads.
            threading.Thread(target=self._try, args=(jid,), name="notice", daemon=True).start()

    def _take(self, tried: _Tried, now: float) -> None:
        notice = self._notices[tried.jid]
        notice.tries += 1
        notice.state = "waiting"
        if tried.reason is None:
            notice.state = "over"
            if tried.to:
                self._report.job_notified(tried.jid, tried.to, notice.tries)
            return
        given_up = notice.tries >= TRIES
        if given_up:
            notice.state = "over"
        else:
            notice.due = now + PAUSES_SECONDS[notice.tries - 1]
        self._report.job_not_notified(tried.jid, tried.to, notice.tries, tried.reason, given_up=given_up)

    def _exchange(self, now: float) -> None:
        """Remove from the store what is over, and hear of what is new there."""
        over = [jid for jid, notice in self._notices.items() if notice.state == "over"]
        if over:
            self._store.noticed(over)
            for jid in over:
                del self._notices[jid]
        for jid in self._store.notices(MOST_AT_ONCE):
            self._notices.setdefault(jid, _Notice(now))

    def _due(self, now: float) -> list[str]:
        sending = sum(notice.state == "sending" for notice in self._notices.values())
        due = [(notice.due, jid) for jid, notice in self._notices.items() if notice.state == "waiting" and notice.due <= now]
        return [jid for _, jid in sorted(due)[: MOST_SENT - sending]]

    # The threads that send.

    def _try(self, jid: str) -> None:
        to, reason = "", None
        try:
            record = self._store.job(jid)
            if record is not None:
                url = record.request["notify"]
                to = urlsplit(url).hostname or ""
                reason = self._send(url, message(record, self._store)) if self._is_allowed(url) else "jobs.notify_urls allows it no longer"
        except (StorageUnavailable, InvalidConfiguration) as exc:
            reason = str(exc)
        except Exception:
            self._report.handler_crashed("notify")
            reason = "crashed"
        self._batcher.put(_Tried(jid, to, reason), items=0)


def message(record: JobRecord, store: Store) -> bytes:
    """Return what is told of a job: how it is now, under an id that stays the same if it is told twice."""
    codes = codes_of(record.status, record.cause)
    parts = store.parts(record.jid, bodies=False).values()
    told: dict[str, Any] = {
        "id": f"{record.jid}.over",
        "event": EVENT,
        **{name: getattr(record, name) for name in ("jid", "parent", "owner", "status", "cause", "expected", "revision")},
        "exit_code": codes and codes[0],
        **{name: record.request[name] for name in ("client", "fun", "cause_url")},
        "since": moment(record.since),
        "finished": None if record.finished is None else moment(record.finished),
        "counts": dict(Counter(part.status for part in parts)),
    }
    return encode(told)
