"""Masters that are busy or away: who is in flight, who comes new, and what needs no master at all."""

from __future__ import annotations

import threading

from tests.attack.scene import Attack, Scene, Seen
from tests.real.callers import Callers, frozen, master_pids, worker_pids

BUSY_SECONDS = 8.0
# What the attack waits for; the product's own is 60 s.
SOON = {"MASTER_BUSY_SECONDS": 4, "MASTER_RPC_TIMEOUT_SECONDS": 10}


def all_workers_busy(scene: Scene) -> Seen:
    """Stop the master's workers for some seconds, with one call in flight and others to come."""
    with scene.fresh() as sidecar:
        callers = Callers(sidecar.api_port, scene.salt)
        callers.local().result(60)
        with frozen(worker_pids(scene.salt)):
            calls = [callers.local()]
            threading.Event().wait(BUSY_SECONDS)
            ready = sidecar.ops("/readyz").status
            calls += [callers.local(), callers.login()]
        in_flight, *new = (call.result(60).status for call in calls)
        downs = len(sidecar.lines("master.down"))
        callers.close()
    return Seen(f"in flight {in_flight}, new {new}, /readyz {ready}, down {downs} times", (in_flight, *new, ready, downs) == (200, 200, 200, 200, 0))


def no_master_at_all(scene: Scene) -> Seen:
    """Freeze the master until it counts as down; then poll `/stats` as SaltGUI does."""
    with scene.fresh(**SOON) as sidecar:
        callers = Callers(sidecar.api_port, scene.salt)
        first = callers.stats().result(60).status
        with frozen(master_pids(scene.salt)):
            sidecar.wait_not_ready()
            away = callers.stats().result(60).status
            ended = callers.stream.ended_at is not None
        callers.close()
        sidecar.wait_ready()
    return Seen(f"/stats {first}, then {away}; the stream {'ended' if ended else 'goes on'}", (first, away, ended) == (200, 200, False))


ATTACKS = [
    Attack("F22", f"all workers busy for {BUSY_SECONDS:g} s", "503 in flight and new, called down", all_workers_busy),
    Attack("F23", "GET /stats with the master away", "503, and SaltGUI logs out", no_master_at_all),
]
