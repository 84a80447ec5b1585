"""The policy: what a job has come to, from how many of its minions are in which status."""

from __future__ import annotations

from collections import Counter
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.jobs import JobStatus
from service.jobs.outcome import CODES, OPEN, Conclusion, LeftOut, MinionStatus, SuccessPolicy, codes_of, conclude

policies = st.builds(
    SuccessPolicy,
    st.sampled_from(["any", "all", "none"]),
    st.sampled_from(["fail", "ignore"]),
    st.none() | st.integers(1, 6) | st.integers(0, 100).map(lambda share: f"{share}%"),
)
minions = st.lists(st.sampled_from(get_args(MinionStatus)), max_size=8)
WELL = ("succeeded", "partial")


@pytest.mark.parametrize(
    ("counts", "policy", "end"),
    [
        ({"ok": 2}, {}, ("succeeded", None)),
        ({}, {}, ("no_match", None)),
        ({"ok": 1, "failed": 1}, {}, ("failed", None)),
        ({"ok": 1, "failed": 1}, {"fail_on": "all"}, ("partial", None)),
        ({"failed": 2}, {"fail_on": "all"}, ("failed", None)),
        ({"failed": 2}, {"fail_on": "none"}, ("partial", None)),
        ({"ok": 1, "no_return": 1}, {}, ("failed", "missing")),
        ({"ok": 1, "lost": 1, "failed": 1}, {}, ("failed", None)),
        ({"ok": 1, "no_key": 1}, {"missing": "ignore"}, ("partial", None)),
        ({"no_return": 2}, {"missing": "ignore", "fail_on": "none"}, ("failed", "missing")),
        ({"ok": 9, "failed": 1}, {"fail_on": "none", "min_success": "90%"}, ("partial", None)),
        ({"ok": 8, "failed": 2}, {"fail_on": "none", "min_success": "90%"}, ("failed", None)),
        ({"ok": 8, "lost": 2}, {"fail_on": "none", "min_success": "90%"}, ("failed", "missing")),
        ({"ok": 8, "lost": 2}, {"fail_on": "none", "min_success": "90%", "missing": "ignore"}, ("partial", None)),
        ({"ok": 3, "failed": 5}, {"fail_on": "none", "min_success": 3}, ("partial", None)),
        ({"ok": 1, "unknown": 1}, {}, ("unknown", None)),
        ({"ok": 1, "unknown": 1}, {"fail_on": "all"}, ("partial", None)),
        ({"failed": 1, "unknown": 1}, {}, ("failed", None)),
        ({"ok": 1, "cancelled": 1}, {}, ("cancelled", None)),
        ({"failed": 1, "cancelled": 1}, {}, ("cancelled", None)),
        ({"ok": 1, "running": 1}, {}, ("timed_out", None)),
        ({"failed": 1, "running": 1}, {}, ("failed", None)),
        ({"ok": 1, "not_run": 1}, {}, ("timed_out", None)),
        ({"ok": 1, "not_run": 1}, {"fail_on": "all"}, ("partial", None)),
        ({"ok": 1, "failed": 1, "not_run": 1}, {}, ("failed", None)),
        ({"ok": 1, "no_return": 1, "not_run": 1}, {}, ("failed", "missing")),
        ({"ok": 9, "not_run": 1}, {"fail_on": "none", "min_success": "90%"}, ("partial", None)),
        ({"not_run": 2}, {"fail_on": "none"}, ("timed_out", None)),
    ],
)
def test_what_a_job_comes_to(counts: dict[MinionStatus, int], policy: dict[str, Any], end: tuple[str, str | None]) -> None:
    found = conclude(SuccessPolicy(**policy), counts)

    assert (found.status, found.cause) == end


@pytest.mark.parametrize(
    ("counts", "left_out", "end"),
    [
        ({"ok": 9, "failed": 1, "not_run": 1}, "stopped_by_failures", ("failed", "stopped")),
        ({"ok": 9, "failed": 1, "not_run": 1}, "cancelled", ("cancelled", None)),
        ({"ok": 9, "failed": 1, "not_run": 1}, "deadline", ("partial", None)),
        ({"ok": 9, "failed": 1}, None, ("partial", None)),
    ],
)
def test_waves_that_were_stopped_are_no_success_whatever_is_tolerated(counts: dict[MinionStatus, int], left_out: LeftOut, end: tuple[str, str | None]) -> None:
    found = conclude(SuccessPolicy("none"), counts, left_out)

    assert (found.status, found.cause) == end


@given(policies, minions)
def test_nothing_turns_unknown_into_succeeded(policy: SuccessPolicy, found: list[MinionStatus]) -> None:
    end = conclude(policy, Counter(found))

    assert end.status not in OPEN
    assert (end.status == "succeeded") == (bool(found) and set(found) == {"ok"} and policy.is_met(len(found), 0, 0))


@given(policies, minions, st.data())
def test_what_is_said_holds_whatever_the_unknown_minions_turn_out_to_be(policy: SuccessPolicy, found: list[MinionStatus], data: st.DataObject) -> None:
    said = conclude(policy, Counter(found))
    turned: list[MinionStatus] = [data.draw(st.sampled_from(["ok", "failed"])) if one in {"unknown", "waiting", "running"} else one for one in found]
    truth = conclude(policy, Counter(turned))

    if said.status in WELL:
        assert truth.status in WELL
    elif said.status == "failed":
        assert truth.status == "failed"
    else:
        assert said.status in {"unknown", "timed_out", "no_match", "cancelled"}


def test_every_end_has_codes_and_no_two_meanings_share_one() -> None:
    ends = set(get_args(JobStatus)) - OPEN - {"refused"}

    assert ends <= CODES.keys()
    assert codes_of("running", None) is None
    assert codes_of(*vars(Conclusion("failed", "missing")).values()) == (3, 424)
    assert [CODES[status][0] for status in ("succeeded", "failed", "no_match", "timed_out", "cancelled", "unknown")] == [0, 1, 2, 4, 5, 6]
