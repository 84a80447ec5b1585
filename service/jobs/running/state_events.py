"""
What minions say of states that have ended, while their job goes on: shown to those who follow it, and no part of what it comes to.

A minion fires `salt/job/JID/prog/MINION/NUMBER` for each state with `state_events`, an argument of some state functions, or an option of its own or its master.
Any minion can fire the like in the name of another: in the form of a list of events the master vouches for nothing in them.
Source: State.event in salt/state.py, and AESFuncs._minion_event in salt/master.py.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from service.batcher import Batcher
from service.events.checked import Odd, checked
from service.events.event import Event
from service.events.payload import Payload, Undecodable, text_of
from service.jobs.running.findings import StatesReport, end_of
from service.jobs.running.opened import EARLY_BYTES, MOST_HAPPENINGS, OpenJob
from service.observe.metrics.domains import StateEventEnd
from service.observe.redact import redact_text

# Larger ones are not decoded; one has all that its state has changed.
STATE_BYTES = 256 * 1024
MOST_OF_A_MINION = 1000
# What is told of a minion beside its states has its place, whatever they take.
KEPT_FOR_A_MINION = 3
LONGEST_NAME = 500
LONGEST_COMMENT = 1000
# Of what waits for the thread, and of what waits for a job's publish; the rest is for returns.
SHARE = 0.25
# How a state that runs beside the others is told at its beginning; of its end minions tell nothing. Source: State.call_parallel in salt/state.py.
_PARALLEL = "in a separate process"


class StateEvents:
    """Of all jobs. `fits` runs on the bus thread, `take` on the thread `jobs`. touched: the jids of jobs that it stores next."""

    def __init__(self, report: StatesReport, touched: set[str]) -> None:
        self._report, self._touched = report, touched

    def fits(self, event: Event, queue: Batcher[Any]) -> bool:
        """Say whether an event may wait: one of a state only while there is much room left for returns."""
        if event.origin[0] != "job_prog":
            return True
        has_room = event.size <= STATE_BYTES and queue.fill < SHARE
        if not has_room:
            self._report.job_state_event("dropped")
        return has_room

    def take(self, job: OpenJob, event: Event, at: float) -> None:
        """Note what a minion of the job says of a state of its own, once. at: Unix time."""
        if job.account is None and not job.is_over:
            self._keep(job, event)
            return
        try:
            self._report.job_state_event(self._told(job, event, at))
        except Odd as odd:
            self._report.job_state_event("odd", odd.kind)
        except Undecodable:
            self._report.job_state_event("odd", "field")

    def _keep(self, job: OpenJob, event: Event) -> None:
        """Keep one until the account is opened."""
        if job.early_bytes + event.size <= SHARE * EARLY_BYTES:
            job.keep(event)
        else:
            self._report.job_state_event("dropped")

    def _told(self, job: OpenJob, event: Event, at: float) -> StateEventEnd:
        """Tell of a state, and say so, or why not. Raises Odd and Undecodable."""
        minion, number = event.state
        if not (number.isascii() and number.isdecimal() and len(number) <= 6):
            raise Odd("tag")
        if job.account is None or not job.account.awaits(minion):
            if job.account is None or minion not in job.account.parts:
                raise Odd("unexpected")
            return "late"
        told = job.states_told.setdefault(minion, set())
        if int(number) in told:
            return "repeated"
        if len(told) >= MOST_OF_A_MINION or job.happened + KEPT_FOR_A_MINION * len(job.account.parts) >= MOST_HAPPENINGS:
            return "dropped"
        body = _body_of(event, int(number))
        told.add(int(number))
        job.note_state(minion, body, at)
        self._touched.add(job.record.jid)
        return "told"


def _body_of(event: Event, number: int) -> dict[str, Any]:
    """Return what is told of a state. Raises Odd and Undecodable."""
    payload = Payload(event.payload)
    data = checked(event, payload.fields)["data"]
    chunk = data.get("ret")
    if not isinstance(chunk, dict) or not isinstance(chunk.get("result", ...), bool | None):
        raise Odd("field")
    if chunk.get("__run_num__", number) != number:
        raise Odd("identity")
    result = end_of(chunk)
    if result == "would_change" and _PARALLEL in text_of(chunk, "comment"):
        result = "started"
    return {
        "number": number,
        "of": _count(data.get("len")),
        "result": result,
        "id": _text(chunk, "__id__", LONGEST_NAME),
        "sls": _text(chunk, "__sls__", LONGEST_NAME),
        "name": _text(chunk, "name", LONGEST_NAME),
        "seconds": _seconds(chunk.get("duration")),
        "comment": None if result == "unchanged" else _text(chunk, "comment", LONGEST_COMMENT),
    }


def _text(chunk: Mapping[str, Any], name: str, most: int) -> str | None:
    return redact_text(text_of(chunk, name)[:most])[:most] or None


def _count(value: object) -> int | None:
    return value if type(value) is int and 0 < value < 10**6 else None


def _seconds(milliseconds: object) -> float | None:
    if isinstance(milliseconds, bool) or not isinstance(milliseconds, int | float) or not 0 <= milliseconds < math.inf:
        return None
    return round(milliseconds / 1000, 3)
