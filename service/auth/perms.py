"""What a token's user may do, in the form of the master's `external_auth`, as rest_cherrypy answers it at login."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

# The right to every function on every minion; whoever has it may see the whole event bus.
EVERYTHING = ".*"


def perms_of(token: Mapping[str, Any], external_auth: Mapping[str, Any]) -> list[Any] | dict[str, Any]:
    """
    Return the permissions of the user, of their groups and of everybody (`*`), `{}` when there are none.

    django (with `^model`) and rest bring their own list with the token. Never changes *external_auth*, as Salt's own
    sum does: after a thousand logins its list holds a thousand copies. Source: salt/netapi/__init__.py, sum_permissions.
    """
    eauth = token["eauth"]
    rules = external_auth.get(eauth)
    rules = rules if isinstance(rules, Mapping) else {}
    if (eauth == "django" and "^model" in rules) or (eauth == "rest" and "auth_list" in token):
        return token.get("auth_list") or {}
    groups = token.get("groups")
    names = {str(group) for group in groups} if isinstance(groups, Iterable) and not isinstance(groups, str) else set()
    # A rule's group name ends in one `%` or more.
    of_groups = [f"{name}%" for name in sorted(names) if f"{name}%" in rules]
    granted = [perm for who in (token["name"], "*", *of_groups) for perm in _listed(rules.get(who))]
    return _sorted(granted) or {}


def _listed(rule: object) -> list[Any]:
    return rule if isinstance(rule, list) else []


def _sorted(perms: list[Any]) -> list[Any]:
    """Drop repetitions; texts first, then rules for targets (mappings), each in order. Source: sorted_permissions, there."""
    texts = sorted({perm for perm in perms if isinstance(perm, str)})
    others: list[Any] = []
    for perm in perms:
        if not isinstance(perm, str) and perm not in others:
            others.append(perm)
    return texts + sorted(others, key=repr)
