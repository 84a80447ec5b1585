"""Users' names in the master's `external_auth`: which entries the master takes a name for, and names that are refused because it could take them for others'."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import salt.utils.stringutils

from service.errors import Unauthenticated

MOST_CHARACTERS = 256
# The master reads such a name as a pattern. Those that it may read so too are compared with the entries there are; all others are what they spell.
_PATTERN = re.compile(r"[*?\[\](){}|^]|\+.*\+", re.DOTALL)
_MAYBE = re.compile(r"[.$+\\]")


def rules_of(external_auth: object, eauth: str) -> Mapping[str, Any]:
    """Return what the master's `external_auth` says for an eauth module, by user and group."""
    rules = external_auth.get(eauth) if isinstance(external_auth, (dict, Mapping)) else None
    return rules if isinstance(rules, (dict, Mapping)) else {}


def named(rules: Iterable[str], name: str) -> list[str]:
    """Return the entries of users that the master takes a name for, `*` among them. Source: salt/utils/minions.py, CkMinions.fill_auth_list."""
    # The name is the expression there, and not the entry.
    return [who for who in rules if not who.endswith("%") and salt.utils.stringutils.expr_match(who, name)]


def check_name(external_auth: object, eauth: str, name: str) -> None:
    """Raise Unauthenticated for a user's name that `is_for_another`."""
    if is_for_another(rules_of(external_auth, eauth), name):
        raise Unauthenticated(
            "the user name has characters that names may not have here, or is too long: only a user whom external_auth lists under this very name may have it"
        )


def is_for_another(rules: Mapping[str, Any], name: str) -> bool:
    """Say whether the master could take a name for an entry that does not spell it: it is a pattern, or as long as no name is."""
    if name in rules and not name.startswith(("*", "^")):
        return False
    if len(name) > MOST_CHARACTERS or _PATTERN.search(name):
        return True
    return bool(_MAYBE.search(name)) and any(who not in {"*", name} for who in named(rules, name))
