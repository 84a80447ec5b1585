"""What is kept of jobs, and what a store of it promises. tests/contract/test_stores.py holds every store to it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, TimeoutError  # noqa: A004 - before Python 3.11 it is not the built-in one
from typing import Any, Literal, Protocol, TypeVar

from service.errors import Conflict, Fault, StorageUnavailable
from service.jobs import JobStatus
from service.jobs.outcome import Cause, MinionStatus
from service.jobs.stores.token_shelf import TokenShelf

# Of each minion's return, and of all those of one job; a larger one is judged, and not kept.
BODY_LIMIT_BYTES = 1024 * 1024
JOB_LIMIT_BYTES = 256 * 1024 * 1024
PACKED_FROM_BYTES = 1024
_ZLIB = b"x"
_JSON = json.JSONEncoder(default=str, skipkeys=True)
# Longest wait of a request for a thread that stores.
ANSWER_SECONDS = 30.0
T = TypeVar("T")
HappeningKind = Literal["status", "wave", "minion", "state", "step", "gap"]


@dataclasses.dataclass(frozen=True)
class JobRecord:
    """
    A job.

    owner: `EAUTH:USER`. key: the caller's, for the same request again; None if there was none, or when it was given back. fingerprint: of the request.
    request: as it was sent, without secrets. arguments: a digest of the function's, which returns are compared with.
    since, deadline, finished: seconds since 1970. boot, ends_at: the same deadline on the monotonic clock of one run of the machine.
    strays: returns under its jid that are of another function. revision: how often it was stored with something new.
    cancelled: somebody asked for its end. master_jid: the master's own id of a job that runs on itself.
    happened: the number of its last happening. parent: the job that it repeats, or is a part of.
    concurrency_group: of its jobs one is under way at a time. needs_owner: it goes on only with its owner's next request. queued_seconds: until its turn in the group came.
    without_token: it runs, and who follows it has nothing of its owner's that the master takes.
    waves: how many its minions are dealt out to, 0 if they all run it at once; wave: how many of them have begun; taken: of how many the master has said so.
    token: the id of the scoped token that it was asked for with, None if that was none.
    """

    jid: str
    owner: str
    key: str | None
    fingerprint: str
    request: Mapping[str, Any]
    arguments: str
    since: float
    deadline: float
    boot: str
    ends_at: float
    status: JobStatus = "publishing"
    cause: Cause | None = None
    expected: int = 0
    strays: int = 0
    finished: float | None = None
    revision: int = 0
    cancelled: bool = False
    master_jid: str | None = None
    happened: int = 0
    parent: str | None = None
    concurrency_group: str | None = None
    needs_owner: bool = False
    queued_seconds: float = 0.0
    waves: int = 0
    wave: int = 0
    taken: int = 0
    token: str | None = None
    without_token: bool = False

    @property
    def lacks_owner(self) -> bool:
        """Say whether its owner can help it on, wherever they come."""
        return self.needs_owner or self.without_token


@dataclasses.dataclass(frozen=True)
class PartRecord:
    """
    What one minion has to do with a job. flags: what else its return says (findings.py).

    body: its return as JSON; None if there is none, or where it was too large to be kept. size: of the return, in bytes. wave: which one it is in, from 1.
    """

    status: MinionStatus
    reason: str | None = None
    why: str | None = None
    source: str | None = None
    retcode: Any = None
    flags: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    at: float | None = None
    size: int = 0
    body: bytes | None = None
    wave: int | None = None


@dataclasses.dataclass(frozen=True)
class Happening:
    """
    Something that those who follow a job are told. seq: its number, from 1. at: seconds since 1970.

    kind: `status` of the job, `wave`: one begins, or waits for the job's owner, `minion`: what is known of one, `state`: how one of its states ended, `step`: what became of a step of a sequence, `gap`: there were too many, and only the job's status is told from here on.
    """

    seq: int
    kind: HappeningKind
    at: float
    body: Mapping[str, Any]
    minion: str | None = None


@dataclasses.dataclass(frozen=True)
class Change:
    """What is stored of a job at one time: the job, those of its minions that have changed, and what happened. notice: it is over, and that is to be told. durable: a loss of power must not undo it."""

    job: JobRecord
    parts: Mapping[str, PartRecord]
    happenings: Sequence[Happening] = ()
    notice: bool = False
    durable: bool = False


@dataclasses.dataclass(frozen=True)
class Search:
    """Which jobs of whom (None: of all): since a time, with a status, before a jid, of a scoped token; the newest first."""

    owner: str | None
    since: float = 0.0
    status: JobStatus | None = None
    before: str | None = None
    limit: int = 100
    token: str | None = None


class Store(Protocol):
    """
    Keeps jobs, of one sidecar or of several; each open one is followed by one of them. All methods may be called from any thread.

    Each returns when what it wrote is in the store. Raises StorageFull when there is no room for more, StorageUnavailable when the store fails.
    """

    @property
    def tokens(self) -> TokenShelf:
        """The scoped tokens that are kept beside the jobs."""

    def intend(self, job: JobRecord, inputs: bytes | None = None) -> JobRecord | None:
        """
        Store a new job so that not even a loss of power forgets it. inputs: what its function got, to be given again; None: that is not kept.

        Returns the job that has its owner and key already, or one of its group that goes first (`advance`) unless it is stored as `queued`; then nothing is stored.
        """

    def advance(self, job: JobRecord) -> bool:
        """
        Store, as safely as `intend`, that a queued job is published now, if its turn has come; say whether.

        In its group those that are under way go first, then those that were asked for earlier, but not those that need their owner.
        """

    def save(self, changes: Iterable[Change]) -> set[str]:
        """
        Store what has changed of some jobs, all or nothing.

        Returns the jids of jobs that another sidecar follows by now, because it thought that we were dead: of these nothing is stored.
        """

    def claim(self, jid: str) -> bool:
        """
        Take over a job that may have to be published, again or from the queue of its group, or whose owner has come here and is needed: so it is not over.

        False while a sidecar that lives is publishing it or can do so when its turn comes, and when it was published.
        """

    def wait(self, jid: str, is_news: Callable[[JobRecord], bool], seconds: float) -> None:
        """Sleep until there is news of a job that another sidecar follows, at most *seconds*, and not at all after `end_waits`."""

    def end_waits(self) -> None:
        """Wake all who wait, and let nobody wait any more."""

    def ask_to_end(self, jid: str, question: str) -> None:
        """
        Tell the sidecar that follows a job that its minions are asked to end it, under the jid *question*.

        It need not live: then the next one that follows the job hears of it. Raises Conflict where there are no others.
        """

    def ends_asked(self) -> dict[str, list[str]]:
        """Return what other sidecars have told of our open jobs with `ask_to_end` since the last time: by jid, the jids of the questions."""

    def on_news(self, tell: Callable[[], None]) -> None:
        """Have *tell* called when `unfinished` or `ends_asked` may have news; on any thread, and it must not block."""

    def job(self, jid: str) -> JobRecord | None:
        """Return a job."""

    def keyed(self, owner: str, key: str) -> JobRecord | None:
        """Return the job that an owner's key was used for."""

    def inputs(self, jid: str) -> bytes | None:
        """Return what was kept of a job's inputs."""

    def parts(self, jid: str, *, bodies: bool) -> dict[str, PartRecord]:
        """Return a job's minions, with their returns or without."""

    def part(self, jid: str, minion: str) -> PartRecord | None:
        """Return one of a job's minions, with its return."""

    def happenings(self, jid: str, after: int, limit: int) -> list[Happening]:
        """Return what happened to a job after a number, in its order."""

    def notices(self, limit: int) -> list[str]:
        """Return the jids of our jobs whose end is still to be told, the oldest first; from now on those of sidecars that are dead are ours too."""

    def noticed(self, jids: Sequence[str]) -> None:
        """Note that there is nothing more to tell of the ends of these jobs."""

    def search(self, search: Search) -> list[JobRecord]:
        """Return the jobs of one owner, or of all."""

    def unfinished(self) -> list[JobRecord]:
        """Return the jobs that are not over and have nobody else to follow them, the oldest first; from now on we do."""

    def offer(self, jids: Sequence[str]) -> set[str]:
        """Let other sidecars take over open jobs of ours with `unfinished`; until one does, or we call that again, they stay ours. Returns those that have been taken."""

    def correctable(self, since: float) -> list[JobRecord]:
        """Return the jobs that were over since a time, are not wholly well, and have nobody else to follow them; from now on we do, and they are not returned again."""

    def prune(self, before: float, most_bytes: int) -> int:
        """Remove jobs that were over before a time, and the oldest of the others that are over while all take more room; return how many."""

    def size_bytes(self) -> int:
        """Return how much room all take."""

    def takes_jobs(self) -> bool:
        """Say whether new ones can be stored, as far as is known; returns at once."""

    def close(self) -> None:
        """Write what waits and let the store go."""


class OnlyFollower:
    """What a store of one process says of the others that might follow its jobs: there are none."""

    def claim(self, jid: str) -> bool:  # noqa: ARG002 - one process has the file, so nobody else can
        """See Store."""
        return True

    def wait(self, jid: str, is_news: Callable[[JobRecord], bool], seconds: float) -> None:
        """Return at once: nobody else follows jobs."""

    def end_waits(self) -> None:
        """Nobody waits."""

    def ask_to_end(self, jid: str, question: str) -> None:  # noqa: ARG002 - nobody can be told
        """See Store."""
        raise Conflict("the job is about to be followed again; come back", jid=jid)

    def ends_asked(self) -> dict[str, list[str]]:
        """See Store."""
        return {}

    def on_news(self, tell: Callable[[], None]) -> None:
        """Tell nothing: there is nobody who could have news."""

    def offer(self, jids: Sequence[str]) -> set[str]:  # noqa: ARG002 - nobody else could take them
        """See Store."""
        return set()


def text_of(value: Any) -> str:
    """Return what a minion has sent as JSON, whatever it is."""
    if type(value) is int:  # as most return codes are
        return str(value)
    return _JSON.encode(value) if value != {} else "{}"


def packed(body: bytes) -> bytes:
    """Return a return as it is kept: small ones as they are, since packing those costs more than it saves."""
    return body if len(body) < PACKED_FROM_BYTES else zlib.compress(body, 1)


def unpacked(kept: bytes) -> bytes:
    """Return a return from what is kept of it: no JSON begins as zlib's output does."""
    return zlib.decompress(kept) if kept[:1] == _ZLIB else kept


def conditions_of(search: Search, mark: str) -> tuple[str, list[str | float | None]]:
    """Return a search as conditions of SQL, with the values for its marks. mark: how a database's driver writes the place of a value."""
    where = f"since >= {mark} AND status = coalesce({mark}, status)"
    values: list[str | float | None] = [search.since, search.status]
    if search.owner is not None:
        where, values = f"{where} AND owner = {mark}", [*values, search.owner]
    if search.token is not None:
        where, values = f"{where} AND token = {mark}", [*values, search.token]
    if search.before is not None:
        where, values = f"{where} AND (since, jid) < (SELECT since, jid FROM job WHERE jid = {mark})", [*values, search.before]
    return where, values


def answered(done: Future[T], what: str, seconds: float = ANSWER_SECONDS) -> T:
    """Return what a thread answers, or raise what it could not do. Raises StorageUnavailable, which names *what*, if it answers nothing for so long."""
    try:
        done.exception(seconds)
    except TimeoutError:
        raise StorageUnavailable(f"{what}: nothing was stored within {seconds:g} s", retry_after_seconds=1) from None
    return done.result()


@contextlib.contextmanager
def answering(done: Future[T]) -> Iterator[None]:
    """Let who waits for an answer hear at once of what the block raises; of a bug, that there was one."""
    try:
        yield
    except Fault as fault:
        done.set_exception(fault)
        raise
    except Exception:
        done.set_exception(Fault("a fault of the sidecar itself; its log says more"))
        raise
