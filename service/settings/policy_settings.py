"""The options of the policy: what the sidecar refuses or lets pass before the master is asked."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from service.clients import Kind
from service.settings.option_types import RELOADABLE, FromText, FromWords, Group, Networks, Words

_NO_RULES: Any = []


def _some(entries: tuple[object, ...]) -> tuple[object, ...]:
    if not entries or "" in entries:
        raise ValueError("an empty list or entry fits nothing; leave the field out to fit every call")
    return entries


_Some = AfterValidator(_some)
Globs = Annotated[Words, _Some]


class PolicyRule(Group):
    """What fits every field that is given is allowed, which leaves it to the master, or refused; entries are globs, except networks and clients."""

    action: Literal["allow", "refuse"]
    users: Globs | None = None
    groups: Globs | None = None
    eauth: Globs | None = None
    networks: Annotated[Networks, _Some] | None = None
    # Each stands for all clients of its kind: whoever may not run something may not start it without waiting for it either.
    clients: Annotated[tuple[Kind, ...], FromWords, _Some] | None = None
    functions: Globs | None = None
    targets: Globs | None = None


class PolicySettings(Group):
    """A policy on top of the rights that the master gives, asked before the master is; docs/policy.md."""

    rules: Annotated[tuple[PolicyRule, ...], FromText] = Field(
        _NO_RULES,
        validate_default=True,
        description="Which calls are refused, by users, groups, eauth, networks, clients, functions and targets; the first rule that fits decides, and where none fits the master does.",
        json_schema_extra=RELOADABLE,
    )
    refuse_master_writes: bool = Field(
        True,
        description="Refuse, before `policy.rules`, the wheel functions that write the master's files: `file_roots.write`, `pillar_roots.write`, `config.apply` and `config.update_config`.",
        json_schema_extra=RELOADABLE,
    )
