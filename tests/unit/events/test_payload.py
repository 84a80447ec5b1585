"""A payload is read as Salt reads it, however it is read."""

from __future__ import annotations

import contextlib
import datetime as dt

import msgpack
import pytest
import salt.payload
from hypothesis import given
from hypothesis import strategies as st
from salt.exceptions import SaltDeserializationError

from service.events.payload import SMALL_BYTES, Undecodable, whole

KEYS = st.one_of(st.text(max_size=5), st.integers(-(2**63), 2**64 - 1), st.binary(max_size=5), st.none())
LEAVES = st.one_of(KEYS, st.booleans(), st.floats(allow_nan=False), st.datetimes().map(lambda moment: moment.replace(tzinfo=None)))
VALUES = st.recursive(LEAVES, lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(KEYS, inner, max_size=4)), max_leaves=12)


def by_salt(payload: bytes) -> object:
    with contextlib.suppress(SaltDeserializationError):
        return salt.payload.loads(payload, encoding="utf-8")
    return Undecodable


def by_us(payload: bytes) -> object:
    with contextlib.suppress(Undecodable):
        return whole(payload)
    return Undecodable


@pytest.mark.costly
@given(VALUES, st.booleans())
def test_what_salt_writes_is_read_as_salt_reads_it(value: object, use_bin_type: bool) -> None:
    payload = salt.payload.dumps(value, use_bin_type=use_bin_type)

    assert by_us(payload) == by_salt(payload)


@given(st.binary(max_size=40))
def test_any_bytes_are_read_as_salt_reads_them(payload: bytes) -> None:
    assert repr(by_us(payload)) == repr(by_salt(payload))


@pytest.mark.parametrize(
    "value",
    [{"at": dt.datetime(2026, 11, 29)}, {"ext": msgpack.ExtType(5, b"x")}, {"return": b"\xff"}, {"return": "x" * SMALL_BYTES}, {"return": "ünï"}, [1, 2]],  # noqa: DTZ001 - Salt's have no zone
)
def test_what_salt_alone_can_read_is_left_to_it(value: object) -> None:
    payload = salt.payload.dumps(value)

    assert by_us(payload) == by_salt(payload) != Undecodable
