"""Health: every check by its name and since when, and a process that stops is not ready."""

from __future__ import annotations

import itertools

from service.readiness import Check, Readiness, Since


def test_a_report_asks_every_check_anew_and_says_since_when_it_stands_so() -> None:
    moments = itertools.count(1.0)
    states = [(False, "refused"), (False, "no ping"), (True, "answers")]
    health = Readiness({"master": lambda: states.pop(0)}, Since(lambda: next(moments)))

    assert health.report() == {"process": Check(ok=True, reason="serving", since=1.0), "master": Check(ok=False, reason="refused", since=2.0)}
    assert health.report()["master"] == Check(ok=False, reason="no ping", since=2.0)
    assert health.report()["master"] == Check(ok=True, reason="answers", since=3.0)


def test_a_draining_process_says_so_and_stays_so() -> None:
    health = Readiness({}, Since(lambda: 7.0))
    before = health.draining
    health.drain()
    health.drain()

    assert (before, health.draining) == (False, True)
    assert health.report() == {"process": Check(ok=False, reason="draining", since=7.0)}
