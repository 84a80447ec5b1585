"""A real salt-master and real minions as processes of our own, in a folder of their own, for the demo and the tests; never imports salt."""

from __future__ import annotations

import contextlib
import math
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from service.demo import embedded_config as config
from service.demo.processes import POLL_SECONDS, Child, WhileNeeded, command_line, end_session

# From 3007 on a minion that loses its master starts over, and says so at both ends.
READY_LINE = b"Minion is ready to receive requests!"
LOST_LINES = (b"Connection to master", b"Re-initialising subsystems")
# A minion that is connected for so long listens whatever its log says: other Salts may have other words. Usually it says so within two seconds.
WORDLESS_SECONDS = 100.0
TCP_ESTABLISHED = "01"
# A machine may be ten times as slow as usual; whoever ended meanwhile is not waited for.
PATIENCE_SECONDS = 300.0
REMIND_SECONDS = 5.0
SCRIPTS = Path(sys.executable).parent


class StartFailed(Exception):
    """A process ended, or was not ready in time; the message has its last words."""


class EmbeddedSalt(WhileNeeded):
    """
    A master and its minions, from the Salt installed beside this Python.

    folder: kept by the caller; a second start in it uses the same ports, keys and passwords.
    minions: how many; they are called minion-1, minion-2 and so on.
    threads: jobs run in threads of the minion instead of forks: faster, for tests.
    users: further users of the `file` eauth with their permissions; `pinger`, who may `test.ping`, is always there.
    master, minion: options merged over ours.
    runner: a command that runs the master, which is given as its arguments.
    ready_line: what a minion's log says when it listens. wordless_seconds: how long one that does not say so has to be connected.
    """

    def __init__(
        self,
        folder: Path,
        *,
        minions: int = 2,
        threads: bool = False,
        users: Mapping[str, Sequence[Any]] | None = None,
        master: Mapping[str, Any] | None = None,
        minion: Mapping[str, Any] | None = None,
        scripts: Path = SCRIPTS,
        runner: Sequence[str] = (),
        ready_line: bytes = READY_LINE,
        wordless_seconds: float = WORDLESS_SECONDS,
    ) -> None:
        self._folder = config.StackFolder(folder)
        self._users = {config.PINGER: ["test.ping"], **(users or {})}
        self._threads = threads
        self._master_changes = master or {}
        self._minion_changes = minion or {}
        self._scripts = scripts
        self._runner = runner
        self._ready_line, self._wordless_seconds = ready_line, wordless_seconds
        self._made = config.Secrets(0, 0, {})
        self._seen: dict[str, int] = {}  # How much of each minion's log is from before its start.
        self.minions = [f"minion-{number}" for number in range(1, minions + 1)]
        self._children = {name: self._child(name) for name in ("master", *self.minions)}

    @property
    def master_config(self) -> Path:
        """The file to name in SALT_MASTER_CONFIG."""
        return self._folder.master_config

    @property
    def ret_port(self) -> int:
        return self._made.ret_port

    @property
    def publish_port(self) -> int:
        return self._made.publish_port

    @property
    def pids(self) -> dict[str, int]:
        """The processes that run now, by name."""
        return {name: child.pid for name, child in self._children.items() if child.alive() and child.pid}

    @property
    def lost(self) -> list[str]:
        """Who has ended although nobody here has stopped them."""
        return [name for name, child in self._children.items() if child.is_lost()]

    @property
    def credentials(self) -> dict[str, str]:
        """What a low carries to be run as the user who may do everything."""
        return {"eauth": "sharedsecret", "username": config.ADMIN, "password": self._made.passwords[config.ADMIN]}

    def credentials_of(self, user: str) -> dict[str, str]:
        """Return what a low carries to be run as one of the other users."""
        return {"eauth": "file", "username": user, "password": self._made.passwords[user]}

    def configure(self) -> None:
        """Write every file; nothing runs yet. Ends what an earlier owner of the folder left running."""
        self._folder.create(list(self._children))
        self._end_leftovers()
        self._made = config.secrets_of(self._folder, [config.ADMIN, *self._users])
        options = config.master_options(self._folder, self._made, self._users) | {"auth.pam.python": str(self._scripts / "python")}
        config.write_yaml(self.master_config, config.merged(options, self._master_changes))
        for minion in self.minions:
            options = config.minion_options(self._folder, self._made, minion, threads=self._threads)
            config.write_yaml(self._folder.minion_config(minion), config.merged(options, self._minion_changes))

    def start(self) -> None:
        """Start all of it; returns before it is ready."""
        self.configure()
        for name in self._children:
            self._start(name)

    def wait_ready(self, timeout_seconds: float = PATIENCE_SECONDS, say: Callable[[str], None] | None = None) -> None:
        """Wait until the master takes requests and every minion listens to it. say: called now and then with what is waited for. Raises StartFailed."""
        self._wait(list(self._children), timeout_seconds, say)

    def get_ready(self) -> None:
        """Start all of it and wait for it. Raises StartFailed."""
        self.start()
        self.wait_ready()

    def start_minion(self, minion: str, timeout_seconds: float = PATIENCE_SECONDS) -> None:
        self._start(minion)
        self._wait([minion], timeout_seconds)

    def stop_minion(self, minion: str) -> None:
        self._children[minion].stop()

    def start_master(self, timeout_seconds: float = PATIENCE_SECONDS) -> None:
        """Start the master again; the minions that run come back by themselves."""
        self._start("master")
        self._wait([name for name, child in self._children.items() if child.alive()], timeout_seconds)

    def stop_master(self) -> None:
        self._children["master"].stop()

    def stop(self) -> None:
        """End every process, all of them told at once."""
        for child in self._children.values():
            child.ask_to_stop()
        for child in self._children.values():
            child.wait_stopped()
        self._folder.remove_sockets()

    def _child(self, name: str) -> Child:
        program = "salt-master" if name == "master" else "salt-minion"
        file = self._folder.master_config if name == "master" else self._folder.minion_config(name)
        # A variable of the caller's must not send our master to another configuration.
        environ = {variable: value for variable, value in os.environ.items() if not variable.startswith("SALT_")}
        argv = [str(self._scripts / "python"), str(self._scripts / program), "-c", str(file.parent)]
        if name == "master":
            argv, environ = [*self._runner, *argv], config.environment_for_pam(self._scripts, environ)
        else:
            argv.append("--disable-keepalive")  # One process less to start; it would only start a dead minion again.
        # A minion that is asked to stop sleeps 5 s first (3008.3: salt/minion.py, stop_async); ours have nothing to lose.
        return Child(name, argv, self._folder.logs / f"{name}.out", environ, grace_seconds=5.0 if name == "master" else 0.0)

    def _start(self, name: str) -> None:
        log = self._folder.minion_log(name)
        self._seen[name] = log.stat().st_size if log.exists() else 0
        if not (self._scripts / "salt-master").exists():
            raise StartFailed(f"there is no salt-master in {self._scripts}: is Salt installed in this environment?")
        # Salt believes these files of a process that was killed.
        for stale in ("pid", "process_responsibility_pid"):
            (self._folder.root / name / stale).unlink(missing_ok=True)
        self._children[name].start()
        (self._folder.root / f"{name}.pid").write_text(str(self._children[name].pid))

    def _wait(self, names: Sequence[str], timeout_seconds: float, say: Callable[[str], None] | None = None) -> None:
        waiting = {name: self._master_answers if name == "master" else self._listens(name) for name in names}
        for _ in until(timeout_seconds, say and (lambda seconds: say(f"  {seconds:.0f} s: waiting for {', '.join(waiting)}"))):
            for name in [name for name, ready in waiting.items() if ready()]:
                del waiting[name]
            if not waiting:
                return
            for name in names:
                if not self._children[name].alive():
                    raise StartFailed(f"{name} ended with status {self._children[name].returncode}:\n{self.last_words(name)}")
        name = next(iter(waiting))
        raise StartFailed(f"{name} was not ready after {timeout_seconds:g} s:\n{self.last_words(name)}")

    def _master_answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.ret_port), timeout=1):
            return True
        return False

    def _listens(self, minion: str) -> Callable[[], bool]:
        """Say whether a minion is connected to where jobs are published, and takes them: its log says so, or it had all the time that this needs."""
        since = math.inf

        def ready() -> bool:
            nonlocal since
            if self._published_to() < sum(self._children[name].alive() for name in self.minions):
                since = math.inf
                return False
            since = min(since, time.monotonic())
            return self._says_ready(minion) or time.monotonic() >= since + self._wordless_seconds

        return ready

    def _says_ready(self, minion: str) -> bool:
        """Say whether a minion's log says that it takes jobs, and not since then that it has lost its master."""
        try:
            log = self._folder.minion_log(minion).read_bytes()[self._seen[minion] :]
        except FileNotFoundError:
            return False
        return log.rfind(self._ready_line) > max(log.rfind(line) for line in LOST_LINES)

    def _published_to(self) -> int:
        """Count the minions' connections to the publish port. Source: /proc/net/tcp, fields rem_address and st."""
        mark = f":{self.publish_port:04X}"
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        return sum(row[2].endswith(mark) and row[3] == TCP_ESTABLISHED for row in rows)

    def last_words(self, name: str) -> str:
        """Return the end of what a process printed and logged."""
        own_log = Child(name, [], self._folder.logs / f"{name}.log", {}).last_words()
        return self._children[name].last_words() + own_log

    def _end_leftovers(self) -> None:
        """End processes of this folder whose owner was killed; a process id that was given to somebody else meanwhile is left alone."""
        for name in self._children:
            with contextlib.suppress(OSError, ValueError):
                pid = int((self._folder.root / f"{name}.pid").read_text())
                if str(self._folder.root) in command_line(pid):
                    end_session(pid, grace_seconds=3.0)


def until(
    timeout_seconds: float,
    remind: Callable[[float], None] | None = None,
    *,
    monotonic: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[None]:
    """Yield again and again, with short pauses, until the time is over. remind: told every five seconds how many have gone."""
    began = reminded = now = monotonic()
    while now < began + timeout_seconds:
        if remind and now > reminded + REMIND_SECONDS:
            reminded = now
            remind(now - began)
        yield
        sleep(POLL_SECONDS)
        now = monotonic()
