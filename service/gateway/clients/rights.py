"""Rights of a low that does several things: each has to be permitted by itself, on the whole target, before anything runs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any

from service.errors import Forbidden
from service.gateway.clients.tokens import Tokens, login_fields
from service.gateway.low import ANYTHING, Doing, Low, session_over
from service.gateway.master.acl_names import named, rules_of
from service.gateway.master.options import EAUTH_MODULES, MasterOptions

Admitted = Callable[[], AbstractContextManager[Callable[[], None]]]
# Rights that do not depend on the target.
EVERYWHERE = "*"
# Whose rights are those of `external_auth`, also without a token; the others have an `acl` of their own, and so may a module that is not Salt's.
BY_CONFIGURATION = EAUTH_MODULES - {"django", "rest"}
# The master permits it to everybody whom it knows.
_FIND_JOB = "saltutil.find_job"


class Rights:
    """
    Decides by the rights that the master gives a caller. Called from request threads; keeps nothing.

    The master judges the low as well when it is published: what is decided here can only be narrower.
    """

    def __init__(self, tokens: Tokens, options: MasterOptions) -> None:
        self._tokens = tokens
        self._opts = options.raw

    def check(self, low: Low, admitted: Admitted) -> None:
        """
        Raise Forbidden unless everything that the low does is certainly permitted to its caller.

        admitted: lets the caller's credentials through to the master inside its block, as Guard.admit does; not used where the name alone decides.
        Raises also what the master's answer about the credentials raises.
        """
        if not low.is_compound or self._anywhere_by_name(low.credentials, low.doings):
            return
        with admitted() as accepted:
            auth_list = self._ask(low.credentials)
            accepted()
            if not permitted(low.doings, auth_list, targets=not self._expanded):
                raise Forbidden(_refusal(low))

    @property
    def _expanded(self) -> bool:
        """Whether the master reads entries with a target in another way, which we do not follow."""
        return bool(self._opts.get("auth.enable_expanded_auth_matching"))

    @property
    def _acl_in_token(self) -> bool:
        """Whether a token has the rights that an eauth module of its own says. Source: salt/auth/__init__.py, mk_token and get_auth_list."""
        return bool(self._opts.get("keep_acl_in_token"))

    def _anywhere_by_name(self, credentials: Mapping[str, Any], doings: list[Doing]) -> bool:
        """Say whether a name and password, if they are good, permit it all on every target; groups could only add rights."""
        if "token" in credentials or not self._is_by_configuration(credentials["eauth"]):
            return False
        auth_list = self._configured(credentials["eauth"], str(credentials.get("username", "")), ())
        return all(EVERYWHERE in grants(doing, auth_list, targets=not self._expanded) for doing in doings)

    def _ask(self, credentials: Mapping[str, Any]) -> list[Any]:
        """Return the caller's rights, an empty list when they cannot be known. Raises Unauthenticated for credentials that are not good."""
        if "token" in credentials:
            data = self._tokens.get_token(credentials["token"])
            if data is None:
                raise session_over()
            if self._acl_in_token and "auth_list" in data:
                # None is no right, also to what `external_auth` grants: so the master reads a token whose eauth module has no `acl`.
                return data["auth_list"] or []
        else:
            # Only a token tells the groups.
            data = self._tokens.mk_token(login_fields(credentials))
            self._tokens.discard(data["token"])
            if self._acl_in_token and data.get("auth_list") is not None:
                return list(data["auth_list"])
            if not self._is_by_configuration(data["eauth"]):
                return []
        return self._configured(data["eauth"], data["name"], data.get("groups") or ())

    def _is_by_configuration(self, eauth: str) -> bool:
        return eauth in BY_CONFIGURATION and not self._opts.get("eauth_acl_module")

    def _configured(self, eauth: str, name: str, groups: Iterable[str]) -> list[Any]:
        """Return what `external_auth` grants. Source: salt/utils/minions.py, CkMinions.fill_auth_list."""
        rules = rules_of(self._opts.get("external_auth"), eauth)
        of_groups = [who for who in rules if who.endswith("%") and who.rstrip("%") in groups]
        permissive = self._opts.get("permissive_acl")
        by_name = [who for who in named(rules, name) if who != "*" or permissive]
        if not (by_name or permissive) and "*" in rules:
            by_name = ["*"]
        return [entry for who in (*by_name, *of_groups) for entry in rules[who]]


def permitted(doings: list[Doing], auth_list: Iterable[Any], *, targets: bool = True) -> bool:
    """
    Say whether the master's consent to any of these means that each of them is permitted on the target.

    It does if all are permitted everywhere. It does as well if all are permitted on the same targets: the master has found ours to be within one of them.
    """
    auth_list = list(auth_list)
    where = {grants(doing, auth_list, targets=targets) for doing in doings}
    return all(EVERYWHERE in one for one in where) or (len(where) == 1 and frozenset() not in where)


def grants(doing: Doing, auth_list: Iterable[Any], *, targets: bool) -> frozenset[str]:
    """
    Return the targets on which something is permitted, as they are written in the caller's rights.

    targets: whether entries with a target count. Source: salt/utils/minions.py, CkMinions.auth_check.
    """
    fun, args, kwargs = doing
    found = {EVERYWHERE} if fun == _FIND_JOB else set()
    for entry in auth_list:
        if isinstance(entry, str) and _matches(entry, fun):
            found.add(EVERYWHERE)
        elif targets and isinstance(entry, Mapping) and len(entry) == 1:
            ((target, conditions),) = entry.items()
            if isinstance(target, str) and not target.startswith("@") and _function_permitted(conditions, fun, args, kwargs):
                found.add(target)
    return frozenset(found)


def _function_permitted(conditions: object, fun: str, args: list[Any], kwargs: Mapping[str, Any] | None) -> bool:
    """Look a function and its arguments up in an entry's list. Source: CkMinions.__fun_check."""
    for condition in conditions if isinstance(conditions, list) else [conditions]:
        if isinstance(condition, str) and _matches(condition, fun):
            return True
        if isinstance(condition, Mapping) and len(condition) == 1:
            ((name, limits),) = condition.items()
            if _matches(name, fun) and any(_within(limit, args, kwargs) for limit in (limits if isinstance(limits, list) else [limits])):
                return True
    return False


def _within(limit: object, args: list[Any], kwargs: Mapping[str, Any] | None) -> bool:
    """Say whether arguments keep to a limit; None in it allows any value. Source: CkMinions.__args_check."""
    if not isinstance(limit, Mapping):
        return False
    positional, keywords = limit.get("args", []), limit.get("kwargs", {})
    if len(args) < len(positional) or not keywords.keys() <= (kwargs or {}).keys():
        return False
    pairs = [*zip(positional, args, strict=False), *((keywords[name], (kwargs or {})[name]) for name in keywords)]
    return all(allowed is None or _matches(allowed, str(value)) for allowed, value in pairs)


def _matches(expression: object, text: str) -> bool:
    """Compare as the master does; what is no regular expression permits nothing."""
    try:
        return isinstance(expression, str) and re.match(expression, text) is not None
    except re.error:
        return False


def _refusal(low: Low) -> str:
    if low.far_reaching:
        return f"{', '.join(low.far_reaching)} can do anything on the minions: it needs the right to {ANYTHING} beside the function's, on the same targets"
    return "each function of this low must be permitted by itself, on the same targets: send the functions as lows of their own"
