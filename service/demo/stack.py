"""The whole demo as one object: the embedded Salt and the sidecar beside it, in one folder that only one demo uses at a time."""

from __future__ import annotations

import fcntl
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from service.demo import calls
from service.demo.embedded import PATIENCE_SECONDS, EmbeddedSalt, StartFailed, until
from service.demo.embedded_config import private_folder
from service.demo.ports import free_ports, is_free
from service.demo.processes import Child, WhileNeeded

if TYPE_CHECKING:
    from typing_extensions import Self

# So that every metric of docs/metrics.md is there.
MONITORED = {"presence_events": True, "master_stats": True}
OPTIONS = {"API": "--api-port", "ops listener": "--ops-port"}


class Refused(Exception):
    """The demo cannot start here; the message says what to change."""


class Stack(WhileNeeded):
    """
    A master, minions and the sidecar.

    api_port, ops_port: 0 picks a free one.
    say: takes the lines that tell a person how the start goes.
    """

    def __init__(self, folder: Path, *, api_port: int, ops_port: int, minions: int = 2, say: Callable[[str], None]) -> None:
        self._folder = folder.absolute()
        self._say = say
        self._ports = self._resolved(api_port, ops_port)
        self._lock = -1
        self.salt = EmbeddedSalt(self._folder / "salt", minions=minions, master=MONITORED)
        self.sidecar = self._sidecar()

    @property
    def api_url(self) -> str:
        return f"http://127.0.0.1:{self._ports['API']}"

    @property
    def ops_url(self) -> str:
        return f"http://127.0.0.1:{self._ports['ops listener']}"

    @property
    def pids(self) -> dict[str, int]:
        """The processes that run now, by name."""
        return {**self.salt.pids, **({"sidecar": self.sidecar.pid} if self.sidecar.alive() and self.sidecar.pid else {})}

    def __enter__(self) -> Self:
        self.claim_folder()  # Before anything that stopping would take from a demo that has the folder.
        return super().__enter__()

    def get_ready(self) -> None:
        """Start all of it, unless a port is taken. Raises Refused or StartFailed."""
        self._refuse_taken_ports()
        self._start()

    def claim_folder(self) -> None:
        """Take the folder's lock, which the kernel gives back however we end; the file says who has it."""
        private_folder(self._folder)
        self._lock = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = json.loads(os.read(self._lock, 1000) or b"{}")
            os.close(self._lock)
            self._lock = -1
            raise Refused(
                f"a demo is running in {self._folder} already: {owner.get('url')}, process {owner.get('pid')}; stop it, or choose another folder with --dir DIR"
            ) from None
        os.ftruncate(self._lock, 0)
        os.write(self._lock, json.dumps({"pid": os.getpid(), "url": self.api_url}).encode())

    def stop(self) -> None:
        """End every process, also if a signal arrives meanwhile (only the first one does, see demo.stoppable)."""
        try:
            self._end_processes()
        except BaseException:
            self._end_processes()
            raise
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _end_processes(self) -> None:
        self.sidecar.stop()  # First, so that it can finish what it is doing.
        self.salt.stop()

    def ended(self) -> str | None:
        """Say which process ended by itself, with its last words; None while all run."""
        missing = {"master", "sidecar", *self.salt.minions} - set(self.pids)
        if not missing:
            return None
        name = min(missing)
        return f"{name} has ended:\n{self.sidecar.last_words() if name == 'sidecar' else self.salt.last_words(name)}"

    def _start(self) -> None:
        started = time.monotonic()
        self._say(f"starting a salt-master and {len(self.salt.minions)} minions in {self._folder}")
        self.salt.start()
        self.salt.wait_ready(say=self._say)
        self._say(f"they are up after {time.monotonic() - started:.1f} s; starting the sidecar")
        self.sidecar.start()
        for _ in until(PATIENCE_SECONDS, lambda seconds: self._say(f"  {seconds:.0f} s: waiting for the sidecar")):
            if calls.get(f"{self.ops_url}/readyz") == 200:
                self._say(f"everything is ready after {time.monotonic() - started:.1f} s")
                return
            if not self.sidecar.alive():
                raise StartFailed(f"the sidecar ended with status {self.sidecar.returncode}:\n{self.sidecar.last_words()}")
        raise StartFailed(f"the sidecar was not ready after {PATIENCE_SECONDS:g} s:\n{self.sidecar.last_words()}")

    def _sidecar(self) -> Child:
        # Settings of the caller's environment are for another sidecar.
        environ = {name: value for name, value in os.environ.items() if not name.startswith(("SIDECAR_", "SALT_"))}
        environ |= {
            "SALT_MASTER_CONFIG": str(self.salt.master_config),
            "SIDECAR_API_PORT": str(self._ports["API"]),
            "SIDECAR_OPS_PORT": str(self._ports["ops listener"]),
            "SIDECAR_DRAIN_DRAIN_SECONDS": "5",
        }
        return Child("sidecar", [sys.executable, "-m", "service", "serve"], self._folder / "sidecar.log", environ, grace_seconds=8.0)

    def _resolved(self, api_port: int, ops_port: int) -> dict[str, int]:
        spare = free_ports(2)
        return {"API": api_port or spare[0], "ops listener": ops_port or spare[1]}

    def _refuse_taken_ports(self) -> None:
        taken = [
            f"port {port} (of the {what}) is taken: choose another with {OPTIONS[what]} N, or 0 for a free one"
            for what, port in self._ports.items()
            if not is_free(port)
        ]
        if taken:
            raise Refused("\n".join(taken))
