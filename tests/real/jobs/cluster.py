"""Two masters of one Salt master cluster on two addresses of this machine, with a minion each."""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import zmq

from service.demo.embedded import SCRIPTS, EmbeddedSalt, StartFailed, until
from service.demo.ports import free_ports
from service.demo.processes import WhileNeeded
from service.errors import Fault
from service.gateway.transport.wire import decoded, enveloped
from tests.real.jobs.pipeline import USERS
from tests.real.relay import Cable

# `ci` may end jobs too.
CLUSTER_USERS = {**USERS, "ci": [*USERS["ci"], "saltutil.*"]}
# Salt 3008.3: once in a few starts a master of the two does not listen, and says that its raft entries fail; a fresh start is fine.
STARTS = 3
START_SECONDS = 300.0
# Milliseconds. With Salt's own 750 and 1500 the masters of a busy machine elected each other 439 times in a quarter of an hour.
PATIENT = {"cluster_election_min": 5000, "cluster_election_max": 10_000}
# How long a master that is back may take to hear from the leader, and how often it is helped.
JOIN_SECONDS, ENTRIES = 20.0, 10
# For one answer of a master, and for a minion's return until it is asked again.
ANSWER_SECONDS, RETURN_SECONDS = 10.0, 15.0


class ClusterMaster(EmbeddedSalt):
    """
    One of the masters, and its minion, which knows no other.

    shared: the folder of keys, job cache and tokens. pool_ports: those of the masters, so that a cable fits between them: each finds the other at
    the other's address and its own port. number: 1 or 2. first: the other one if it was configured before, whose ports and users this one has.
    """

    def __init__(self, folder: Path, shared: Path, pool_ports: Sequence[int], number: int, first: ClusterMaster | None = None) -> None:
        self._first = first
        self._shared = shared
        self._address = address = f"127.0.0.{number}"
        self._minion_id = f"minion-of-{number}"
        ours: dict[str, Any] = {
            "id": address,
            "interface": address,
            "cluster_id": "c1",
            "cluster_peers": [f"127.0.0.{3 - number}"],
            "cluster_pool_port": pool_ports[number - 1],
            **PATIENT,
        }
        ours |= {"cluster_pki_dir": str(shared / "pki"), "cachedir": str(shared / "cache"), "root_dir": "/"}
        minion: dict[str, Any] = {"id": self._minion_id, "master": address}
        if first is not None:
            ours |= {"publish_port": first.publish_port, "ret_port": first.ret_port, "external_auth": {"file": {"^filename": first.users_file}}}
            minion |= {"publish_port": first.publish_port, "master_port": first.ret_port}
        super().__init__(folder, minions=1, users=CLUSTER_USERS, master=ours, minion=minion)

    @property
    def users_file(self) -> str:
        return str(self.master_config.parent / "users")

    @property
    def ret_port(self) -> int:
        return super().ret_port if self._first is None else self._first.ret_port

    @property
    def publish_port(self) -> int:
        return super().publish_port if self._first is None else self._first.publish_port

    def credentials_of(self, user: str) -> dict[str, str]:
        return super().credentials_of(user) if self._first is None else self._first.credentials_of(user)

    def launch(self) -> None:
        """Start the master, and wait for nothing."""
        self._start("master")

    def wait_joined(self, seconds: float = START_SECONDS) -> None:
        """Wait until the master has joined the cluster. Raises StartFailed."""
        self._wait(["master"], seconds, None)

    def add_entry(self) -> None:
        """Have the leader of the cluster make an entry that changes nothing, as docs/scale-out.md says: what it has from before it leads counts only then."""
        argv = [str(SCRIPTS / "salt-run"), "-c", str(self.master_config.parent), "cluster.route_clear", "data_type=unused"]
        environ = {name: value for name, value in os.environ.items() if not name.startswith("SALT_")}
        subprocess.run(argv, env=environ, check=True, capture_output=True, timeout=START_SECONDS)

    def is_taken_in(self) -> bool:
        """Say whether it has joined the cluster: before, it answers nothing, although its port is open."""
        return self._said({"cmd": "ping"}) is not None

    def _master_answers(self) -> bool:
        return self.is_taken_in()

    def _listens(self, minion: str) -> Callable[[], bool]:
        """
        Say whether the minion returns what its master publishes. Its log is no evidence: one of Salt 3008.3 whose first word to a master fails serves, and never
        says that it is ready.
        """
        asked: tuple[Path, float] | None = None

        def returns() -> bool:
            nonlocal asked
            if asked is None or time.monotonic() > asked[1] + RETURN_SECONDS:
                asked = self._pinged()
            return asked is not None and asked[0].exists()

        return returns

    def _pinged(self) -> tuple[Path, float] | None:
        """Send the minion a ping; return where its return will be, and when it was sent. Source: salt/returners/local_cache.py."""
        load = {"cmd": "publish", "tgt": [self._minion_id], "tgt_type": "list", "fun": "test.ping", "arg": [], "key": "", "ret": "", "jid": ""}
        answer = self._said({**load, "user": "", "kwargs": self.credentials})
        # Without one there is no such minion yet.
        jid = answer.get("load", {}).get("jid") if isinstance(answer, dict) else None
        if not jid:
            return None
        name = hashlib.sha256(jid.encode()).hexdigest()
        return self._shared / "cache" / "jobs" / name[:2] / name[2:] / self._minion_id / "return.p", time.monotonic()

    def _said(self, load: dict[str, Any]) -> Any:
        """Return what the master answers, None for nothing."""
        with zmq.Context() as context, context.socket(zmq.REQ) as socket:
            socket.linger, socket.rcvtimeo = 0, int(ANSWER_SECONDS * 1000)
            socket.connect(f"tcp://{self._address}:{self.ret_port}")
            socket.send(enveloped(load))
            try:
                return decoded(socket.recv())
            except (zmq.Again, Fault):
                return None


class Cluster(WhileNeeded):
    """The two masters. Source of what they need: Salt's doc/topics/tutorials/master-cluster.rst."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory()  # pytest's own may be too long for the sockets
        self.masters: tuple[ClusterMaster, ...] = ()
        # What goes to the first master, and what goes to the second.
        self.link: tuple[Cable, ...] = ()
        self._laid = contextlib.ExitStack()

    def get_ready(self) -> None:
        """Start the masters, then the minions; again and again if Salt does not manage."""
        if not any(self._has_started() for _ in range(STARTS)):
            raise StartFailed("\n".join(master.last_words("master") for master in self.masters))

    def bring_back(self, master: ClusterMaster) -> None:
        """Start a master that was killed, and wait for its minion too. Of Salt 3008.3 one that leads when it is back answers nobody before there is a new entry."""
        master.launch()
        (other,) = (one for one in self.masters if one is not master)
        for _ in range(ENTRIES):
            with contextlib.suppress(StartFailed):
                master.wait_joined(JOIN_SECONDS)
                break
            other.add_entry()
        master.wait_ready(START_SECONDS)

    def _has_started(self) -> bool:
        try:
            self._start(Path(tempfile.mkdtemp(dir=self._folder.name)))
        except StartFailed:
            self._end()
            return False
        return True

    def _start(self, folder: Path) -> None:
        pool_ports = free_ports(2)
        one = ClusterMaster(folder / "1", folder / "shared", pool_ports, 1)
        one.configure()
        two = ClusterMaster(folder / "2", folder / "shared", pool_ports, 2, one)
        two.configure()
        self.masters = (one, two)
        ends = (Cable(pool_ports[0], "127.0.0.1", pool_ports[1]), Cable(pool_ports[1], "127.0.0.2", pool_ports[0]))
        self.link = tuple(self._laid.enter_context(cable) for cable in ends)
        # Masters that start at the same time would both make the cluster's key; and the first one answers nobody before the second has joined it.
        one.launch()
        if not any((folder / "shared" / "pki" / "cluster.pem").exists() for _ in until(START_SECONDS)):
            raise StartFailed("the first master has not made the key of the cluster")
        two.launch()
        for master in self.masters:
            master.wait_joined()
        for master in self.masters:
            master.start_minion("minion-1", START_SECONDS)

    def asked(self, fun: str, jid: str) -> int:
        """Return how often minions were asked something about a job, as the job cache of both masters has it."""
        loads = [path.read_bytes() for path in Path(self._folder.name).rglob(".load.p")]
        return sum(fun.encode() in load and jid.encode() in load for load in loads)

    def _end(self) -> None:
        for master in self.masters:
            master.stop()
        self._laid.close()

    def stop(self) -> None:
        self._end()
        self._folder.cleanup()
