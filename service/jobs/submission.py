"""From a request to a job, once: the intent is stored before anything is published, and the same request again gets the same job."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from service.auth.identity import Identity, Session, is_named
from service.clients import Client, Kind
from service.errors import Conflict, Fault, KeyReused, NoSuchJob, Overloaded, Unprocessable
from service.gateway.clients.publish import arguments_of
from service.gateway.low import Low
from service.http.request_info import RequestInfo
from service.jobs.cancelling import Cancelling, KeyTaken, Run, has_key_of
from service.jobs.inputs import kept, request_of
from service.jobs.job_request import JobRequest, SequenceRequest, digest_of
from service.jobs.names import owner_of, owns
from service.jobs.outcome import OPEN, STARTING, MinionStatus
from service.jobs.rollout import Rollouts, without_key
from service.jobs.running.inquiries import DOUBTFUL, SETTLED_SECONDS, Inquiries
from service.jobs.running.opened import Begin
from service.jobs.running.running_jobs import RunningJobs
from service.jobs.stores.store import JobRecord, Store
from service.observe.trace.timeline import Timeline

# Of the first request with a key a repetition waits this long for; then it is told to come back.
PUBLISHING_SECONDS = 2.0
LOOK_SECONDS = 0.1
# The master forgets jobs after a while (`keep_jobs_seconds`); then not knowing one means nothing.
FORGOTTEN_SECONDS = 3600.0
# What starts a job and does not wait for it; a wheel function is over with the master's answer.
CLIENTS: Mapping[Kind, Client] = {"local": Client.LOCAL_ASYNC, "runner": Client.RUNNER_ASYNC, "wheel": Client.WHEEL, "ssh": Client.SSH}


class _Checked(Exception):
    """All was checked, and that is all that was wanted."""


class _Busy(Exception):
    """Another job of the group goes first. intent: what would have been stored."""

    def __init__(self, first: JobRecord, intent: JobRecord) -> None:
        super().__init__()
        self.first, self.intent = first, intent


@dataclasses.dataclass(frozen=True)
class Call:
    """
    One call of a caller: the job that it asks for, who they are, and its account.

    parent: the job that is to run again. asked_for: a digest of what the caller has sent, where that is not the whole job.
    """

    request: JobRequest
    session: Session
    info: RequestInfo
    parent: str | None = None
    asked_for: str | None = None

    @property
    def fingerprint(self) -> str:
        """What two calls have in common that ask for the same."""
        return self.asked_for or self.request.fingerprint


class Submissions:
    """
    Takes jobs in. Called from request threads.

    boot: tells one run of the machine from another. keep_secrets: inputs of jobs are kept even if they look secret. readers: who may read everybody's jobs. may_notify(url): a notice may be sent there. pause(seconds): sleeps. on_begun(info, seconds): a queued job was published, or refused, after its request was answered.
    """

    def __init__(
        self,
        run: Run,
        store: Store,
        running: RunningJobs,
        inquiries: Inquiries,
        rollouts: Rollouts,
        *,
        new_jid: Callable[[], str],
        boot: str,
        keep_secrets: bool = False,
        readers: Collection[str] = (),
        may_notify: Callable[[str], bool] = lambda _url: False,
        monotonic: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
        pause: Callable[[float], None] = time.sleep,
        on_begun: Callable[[RequestInfo, float], None] = lambda _info, _seconds: None,
    ) -> None:
        self._run = run
        self.store = store
        self.running = running
        self._inquiries, self._rollouts = inquiries, rollouts
        self.new_jid = new_jid
        self._boot, self._keep_secrets, self._readers, self._may_notify = boot, keep_secrets, readers, may_notify
        self._monotonic, self._now, self.pause = monotonic, now, pause
        self._on_begun = on_begun
        self.cancelling = Cancelling(run, store, running, new_jid, self.reads_all)

    def submit(self, call: Call, key: str | None) -> tuple[JobRecord, bool]:
        """
        Publish a job, or return the one that the key was used for; say which.

        Raises what Commands.run raises, Unprocessable, KeyReused, Conflict while the first request with the key is still at it, Overloaded, StorageUnavailable.
        """
        known = self.store.keyed(owner_of(call.session.identity), key) if key is not None else None
        if known is not None:
            return self._again(known, call), True
        self.check_notice(call.request)
        self.running.check_room()
        fingerprint, group = call.fingerprint, call.request.group
        record = self.new_record(call.request, call.session.identity, key, fingerprint, parent=call.parent, concurrency_group=group)
        try:
            return self._publish(record, call, intends=True), False
        except KeyTaken as taken:
            return self._again(taken.job, call), True
        except _Busy as busy:
            return self._behind(busy, call)

    def submit_later(self, call: Call, key: str) -> JobRecord:
        """Do so after the request was answered."""
        with self._afterwards(call.info) as info:
            return self.submit(dataclasses.replace(call, info=info), key)[0]

    def check(self, call: Call) -> None:
        """Raise what `submit` would before it stores anything."""

        def ready(_lows: list[Low]) -> None:
            raise _Checked

        self.check_notice(call.request)
        with contextlib.suppress(_Checked):
            self._run([call.request.low(self.new_jid())], call.info, proof=call.session, client=CLIENTS[call.request.client], ready=ready)

    def check_notice(self, request: JobRequest | SequenceRequest) -> None:
        """Raise Unprocessable if no notice may be sent where a request wants one."""
        if request.notify is not None and not self._may_notify(request.notify):
            raise Unprocessable("no notice may be sent there", errors=[{"pointer": "/notify", "detail": "jobs.notify_urls does not allow it"}])

    def new_record(self, request: JobRequest | SequenceRequest, who: Identity, key: str | None, fingerprint: str, **known: Any) -> JobRecord:
        """Return what is stored of a request. known: more of its fields."""
        now, ends_at, kept_of = self._now(), self._monotonic() + request.deadline, (fingerprint, request.kept(), "")
        return JobRecord(self.new_jid(), owner_of(who), key, *kept_of, now, now + request.deadline, self._boot, ends_at, token=who.token, **known)

    def is_overdue(self, record: JobRecord) -> bool:
        """Say whether a job's deadline has passed."""
        return self._age_of(record) + record.queued_seconds >= record.deadline - record.since

    def reads_all(self, identity: Identity) -> bool:
        """Say whether somebody may read everybody's jobs."""
        return identity.token is None and (identity.sees_everything or is_named(self._readers, identity.eauth, identity.user))

    def of(self, jid: str, identity: Identity, *, to_end: bool = False) -> JobRecord:
        """Return a job that somebody may read, or, to_end, may cancel. Raises NoSuchJob for others' jobs too."""
        record = self.store.job(jid)
        is_theirs = record is not None and (owns(identity, record.owner, record.token) or (identity.sees_everything if to_end else self.reads_all(identity)))
        if record is None or not is_theirs:
            raise NoSuchJob("there is no such job of yours")
        return record

    def statuses(self, jid: str) -> dict[str, MinionStatus]:
        """Return what is known of a job's minions."""
        return {minion: part.status for minion, part in self.store.parts(jid, bodies=False).items()}

    def lend(self, record: JobRecord | None, session: Session) -> None:
        """Ask in the name of a job's owner, if it is they who look at it now, and go on with its waves, if what it runs was kept."""
        if record is None or not owns(session.identity, record.owner, record.token) or session.offline:
            return
        inputs = self.store.inputs(record.jid) if self.running.lending.lacks_request(record) else None
        self.running.lending.lend(record, session.credentials, None if inputs is None else request_of(record.request, json.loads(inputs)))

    def wait(self, jid: str, session: Session, seconds: float) -> None:
        """Sleep until a job is over, whichever sidecar follows it, at most *seconds*, and not at all when the process is stopping; lend what it needs meanwhile."""
        ends = self._monotonic() + seconds
        if self.running.watched.get(jid) is None:
            self.store.wait(jid, lambda job: job.status not in OPEN or job.lacks_owner, seconds)
            self.lend(self.store.job(jid), session)
        left = max(0.0, ends - self._monotonic())
        if self.running.watched.get(jid) is None:
            self.store.wait(jid, lambda job: job.status not in OPEN, left)
        else:
            self.running.watched.wait(jid, left)

    def _publish(self, record: JobRecord, call: Call, *, intends: bool, back: Callable[[Fault], JobRecord] | None = None) -> JobRecord:
        """
        Publish under the record's jid. intends: for the first time, so the intent is stored before that.

        back: what to do when it was certainly not published and nobody waits for the answer; without, it is refused.
        """
        begun = not intends

        def ready(lows: list[Low]) -> None:
            nonlocal begun
            if intends:
                arguments = digest_of(arguments_of(lows[0].fields)) if call.request.client == "local" else ""
                intent = dataclasses.replace(record, arguments=arguments)
                self.running.begin(intent, call.session.credentials)
                self._intend(intent, kept(call.request, secrets_too=self._keep_secrets))
                begun = True

        client, run_low = CLIENTS[call.request.client], self._rollouts.runs(record.jid, call.request)
        try:
            (value,) = self._run([call.request.low(record.jid)], call.info, proof=call.session, client=client, ready=ready, run_low=run_low)
        except Fault as fault:
            if isinstance(fault, DOUBTFUL) and begun and not self._rollouts.is_unsent(record.jid, call.request):
                return self.running.in_doubt(record.jid)
            if back is not None:
                return back(fault)
            if begun:
                self.running.refused(record.jid)
            raise
        except Exception:
            if begun:
                self.running.in_doubt(record.jid)
            raise
        return self._begun(record.jid, call.request, value)

    def _begun(self, jid: str, request: JobRequest, value: Mapping[str, Any]) -> JobRecord:
        """Say that the master has taken the job. value: what its client gave."""
        if request.client in ("runner", "ssh"):
            return self.running.started(jid, value["jid"])
        if request.client == "wheel":
            return self.running.ran(jid, value["data"])
        if not value:
            return self.running.no_match(jid)
        return self.running.published(jid, value["minions"], without_key(request, value["minions"]))

    def _intend(self, intent: JobRecord, inputs: bytes | None) -> None:
        stored = False
        try:
            taken = self.store.intend(intent, inputs)
            stored = taken is None
        finally:
            if not stored:
                self.running.watched.forget(intent.jid)
        if taken is None:
            return
        if has_key_of(taken, intent):
            raise KeyTaken(taken)
        raise _Busy(taken, intent)

    def _behind(self, busy: _Busy, call: Call) -> tuple[JobRecord, bool]:
        try:
            return self.cancelling.behind(busy.first, busy.intent, call.session, call.info, lambda: self._queue(busy.intent, call)), False
        except KeyTaken as taken:
            return self._again(taken.job, call), True

    def _queue(self, intent: JobRecord, call: Call) -> JobRecord:
        """Store a job that is published when its turn comes."""
        self.running.queue.check_room(intent.concurrency_group or "")
        record = dataclasses.replace(intent, status="queued")
        self.running.begin(record, call.session.credentials, self._when_free(call))
        self._intend(record, kept(call.request, secrets_too=self._keep_secrets))
        return self.running.queue.enter(record.jid)

    def _when_free(self, call: Call) -> Begin:
        """Return what publishes a queued job, on a thread of the queue, long after its request was answered."""

        def begin(record: JobRecord) -> None:
            with self._afterwards(call.info) as info:

                def back(fault: Fault) -> JobRecord:
                    _blame(info, fault)
                    return self.running.queue.put_back(record.jid, begin if fault.retry_after == "always" else None)

                self._publish(record, dataclasses.replace(call, info=info), intends=False, back=back)

        return begin

    @contextlib.contextmanager
    def _afterwards(self, asked: RequestInfo) -> Iterator[RequestInfo]:
        """Yield the account of something that is done after its request was answered, and close it."""
        started = self._monotonic()
        info = dataclasses.replace(asked, started=started, status=202, lows=[], who={}, claimed={}, audited=[], timeline=Timeline())
        try:
            yield info
        except Fault as fault:
            _blame(info, fault)
            raise
        finally:
            self._on_begun(info, self._monotonic() - started)

    def _again(self, known: JobRecord, call: Call) -> JobRecord:
        """Answer a request whose key was used: with its job, or by finding out whether that was ever published."""
        if known.fingerprint != call.fingerprint or not owns(call.session.identity, known.owner, known.token):
            raise KeyReused("the Idempotency-Key was used for another request, or with another token", jid=known.jid)
        if known.status == "queued":
            return self.running.queue.adopt(known, call.session.credentials, self._when_free(call))
        if known.status not in STARTING:
            self.running.lending.lend(known, call.session.credentials, call.request)
            return known
        if not self.running.claim(known, call.session.credentials):
            return self._when_published(known)
        return self._resume(known, call)

    def _when_published(self, known: JobRecord) -> JobRecord:
        for _ in range(int(PUBLISHING_SECONDS / LOOK_SECONDS)):
            self.pause(LOOK_SECONDS)
            now = self.store.job(known.jid)
            if now is not None and now.status != "publishing":
                return now
        raise Conflict("the first request with this Idempotency-Key is being published; come back", jid=known.jid)

    def _resume(self, known: JobRecord, call: Call) -> JobRecord:
        """Find out whether the master has a job; if it certainly has not, publish it again, under the same jid. What runs on itself it gives an id of its own."""
        if call.request.client != "local":
            return self.running.in_doubt(known.jid)
        self.pause(min(max(0.0, SETTLED_SECONDS - self._age_of(known)), SETTLED_SECONDS))
        try:
            found = self._inquiries.cached(known.jid, call.session.credentials)
        except Overloaded:
            self.running.in_doubt(known.jid)
            raise
        if found is not None and found.known:
            return self.running.found(known.jid, found)
        certain = (found is not None and 0 <= self._age_of(known) < FORGOTTEN_SECONDS) or self._rollouts.is_unsent(known.jid, call.request)
        if certain or (found is None and call.request.on_doubt == "republish"):
            return self._publish(known, call, intends=False)
        return self.running.in_doubt(known.jid)

    def _age_of(self, record: JobRecord) -> float:
        """Return how long ago a job was first to be published, in seconds; by the time of day only if the machine was started anew since."""
        if record.boot == self._boot:
            return self._monotonic() - record.ends_at + (record.deadline - record.since) - record.queued_seconds
        return self._now() - record.since - record.queued_seconds


def _blame(info: RequestInfo, fault: Fault) -> None:
    info.status, info.error, info.error_type = fault.status, fault.reason, fault.kind
