"""Permissions are those that rest_cherrypy tells, and telling them changes nothing."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from service.auth.perms import perms_of

RULES: dict[str, Any] = {
    "pam": {
        "alice": ["test.*", "b.b", {"web*": ["state.*"]}],
        "*": ["b.b", "@jobs"],
        "ops%": ["zz.*", {"web*": ["state.*"]}],
        "dev%": ["a.a"],
        "broken": "not a list",
    },
    "django": {"^model": "m"},
    "rest": {"^url": "u"},
    "none": None,
}


def perms(name: str = "alice", eauth: str = "pam", **more: Any) -> object:
    return perms_of({"name": name, "eauth": eauth, **more}, RULES)


def test_a_user_has_its_own_and_everybodys() -> None:
    assert perms() == ["@jobs", "b.b", "test.*", {"web*": ["state.*"]}]


def test_a_group_adds_its_own_and_repetitions_are_dropped() -> None:
    assert perms(groups=["ops", "strangers"]) == ["@jobs", "b.b", "test.*", "zz.*", {"web*": ["state.*"]}]
    assert perms("nobody", groups=["ops", "dev"]) == ["@jobs", "a.a", "b.b", "zz.*", {"web*": ["state.*"]}]


def test_none_at_all_is_an_empty_object() -> None:
    assert perms("alice", "ldap") == {}
    assert perms("alice", "none") == {}


def test_what_is_no_list_gives_no_right() -> None:
    assert perms("broken", groups="ops") == ["@jobs", "b.b"]


@pytest.mark.parametrize(("eauth", "expected"), [("django", ["x.*"]), ("rest", ["x.*"]), ("pam", ["@jobs", "b.b", "test.*", {"web*": ["state.*"]}])])
def test_django_and_rest_bring_their_own_list(eauth: str, expected: object) -> None:
    assert perms(eauth=eauth, auth_list=["x.*"]) == expected


def test_their_empty_list_is_an_empty_object() -> None:
    assert perms(eauth="rest", auth_list=None) == {}
    assert perms(eauth="django") == {}


def test_the_configuration_stays_as_it_was() -> None:
    before = copy.deepcopy(RULES)

    for _ in range(3):
        perms(groups=["ops"])

    assert before == RULES
