"""`/v1/jobs` asked for with any value in any field: it is taken, or refused with a pointer to what is wrong, and never an error of ours."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.jobs.job_request import JobRequest
from tests.contract.conftest import Api, a_store, fake_api, login

pytestmark = pytest.mark.slow

GOOD = {"tgt": "minion-1", "fun": "test.ping"}
FIELDS = sorted(JobRequest.model_fields)
_WORDS = st.sampled_from(
    ["", "*", "local", "runner", "wheel", "list", "any", "1%", "101%", "refuse", "test.ping", "a.b.c", "https://x", "\x00", "\ud800", "x" * 5000]
)
_NUMBERS = st.sampled_from([0, 1, -1, 10**30, -(10**400), 0.5, 1e308, float("nan"), float("inf"), 86_400, 86_401])
_PLAIN = st.none() | st.booleans() | _NUMBERS | st.integers() | st.floats() | _WORDS | st.text(max_size=9)
VALUES = st.recursive(_PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_WORDS | st.sampled_from(FIELDS), inner, max_size=3), max_leaves=6)
# Of these no field takes any.
WRONG = st.sampled_from([{"odd": 1}, [{}], [[[]]], -1.5])


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """The application over a fake master, for all examples."""
    folder: Path = tmp_path_factory.mktemp("bad-input")
    made = fake_api(folder, SIDECAR_JOBS_OPEN="10000", **a_store(folder))
    yield made
    made.process.stop()


@pytest.fixture(scope="module")
def token(api: Api) -> str:
    return login(api, api.demo)


def refused(api: Api, token: str, body: object) -> list[str] | None:
    """Send a request; return the pointers to what is wrong with it, None if it was taken."""
    answer = api.caller.request("POST", "/v1/jobs", json.dumps(body).encode(), x_auth_token=token, content_type="application/json")
    assert answer.status < 500, (body, answer.body)
    if answer.status < 300:
        return None
    problem = answer.json()
    assert (answer.headers["content-type"], problem["status"]) == ("application/problem+json", answer.status)
    return [error["pointer"] for error in problem.get("errors", ())]


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(changes=st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=4))
def test_any_values_are_taken_or_refused(api: Api, token: str, changes: dict[str, Any]) -> None:
    pointers = refused(api, token, {**GOOD, **changes})

    assert all(not pointer or pointer.split("/")[1] in FIELDS for pointer in pointers or ())


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(body=VALUES)
def test_any_body_is_taken_or_refused(api: Api, token: str, body: object) -> None:
    refused(api, token, body)


@pytest.mark.parametrize("field", [name for name in FIELDS if name not in {"arg", "kwarg", "metadata"}])
@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
@given(value=WRONG)
def test_a_wrong_value_is_named_by_its_field(api: Api, token: str, field: str, value: object) -> None:
    pointers = refused(api, token, {**GOOD, field: value})

    assert pointers
    assert all(pointer == f"/{field}" or pointer.startswith(f"/{field}/") for pointer in pointers)


@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@given(name=st.text(min_size=1, max_size=20).filter(lambda name: name not in FIELDS))
def test_an_unknown_field_is_named(api: Api, token: str, name: str) -> None:
    pointers = refused(api, token, {**GOOD, name: "x"})

    assert pointers is not None
    assert f"/{name.replace('~', '~0').replace('/', '~1')}" in pointers
