"""
What the minions of a job come to: one status, from how many of them are in which.

States of a job, in the order they are passed through:

    publishing -> running -> succeeded | partial | failed | no_match | timed_out | cancelled | unknown
    queued -> publishing                   (another job of its group was not over)
    queued -> timed_out | cancelled        (before its turn; nothing ran)
    publishing -> in_doubt -> running      (the master may have taken it)
    publishing -> refused                  (the master said no; nothing ran)

Only a return that comes late changes a job that is over; that is a revision.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Literal

from service.jobs import JobStatus

MinionStatus = Literal["waiting", "running", "ok", "failed", "cancelled", "lost", "no_return", "no_key", "not_run", "unknown"]
# Why a minion's turn never came; all of one job have the same reason.
LeftOut = Literal["stopped_by_failures", "cancelled", "deadline", "needs_owner", "refused"]
Cause = Literal["missing", "stopped", "not_run", "refused"]

# Jobs of which more is to come.
OPEN: frozenset[JobStatus] = frozenset({"queued", "publishing", "in_doubt", "running"})
# Those of which the master has not said that it took them.
STARTING: frozenset[JobStatus] = frozenset({"publishing", "in_doubt"})
# Ends that a late return may correct.
CORRECTABLE: tuple[JobStatus, ...] = ("partial", "failed", "timed_out", "cancelled", "unknown")
# Minions of which nothing more is expected.
OVER: frozenset[MinionStatus] = frozenset({"ok", "failed", "cancelled", "lost", "no_return", "no_key", "not_run", "unknown"})
# Those that a later return corrects.
REVISABLE: frozenset[MinionStatus] = frozenset({"cancelled", "lost", "no_return", "unknown"})
_MISSING: tuple[MinionStatus, ...] = ("lost", "no_return", "no_key")

# For each status what a pipeline's step ends with, and what HTTP says where the caller asks for it (`fail=1`).
CODES: Mapping[JobStatus, tuple[int, int]] = {
    "succeeded": (0, 200),
    "partial": (0, 200),
    "failed": (1, 422),
    "no_match": (2, 404),
    "timed_out": (4, 504),
    "cancelled": (5, 409),
    "unknown": (6, 503),
    "in_doubt": (6, 503),
}
MISSING_CODES = (3, 424)


@dataclasses.dataclass(frozen=True)
class SuccessPolicy:
    """
    What a job has to come to.

    fail_on: `any` minion that is bad, `all` of them, or `none`. missing: whether minions without a return count.
    min_success: how many have to be well, a number or a percentage such as `90%`.
    """

    fail_on: Literal["any", "all", "none"] = "any"
    missing: Literal["fail", "ignore"] = "fail"
    min_success: int | str | None = None

    def is_met(self, well: int, bad: int, missing: int) -> bool:
        """Say whether this many minions make a success. A job in which nobody returned never is one."""
        if self.missing == "ignore":
            missing = 0
        allowed = {"any": bad + missing == 0, "all": well > 0, "none": True}[self.fail_on]
        return allowed and self._has_enough(well, well + bad + missing)

    def _has_enough(self, well: int, count: int) -> bool:
        if isinstance(self.min_success, str):
            return well * 100 >= float(self.min_success.rstrip("% ")) * count
        return self.min_success is None or well >= self.min_success


@dataclasses.dataclass(frozen=True)
class Conclusion:
    """
    What a job has come to.

    cause: `missing` where only minions without a return are to blame, `stopped` where failures have ended its waves, `not_run` where it ended before its turn, or a step's; `refused`: a step was.
    """

    status: JobStatus
    cause: Cause | None = None


def conclude(policy: SuccessPolicy, counts: Mapping[MinionStatus, int], left_out: LeftOut | None = None) -> Conclusion:
    """
    Say what a job has come to, of which nothing more is awaited.

    counts: minions by status, those without a key included; who still runs has outlived the deadline. left_out: why the turn of some never came.
    It is worked out twice, with all of whom nothing is known well and with all of them bad. Unless both say the same, it is unknown.
    Who was not run is bad. Failures that end the waves are a failure whatever else is tolerated; a deadline that does is to blame if nothing else is.
    """
    if not sum(counts.values()):
        return Conclusion("no_match")
    well, failed, unknown = counts.get("ok", 0), counts.get("failed", 0), counts.get("unknown", 0)
    missing = sum(counts.get(status, 0) for status in _MISSING)
    late = counts.get("waiting", 0) + counts.get("running", 0)
    not_run = counts.get("not_run", 0)
    if counts.get("cancelled") or (not_run and left_out == "cancelled"):
        return Conclusion("cancelled")
    if not_run and left_out == "stopped_by_failures":
        return Conclusion("failed", "stopped")
    if well + failed and policy.is_met(well, failed + unknown + late + not_run, missing):
        return Conclusion("succeeded" if well == sum(counts.values()) else "partial")
    open_ended = unknown + late
    if (well + failed + open_ended) and policy.is_met(well + open_ended, failed + not_run, missing):
        return Conclusion("timed_out" if late else "unknown")
    if not_run and policy.is_met(well + open_ended + not_run, failed, missing):
        return Conclusion("timed_out")
    return Conclusion("failed", "missing" if policy.is_met(well + open_ended + not_run + missing, failed, 0) else None)


def conclude_steps(steps: Sequence[Conclusion | None], *, stops: bool, gives_up: JobStatus | None = None) -> Conclusion | None:
    """
    Say what a sequence has come to: what the first of its steps did that is not well. None: a step is under way, or has to be begun.

    steps: what each has come to; None for those that were not begun. stops: none is begun after one that is not well. gives_up: none is begun any more, and that is why.
    """
    begun = [step for step in steps if step is not None]
    if any(step.status in OPEN for step in begun):
        return None
    bad = next((step for step in begun if step.status not in {"succeeded", "partial"}), None)
    if len(begun) == len(steps):
        return bad or Conclusion("partial" if any(step.status == "partial" for step in begun) else "succeeded")
    if bad is not None and (stops or gives_up):
        return bad
    return Conclusion(gives_up, "not_run") if gives_up else None


def codes_of(status: JobStatus, cause: Cause | None) -> tuple[int, int] | None:
    """Return the exit code and the HTTP status of a job; None while it is not over."""
    return MISSING_CODES if cause == "missing" else CODES.get(status)
