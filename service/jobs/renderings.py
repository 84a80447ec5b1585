"""A job as a text for people and as a report of tests, for the pages of pipelines."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from typing import Any

from service.jobs.followers import AT_ONCE, line_of
from service.jobs.outcome import OPEN
from service.jobs.running.followed_sequences import steps_of
from service.jobs.stores.store import JobRecord, PartRecord, Store

# What XML 1.0 has no way to write.
_UNWRITABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def log_of(store: Store, jid: str) -> bytes:
    """Return all that has happened to a job, a line each."""
    return b"".join(_lines(store, jid))


def _lines(store: Store, jid: str) -> Iterator[bytes]:
    after = 0
    while news := store.happenings(jid, after, AT_ONCE):
        yield from map(line_of, news)
        after = news[-1].seq


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
    return _UNWRITABLE.sub("\ufffd", str(text))
