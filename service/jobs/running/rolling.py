"""One job whose minions have their turns in waves: which, what is needed to publish the next one, and how far it is."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal, Protocol

from service.clients import Client
from service.gateway.low import Low
from service.jobs.job_request import JobRequest
from service.jobs.outcome import OPEN, OVER, LeftOut, MinionStatus
from service.jobs.running.account import JobAccount
from service.jobs.running.inquiries import Credentials
from service.jobs.stores.store import JobRecord, PartRecord
from service.jobs.wave_plan import is_too_many

# All minions of a wave were well, some were not, or so many that no other wave began.
WaveEnd = Literal["ok", "failed", "stopped"]


class WavesReport(Protocol):
    """Hears what happens to waves. Called from the thread `jobs`."""

    def wave_taken(self, jid: str, wave: int, waves: int, minions: int) -> None:
        """The master has taken a wave of a job, one of so many."""

    def wave_in_doubt(self, jid: str, wave: int) -> None:
        """Nobody can say whether the master has taken a wave of a job."""

    def wave_over(self, outcome: WaveEnd) -> None:
        """A wave of a job is over."""

    def minions_not_run(self, why: LeftOut, count: int) -> None:
        """The turn of so many minions of a job never comes."""


@dataclasses.dataclass
class Rolling:
    """
    The waves of a job; the record says how many of them have begun, and how many the master has taken.

    request: what is published; after a restart nobody has its arguments, until its owner brings them. refused_with: credentials with which the master did not take a wave.
    over_at: since when the last wave is over, on the monotonic clock; retry_at: when one that was certainly not published is tried again.
    begun: a wave is published as soon as that is stored. publishing: it is under way. doubted_at: since when nobody can say whether the master took it.
    reported: how many have ended, as far as it was reported.
    """

    waves: list[list[str]]
    request: JobRequest | None = dataclasses.field(default=None, repr=False)
    refused_with: Credentials | None = dataclasses.field(default=None, repr=False)
    over_at: float | None = None
    retry_at: float = 0.0
    begun: bool = False
    publishing: bool = False
    doubted_at: float | None = None
    reported: int = 0

    def __post_init__(self) -> None:
        """Number them, from 1."""
        self.number_of = {minion: number for number, wave in enumerate(self.waves, 1) for minion in wave}
        # Who is over stays so, so nobody is looked at twice; but for this, each return costs as much as its wave has minions.
        self._over = [0] * len(self.waves)  # how many of a wave's first minions are known to be over

    @classmethod
    def of(cls, record: JobRecord, parts: Mapping[str, PartRecord]) -> Rolling:
        """Go on with what is stored."""
        waves: list[list[str]] = [[] for _ in range(record.waves)]
        for minion, part in parts.items():
            if part.wave is not None:
                waves[part.wave - 1].append(minion)
        return cls(waves)

    @property
    def is_unclear(self) -> bool:
        """Say whether nobody knows just now whether the master has taken the last wave."""
        return self.publishing or self.doubted_at is not None

    def after(self, wave: int) -> list[str]:
        """Return the minions of all later waves."""
        return [minion for minions in self.waves[wave:] for minion in minions]

    def has_ended(self, wave: int, account: JobAccount) -> bool:
        """Say whether nothing more is expected of a wave. account: the same one each time."""
        minions, over = self.waves[wave - 1], self._over[wave - 1]
        while over < len(minions) and account.parts[minions[over]].status in OVER:
            over += 1
        self._over[wave - 1] = over
        return over == len(minions)

    def new_ends(self, record: JobRecord, account: JobAccount) -> Iterator[WaveEnd]:
        """Yield what those of the waves that the master has taken came to that have ended since the last time, in their order; with the job all have."""
        while self.reported < record.taken and (record.status not in OPEN or self.has_ended(self.reported + 1, account)):
            self.reported += 1
            is_well = all(account.parts[minion].status == "ok" for minion in self.waves[self.reported - 1])
            is_last = self.reported == record.taken and account.left_out == "stopped_by_failures"
            yield "ok" if is_well else "stopped" if is_last else "failed"

    def has_failed(self, wave: int, account: JobAccount, limit: int | str | None) -> bool:
        """Say whether too many of the waves up to this one have failed for another."""
        counts: Counter[MinionStatus] = Counter(account.parts[minion].status for minions in self.waves[:wave] for minion in minions)
        return is_too_many(counts, limit, len(self.number_of))

    def was_taken(self, wave: int, account: JobAccount, known: Iterable[str] = ()) -> bool:
        """Say whether a wave's minions show that it was published: by what was heard of one, or as the master names one."""
        known = set(known)
        return any(minion in known or account.parts[minion].status != "waiting" for minion in self.waves[wave - 1])

    def low(self, jid: str, wave: int) -> Low | None:
        """Return what publishes a wave, without credentials; None while nobody knows its arguments."""
        if self.request is None:
            return None
        fields = {**self.request.low(jid), "tgt": self.waves[wave - 1], "tgt_type": "list"}
        return Low(Client.LOCAL_ASYNC, fields.pop("fun"), fields)
