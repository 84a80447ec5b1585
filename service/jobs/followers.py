"""Who follows a job: what happens to it, from its beginning or from where a caller left off, until it is over."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, Literal

from service.bounded import Bounded
from service.http.media import encode
from service.jobs.outcome import OPEN
from service.jobs.running.watched_jobs import WatchedJobs
from service.jobs.stores.store import Happening, JobRecord, Store

# Of one look into the store; a slow reader falls behind there, not in memory.
AT_ONCE = 200
# Longest sleep between two looks into the store: at a job that is followed elsewhere, and at one of whose news we are told.
LOOK_SECONDS = 1.0
TOLD_LOOK_SECONDS = 10.0
# What is kept of what was read for others: so many pieces, none larger.
MOST_READINGS = 64
READING_BYTES = 64 * 1024


@dataclasses.dataclass(frozen=True)
class Form:
    """How happenings are written. beat: sent when there are none for a while."""

    content_type: str
    write: Callable[[Happening], bytes]
    beat: bytes


@dataclasses.dataclass(frozen=True)
class Written:
    """Happenings as bytes. last: the number of the last one. received_at: when they were read, on the monotonic clock."""

    data: bytes
    count: int
    last: int
    received_at: float


class Readings:
    """What was read lately of jobs that go on: of all who are waiting at one place, one reads for the others. Called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: Bounded[tuple[object, ...], Future[Written | None]] = Bounded(MOST_READINGS)  # guarded by _lock

    def get(self, place: tuple[object, ...], read: Callable[[], Written | None]) -> Written | None:
        """Return what there is at a place, of which it is certain that it will not change. Raises what *read* does."""
        with self._lock:
            found = self._known.get(place)
            is_ours = found is None
            if found is None:
                found = self._known[place] = Future()
        if is_ours:
            self._read(place, found, read)
        return found.result()

    def _read(self, place: tuple[object, ...], found: Future[Written | None], read: Callable[[], Written | None]) -> None:
        kept = False
        try:
            written = read()
            found.set_result(written)
            kept = written is not None and len(written.data) <= READING_BYTES
        except Exception as exc:
            found.set_exception(exc)
        finally:
            if not kept:
                with self._lock:
                    self._known.pop(place, None)


class JobFollower:
    """
    The happenings of one job, for one stream. after: the number of the last one that is known already. readings: those of all followers.

    lend(record): told when the job's owner can help it on, who may be the one that follows it.
    ended: why there will be no more: the job is `over`, or the process stops.
    """

    last_message = b""

    def __init__(self, store: Store, watched: WatchedJobs, readings: Readings, jid: str, *, after: int, form: Form, lend: Callable[[JobRecord], None]) -> None:
        self._store, self._watched, self._readings = store, watched, readings
        self._jid = jid
        self._after = after
        self._form, self._lend = form, lend
        self.ended: Literal["over", "shutdown"] | None = None

    def next(self, timeout: float) -> Written | None:
        """Return what happened since the last time, or within *timeout* seconds; None if nothing did, and at the end."""
        told = self._watched.wait_for_news(self._jid, self._after, min(timeout, TOLD_LOOK_SECONDS))
        place = (self._jid, self._after, told, self._form.content_type)
        written = self._readings.get(place, self._read) if told > self._after else self._read()
        if written is not None:
            self._after = written.last
        elif not self._is_over() and self._watched.get(self._jid) is None:
            self._store.wait(self._jid, lambda job: job.happened > self._after or job.status not in OPEN, min(timeout, LOOK_SECONDS))
        return written

    def _read(self) -> Written | None:
        news = self._store.happenings(self._jid, self._after, AT_ONCE)
        return Written(b"".join(map(self._form.write, news)), len(news), news[-1].seq, time.monotonic()) if news else None

    def _is_over(self) -> bool:
        record = self._store.job(self._jid)
        if record is None or (record.status not in OPEN and record.happened <= self._after):
            self.ended = "over"
        elif self._watched.is_ending:
            self.ended = "shutdown"
        elif record.lacks_owner:
            self._lend(record)
        return self.ended is not None


def shown(happening: Happening) -> Mapping[str, Any]:
    """Return a happening as an object."""
    minion = {} if happening.minion is None else {"minion": happening.minion}
    return {"seq": happening.seq, "at": round(happening.at, 3), "event": happening.kind, **minion, **happening.body}


def _sse(happening: Happening) -> bytes:
    return b"id: %d\nevent: %b\ndata: %b\n\n" % (happening.seq, happening.kind.encode(), encode(shown(happening)))


def line_of(happening: Happening) -> bytes:
    """Return a line for people; what minions have sent stays on it."""
    told = happening.body
    if happening.kind == "state":
        return _state_line(happening)
    whose = happening.minion if happening.minion is not None else f"step {told['step']}" if happening.kind == "step" else "job"
    what = f"{whose}: {told.get('status') or _wave(told) or happening.kind}"
    reason = told.get("reason") or told.get("cause") or (told["why"] if told.get("status") == "not_run" else None)
    why = f" ({reason})" if reason else ""
    failed = [f"    {one['fun']} {one['name']}: {one['comment']}" for one in told.get("failures", ())]
    lines = [f"{_moment(happening)} {what}{why}", *failed]
    return "".join(f"{' '.join(line.split())}\n" if line is lines[0] else f"    {' '.join(line.split())}\n" for line in lines).encode("utf-8", "replace")


def _moment(happening: Happening) -> str:
    return time.strftime("%H:%M:%S", time.gmtime(happening.at))


def _state_line(happening: Happening) -> bytes:
    told = happening.body
    names = ": ".join(dict.fromkeys(told[name] for name in ("id", "name") if name in told))
    took = f" ({told['seconds']:.1f} s)" if "seconds" in told else ""
    line = f"{_moment(happening)} {happening.minion}: state {told['number']} {told['result']}: {names}{took}"
    return f"{' '.join(line.split())}\n".encode("utf-8", "replace")


def _wave(told: Mapping[str, Any]) -> str | None:
    if "wave" not in told:
        return None
    return f"wave {told['wave']} of {told['of']}" + (" waits for its owner" if told.get("needs_owner") else f", {told['minions']} minions")


# By media type; the first one is also for who accepts anything.
FORMS: Mapping[str, Form] = {
    "text/event-stream": Form("text/event-stream;charset=utf-8", _sse, b"retry: 400\n"),
    "application/x-ndjson": Form("application/x-ndjson", lambda happening: encode(shown(happening)) + b"\n", b"\n"),
    "text/plain": Form("text/plain;charset=utf-8", line_of, b"\n"),
}
