"""Which events are about our jobs: under a job's own jid, under those of questions about it, and under the master's own for what runs on itself."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Literal

from service.bounded import Bounded
from service.events.event import Event
from service.jobs.outcome import OPEN
from service.jobs.running.inquiries import Credentials
from service.jobs.running.opened import OpenJob

# Runs of the master that are kept while one of ours is being started and nobody knows its id yet.
EARLY_RUNS = 1000
RUN_KINDS = frozenset({"run_new", "run_ret"})
# What an event is to a job.
Bearing = Literal["return", "answer", "run", "state"]


class WatchedJobs:
    """The jobs that are followed. `wants` runs on the bus thread, the others on any."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jobs: dict[str, OpenJob] = {}  # by jid; guarded by _lock, read without, like the next two
        self._questions: dict[str, str] = {}  # the job's jid by the question's
        self._runs: dict[str, str] = {}  # the job's jid by the master's
        self.is_ending = False
        self._early_runs: Bounded[str, list[Event]] = Bounded(EARLY_RUNS)  # the thread's

    def wants(self, event: Event) -> bool:
        """Say whether an event is about one of the jobs, or may turn out to be."""
        jid = event.jid
        if jid is None:
            return False
        return jid in self._jobs or jid in self._questions or jid in self._runs or (event.kind in RUN_KINDS and self._starts_run())

    def _starts_run(self) -> bool:
        return any(job.publishing and job.on_master for job in self.all())

    def find(self, event: Event) -> tuple[OpenJob, Bearing] | None:
        """Return whose an event is, and what it is to that job; one of a run that may turn out to be ours is kept."""
        jid = event.jid or ""
        if event.kind in RUN_KINDS:
            job = self.get(self._runs.get(jid, ""))
            if job is None:
                self._early_runs[jid] = [*self._early_runs.get(jid, []), event]
            return None if job is None else (job, "run")
        kind = event.origin[0]
        if kind not in {"job_ret", "job_prog"}:
            return None
        is_answer = jid in self._questions
        job = self.get(self._questions.get(jid, jid))
        if job is None or (is_answer and kind == "job_prog"):
            return None
        return job, "state" if kind == "job_prog" else "answer" if is_answer else "return"

    def get(self, jid: str) -> OpenJob | None:
        """Return a job."""
        return self._jobs.get(jid)

    @property
    def count(self) -> int:
        """How many are watched."""
        return len(self._jobs)

    @property
    def open_jobs(self) -> int:
        """How many are not over."""
        return sum(not job.is_over for job in self.all())

    def open_by_status(self) -> dict[str, int]:
        """How many are in each status that is not the end; one that no request publishes any more is in doubt."""
        found = Counter("in_doubt" if job.record.status == "publishing" and not job.publishing else job.record.status for job in self.all())
        return {status: found[status] for status in OPEN}

    def awaited(self, jid: str) -> list[str]:
        """Return the minions of a job of whom more is expected now; nobody where it is not followed."""
        job = self.get(jid)
        return list(job.account.awaited) if job is not None and job.account is not None and not job.is_over else []

    def forget(self, jid: str) -> None:
        """Watch a job no longer whose intent could not be stored."""
        job = self.get(jid)
        if job is not None:
            self.drop(job)

    def is_recovering(self, jid: str) -> bool:
        """Say whether it is still being found out what became of a job while we were away."""
        job = self.get(jid)
        return job is not None and job.looking

    def wait(self, jid: str, seconds: float) -> None:
        """Sleep until a job is over, at most *seconds*; not at all after `end_waits`."""
        job = self.get(jid)
        if job is not None and not self.is_ending:
            job.over.wait(seconds)

    def wait_for_news(self, jid: str, known: int, seconds: float) -> int:
        """
        Sleep until more has happened to a job than is known, or it is over, at most *seconds*; not at all after `end_waits`.

        Returns the number of the last happening that is stored; 0 of a job that is not watched here.
        """
        job = self.get(jid)
        if job is None:
            return 0
        with job.news:
            job.news.wait_for(lambda: job.told_up_to > known or job.over.is_set() or self.is_ending, seconds)
            return job.told_up_to

    def end_waits(self) -> None:
        """Wake all who wait, and let nobody wait any more."""
        self.is_ending = True
        for job in self.all():
            job.over.set()
            with job.news:
                job.news.notify_all()

    def all(self) -> tuple[OpenJob, ...]:
        """Return all jobs; the copy is made in one step."""
        return tuple(self._jobs.values())

    def add(self, job: OpenJob) -> None:
        """Watch a job."""
        with self._lock:
            self._jobs[job.record.jid] = job
            if job.record.master_jid:
                self._runs[job.record.master_jid] = job.record.jid

    def add_missing(self, job: OpenJob) -> None:
        """Watch a job, unless it is watched already."""
        with self._lock:
            self._jobs.setdefault(job.record.jid, job)

    def claim(self, job: OpenJob, credentials: Credentials) -> bool:
        """Take a job in hand for a request, one that is watched as it is; False while another request has it in hand."""
        with self._lock:
            known = self._jobs.setdefault(job.record.jid, job)
            if known.publishing:
                return False
            known.publishing, known.credentials = True, dict(credentials)
            return True

    def answers(self, job: OpenJob, question: str, *, is_order: bool = False) -> None:
        """Take the answers to this question for a job, and to the two before it. is_order: to end it; to that a minion may answer long after others."""
        with self._lock:
            self._questions[question] = job.record.jid
            kept = job.orders if is_order else job.questions
            kept.append(question)
            for old in kept[:-3]:
                self._questions.pop(old, None)
            del kept[:-3]

    def runs_as(self, job: OpenJob, master_jid: str) -> list[Event]:
        """Take the events of one of the master's runs for a job; return those that came already."""
        with self._lock:
            self._runs[master_jid] = job.record.jid
        early = self._early_runs.pop(master_jid, [])
        if not self._starts_run():
            self._early_runs.clear()
        return early

    def drop(self, job: OpenJob) -> None:
        """Watch a job no longer, nor let anybody wait for it."""
        job.over.set()
        with job.news:
            job.news.notify_all()
        with self._lock:
            self._jobs.pop(job.record.jid, None)
            self._runs.pop(job.record.master_jid or "", None)
            for question in (*job.questions, *job.orders):
                self._questions.pop(question, None)
