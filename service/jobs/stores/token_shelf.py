"""What is kept of scoped tokens, beside the jobs: never the tokens themselves. tests/contract/test_token_shelves.py holds every store to it."""

from __future__ import annotations

import dataclasses
from typing import Protocol


@dataclasses.dataclass(frozen=True)
class TokenRecord:
    """
    A scoped token.

    id: its public name. digest: of the token, to find it by. owner: `EAUTH:USER`. scope: what it is for, an entry each. sealed: the Salt token behind it, which only the token itself opens.
    since, expires, used_at: seconds since 1970. uses: how often something was run with it, of at most max_uses, None: of any number.
    """

    id: str
    digest: str
    owner: str
    scope: tuple[str, ...]
    sealed: bytes
    since: float
    expires: float
    max_uses: int | None = None
    uses: int = 0
    used_at: float | None = None


class TokenShelf(Protocol):
    """Keeps scoped tokens. All methods may be called from any thread; all raise StorageUnavailable, and what writes StorageFull."""

    def put(self, record: TokenRecord, most: int) -> bool:
        """Keep a new one, and forget those of all owners that have expired; False if its owner has *most* already."""

    def find(self, digest: str) -> TokenRecord | None:
        """Return the one with a digest."""

    def of(self, owner: str) -> list[TokenRecord]:
        """Return an owner's, the newest first."""

    def use(self, id_: str, now: float) -> bool:
        """Count one use; False if there is none left, or no such token: of uses at the same time, on whatever sidecar, no more than that pass."""

    def drop(self, id_: str, owner: str) -> bool:
        """Forget an owner's; False if there is no such one."""
