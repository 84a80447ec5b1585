"""The side of `/v1/jobs`: the store, what follows the jobs in it, and who takes them in; or why there is none."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from service.audit.trail import Audit
from service.commands import Commands
from service.errors import ConfigFault, InvalidConfiguration, StorageUnavailable
from service.events.hub import Hub
from service.events.owners import Owner
from service.gateway.gateway import Runner
from service.gateway.master.options import MasterOptions
from service.jobs.names import Jids
from service.jobs.notify.delivery import deliver, is_allowed
from service.jobs.notify.notifier import TRY_SECONDS, Notifier
from service.jobs.rollout import Rollouts
from service.jobs.running.account import Waits
from service.jobs.running.inquiries import Inquiries, RecoveryIdentity
from service.jobs.running.opened import Keeping, Terms
from service.jobs.running.running_jobs import RunningJobs
from service.jobs.stores.place import place_of
from service.jobs.stores.sqlite_store import SqliteStore
from service.jobs.stores.store import Store
from service.jobs.submission import Submissions
from service.observe.report.report import Report
from service.outgoing.look_ups import LookUps
from service.secrets.reading import first_line
from service.secrets.secret_file import SecretFile
from service.settings.job_settings import JobSettings
from service.wiring.configuration import Configuration

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
# A store that cannot be had is tried again after this long.
REOPEN_SECONDS = 5.0


@dataclasses.dataclass(frozen=True)
class OpenStore:
    """The store of jobs, and who uses it."""

    store: Store
    running: RunningJobs
    submissions: Submissions
    notifier: Notifier | None = None

    def start(self) -> None:
        """Follow the jobs that were left open, and tell of those that are over."""
        self.running.start()
        if self.notifier is not None:
            self.notifier.start()

    def stop(self) -> None:
        """Store what is known and let the store go."""
        if self.notifier is not None:
            self.notifier.stop()
        self.running.stop()
        self.store.close()


class DurableJobs:
    """
    The side of `/v1/jobs`, while its store can be had: one that another process still has, or whose folder is missing, is tried again and again.

    open_store(): returns why not, if it cannot. is_wanted: without a store there is nothing to try. reopen_seconds: between two tries.
    """

    def __init__(self, open_store: Callable[[], OpenStore | ConfigFault], report: Report, *, is_wanted: bool, reopen_seconds: float = REOPEN_SECONDS) -> None:
        self._open_store, self._report, self._is_wanted, self._reopen_seconds = open_store, report, is_wanted, reopen_seconds
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._found = open_store()  # guarded by _lock; read without

    def submissions(self) -> Submissions:
        """Return who takes jobs in. Raises StorageUnavailable."""
        if isinstance(self._found, ConfigFault):
            raise StorageUnavailable(f"jobs cannot be stored: {self._found}", retry_after_seconds=math.ceil(self._reopen_seconds))
        return self._found.submissions

    def has(self, jid: str) -> bool:
        """Say whether a jid is that of a job; while the store is away only those that we follow are known."""
        found = self._found
        if isinstance(found, ConfigFault):
            return False
        if found.running.watched.get(jid) is not None:
            return True
        with contextlib.suppress(StorageUnavailable):
            return found.store.job(jid) is not None
        return False

    def takes_jobs(self) -> bool:
        """Say whether new jobs can be stored, as far as is known; returns at once."""
        return isinstance(self._found, OpenStore) and self._found.store.takes_jobs()

    def start(self) -> None:
        """Follow the jobs that were left open; where there is no store say so, and go on trying."""
        if isinstance(self._found, OpenStore):
            self._found.start()
            return
        self._report.store_unusable(self._found)
        if self._is_wanted:
            threading.Thread(target=self._go_on_trying, args=(self._found,), name="store-opener", daemon=True).start()

    def end_waits(self) -> None:
        """Let requests wait no longer: the process is stopping."""
        if isinstance(self._found, OpenStore):
            self._found.running.watched.end_waits()
            self._found.store.end_waits()

    def stop(self) -> None:
        """Let the store go, one that is just being opened too."""
        with self._lock:
            self._stopping.set()
        if isinstance(self._found, OpenStore):
            self._found.stop()

    def _go_on_trying(self, told: ConfigFault) -> None:
        while not self._stopping.wait(self._reopen_seconds):
            with self._lock:
                if self._stopping.is_set():
                    return
                self._found = found = self._open_store()
            if isinstance(found, OpenStore):
                self._report.store_opened()
                found.start()
                return
            if found != told:
                self._report.store_unusable(told := found)


def make_jobs(configuration: Configuration, runner: Runner, commands: Commands, hub: Hub, report: Report, *, audit: Audit) -> DurableJobs:
    """Make all that `/v1/jobs` needs, where there is a place for its store; without one everything else works."""
    ours, boot = configuration.settings.jobs, boot_id()

    def open_store() -> OpenStore | ConfigFault:
        try:
            store = make_store(ours, report)
        except InvalidConfiguration as exc:
            return exc.faults[0]
        inquiries = Inquiries(runner, make_identity(ours, runner, report), keeps_returns=keeps_returns(configuration.master))
        jids = Jids()
        terms, keeping = make_terms(ours, configuration.master), Keeping(ours.keep_seconds, ours.store_limit_bytes)
        running = RunningJobs(store, inquiries, terms, keeping, report, new_jid=jids.new, boot=boot, bus_open=lambda: hub.is_open, own=own_in(hub))
        hub.subscribe(running.take, running.cut)
        report.watch_jobs(running.watched.open_by_status, lambda: size_of(store))
        allowed = functools.partial(is_allowed, entries=ours.notify_urls)
        desk = Submissions(
            commands.run,
            store,
            running,
            inquiries,
            Rollouts(runner, running),
            new_jid=jids.new,
            boot=boot,
            keep_secrets=ours.keep_arguments,
            readers=ours.readers,
            may_notify=allowed,
            on_begun=audit.completed,
        )
        return OpenStore(store, running, desk, make_notifier(ours, store, allowed, report))

    jobs = DurableJobs(open_store, report, is_wanted=bool(ours.store))
    if ours.store:
        report.watch_store(jobs.takes_jobs)
    commands.keep_jids(jobs.has)
    return jobs


def own_in(hub: Hub) -> Callable[[str, str], None]:
    """Return what says whose a job is that a process before this one has begun: its jid is taken, and its events are its owner's."""
    return lambda jid, owner: hub.owners.started(jid, Owner(*owner.split(":", 1)))


def size_of(store: Store) -> float:
    """Return the size of a store; not a number while it cannot be read, which must not cost the other metrics."""
    try:
        return store.size_bytes()
    except StorageUnavailable:
        return math.nan


def make_store(ours: JobSettings, report: Report) -> Store:
    """Make the store. Raises InvalidConfiguration if there can be none; a database that is away is waited for."""
    if not is_database(ours):
        return SqliteStore(place_of(ours.store), on_commit=report.store_committed, monotonic=time.monotonic)
    with extra():
        from service.jobs.stores.postgres.postgres_store import PostgresStore  # noqa: PLC0415 - an extra, and 25 MB
    password = password_of(ours, report.secret_unreadable)
    return PostgresStore(ours.store, password, on_commit=report.store_committed, monotonic=time.monotonic, connections=ours.store_connections)


def try_store(ours: JobSettings) -> None:
    """See whether there can be a store. Raises InvalidConfiguration if not."""
    if not is_database(ours):
        place_of(ours.store)
        return
    with extra():
        from service.jobs.stores.postgres.server_link import probe  # noqa: PLC0415 - an extra, and 25 MB
    probe(ours.store, password_of(ours))


def is_database(ours: JobSettings) -> bool:
    """Say whether jobs are kept in PostgreSQL."""
    return ours.store.startswith("postgresql:")


@contextlib.contextmanager
def extra() -> Iterator[None]:
    """Say what to install when an import inside the block lacks it. Raises InvalidConfiguration."""
    try:
        yield
    except ImportError as exc:
        raise InvalidConfiguration([ConfigFault("jobs.store", f"psycopg is missing ({exc})", "install salt-sidecar[postgres]")]) from None


def password_of(ours: JobSettings, on_fault: Callable[[ConfigFault], object] = lambda _fault: None) -> Callable[[], bytes] | None:
    """Return what reads the password of the database; None if it has none."""
    if ours.store_password_file is None:
        return None
    return SecretFile(ours.store_password_file, "jobs.store_password_file", first_line, on_fault).value


def make_identity(ours: JobSettings, runner: Runner, report: Report) -> RecoveryIdentity | None:
    """Make the account that looks jobs up, if there is one."""
    if ours.recovery_user is None or ours.recovery_password_file is None:
        return None
    eauth, _, user = ours.recovery_user.partition(":")
    password = SecretFile(ours.recovery_password_file, "jobs.recovery_password_file", first_line, report.secret_unreadable)
    return RecoveryIdentity(eauth, user, password.value, functools.partial(runner.tokens.mk_token))


def make_notifier(ours: JobSettings, store: Store, allowed: Callable[[str], bool], report: Report) -> Notifier | None:
    """Make what tells of jobs that are over, if it may tell anybody."""
    if ours.notify_secret_file is None:
        return None
    secret = SecretFile(ours.notify_secret_file, "jobs.notify_secret_file", first_line, report.secret_unreadable)
    look_ups = LookUps()
    return Notifier(store, lambda url, body: deliver(url, body, secret.value(), TRY_SECONDS, look_ups.addresses), allowed, report)


def make_terms(ours: JobSettings, master: MasterOptions) -> Terms:
    """Say how jobs are followed."""
    patience = Waits(master.timeout, master.gather_job_timeout, ours.lost_seconds)
    return Terms(ours.open, patience, master.syndic_wait if master.order_masters else None, ours.revise_seconds)


def keeps_returns(master: MasterOptions) -> bool:
    """Say whether the master's own job cache has all returns."""
    return bool(master.raw.get("job_cache", True)) and not master.ext_job_cache


def boot_id(read: Callable[[], str] = BOOT_ID.read_text) -> str:
    """Return what tells this run of the machine from another; where the system has no name for it, one that is used once."""
    try:
        return read().strip()
    except OSError:
        return str(uuid.uuid4())
