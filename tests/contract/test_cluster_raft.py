"""What docs/scale-out.md says of Salt's own consensus: a master that comes back and leads has committed nothing, so it answers nobody, until a new entry is made."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest

# Salt 3008 has it, older ones know no such clusters.
raft = pytest.importorskip("salt.cluster.consensus.raft.node")
entries = pytest.importorskip("salt.cluster.consensus.raft.log")

# Election timeouts in milliseconds: who has the short ones is elected.
SHORT, LONG = (800, 900), (2000, 2500)
# Longer than any operator waits.
TEN_MINUTES = 600.0


class Timer:
    """A call that is due; it may be cancelled."""

    def __init__(self, call: Callable[[], None]) -> None:
        self.call = call

    def cancel(self) -> None:
        self.call = lambda: None


class Clock:
    """The time of one process, which ends with it. `Node` asks whoever schedules for the time."""

    def __init__(self) -> None:
        self.time = 0.0
        self._due: list[tuple[float, int, Timer]] = []
        self._numbers = itertools.count()

    def schedule(self, seconds: float, call: Callable[[], None]) -> Timer:
        timer = Timer(call)
        heapq.heappush(self._due, (self.time + seconds, next(self._numbers), timer))
        return timer

    @property
    def next_at(self) -> float:
        return self._due[0][0] if self._due else math.inf

    def ring(self) -> None:
        heapq.heappop(self._due)[2].call()


class Disk:
    """What a master has stored; it outlives the process."""

    def __init__(self) -> None:
        self.state: dict[str, Any] = {}
        self.log: list[Any] = []

    def save_state(self, term: int, voted_for: str | None, leader_id: str | None = None) -> None:
        self.state = {"term": term, "voted_for": voted_for, "leader_id": leader_id}

    def load_state(self) -> dict[str, Any]:
        return self.state

    def save_log(self, log: list[Any]) -> None:
        self.log = list(log)

    def append_log(self, entry: Any) -> None:
        self.log.append(entry)

    def load_log(self) -> list[Any]:
        return list(self.log)

    def load_snapshot(self) -> None:
        """There is none without `cluster_max_log_size`."""


class Masters:
    """Salt's own nodes, over a network and a clock of ours: a message arrives at once if its receiver runs."""

    def __init__(self, *names: str) -> None:
        self._names = names
        self._disks = {name: Disk() for name in names}
        self._clocks: dict[str, Clock] = {}
        self._time = 0.0
        self.running: dict[str, Any] = {}

    def start(self, name: str, timeouts: tuple[int, int]) -> None:
        """Start a master as `RaftService` does, with what it has on its disk."""
        node = raft.Node(name, storage=self._disks[name], _follower_min=timeouts[0], _follower_max=timeouts[1])
        self._clocks[name] = Clock()
        node.register_schedule_timeout(self._clocks[name].schedule)
        self._set(self._time)
        node.peers = [Wire(self, other) for other in self._names if other != name]
        node.log.register_state_machine("routing_sm", entries.RoutingStateMachine())
        node.reconcile_membership()
        self.running[name] = node
        node.become_follower()

    def kill(self, name: str) -> None:
        del self.running[name], self._clocks[name]

    def pass_time(self, seconds: float) -> None:
        end = self._time + seconds
        while (first := min(self._clocks.values(), key=lambda clock: clock.next_at)).next_at <= end:
            self._set(first.next_at)
            first.ring()
        self._set(end)

    def _set(self, now: float) -> None:
        self._time = now
        for clock in self._clocks.values():
            clock.time = now

    @property
    def leader(self) -> str:
        (name,) = (name for name, node in self.running.items() if node.state == raft.NodeState.LEADER)
        return str(name)

    def serves(self, name: str) -> bool:
        """Say whether a master answers requests: it does once it has committed an entry that calls it a voter (`RaftService._on_membership_change`)."""
        return name in self.running[name].membership_sm.current_voters()

    def add(self, kind: str, what: dict[str, Any]) -> None:
        """Have the leader make an entry."""
        self.running[self.leader].log_add(what, entry_type=getattr(entries.LogEntryType, kind))
        self.pass_time(1)


class Wire:
    """One master as another one sees it."""

    def __init__(self, masters: Masters, name: str) -> None:
        self._masters, self.node_id, self.address, self.voting = masters, name, name, True

    def __getattr__(self, call: str) -> Callable[..., None]:
        def send(*args: Any, **kwargs: Any) -> None:
            if self.node_id in self._masters.running:
                getattr(raft.Peer(self._masters.running[self.node_id], self.node_id), call)(*args, **kwargs)

        return send


def founded(*names: str) -> tuple[Masters, str]:
    """Return masters that have made a cluster, and who leads them."""
    masters = Masters(*names)
    for name in names:
        masters.start(name, LONG if name == names[0] else SHORT)
    masters.pass_time(20)
    masters.add("CONFIG", {"voters": list(names), "learners": []})
    assert all(masters.serves(name) for name in names)
    return masters, masters.leader


def come_back(masters: Masters, name: str) -> Masters:
    """Let a master be away for a minute, and return ten minutes after it came back."""
    masters.kill(name)
    masters.pass_time(60)
    masters.start(name, SHORT)
    masters.pass_time(TEN_MINUTES)
    return masters


@pytest.mark.costly
def test_one_that_comes_back_and_leads_answers_nobody_until_an_entry_is_made() -> None:
    # Salt's dice decide who leads: one time in thirty it is the other.
    tries = ((come_back(masters, first), first) for masters, first in (founded("one", "two") for _ in range(100)))
    masters, first = next((masters, first) for masters, first in tries if masters.leader == first)

    assert not masters.serves(first)
    masters.add("ROUTE", {"data_type": "unused", "ring_id": None})
    assert masters.serves(first)


@pytest.mark.costly
def test_after_all_have_ended_nobody_is_answered_until_an_entry_is_made() -> None:
    masters, _ = founded("one", "two", "three")
    for name in ("one", "two", "three"):
        masters.kill(name)
    for name in ("one", "two", "three"):
        masters.start(name, SHORT if name == "two" else LONG)
    masters.pass_time(TEN_MINUTES)

    assert [masters.serves(name) for name in masters.running] == [False, False, False]
    masters.add("ROUTE", {"data_type": "unused", "ring_id": None})
    assert [masters.serves(name) for name in masters.running] == [True, True, True]


@pytest.mark.costly
@pytest.mark.parametrize("who", ["the leader", "another"])
def test_one_of_three_that_comes_back_is_told_by_the_leader(who: str) -> None:
    masters, leader = founded("one", "two", "three")
    killed = leader if who == "the leader" else next(name for name in masters.running if name != leader)
    masters.kill(killed)
    masters.pass_time(60)
    assert masters.leader != killed
    masters.start(killed, SHORT)
    masters.pass_time(5)

    assert masters.serves(killed)
