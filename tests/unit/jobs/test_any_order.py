"""Whatever happens to a job, in whatever order, and whoever sets the clock: what is said of it holds, and its end changes only by a late return."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from service.errors import NoSuchJob, StorageFull
from service.jobs.outcome import OPEN, SuccessPolicy
from service.jobs.running.inquiries import Cached
from service.jobs.stores.store import Change, JobRecord
from tests.unit.jobs.kept import JID
from tests.unit.jobs.process import TOKEN, Sidecar
from tests.unit.jobs.test_state_events import said

pytestmark = pytest.mark.slow

MINIONS = ("a", "b", "c")
GOOD: dict[str, Any] = {"return": "a", "retcode": 0, "success": True}
BAD: dict[str, Any] = {"return": "a", "retcode": 1, "success": False}
POLICIES: list[dict[str, Any]] = [{}, {"fail_on": "all"}, {"fail_on": "none", "min_success": "60%"}, {"missing": "ignore"}]
minions = st.sampled_from(MINIONS)
STOPPING = "8" * 20


class JobInTime(RuleBasedStateMachine):
    """One job, the process that follows it, and what its minions have truly said."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.is_full = False
        self.sidecar = self.started(1000.0)
        self.said: dict[str, bool] = {}  # whether what a minion returned is good
        self.before: JobRecord | None = None
        self.returned = False  # something may have changed an end

    def started(self, now: float) -> Sidecar:
        """Start a process, whose volume may be full."""
        made = Sidecar(self.folder, may_look=True, now=now)
        save = made.store.save

        def save_if_there_is_room(changes: Iterable[Change]) -> set[str]:
            if self.is_full:
                raise StorageFull("full", retry_after_seconds=1)
            return save(changes)

        mock.patch.object(made.store, "save", save_if_there_is_room).start()
        return made

    @initialize(policy=st.sampled_from(POLICIES))
    def begin(self, policy: dict[str, Any]) -> None:
        self.policy = SuccessPolicy(**policy)
        self.sidecar.begin(*MINIONS, request=policy, ends_at=1400.0, deadline=1400.0)
        self.step()

    def step(self) -> None:
        """Let all that was told be handled, what is due be done, and a job that is done with be dropped."""
        for _ in range(3):
            self.sidecar.now += 0.01
            with contextlib.suppress(NoSuchJob):
                self.sidecar.jobs.published(JID, ())

    @rule(minion=minions, good=st.booleans())
    def returns(self, minion: str, good: bool) -> None:
        said = GOOD if self.said.setdefault(minion, good) else BAD
        self.returned = True
        self.sidecar.returns(minion, **{name: value for name, value in said.items() if name != "return"})

    @rule(minion=minions, number=st.integers(0, 3), result=st.sampled_from([True, False, None, "x"]))
    def says_of_a_state(self, minion: str, number: int, result: object) -> None:
        self.sidecar.jobs.take(said(minion, number, result=result))

    @rule(minion=minions)
    def is_forged(self, minion: str) -> None:
        self.sidecar.returns(minion, fun="test.ping", fun_args=[])

    @precondition(lambda self: self.sidecar.asked.questions)
    @rule(minion=minions, running=st.sampled_from([{}, {"pid": 5}, "", "Signal 15 sent to job 1 at pid 2"]))
    def answers(self, minion: str, running: object) -> None:
        question = self.sidecar.asked.questions[-1][0]
        self.sidecar.returns(minion, running, question.jid, fun=question.fun, fun_args=[JID])

    @precondition(lambda self: self.sidecar.asked.questions)
    @rule(permitted=st.booleans())
    def is_let_ask(self, permitted: bool) -> None:
        self.sidecar.asked.questions[-1][2](permitted)

    @precondition(lambda self: self.sidecar.asked.look_ups)
    @rule(found=st.sets(minions), what=st.sampled_from(["found", "unknown", "refused"]), complete=st.booleans())
    def is_looked_up(self, found: set[str], what: str, complete: bool) -> None:
        on_answer = self.sidecar.asked.look_ups.pop(0)
        if what != "found":
            on_answer(None if what == "refused" else Cached(known=False, complete=complete))
            return
        # The cache has what was said, but not of late all of it.
        has = {minion: GOOD if self.said[minion] else BAD for minion in found & self.said.keys()}
        self.returned = self.returned or bool(has)
        on_answer(Cached(known=True, minions=list(MINIONS), returns=has, complete=complete and self.said.keys() <= found))

    @precondition(lambda self: self.sidecar.jobs.watched.awaited(JID))
    @rule()
    def is_cancelled(self) -> None:
        self.sidecar.jobs.cancel(JID, STOPPING, TOKEN)

    @rule(minion=minions, signal=st.sampled_from(["", "Signal 15 sent to job 1 at pid 2"]))
    def is_stopped(self, minion: str, signal: str) -> None:
        self.sidecar.returns(minion, signal, STOPPING, fun="saltutil.term_job", fun_args=[JID])

    @rule()
    def is_cut(self) -> None:
        self.sidecar.jobs.cut()

    @rule(seconds=st.sampled_from([1.0, 6.0, 30.0, 50.0, 400.0]))
    def time_goes_by(self, seconds: float) -> None:
        self.sidecar.now += seconds

    @rule(hours=st.sampled_from([-1, 0, 1]))
    def the_clock_is_set(self, hours: int) -> None:
        self.sidecar.clock_set_by = hours * 3600.0

    @rule(is_full=st.booleans())
    def the_volume_is(self, is_full: bool) -> None:
        self.is_full = is_full

    @rule()
    def is_killed(self) -> None:
        """Start anew; what was heard while the volume was full is lost."""
        now, clock = self.sidecar.now, self.sidecar.clock_set_by
        self.sidecar.kill()
        self.sidecar.jobs.stop()
        self.sidecar = self.started(now)
        self.sidecar.clock_set_by = clock
        self.sidecar.jobs.start()

    @invariant()
    def settle(self) -> None:
        if not hasattr(self, "policy"):
            return
        self.step()
        record = self.sidecar.store.job(JID)
        assert record is not None
        good, bad = (sum(one is wanted for one in self.said.values()) for wanted in (True, False))
        if record.status == "succeeded":
            assert self.said == dict.fromkeys(MINIONS, True)
        if record.status in {"succeeded", "partial"}:
            assert self.policy.is_met(good, bad, len(MINIONS) - good - bad)
        self.holds_its_end(record)

    def holds_its_end(self, record: JobRecord) -> None:
        """An end is left by a late return only, and then with a new revision."""
        before, self.before = self.before, record
        if before is None or record.revision == before.revision:
            return
        if before.status not in OPEN:
            assert record.status not in OPEN
            assert (record.status, record.cause) == (before.status, before.cause) or self.returned
            assert record.finished == before.finished
        self.returned = False

    def end(self) -> None:
        """Let the deadline pass: the job ends, whatever is known, even if nobody may look it up."""
        self.sidecar.now += 1000.0
        self.is_full = False
        for _ in range(5):
            self.settle()
            while self.sidecar.asked.look_ups:
                self.sidecar.asked.look_ups.pop()(None)
        self.settle()
        assert self.before is not None
        assert self.before.status not in OPEN

    def teardown(self) -> None:
        if self.before is not None:
            self.end()
        self.sidecar.jobs.stop()
        self.sidecar.kill()
        assert self.sidecar.report.crashes == 0
        shutil.rmtree(self.folder)


TestJobInTime = JobInTime.TestCase
TestJobInTime.settings = settings(max_examples=25, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck))
