"""How a rolling job begins: who of its target is there, which waves they are dealt out to, and the first of these."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Collection
from typing import Protocol

from service.errors import Fault
from service.gateway.clients.batch import Present
from service.gateway.clients.local import Request
from service.gateway.clients.result import LowResult
from service.gateway.low import Low
from service.jobs.job_request import JobRequest
from service.jobs.running.inquiries import DOUBTFUL
from service.jobs.running.running_jobs import RunningJobs
from service.jobs.wave_plan import Turns, plan

RunLow = Callable[[Low, Request], LowResult]
# Longest wait for the answers to a ping, before the silent are asked once more.
PING_SECONDS = 30.0


class PingingRunner(Protocol):
    """The gateway's runner, or a fake of it."""

    def run(self, low: Low, request: Request) -> LowResult:
        """Run one low."""

    def start_ssh(self, low: Low, request: Request) -> LowResult:
        """Start what a low for ssh asks for."""

    def present(self, low: Low, request: Request) -> Present:
        """Ping whom a low is for."""


class Rollouts:
    """Called from request threads, once the request's low has been checked, and its intent is stored."""

    def __init__(self, master: PingingRunner, running: RunningJobs) -> None:
        self._master = master
        self._running = running

    def runs(self, jid: str, asked: JobRequest) -> RunLow | None:
        """Return what starts a job in the gateway's place, where that would wait for its end or publish it to all at once; None for others."""
        if asked.client == "ssh":
            return self._master.start_ssh
        return None if asked.batch is None else functools.partial(self._begin, jid, asked)

    def is_unsent(self, jid: str, asked: JobRequest) -> bool:
        """Say whether a job certainly was not published: its minions are still to be found."""
        return asked.batch is not None and not self._running.waves.planned(jid)

    def _begin(self, jid: str, asked: JobRequest, low: Low, request: Request) -> LowResult:
        """
        Publish the first wave of a job, after the plan of all is stored; one that has a plan goes by that. Value: as of `local_async`.

        Raises what pinging and publishing raise.
        """
        if not self._running.waves.planned(jid):
            present = self._master.present(_pinging(low), request)
            if not (present.answered or present.silent or present.no_key):
                return LowResult({}, "no_match")
            self._running.waves.plan(jid, turns_of(present, asked), asked)
        first = self._running.waves.planned(jid)
        if not first:
            return LowResult({"jid": jid, "minions": []}, "partial", jid)
        try:
            done = self._master.run(dataclasses.replace(low, fields={**low.fields, "tgt": first, "tgt_type": "list"}), request)
        except DOUBTFUL:
            raise
        except Fault:
            self._running.waves.forget(jid)
            raise
        return done._replace(value=done.value or {"jid": jid, "minions": []})


def _pinging(low: Low) -> Low:
    """Return a low whose ping the caller, who waits for it, need not wait for too long."""
    if low.fields.get("timeout", 0) <= PING_SECONDS:
        return low
    return dataclasses.replace(low, fields={**low.fields, "timeout": PING_SECONDS})


def turns_of(present: Present, asked: JobRequest) -> Turns:
    """Deal minions out to waves: those that a list names in its order, others in that of their names."""
    order = {minion: place for place, minion in reversed([*enumerate(_named(asked))])}
    minions = sorted(present.answered, key=lambda minion: (order.get(minion, len(order)), minion))
    return Turns(plan(minions, asked.batch or 1), present.silent, present.no_key)


def without_key(asked: JobRequest, minions: Collection[str]) -> list[str]:
    """Return whom a list names that the master does not know: of nobody else it says so."""
    return sorted({*_named(asked)} - {*minions, ""})


def _named(asked: JobRequest) -> list[str]:
    if asked.tgt_type != "list":
        return []
    return asked.tgt if isinstance(asked.tgt, list) else [name.strip() for name in str(asked.tgt).split(",")]
