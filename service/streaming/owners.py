"""Which user a job belongs to, and who may see an event."""

from __future__ import annotations

import dataclasses
import fnmatch
import functools
import re

from service.streaming.rendering import StreamEvent

MOST_OWNERS = 50_000
NEW_TYPES = frozenset({"job_new", "run_new"})


class Owners:
    """
    Who started which job, learned from the events that announce jobs. For one thread.

    The first announcement counts: otherwise somebody who may fire events from a minion could claim another user's job later.
    Half of *most* are remembered at least; then the older half is forgotten at once, which needs no order and half of the memory of one.
    """

    def __init__(self, most: int = MOST_OWNERS) -> None:
        self._half = most // 2
        self._users: dict[str, str] = {}
        self._before: dict[str, str] = {}
        self._names: dict[str, str] = {}  # one text for all jobs of a user

    def learn(self, event: StreamEvent) -> None:
        """Look at an event, and remember the user if it announces a job."""
        if event.kind not in NEW_TYPES or event.jid is None or self.of(event.jid):
            return
        user = event.user()
        if not user:
            return
        if len(self._users) >= self._half:
            self._users, self._before, self._names = {}, self._users, {}
        self._users[event.jid] = self._names.setdefault(user, user)

    def of(self, jid: str | None) -> str | None:
        """Return who started a job, None if that was not heard."""
        return None if jid is None else self._users.get(jid) or self._before.get(jid)


@dataclasses.dataclass(frozen=True)
class View:
    """
    What a reader sees. Readers with equal views share their batches.

    user: only the jobs this user started; None: everything. globs: tags, all when empty. ids: with `id:` lines.
    """

    user: str | None = None
    globs: tuple[str, ...] = ()
    ids: bool = False

    def wants(self, event: StreamEvent) -> bool:
        """Say whether an event is for this view."""
        if self.user is not None and event.owner != self.user:
            return False
        return not self.globs or _pattern(self.globs).match(event.tag) is not None


@functools.lru_cache(maxsize=1024)
def _pattern(globs: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(fnmatch.translate(glob) for glob in globs))
