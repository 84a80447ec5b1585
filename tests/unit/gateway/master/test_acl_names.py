"""Users' names in external_auth: a name gets its own rights, or none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from salt.utils.stringutils import expr_match

from service.errors import Unauthenticated
from service.gateway.master.acl_names import MOST_CHARACTERS, check_name, is_for_another

RULES = {"demo": [".*"], "first.last": ["test.ping"], "svc-*": ["test.ping"], "ops%": [".*"], "*": ["test.ping"], "^filename": "/etc/users"}


@pytest.mark.parametrize(
    "name", ["demo", "anna", "first.last", "f.l", "anna@example.org", "anna+tag@example.org", "DOMAIN\\anna", "host$", "svc-*", "svc-1", "ops", "ops%", ""]
)
def test_a_name_that_is_nobody_elses_passes(name: str) -> None:
    check_name({"pam": RULES}, "pam", name)


@pytest.mark.parametrize(
    "name",
    ["dem[o]", "dem?", "*", "**", "d*", ".*", "dem.", "d.mo", "demo$", "dem\\w", "(?i:DEMO)", "demo|x", "demo{1}", "demo()", "^demo", "^filename", "de+mo", "fir.t.last", "x" * (MOST_CHARACTERS + 1)],
)  # fmt: skip
def test_a_name_that_could_be_taken_for_anothers_is_refused_and_not_repeated(name: str) -> None:
    with pytest.raises(Unauthenticated) as caught:
        check_name({"pam": RULES}, "pam", name)
    assert len(name) < 3 or name not in caught.value.reason


@pytest.mark.parametrize("external_auth", [None, {}, ["pam"], {"pam": None}, {"ldap": RULES}])
def test_without_an_acl_a_pattern_is_none_either(external_auth: object) -> None:
    check_name(external_auth, "pam", "demo")
    with pytest.raises(Unauthenticated):
        check_name(external_auth, "pam", "dem[o]")


@given(st.text(st.sampled_from("demo.*?[]!^$|(){}+\\wdDi-"), max_size=8))
def test_no_name_that_passes_is_taken_for_an_entry_that_does_not_spell_it(name: str) -> None:
    others = [who for who in ("demo", "d", "de+mo") if who != name]

    assert is_for_another({who: [] for who in others}, name) or not any(expr_match(who, name) for who in others)


def test_names_made_to_keep_a_matcher_busy_are_not_matched() -> None:
    entry = "a" * 200

    for name in ("(a+)+$", "a+" * 20 + "b", "(a|a)*b", "[a]+[a]+[a]+b"):
        assert is_for_another({entry: []}, name)
