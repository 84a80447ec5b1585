"""HMACs of values: searchable with the key, unreadable without, and none of what is called a secret."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.audit.hashing import HmacKey
from service.audit.records import Act, describe
from service.audit.rules import REQUEST

SECRET = b"a key of sixteen or more"
KEY = HmacKey(SECRET)


def test_a_text_has_the_hmac_that_anybody_with_the_key_can_make() -> None:
    assert KEY.of("nginx") == "hmac-sha256:" + hmac.digest(SECRET, b"nginx", hashlib.sha256).hex()
    assert KEY.of(5) == KEY.of("5") == KEY.of_text("5")
    assert KEY.of({"b": 1, "a": True}) == KEY.of_text('{"a":true,"b":1}')
    assert HmacKey(SECRET + b"2").of("nginx") != KEY.of("nginx")
    assert HmacKey(SECRET + b"2").id != KEY.id


@pytest.mark.parametrize("value", ["\ud800", 2**70, b"\xff", {1: {2, 3}}, float("nan"), object, [[[[[["deep"]]]]]], list(range(500))])
def test_every_value_has_an_hmac(value: Any) -> None:
    assert "hmac-sha256:" in str(KEY.each({"value": value}))


def test_each_value_is_hashed_for_itself_and_secrets_are_not_hashed_at_all() -> None:
    shown = KEY.each({"arg": ["x", {"name": "y", "no name!": 1}], "kwarg": {"password": "p", "pillar": {"db_token": ["t"], "size": 5}}})

    assert shown == {
        "arg": [KEY.of("x"), {"name": KEY.of("y"), KEY.of("no name!"): KEY.of(1)}],
        "kwarg": {"password": "<redacted>", "pillar": {"db_token": "<redacted>", "size": KEY.of(5)}},
    }


def test_returns_are_hashed_by_minion() -> None:
    assert KEY.returns({"minion-1": {"a": 1}}) == {"minion-1": KEY.of({"a": 1})}
    assert KEY.returns([{"minion-1": True}, {"minion-2": False}]) == [{"minion-1": KEY.of(True)}, {"minion-2": KEY.of(False)}]
    assert KEY.returns("text") == KEY.of("text")
    assert KEY.returns({str(number): 1 for number in range(1000)}) == KEY.of({str(number): 1 for number in range(1000)})


def test_a_target_is_shown_but_not_the_pillars_value_in_it() -> None:
    def shown(tgt: object, tgt_type: str, key: HmacKey | None = None) -> object:
        return describe(Act("run", tgt=tgt, tgt_type=tgt_type), REQUEST, key)["tgt"]

    assert shown("web*", "glob") == "web*"
    assert shown(["a", "b"], "list") == ["a", "b"]
    assert shown("role:db:hunter2", "pillar") == "role:db:<redacted>"
    assert shown("role:db:hunter2", "pillar_exact", KEY) == f"role:db:{KEY.of('hunter2')}"
    assert shown("G@os:Debian and (I@pass:hunter2 or J@x:y.*)", "compound") == "G@os:Debian and (I@pass:<redacted> or J@x:<redacted>"
    assert len(str(shown("x" * 99_999, "glob"))) < 2000
    assert len(str(shown(["x" * 50] * 99_999, "list"))) < 9000


@pytest.mark.slow
@given(
    st.recursive(st.none() | st.booleans() | st.integers() | st.text(min_size=9), lambda inner: st.lists(inner) | st.dictionaries(st.text(min_size=9), inner))
)
def test_no_text_comes_out_as_it_went_in(value: Any) -> None:
    def texts(one: Any) -> list[str]:
        if isinstance(one, dict):
            return [text for item in one.values() for text in texts(item)]
        return [one] if isinstance(one, str) else [text for item in one for text in texts(item)] if isinstance(one, list) else []

    assert not set(texts(value)) & set(texts([KEY.each(value)]))
