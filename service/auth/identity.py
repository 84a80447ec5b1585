"""Who calls, and what they proved it with: two values, so that a new kind of proof changes nothing about who."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from service.http.addresses import HOLDERS
from service.limits import Holder

if TYPE_CHECKING:
    from service.auth.call_policy import PolicyCall

# Its beginning tells tools that look for secrets what it is; the rest has 256 bits.
SCOPED_TOKEN = re.compile(r"saltscope_[A-Za-z0-9_-]{43}")


def slots_name(eauth: str, user: str) -> str:
    """Return the name by which a user's slots are counted: the same for spellings that a directory may take for one user."""
    return f"user {eauth}:{user.strip().casefold()}"


def is_named(names: Collection[str], eauth: str, user: str) -> bool:
    """Say whether a setting names a user: as `EAUTH:USER`, or by a bare name, which is never read as the other."""
    return f"{eauth}:{user}" in names or (":" not in user and user in names)


@dataclasses.dataclass(frozen=True)
class Identity:
    """
    Who somebody is to the master, whatever they proved it with.

    perms: a list, or {} when empty. sees_everything: may read the whole event bus. token: the id of the scoped token that they use, None for all that they may.
    """

    user: str
    eauth: str
    groups: tuple[str, ...]
    perms: list[Any] | dict[str, Any]
    sees_everything: bool
    token: str | None = None

    @property
    def slots_name(self) -> str:
        """The name by which the user's slots are counted."""
        return slots_name(self.eauth, self.user)

    def holder_at(self, address: str) -> Holder:
        """Return whose share of the slots something counts to that the user does from an address."""
        return Holder(HOLDERS.of(address), self.slots_name)


class Scope(Protocol):
    """What a scoped token is for. id: of the token. entries: as its owner wrote them."""

    @property
    def id(self) -> str: ...

    @property
    def entries(self) -> Sequence[str]: ...

    def check(self, call: PolicyCall, asked: Mapping[str, Any]) -> None:
        """Raise Forbidden for what is not in it. asked: what the log says of the call."""

    def use(self) -> None:
        """Count one use of the token. Raises Forbidden if there is none left."""

    def revoke(self) -> None:
        """End the token; the login that it was made from stays."""


class Proof(Protocol):
    """What somebody proved with who they are."""

    @property
    def identity(self) -> Identity: ...

    @property
    def credentials(self) -> Mapping[str, str]:
        """What the master is shown in each low: some of `CREDENTIAL_FIELDS`."""

    @property
    def log_fields(self) -> Mapping[str, str]:
        """Who it was, for the log line; no credentials."""

    @property
    def scope(self) -> Scope | None:
        """What it is for, None: for all that the master allows."""


@dataclasses.dataclass(frozen=True)
class Session:
    """
    The proof by a Salt token that the master knows.

    digest: keyed, of the token, for the log. start, expire: seconds since 1970.
    offline: the master could not be asked now; it knew the token a short while ago. scope: of the scoped token that stands for it.
    """

    identity: Identity
    token: str = dataclasses.field(repr=False)
    digest: str
    start: float
    expire: float
    offline: bool = False
    scope: Scope | None = None

    def within(self, scope: Scope, expire: float) -> Session:
        """Return what a scoped token that was made from this session is good for. expire: the token's."""
        identity = dataclasses.replace(self.identity, sees_everything=False, token=scope.id)
        return dataclasses.replace(self, identity=identity, expire=min(expire, self.expire), scope=scope)

    @property
    def credentials(self) -> dict[str, str]:
        """The token."""
        return {"token": self.token}

    @property
    def log_fields(self) -> dict[str, str]:
        """Who it was, and in which session."""
        who = {"user.name": self.identity.user, "auth.eauth": self.identity.eauth, "auth.session": self.digest}
        return who if self.identity.token is None else {**who, "auth.scoped": self.identity.token}
