"""A job as a text for people and as a report of tests, for the pages of pipelines."""

from __future__ import annotations

import functools
import re
import threading
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from typing import Any, NamedTuple

from service.bounded import Bounded
from service.jobs.followers import AT_ONCE, line_of
from service.jobs.outcome import OPEN
from service.jobs.running.followed_sequences import steps_of
from service.jobs.stores.store import JobRecord, PartRecord, Store

# Logs of which places are remembered. A job has 25,000 happenings at most (running/opened.py), a hundred pages; readers that keep up are at one of the last ends.
MOST_LOGS = 256
MOST_MARKS = 200
MOST_ENDS = 16


class LogPart(NamedTuple):
    """A job's log from some byte on. end: how many bytes the whole log has so far."""

    data: bytes
    end: int


class _Marks:
    """Known places in one job's log, as byte -> the number of the happening that ends there: a grid over it, and where it ended lately."""

    def __init__(self) -> None:
        self._grid: Bounded[int, int] = Bounded(MOST_MARKS)
        self._ends: Bounded[int, int] = Bounded(MOST_ENDS)
        self._reached = 0

    def before(self, first: int) -> tuple[int, int]:
        """Return the last place that is not beyond a byte."""
        return max((place for places in (self._grid, self._ends) for place in places.items() if place[0] <= first), default=(0, 0))

    def add(self, byte: int, seq: int) -> None:
        if seq >= self._reached + AT_ONCE:
            self._reached = self._grid[byte] = seq

    def add_end(self, byte: int, seq: int) -> None:
        self._ends[byte] = seq


class JobLogs:
    """
    Jobs as text, a line for each happening. Called from any thread.

    What has happened does not change, so where a line ended once, it ends for good: who reads on where the log ended lately costs what is new,
    and who reads on anywhere else some hundred lines more. Only the first reader of a job costs the whole of it.
    """

    def __init__(self, most_jobs: int = MOST_LOGS) -> None:
        self._lock = threading.Lock()
        self._known: Bounded[str, _Marks] = Bounded(most_jobs)  # by jid; guarded by _lock

    def read(self, store: Store, jid: str, first: int) -> LogPart:
        """Return all that has happened to a job, from a byte on; nothing from beyond the end."""
        with self._lock:
            end, seq = self._known[jid].before(first) if jid in self._known else (0, 0)
        pages: list[bytes] = []
        places: list[tuple[int, int]] = []
        while news := store.happenings(jid, seq, AT_ONCE):
            page = b"".join(map(line_of, news))
            pages.append(page[max(0, first - end) :])
            end, seq = end + len(page), news[-1].seq
            places.append((end, seq))
        self._note(jid, places)
        return LogPart(b"".join(pages), end)

    def _note(self, jid: str, places: list[tuple[int, int]]) -> None:
        with self._lock:
            # Set again, so that jobs that nobody reads any more go first.
            marks = self._known[jid] = self._known.get(jid) or _Marks()
            for place in places:
                marks.add(*place)
            if places:
                marks.add_end(*places[-1])


def junit_of(store: Store, record: JobRecord) -> bytes:
    """Return a job as JUnit's XML: a test case for each minion; one that is not well failed, one of which nothing is known has an error, one that was not run is skipped. Of steps each is a suite."""
    root = _suite_of(record, store.parts(record.jid, bodies=False))
    if record.request["client"] == "steps":
        root = ET.Element("testsuites", name=root.get("name", ""))
        for number, step in enumerate(steps_of(store, record)):
            root.append(_unbegun(number) if step is None else _suite_of(step, store.parts(step.jid, bodies=False)))
    written: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return written


def _unbegun(number: int) -> ET.Element:
    """Return the suite of a step that was not begun."""
    suite = ET.Element("testsuite", name=f"step {number}", tests="1", failures="0", errors="0", skipped="1")
    ET.SubElement(ET.SubElement(suite, "testcase", name="not_begun"), "skipped")
    return suite


def _suite_of(record: JobRecord, parts: Mapping[str, PartRecord]) -> ET.Element:
    fun = record.request["fun"]
    name = fun if isinstance(fun, str) else ",".join(fun)
    suite = ET.Element("testsuite", name=_clean(name), id=record.jid, tests=str(len(parts)))
    counts = {"failure": 0, "error": 0, "skipped": 0}
    for minion, part in parts.items():
        case = ET.SubElement(suite, "testcase", classname=_clean(name), name=_clean(minion))
        kind = _kind_of(part, over=record.status not in OPEN)
        if kind is not None:
            counts[kind] += 1
            element = ET.SubElement(case, kind, message=_clean(part.reason or part.why or part.status))
            element.text = _clean("\n".join(f"{one['fun']} {one['name']}: {one['comment']}" for one in part.flags.get("failures", ())))
    for kind, attribute in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
        suite.set(attribute, str(counts[kind]))
    return suite


def _kind_of(part: PartRecord, *, over: bool) -> str | None:
    if part.status == "ok":
        return None
    if part.status == "not_run" or (part.status in {"waiting", "running"} and not over):
        return "skipped"
    return "failure" if part.status == "failed" else "error"


def _clean(text: Any) -> str:
    return _unwritable().sub("\ufffd", str(text))


@functools.cache
def _unwritable() -> re.Pattern[str]:
    """Return what XML 1.0 has no way to write. It takes four milliseconds to compile, a hundredth of the start."""
    return re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
