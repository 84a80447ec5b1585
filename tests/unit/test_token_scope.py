"""What a scope covers is no more than its entries say, whatever is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.auth.call_policy import KnownCaller, PolicyCall
from service.errors import Forbidden, Unprocessable
from service.tokens.token_scope import MOST_CHARACTERS, TokenScope, rules_of

ENTRIES = ("local:state.apply@shop*", "local:test.*", "runner:jobs.active")


def asked_for(kind: Any, functions: tuple[str, ...], tgt: Any = None, tgt_type: str = "") -> PolicyCall:
    return PolicyCall(kind, functions, tgt, tgt_type, "192.0.2.1", lambda: KnownCaller("ci", "file", ()))


def scope(entries: tuple[str, ...] = ENTRIES, *, left: int = 1) -> tuple[TokenScope, list[tuple[str, Mapping[str, Any]]]]:
    refused: list[tuple[str, Mapping[str, Any]]] = []
    uses = iter([True] * left)
    return TokenScope("id-1", entries, use=lambda: next(uses, False), revoke=lambda: None, on_refused=lambda *told: refused.append(told)), refused


@pytest.mark.parametrize(
    ("asked", "covered"),
    [
        (asked_for("local", ("state.apply",), "shop1", "glob"), True),
        (asked_for("local", ("state.apply",), ["shop1", "shop2"], "list"), True),
        (asked_for("local", ("state.apply", "test.ping"), "shop*", "glob"), True),
        (asked_for("local", ("test.ping",), "G@os:Debian", "compound"), True),
        (asked_for("runner", ("jobs.active",)), True),
        (asked_for("local", ("state.apply",), "*", "glob"), False),
        (asked_for("local", ("state.apply",), "shop* or web1", "compound"), False),
        (asked_for("local", ("state.apply",), ["shop1", "web1"], "list"), False),
        (asked_for("local", ("state.apply", "cmd.run"), "shop1", "glob"), False),
        (asked_for("local", ("State.Apply",), "shop1", "glob"), False),
        (asked_for("local", ("jobs.active",), "shop1", "glob"), False),
        (asked_for("runner", ("test.ping",)), False),
        (asked_for("wheel", ("key.list_all",)), False),
    ],
)
def test_what_no_entry_names_is_refused_and_told(asked: PolicyCall, covered: bool) -> None:
    made, refused = scope()

    if covered:
        made.check(asked, {"salt.client": "local"})
        assert refused == []
        return
    with pytest.raises(Forbidden, match="scope"):
        made.check(asked, {"salt.client": "local"})
    assert [rule for rule, _ in refused] == ["token id-1"]


@pytest.mark.costly
@given(function=st.text(min_size=1, max_size=20), tgt=st.text(max_size=20), tgt_type=st.sampled_from(["glob", "list", "compound", "grain", "pcre"]))
def test_with_one_function_and_one_minion_in_its_scope_a_token_does_nothing_else(function: str, tgt: str, tgt_type: str) -> None:
    made, _ = scope(("local:test.ping@m1",))
    exact = function == "test.ping" and tgt_type in {"glob", "list"} and {name.lower() for name in tgt.split(",")} == {"m1"}
    try:
        made.check(asked_for("local", (function,), tgt, tgt_type), {"salt.client": "local"})
    except Forbidden:
        return
    assert exact


def test_a_use_that_is_not_there_is_refused() -> None:
    made, _ = scope(left=1)
    made.use()

    with pytest.raises(Forbidden, match="no use left"):
        made.use()


@pytest.mark.parametrize(
    "entry",
    [
        "",
        "local",
        "local:",
        "test.ping",
        "shell:test.ping",
        "runner:jobs.active@m1",
        "local:a b",
        "local:a@",
        "local:a@b c",
        "local:a,b",
        "local:" + "a" * MOST_CHARACTERS,
        "local:a\n",
    ],
)
def test_an_entry_that_says_nothing_is_pointed_at(entry: str) -> None:
    with pytest.raises(Unprocessable) as caught:
        rules_of(["local:test.ping", entry])
    assert caught.value.details["errors"][0]["pointer"] == "/scope/1"
