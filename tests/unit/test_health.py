"""Health: every check by its name, and a process that stops is not ready."""

from __future__ import annotations

from service.health import Check, Health


def test_a_report_asks_every_check_anew() -> None:
    states = [Check(ok=False, reason="down"), Check(ok=True, reason="answers")]
    health = Health({"master": lambda: states.pop(0)})

    assert health.report() == {"process": Check(ok=True, reason="serving"), "master": Check(ok=False, reason="down")}
    assert health.report()["master"] == Check(ok=True, reason="answers")


def test_a_draining_process_says_so_and_stays_so() -> None:
    health = Health({})
    before = health.draining
    health.drain()
    health.drain()

    assert (before, health.draining) == (False, True)
    assert health.report() == {"process": Check(ok=False, reason="draining")}
