"""A master with a roster, a sidecar beside it with the client ssh on, and in the place of ssh's programs some that only write down that they were started."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from service.clients import CLIENTS
from service.demo.embedded import EmbeddedSalt
from tests.real.sidecar import Sidecar
from tests.real.ssh_scenes import LIMITED

if TYPE_CHECKING:
    from typing_extensions import Self

PROGRAMS = ("ssh", "scp", "sftp", "ssh-keygen", "ssh-add", "sshpass")
TRAP = """#!/bin/sh
echo "$0 $*" >>'{rung}'
echo 'OpenSSH_9.9p1, a trap' >&2
exit 255
"""
ROSTER = {"edge-1": {"host": "127.0.0.1", "port": 1, "timeout": 1}}
# docs/ssh.md: who has a right to the runner has none of what `client: ssh` refuses.
POLICY = [{"action": "refuse", "clients": ["runner"], "functions": ["ssh.cmd"]}]
# Of a call that may: what tells that the traps would ring.
PERMITTED: dict[str, Any] = {"client": "ssh", "tgt": "edge-1", "fun": "test.ping"}


# The sessions of callers; the log, which says what was refused; and what the master writes by itself: to show that it lives, and each minute what it has found of its states' files.
NOT_LOOKED_AT = {"tokens", "log", "health", "mtime_map"}


@dataclasses.dataclass(frozen=True)
class Traces:
    """What is there that would not be without a call that got through. files: below the master's folder, with size and time."""

    started: int
    files: frozenset[tuple[str, int, int]]
    injected: bool


class SshTraps(contextlib.ExitStack):
    """The processes that attacks on the client ssh are played on. folder: takes all files. Raises AssertionError at its start if a call that may would not be seen."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.injected = folder / "injected"
        self._rung = folder / "rung"
        self._home = folder / "salt"
        path = os.pathsep.join([str(folder / "bin"), os.environ["PATH"]])
        roster = folder / "roster"
        for program in PROGRAMS:
            trap = folder / "bin" / program
            trap.parent.mkdir(parents=True, exist_ok=True)
            trap.write_text(TRAP.format(rung=self._rung))
            trap.chmod(0o755)
        roster.write_text(yaml.safe_dump(ROSTER))
        master = {"roster_file": str(roster), "rosters": [], "netapi_enable_clients": list(CLIENTS), "ssh_list_nodegroups": {"edge": ["edge-1"]}}
        self.salt = EmbeddedSalt(self._home, minions=0, users=LIMITED, master=master, runner=("env", f"PATH={path}"))
        store, policy = f"sqlite://{folder}/jobs.db", json.dumps(POLICY)
        self.sidecar = Sidecar(self.salt.master_config, folder / "sidecar", {"PATH": path}, CLIENTS_SSH="true", JOBS_STORE=store, POLICY_RULES=policy)

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as starting:
            starting.enter_context(self.salt)
            starting.enter_context(self.sidecar)
            before = self.traces()
            answer = self.sidecar.post({**self.salt.credentials, **PERMITTED})
            after = self.traces()
            assert answer.status == 200, answer.body
            assert after.started > before.started, "salt-ssh started no ssh"
            assert after.files != before.files, "the master keeps no job of a runner's"
            self.push(starting.pop_all())
        return self

    def traces(self) -> Traces:
        """Return what is there now."""
        started = len(self._rung.read_text().splitlines()) if self._rung.exists() else 0
        return Traces(started, frozenset(self._files()), self.injected.exists())

    def _files(self) -> Iterator[tuple[str, int, int]]:
        for file in self._home.rglob("*"):
            if NOT_LOOKED_AT.isdisjoint(file.relative_to(self._home).parts):
                with contextlib.suppress(FileNotFoundError):
                    found = file.lstat()
                    if file.is_file():
                        yield str(file), found.st_size, found.st_mtime_ns
