"""The list of advisories that do not stop a release: what is on it, for how long, and what it lets through."""

from __future__ import annotations

import datetime as dt

import pytest

from requirements.release import audit

TODAY = dt.date(2026, 3, 1)
FOUND = audit.Found("jinja2", "3.1.5", ("PYSEC-2026-1", "CVE-2026-1"), ("3.1.6",))


def entry(*, advisory: str = "CVE-2026-1", package: str = "jinja2", days: int = 30) -> audit.Allowed:
    return audit.Allowed(advisory, package, TODAY + dt.timedelta(days), "no template of a caller's")


def test_what_nobody_allows_is_a_fault_that_says_where_it_is_mended() -> None:
    assert audit.judge([FOUND], [], TODAY) == (["jinja2 3.1.5: PYSEC-2026-1, CVE-2026-1; fixed in 3.1.6"], [])


def test_an_entry_counts_under_each_name_of_its_advisory_and_for_its_package_only() -> None:
    assert audit.judge([FOUND], [entry()], TODAY) == ([], [])
    assert audit.judge([FOUND], [entry(package="salt")], TODAY) == ([str(FOUND)], [entry(package="salt")])


@pytest.mark.parametrize(("days", "faults"), [(-1, 1), (0, 1), (1, 0), (92, 0), (93, 1)])
def test_an_entry_has_a_last_day_and_not_a_far_one(days: int, faults: int) -> None:
    assert len(audit.out_of_time([entry(days=days)], TODAY)) == faults


def test_an_expired_entry_lets_nothing_through() -> None:
    assert audit.judge([FOUND], [entry(days=0)], TODAY) == ([str(FOUND)], [])


@pytest.mark.parametrize(
    "text",
    [
        "- {advisory: CVE-2026-1, package: jinja2, until: 2026-04-01}",
        "- {advisory: CVE-2026-1, package: jinja2, until: 2026-04-01, because: ''}",
        "- {advisory: CVE-2026-1, package: jinja2, until: soon, because: a}",
        "- {advisory: CVE-2026-1, package: jinja2, until: 2026-04-01, because: a, more: b}",
        "- CVE-2026-1",
    ],
)
def test_an_entry_without_a_date_or_a_reason_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="an entry has advisory, package, until, because"):
        audit.read_allowed(text)


def test_the_list_of_this_commit_can_be_read() -> None:
    assert isinstance(audit.read_allowed((audit.HERE / "advisories.yaml").read_text(encoding="utf-8")), list)
