"""Results: what counts as a failure, and how a job is summed up."""

from __future__ import annotations

from typing import Any

import pytest

from service.gateway.clients.result import SILENT, failed, no_return, outcome_of


@pytest.mark.parametrize(
    ("data", "failure"),
    [
        ({}, False),
        ({"retcode": 0, "success": True}, False),
        ({"retcode": 2, "success": True}, True),
        ({"success": False}, True),
        ({"retcode": {"a.b": 0, "c.d": 0}}, False),
        ({"retcode": {"a.b": 0, "c.d": 1}}, True),
        ({"retcode": [0, 0]}, False),
        ({"retcode": [0, 3]}, True),
        ({"retcode": None}, False),
    ],
)
def test_a_return_fails_by_its_retcode_or_its_own_word(data: dict[str, Any], failure: bool) -> None:
    assert failed(data) is failure


@pytest.mark.parametrize(
    ("expected", "returned", "failures", "outcome"), [(0, 0, 0, "no_match"), (2, 2, 0, "ok"), (2, 1, 0, "partial"), (2, 1, 1, "partial"), (2, 2, 1, "failed")]
)
def test_a_job_is_summed_up_in_one_word(expected: int, returned: int, failures: int, outcome: str) -> None:
    assert outcome_of(expected, returned, failures) == outcome


def test_silence_is_told_in_local_clients_words() -> None:
    assert no_return("77", *SILENT) == {
        "out": "no_return",
        "ret": "Minion did not return. [No response]\nThe minions may not have all finished running and any remaining minions will return upon "
        "completion. To look up the return data for this job later, run the following command:\n\nsalt-run jobs.lookup_jid 77",
        "retcode": 1,
    }
