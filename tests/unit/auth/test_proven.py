"""Proven credentials: only those that are the same in all that the master judges by pass for each other."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from service.auth.guard import Proven
from service.clients import CLIENTS
from service.gateway.low import Low, parse_lowstate
from service.gateway.low_fields import JOB_FIELDS

ME = {"eauth": "file", "username": "me", "password": "s3cret"}
PING = {"client": "local", "tgt": "*", "fun": "test.ping", **ME}
TOKEN = "ab" * 32
NAMES = st.sampled_from([*ME, "sharedsecret", "token", "otp"]) | st.text(max_size=5)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["1", "1.0", "True", "None", "[]", "nan", "s3cret\0username=2:me"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
CREDENTIALS = st.dictionaries(NAMES, VALUES, max_size=4)


def memory() -> Proven:
    return Proven(10, 900, lambda: 1000.0)


def written(value: object) -> object:
    """Return what tells values apart as the master does: 1 is neither true nor 1.0, and the order of names is nothing."""
    if isinstance(value, dict):
        return frozenset((name, written(one)) for name, one in value.items())
    if isinstance(value, list):
        return tuple(written(one) for one in value)
    return type(value), str(value)


@pytest.mark.costly
@given(CREDENTIALS, CREDENTIALS)
def test_credentials_that_differ_in_anything_differ_in_digest(one: dict[str, Any], other: dict[str, Any]) -> None:
    assume(written(one) != written(other))
    proven = memory()

    assert proven.digest_of(one) != proven.digest_of(other)


@pytest.mark.costly
@given(CREDENTIALS, NAMES, VALUES)
def test_one_field_more_or_another_value_of_it_is_another_digest(credentials: dict[str, Any], name: str, value: object) -> None:
    assume(name not in credentials or written(credentials[name]) != written(value))
    proven = memory()
    proven.add(proven.digest_of(credentials))

    assert not proven.has(proven.digest_of({**credentials, name: value}))
    assert proven.has(proven.digest_of(dict(reversed(credentials.items()))))


def parsed(**fields: object) -> Low:
    (low,) = parse_lowstate({**PING, **fields}, enabled=CLIENTS, most=1)
    return low


@pytest.mark.costly
@given(st.text(min_size=1, max_size=8), VALUES.filter(lambda value: value is not None))
def test_whatever_a_publish_carries_beside_the_job_is_part_of_its_proof(name: str, value: object) -> None:
    assume(name not in {*JOB_FIELDS, *PING, "expr_form", "sharedsecret", "token"})
    low = parsed(**{name: value})

    assert low.proof == {**ME, name: value}


def test_what_belongs_to_the_job_is_no_part_of_the_proof() -> None:
    assert parsed(arg=["x"], timeout=5, metadata={"ticket": 1}, batch="10%").proof == ME
    assert parsed(client="runner", fun="jobs.lookup_jid", jid="20261129080000000000").proof == ME
    assert parsed(client="wheel", fun="key.accept", match="minion-1").proof == ME


def test_a_token_is_the_whole_proof_as_it_is_to_the_master() -> None:
    assert parsed(token=TOKEN, otp="1").proof == {"token": TOKEN}


def test_the_same_credentials_have_other_digests_in_another_process() -> None:
    assert memory().digest_of(ME) != memory().digest_of(ME)


def test_the_memory_of_proven_credentials_is_bounded() -> None:
    proven = Proven(3, 900, lambda: 1000.0)
    digests = [proven.digest_of({**ME, "username": f"user-{number}"}) for number in range(5)]
    for digest in digests:
        proven.add(digest)

    assert [proven.has(digest) for digest in digests] == [False, False, True, True, True]
