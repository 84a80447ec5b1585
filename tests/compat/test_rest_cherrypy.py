"""rest_cherrypy itself and the sidecar answer alike, but for the differences that are listed."""

from __future__ import annotations

import pytest

from tests.compat.compare import Difference, Everywhere, judge
from tests.compat.comparison import Comparison
from tests.compat.differences import DIFFERENCES
from tests.compat.exchange import Request
from tests.compat.requests import REQUESTS

LISTED = Difference("better", {"status": 200}, "because")
JSON_ERRORS = Everywhere("error body", "different", "because", lambda _theirs, ours: ours == "application/json")


@pytest.mark.master
@pytest.mark.slow
@pytest.mark.parametrize("request_", REQUESTS, ids=lambda request: request.name)
def test_the_sidecar_answers_as_rest_cherrypy_does(request_: Request, compared: Comparison) -> None:
    outcome = compared.run(request_)

    assert outcome.faults() == []


def test_every_request_has_a_name_of_its_own_and_every_difference_belongs_to_one() -> None:
    names = [request.name for request in REQUESTS]

    assert len(names) == len(set(names))
    assert set(DIFFERENCES) <= set(names)


def test_a_difference_that_is_not_listed_is_wrong() -> None:
    verdict = judge({"status": 200, "body": 1}, {"status": 200, "body": 2}, None, ())

    assert verdict.result == "WRONG"
    assert verdict.unlisted == ("body",)


def test_a_listed_difference_is_what_its_list_says() -> None:
    verdict = judge({"status": 500, "error body": "x"}, {"status": 200, "body": 2}, LISTED, ())

    assert verdict.result == "better"


@pytest.mark.parametrize("ours", [{"status": 500}, {"status": 404}])
def test_a_listed_difference_that_is_not_there_is_wrong(ours: dict[str, int]) -> None:
    verdict = judge({"status": 500}, ours, LISTED, ())

    assert verdict.result == "WRONG"
    assert verdict.stale == ("status",)


def test_a_rule_for_all_answers_excuses_only_what_it_describes() -> None:
    excused = judge({"status": 400, "error body": "text/html"}, {"status": 400, "error body": "application/json"}, None, (JSON_ERRORS,))
    wrong = judge({"status": 400, "error body": "text/html"}, {"status": 400, "error body": "text/plain"}, None, (JSON_ERRORS,))

    assert excused.result == "equal"
    assert wrong.unlisted == ("error body",)
