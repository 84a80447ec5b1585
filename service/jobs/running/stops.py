"""Jobs whose end was asked for, here or at another sidecar: their minions' answers are heard where the job is followed, and who was asked has killed what goes on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

from service.bounded import Bounded
from service.errors import StorageUnavailable
from service.jobs.outcome import OPEN, OVER
from service.jobs.running.inquiries import Credentials, Inquiries, Question
from service.jobs.running.opened import OpenJob
from service.jobs.running.watched_jobs import WatchedJobs
from service.jobs.running.waves import Waves
from service.jobs.stores.store import JobRecord, PartRecord, Store

# A job that goes on so long after it was asked to end is killed.
KILL_SECONDS = 10.0
# Longest wait for the sidecar that follows a job to hear that its end is asked for; then the minions are asked all the same.
HEARD_SECONDS = 2.0
# Most jobs of other sidecars that are being ended here; the oldest make room, and are not killed.
MOST_ELSEWHERE = 1000


@dataclasses.dataclass(frozen=True)
class _Kill:
    """What is due for a job of another sidecar. at: on the monotonic clock. credentials: of the caller who asked for its end; in memory only."""

    at: float
    credentials: Credentials = dataclasses.field(repr=False)


class Stops:
    """Ends jobs. `ask_elsewhere` is called from request threads, the others on the thread `jobs`."""

    def __init__(
        self, store: Store, inquiries: Inquiries, watched: WatchedJobs, waves: Waves, *, new_jid: Callable[[], str], monotonic: Callable[[], float]
    ) -> None:
        self._store, self._inquiries, self._watched, self._waves = store, inquiries, watched, waves
        self._new_jid, self._monotonic = new_jid, monotonic
        self._elsewhere: Bounded[str, _Kill] = Bounded(MOST_ELSEWHERE)  # by jid; each change is one step

    def ask_elsewhere(self, jid: str, question: str, credentials: Credentials) -> None:
        """A request is about to ask the minions, under the jid *question*, to end a job that another sidecar follows: have that one hear their answers."""
        self._store.ask_to_end(jid, question)
        self._store.wait(jid, lambda job: job.cancelled or job.status not in OPEN, HEARD_SECONDS)
        self._elsewhere[jid] = _Kill(self._monotonic() + KILL_SECONDS, dict(credentials))

    def begin(self, job: OpenJob, question: str, credentials: Credentials) -> None:
        """The same for a job that we follow; what goes on after a while is killed in the caller's name."""
        job.credentials, job.kill_at = dict(credentials), self._monotonic() + KILL_SECONDS
        self._expect(job, question)

    def hear(self) -> list[str]:
        """Hear for which of our jobs other sidecars have asked the end; return their jids."""
        asked = self._store.ends_asked()
        for jid, questions in asked.items():
            if (job := self._watched.get(jid)) is not None:
                for question in questions:
                    self._expect(job, question)
        return list(asked)

    def kill_due(self, now: float) -> None:
        """Have jobs of other sidecars killed that were asked here to end, and go on."""
        for jid, due in list(self._elsewhere.items()):
            if now >= due.at and self._elsewhere.pop(jid, None) is not None:
                try:
                    self._kill(jid, due.credentials)
                except StorageUnavailable:
                    self._elsewhere[jid] = dataclasses.replace(due, at=now + KILL_SECONDS)

    def _kill(self, jid: str, credentials: Credentials) -> None:
        job = self._store.job(jid)
        minions = awaited_of(job, self._store.parts(jid, bodies=False)) if job is not None and job.status in OPEN else []
        if minions:
            question = Question("saltutil.kill_job", minions, self._new_jid())
            self._store.ask_to_end(jid, question.jid)
            self._inquiries.ask(question, jid, credentials, lambda _permitted: None)

    def _expect(self, job: OpenJob, question: str) -> None:
        job.record = dataclasses.replace(job.record, cancelled=True)
        self._watched.answers(job, question, is_order=True)
        self._waves.stop(job, "cancelled")


def awaited_of(job: JobRecord, parts: Mapping[str, PartRecord]) -> list[str]:
    """Return the minions of a job of whom more is expected now."""
    return [minion for minion, part in parts.items() if part.status not in OVER and (part.wave or 0) <= job.wave]
