"""
The wait for a job: `Gathering` decides about its minions, without clock, threads or sockets; `Gatherer` listens and says, step by step, what happened.

The owner of a Gatherer carries the steps out: it asks the minions of an `Ask`, and keeps the data of a `Returned`.
"""

from __future__ import annotations

import enum
import operator
from collections.abc import Callable, Collection, Iterable, Iterator
from collections.abc import Set as AbstractSet
from typing import Any, NamedTuple

from service.events.event import Event
from service.events.hub import Hub, Interruption, Waiter
from service.gateway.clients.result import OVERDUE, SILENT, UNASKED, UNHEARD

# Salt's own question about a job.
QUESTION = "saltutil.find_job"
# Pause between two looks of a waiting thread at whether a lost bus is back.
LOOK_UP_SECONDS = 1.0
# A thread that wakes this much too late was not the only one: the whole process stood still, and the bus thread has yet to read what came meanwhile.
OVERSLEPT_SECONDS = 0.5
# Longest pause between two questions to minions that run the job.
LONGEST_PAUSE_SECONDS = 60.0
# Grace period after losing the event bus; then the wait is over.
BUS_GRACE_SECONDS = 5.0


class Step(enum.Enum):
    """What a gathering needs now; a Gatherer makes an Ask or an Over of it."""

    WAIT = "wait"
    ASK = "ask the silent minions whether they still run the job"
    DONE = "done"


class Gathering:
    """
    Decides as LocalClient does when a job is over: every minion returned, or the silent ones, asked with
    `saltutil.find_job`, do not run it any more. Who says that it runs is asked less often the longer the job takes (decision 0041).

    All times are seconds of one monotonic clock. Source: salt/client/__init__.py, LocalClient.get_iter_returns.
    """

    def __init__(
        self,
        minions: Iterable[str],
        unknown: Iterable[str] = (),
        *,
        now: float,
        timeout: float,
        ask_timeout: float,
        syndic_wait: float | None = None,
        closed: bool = False,
    ) -> None:
        """
        minions, unknown: the ids named in the publish reply, and its targets without a key.
        ask_timeout: `gather_job_timeout`. syndic_wait: given on a master of masters, where lower masters name further minions.
        closed: nobody else belongs to it, because other groups share its jid.
        """
        self.expected = set(minions)
        self.unknown = set(unknown)
        self._closed = closed
        self._named = self.expected | self.unknown
        self.open = syndic_wait is not None and not closed
        self.syndics: set[str] = set()
        self.returns: dict[str, dict[str, Any]] = {}
        self._timeout = timeout
        self._ask_timeout = ask_timeout + (syndic_wait or 0.0)
        self._syndics_until = now + syndic_wait if syndic_wait is not None else None
        self._started = now
        self._next_check = self._next_question = now + timeout
        self._running: set[str] = set()  # Of those who are awaited, who says so since the last question.
        self._still_running = True  # so that the silent are asked at least once
        # Each step looks at these, and there may be a step for each return: until when each that is awaited is, the most patience last.
        self._pending = dict.fromkeys(self.expected, now + timeout)
        self._given_up: dict[str, float] = {}

    @property
    def pending(self) -> AbstractSet[str]:
        """Return the minions that are awaited."""
        return self._pending.keys()

    @property
    def missing(self) -> set[str]:
        """Return, when done, the minions that did not return: silent ones, and targets that the master does not know. A syndic is no minion."""
        return (self.expected | self.unknown) - self.returns.keys() - self.syndics

    def asked_for(self, minion: str) -> bool:
        """Say whether a minion may have a say; of a group that is open anybody may, since not all lower masters have named theirs yet."""
        return self.open or minion in self._named

    def returned(self, minion: str, data: dict[str, Any]) -> bool:
        """Take a return; False if the minion has returned before, or does not belong here."""
        if minion in self.returns or (self._closed and minion not in self.expected):
            return False
        self.returns[minion] = data
        self._pending.pop(minion, None)
        self._running.discard(minion)
        return True

    def expect(self, minions: Iterable[str], unknown: Iterable[str], *, now: float) -> None:
        """Await further minions, as a syndic names them; `unknown` are targets without a key."""
        if self._closed:
            return
        self.unknown.update(unknown)
        for minion in minions:
            self.expected.add(minion)
            if minion not in self._pending and minion not in self.returns:
                self._await(minion, self._given_up.pop(minion, now + self._timeout))

    def runs(self, minion: str, *, now: float) -> None:
        """Take a minion's word that it still runs the job."""
        if self._closed and minion not in self.pending:
            return
        self.expected.add(minion)
        if minion not in self.returns:
            self._pending.pop(minion, None)
            self._await(minion, now + self._timeout)
            self._running.add(minion)
        self._still_running = True

    def give_up_on(self, minion: str) -> None:
        """Stop waiting for a minion that cannot answer the question."""
        self.expected.discard(minion)
        self._running.discard(minion)
        if minion in self._pending:
            self._given_up[minion] = self._pending.pop(minion)

    def asked(self, *, now: float) -> None:
        """Note that the silent minions are being asked."""
        self._still_running = False
        self._running.clear()
        self._next_check = now + self._ask_timeout
        self._next_question = now + question_pause(now - self._started, self._ask_timeout)

    def ask_again(self) -> None:
        """Ask once more before anything is decided."""
        self._still_running = True

    def ask_soon(self, *, now: float) -> None:
        """Ask at the next step: the event bus was lost for a while."""
        self._still_running = True
        self._next_check = self._next_question = now

    def step(self, *, now: float) -> Step:
        """Say what to do now."""
        if not self._pending and (self._syndics_until is None or now >= self._syndics_until):
            return Step.DONE
        if now < self._due or not self._pending:
            return Step.WAIT
        if self._still_running:
            return Step.ASK
        return Step.DONE if now >= self._most_patience else Step.WAIT

    def wake_at(self, *, now: float) -> float:
        """Return when `step` can next say something else without an event."""
        if not self._pending:
            return self._syndics_until or now
        if self._still_running or now < self._due:
            return self._due
        return self._most_patience

    @property
    def _due(self) -> float:
        """When the silent are asked next: not before the answers had their time, and later while somebody runs the job."""
        return max(self._next_check, self._next_question) if self._running else self._next_check

    @property
    def _most_patience(self) -> float:
        return next(reversed(self._pending.values()))

    def _await(self, minion: str, until: float) -> None:
        is_last = not self._pending or until >= self._most_patience
        self._pending[minion] = until
        if not is_last:  # it was given up before, and is named again
            self._pending = dict(sorted(self._pending.items(), key=operator.itemgetter(1)))


class Returned(NamedTuple):
    """A minion returned, for the first time; data: its return event's."""

    minion: str
    data: dict[str, Any]


class Ask(NamedTuple):
    """Ask these minions whether they still run the job, before the next step is taken."""

    minions: list[str]


class GivenUp(NamedTuple):
    """A minion could not answer the question, and is not awaited any more."""

    minion: str


class Over(NamedTuple):
    """The wait for a group is over; why: for the minions it misses, a word and a sentence of result.py."""

    group: Gathering
    why: tuple[str, str]


class Gatherer:
    """
    One thread's wait for one job id.

    groups: the minions it waits for; a batch has several groups and changes them between two calls.
    fun: what was sent; a return of anything else under the same jid is another job's. None: any.
    master_up: says whether the master answers pings.
    """

    def __init__(
        self,
        waiter: Waiter,
        groups: Collection[Gathering],
        hub: Hub,
        *,
        fun: str | list[str] | None,
        deadline: float,
        master_up: Callable[[], bool],
        monotonic: Callable[[], float],
    ) -> None:
        self._waiter = waiter
        self._fun = fun
        self._groups = groups
        self._hub = hub
        self._deadline = deadline
        self._master_up = master_up
        self._monotonic = monotonic
        self._questions: set[str] = set()
        self._bus_lost_at: float | None = None
        self._not_asked: tuple[str, str] | None = None
        self._asks_again = False

    def steps(self) -> Iterator[Returned | GivenUp | Ask | Over]:
        """Yield what happens to the one group until it is done, the deadline passed or the bus is lost: then Over."""
        (group,) = self._groups
        while True:
            yield from self.hear()
            if self.over():
                yield Over(group, self._why())
                return
            for step in self.settle():
                yield step
                if isinstance(step, Over):
                    return
            # Before the silent are asked nothing is decided by a single return: the last one may wake us for all. Then answers count one by one.
            self._waiter.wake_at(1 if self._questions else len(group.pending))
            heard = self.wait()
            if heard is not None:
                yield heard

    def hear(self) -> Iterator[Returned | GivenUp]:
        """Take what waits already; what comes meanwhile is for the next time."""
        for _ in range(self._waiter.waiting):
            step = self._take(self._waiter.next(0.0))
            if step is not None:
                yield step

    def over(self) -> bool:
        """Say whether waiting has lost its sense."""
        if self._monotonic() >= self._deadline:
            return True
        return self._bus_lost_at is not None and bus_given_up(self._hub, self._master_up, self._monotonic() - self._bus_lost_at)

    def settle(self) -> Iterator[Ask | Over]:
        """Say what is to be done for each group now."""
        now = self._monotonic()
        for group in list(self._groups):
            step = group.step(now=now)
            if step is Step.DONE:
                yield Over(group, self._why())
            elif step is Step.ASK:
                self._asks_again = False
                yield Ask(sorted(group.pending))
                group.asked(now=self._monotonic())
                if self._asks_again and self._master_up():
                    group.ask_again()

    def asked(self, question: str) -> None:
        """Take the answers to a question, by its jid, for what they are."""
        self._waiter.watch(question)
        self._questions.add(question)
        self._not_asked = None

    def not_asked(self, why: tuple[str, str]) -> None:
        """Note that the silent could not be asked, so that their silence says nothing. why: as of `Over`."""
        self._not_asked = why

    def not_answered(self) -> None:
        """Note that the master is too busy to take the question: it is asked again when the answers would have had their time, unless the master is down by then."""
        self._not_asked = UNASKED
        self._asks_again = True

    def wait(self, others: Iterable[float] = ()) -> Returned | GivenUp | None:
        """Sleep until the next event, or until it is time to settle something, or for one of the *others*."""
        now = self._monotonic()
        wakes = [*(group.wake_at(now=now) for group in self._groups), *others]
        pause = min(max(min(*wakes, self._deadline) - now, 0.0), LOOK_UP_SECONDS) if wakes else 0.0
        item = self._waiter.next(pause)
        if item is None and self._monotonic() > now + pause + OVERSLEPT_SECONDS:
            item = self._waiter.next(LOOK_UP_SECONDS)
        return self._take(item)

    def _why(self) -> tuple[str, str]:
        if self._waiter.interrupted:
            return UNHEARD
        if self._monotonic() >= self._deadline:
            return OVERDUE
        return self._not_asked or SILENT

    def _take(self, item: Event | Interruption | None) -> Returned | GivenUp | None:
        if isinstance(item, Event):
            return self._take_answer(item) if item.jid in self._questions else self._take_event(item)
        if item is None:
            self._ask_if_the_bus_is_back()
        else:
            self._bus_lost_at = self._monotonic()
        return None

    def _ask_if_the_bus_is_back(self) -> None:
        """Once the bus is back, ask who still runs the job: the others may have returned meanwhile."""
        if self._bus_lost_at is not None and self._hub.is_open:
            self._bus_lost_at = None
            for group in self._groups:
                group.ask_soon(now=self._monotonic())

    def _take_event(self, event: Event) -> Returned | None:
        """Take an event for what its tag says: whatever else is in it, nobody's call but its own minion's return depends on that."""
        kind, _ = event.origin
        if kind == "job_new":
            self._take_announcement(event)
        if kind != "job_ret" or (data := self._waiter.believed(event, self._fun)) is None:
            return None
        minion = event.minion
        for group in self._groups:
            if group.asked_for(minion) and group.returned(minion, data):
                return Returned(minion, data)
        return None

    def _take_announcement(self, event: Event) -> None:
        """Await whom a lower master names; whom ours awaits it has said when it took the job."""
        open_groups = [group for group in self._groups if group.open]
        if not open_groups or (data := self._waiter.believed(event)) is None:
            return
        for group in open_groups:
            # Salt looks into `syndic_dir`; we have only the tag, `syndic/ID/...`, so a syndic that is down counts as a silent minion.
            group.syndics.update(event.tag.split("/")[1:2] if event.kind == "syndic" else ())
            group.expect(data.get("minions", ()), data.get("missing", ()), now=self._monotonic())

    def _take_answer(self, event: Event) -> GivenUp | None:
        """Take a minion's answer to `saltutil.find_job`: {} when it does not run the job."""
        if event.origin[0] != "job_ret" or (data := self._waiter.believed(event, QUESTION)) is None:
            return None
        minion = event.minion
        if data.get("retcode", 0):
            for group in self._groups:
                group.give_up_on(minion)
            return GivenUp(minion)
        if isinstance(data["return"], dict) and data["return"]:
            for group in self._groups:
                if group.asked_for(minion):
                    group.runs(minion, now=self._monotonic())
        return None


def question_pause(took: float, answer: float) -> float:
    """
    Return how long after a question those who run a job are asked again: each question is a job of its own for the master.

    took: how long the job has taken by then. answer: how long an answer may take. All in seconds.
    """
    return max(answer, min(LONGEST_PAUSE_SECONDS, took / 2))


def bus_given_up(hub: Hub, master_up: Callable[[], bool], seconds: float) -> bool:
    """Say whether to stop waiting for an event bus that was lost *seconds* ago; when the master is down, at once."""
    return not hub.is_open and (not master_up() or seconds > BUS_GRACE_SECONDS)
