"""Everything that runs during a benchmark, and one measurement: a peer, a case, a round."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from benchmarks import login_cases, peers, running
from benchmarks.behaviour import names
from benchmarks.cases import CHERRYPY, EACH, GATEWAY, LOCAL, LOCAL_ASYNC, NO_STORE, PING, PROOF, SALT_API, SIDECAR, TORNADO, WAITRESS, Case, StreamCase
from benchmarks.crowd_cases import SIZES, CrowdStreams, sized
from benchmarks.followers import Follow
from benchmarks.intents import Asked as IntentsAsked
from benchmarks.job_cases import DEADLINE_SECONDS, FOLLOWED_SECONDS, INTENT_CALLERS, OPEN_JOBS, FollowCase
from benchmarks.load import Load
from benchmarks.peers import Peer
from benchmarks.probes import BusWatch, cpu_seconds, owner_of, resident_bytes, threads_seconds
from benchmarks.stored import RECOVERY, LookUps, fill
from benchmarks.streams import OPEN_SECONDS, SETTLE_SECONDS, Watch
from service.cli.demo import Asked, stoppable
from service.demo.embedded import EmbeddedSalt, until
from service.demo.processes import session_members

if TYPE_CHECKING:
    from typing_extensions import Self

# A process that generates load gets this long more than its load may take.
LATE_SECONDS = 60.0
# Before a measurement: all that runs here together uses less than this share of a core, or has had this long to settle.
QUIET_SHARE = 0.25
QUIET_LOOK_SECONDS = 0.5
QUIET_WITHIN_SECONDS = 45.0
# What the sidecar is where each low has a name and password.
REUSING = "reusing"
# What the sidecar is where the readers are websockets.
SOCKETS = "sockets"
# Until the jobs that a restart has left open are looked up, two at a time, each by a process that the master forks.
LOOK_UPS_SECONDS = 600.0
# Until all returns of a crowd were delivered.
CROWD_SECONDS = 120.0


class Rig:
    """
    A master, a fleet, and the peers beside them.

    The sidecar and rest_cherrypy run all the time; rest_tornado, which decodes every event for nobody, only while it is measured.
    master: options of the master in the place of those that the benchmark needs.
    """

    def __init__(self, folder: Path, master: Mapping[str, Any] | None = None) -> None:
        self.folder = folder
        runner = (sys.executable, str(running.ROOT / "benchmarks" / "adopting.py"))
        options = login_cases.master_options(os.environ) if master is None else master
        self.salt = EmbeddedSalt(folder / "salt", minions=0, users=RECOVERY, master=options, runner=runner)
        self.peers: dict[str, Peer] = {}
        self._fleet: running.Running | None = None
        self._minions = 0
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        try:
            self._stack.enter_context(self.salt)
            sidecar = peers.sidecar(self.salt)
            self.peers = {
                SIDECAR: sidecar,
                LOCAL_ASYNC: sidecar,
                LOCAL: sidecar,
                **dict.fromkeys(SIZES, sidecar),
                EACH: sidecar,
                REUSING: dataclasses.replace(peers.sidecar(self.salt, REUSING, LIMITS_AUTH_REUSE_SECONDS=login_cases.REUSE_SECONDS), resident=False),
                NO_STORE: dataclasses.replace(peers.sidecar(self.salt, NO_STORE, JOBS_STORE=""), resident=False),
                SOCKETS: peers.with_sockets(self.salt),
                CHERRYPY: peers.rest_cherrypy(self.salt, self.folder),
                TORNADO: peers.rest_tornado(self.salt, self.folder),
                WAITRESS: peers.bare_waitress(10),
            }
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    @property
    def bus_path(self) -> str:
        """The socket that the master publishes its events on."""
        return f"{yaml.safe_load(self.salt.master_config.read_text())['sock_dir']}/master_event_pub.ipc"

    @property
    def beside(self) -> dict[str, int]:
        """The process ids of what works for every server."""
        return {"master": self.salt.pids["master"], **({"fleet": self._fleet.pid} if self._fleet else {})}

    def publisher_bytes(self) -> int:
        """Return the resident memory of the master's EventPublisher, the process that serves the bus."""
        owner = owner_of(self.bus_path, session_members(self.salt.pids["master"]))
        return resident_bytes([owner]) if owner else 0

    def use_fleet(self, minions: int, **behaviour: float) -> None:
        """Replace the fleet by one of *minions*. behaviour: what is bad about it."""
        self._take(running.fleet(self.salt.master_config, self.folder / "fleet", minions, **behaviour), minions)

    def use_crowd(self, minions: int, returns_per_second: float) -> None:
        """Replace the fleet by a crowd of *minions*, which is on the bus alone."""
        self._take(running.crowd(self.salt.master_config, minions, returns_per_second), minions)

    def _take(self, fleet: running.Running, minions: int) -> None:
        if self._fleet is not None:
            self._fleet.stop()
        self._fleet = fleet
        self._stack.callback(fleet.stop)
        fleet.start()
        self._minions = minions

    @contextlib.contextmanager
    def using(self, name: str) -> Iterator[Peer]:
        """Give a running peer; one that may not stay is stopped again."""
        peer = self.peers[name]
        if not peer.started:
            self._stack.callback(peer.stop)
            peer.start({} if name == WAITRESS else self.salt.credentials)
        try:
            yield peer
        finally:
            if not peer.resident:
                peer.stop()

    def settle(self) -> None:
        """Wait until the master, the fleet and the servers have done what an earlier measurement left them to do."""
        sessions = {*self.beside.values(), *(peer.process.pid for peer in self.peers.values() if peer.started)}
        for _ in range(round(QUIET_WITHIN_SECONDS / QUIET_LOOK_SECONDS)):
            before = sum(map(cpu_seconds, sessions))
            time.sleep(QUIET_LOOK_SECONDS)
            if sum(map(cpu_seconds, sessions)) - before < QUIET_SHARE * QUIET_LOOK_SECONDS:
                return

    def restart(self, name: str) -> None:
        """Stop a peer, so that it is started anew when it is used."""
        self.peers[name].stop()

    def measure(self, name: str, case: Case, *, seconds: float | None = None, alone: bool = True) -> dict[str, Any]:
        """Measure one peer in one case for one round. alone: wait until nothing else runs, and count what it opens on the bus, which costs us time ourselves."""
        case = sized(case, name)
        if case.fresh and name in self.peers:
            self.restart(name)
        minions = case.who or tuple(names(case.minions))
        low, small = {**case.low, **target_of(case, self._minions)}, {**PING, "tgt": minions[0]}
        as_job = bool(case.v1) and name in {SIDECAR, *SIZES}
        query, check = case.v1 if case.v1 and as_job else ("", case.check)
        low |= login_cases.credentials(case.eauth, os.environ)
        load = Load(
            port=0,
            path=case.get or (f"/v1/jobs?{query}" if as_job else "/run" if case.eauth else "/"),
            body="" if case.get else json.dumps(_asked(low, as_job=as_job)),
            headers={},
            check=check,
            minions=minions,
            callers=case.callers,
            seconds=seconds or case.seconds,
            each=case.each,
            grace_seconds=case.grace_seconds,
            repeat=case.repeat,
            silent=case.silent,
            small_body=json.dumps(_asked(small, as_job=as_job)) if case.repeat else "",
            pause_seconds=case.pause_seconds,
            method="GET" if case.get else "POST",
        )
        if name in (GATEWAY, PROOF):
            return self._floor(name, load)
        return self._through(REUSING if case.eauth and name == SIDECAR else name, load, alone=alone)

    def _through(self, name: str, load: Load, *, alone: bool) -> dict[str, Any]:
        with self.using(name) as peer:
            chosen = dataclasses.replace(load, port=peer.port, headers=peer.headers, session=peer.process.pid, beside=self.beside)
            if alone:
                self.settle()
            before = self.publisher_bytes()
            with BusWatch(self.bus_path, active=alone) as watch:
                sample = generated("benchmarks.load", dataclasses.asdict(chosen), load.seconds + load.grace_seconds)
            sample["bus_per_1000"] = round(1000 * watch.opened / (1 + sample["requests"]))
            sample["publisher_kb_per_1000"] = round((self.publisher_bytes() - before) / (1 + sample["requests"]), 1)
            if sample["lost"] and name in SALT_API:
                self.restart(name)  # Its threads go on with what nobody waits for.
            sample["return_us"] = round(1000 * sample["cpu_ms"] / len(load.minions), 1)
            sample["minion_kb"] = round(1000 * sample["rss_growth_mb"] / len(load.minions), 2)
            sample["rss_per_answer"] = round(sample["rss_growth_mb"] * 1e6 / max(1, sample["answer_bytes"]), 2)
            return sample

    def watch_streams(self, name: str, case: StreamCase) -> dict[str, Any]:
        """Measure one peer's event streams."""
        count = round(case.events_per_second * case.seconds)
        name = SOCKETS if case.sockets and name == SIDECAR else name
        self.restart(name)  # The readers of an earlier case may not have been noticed to be gone.
        with self.using(name) as peer:
            # rest_tornado knows no other place for the token of a websocket.
            path = case.path if not case.sockets else f"/all_events/{peer.headers['X-Auth-Token']}" if name == TORNADO else "/ws"
            port = peer.socket_port if case.sockets else peer.port
            watch = self._watch(peer, case.streams, count, port=port, path=path, rate=case.events_per_second, sockets=case.sockets, stalled=case.stalled)
            sample = generated("benchmarks.streams", dataclasses.asdict(watch), OPEN_SECONDS + case.seconds + watch.grace_seconds)
            if peer.ops_port:
                sample["readers_dropped"] = metric(peer.ops_port, 'salt_api_stream_disconnects_total{reason="slow_consumer"}')
            return sample

    def watch_crowd(self, case: CrowdStreams) -> dict[str, Any]:
        """Measure the sidecar's event streams while jobs run on the whole crowd."""
        self.restart(SIDECAR)
        with self.using(SIDECAR) as peer:
            body = json.dumps([{"client": "local_async", "fun": "test.ping", "tgt": "*"}])
            watch = self._watch(peer, case.streams, case.returns, port=peer.port, jobs=case.returns // self._minions, body=body, grace_seconds=CROWD_SECONDS)
            return generated("benchmarks.streams", dataclasses.asdict(watch), OPEN_SECONDS + 2 * CROWD_SECONDS)

    def _watch(self, peer: Peer, streams: int, count: int, *, port: int, **more: Any) -> Watch:
        """Return what a peer's readers get, once all is quiet."""
        self.settle()
        chosen = {"rate": 0.0, **more}
        return Watch(port, peer.headers, str(self.salt.master_config), streams, count=count, session=peer.process.pid, beside=self.beside, **chosen)

    def follow(self, case: FollowCase) -> dict[str, Any]:
        """Measure a sidecar of its own, which lets that many follow."""
        streams = case.jobs * case.followers
        followed = peers.sidecar(self.salt, "followed", EVENTS_STREAMS=streams, API_CONNECTIONS_PER_ADDRESS=streams + 1)
        low = {"fun": "test.sleep", "arg": [FOLLOWED_SECONDS], "tgt": names(case.minions), "tgt_type": "list", "timeout": 10 * FOLLOWED_SECONDS}
        try:
            followed.start(self.salt.credentials)
            follow = Follow(followed.port, followed.headers, json.dumps(low), case.jobs, case.followers, case.minions, followed.process.pid, beside=self.beside)
            self.settle()
            return generated("benchmarks.followers", dataclasses.asdict(follow), OPEN_SECONDS + FOLLOWED_SECONDS + follow.grace_seconds)
        finally:
            followed.stop()

    def start_and_idle(self, name: str, idle_seconds: float) -> dict[str, Any]:
        """Start a peer anew, then let it do nothing."""
        self.restart(name)
        started = time.monotonic()
        with self.using(name) as peer:
            took = time.monotonic() - started
            time.sleep(SETTLE_SECONDS)
            session = peer.process.pid
            cpu, begun = threads_seconds(session), time.monotonic()
            time.sleep(idle_seconds)
            return {
                "start_s": round(took, 2),
                "idle_rss_mb": round(resident_bytes(session_members(session)) / 1e6, 1),
                "idle_cpu_percent": round(100 * (threads_seconds(session) - cpu) / (time.monotonic() - begun), 3),
            }

    def intend(self, seconds: float) -> dict[str, Any]:
        """Measure the store alone, and the disk that it is on."""
        self.settle()
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            return generated("benchmarks.intents", dataclasses.asdict(IntentsAsked(folder, INTENT_CALLERS, seconds)), 2 * seconds)

    def restart_with_jobs(self, finished: int) -> dict[str, Any]:
        """Start a sidecar that finds a store full of jobs."""
        home = Path(tempfile.mkdtemp(dir=self.folder))
        fill(home / "jobs.db", finished=finished, open_jobs=OPEN_JOBS)
        (home / "password").write_text(self.salt.credentials_of("recovery")["password"])
        account = {"JOBS_RECOVERY_USER": "file:recovery", "JOBS_RECOVERY_PASSWORD_FILE": home / "password"}
        found = peers.sidecar(self.salt, "found", JOBS_STORE=f"sqlite://{home}/jobs.db", **account)
        self.settle()
        try:
            with LookUps(self.salt.master_config) as look_ups:
                started = time.monotonic()
                found.start({})
                took = time.monotonic() - started
                for _ in until(LOOK_UPS_SECONDS):
                    if look_ups.are_over(OPEN_JOBS):
                        break
        finally:
            found.stop()
        return {"start_s": round(took, 2), "look_ups": look_ups.made, "look_ups_at_once": look_ups.at_once}

    def _floor(self, name: str, load: Load) -> dict[str, Any]:
        with self.using(SIDECAR) as peer:  # whose token is as good as any
            given = {
                "floor": name,
                "load": dataclasses.asdict(dataclasses.replace(load, beside=self.beside)),
                "master_config": str(self.salt.master_config),
                "token": peer.headers["X-Auth-Token"],
            }
            self.settle()
        return generated("benchmarks.floor", given, load.seconds + load.grace_seconds)


@contextlib.contextmanager
def prepared(master: Mapping[str, Any] | None = None) -> Iterator[Rig]:
    """Give a rig in a folder that is gone afterwards; SIGTERM and Ctrl-C end all that it started. master: options of its master."""
    try:
        with stoppable(), tempfile.TemporaryDirectory(prefix="salt-sidecar-bench-") as folder, Rig(Path(folder), master) as rig:
            yield rig
    except Asked:
        sys.exit("stopped")


def generated(module: str, given: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    """Run a module of ours with JSON on its standard input; return the JSON that it prints."""
    argv = [sys.executable, "-W", "ignore", "-m", module]
    done = subprocess.run(
        argv,
        input=json.dumps(given).encode(),
        capture_output=True,
        check=False,
        timeout=2 * seconds + LATE_SECONDS,
        cwd=running.ROOT,
        env=running.clean_environment(),
    )
    if done.returncode:
        raise RuntimeError(f"{module} ended with status {done.returncode}: {done.stderr.decode(errors='replace')[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    beside: dict[str, float] = found.pop("beside")
    return found | beside


def _asked(low: Mapping[str, Any], *, as_job: bool) -> Any:
    """Return what is sent for a low: a lowstate, or for /v1/jobs the job alone."""
    if not as_job:
        return [low]
    return {**{field: value for field, value in low.items() if field != "client"}, "deadline": DEADLINE_SECONDS}


def target_of(case: Case, fleet: int) -> dict[str, Any]:
    """Return a low's target: all, the fleet's first minions by a glob, or those of the case."""
    if case.who:
        return {"tgt": [*case.who, *case.silent], "tgt_type": "list"}
    if case.check not in {"returns", "job"}:
        return {}
    patterns = {1: "sim-0000", 10: "sim-000*", 100: "sim-00*", 1000: "sim-0*", fleet: "*"}
    return {"tgt": patterns.get(case.minions) or names(case.minions)}


def metric(ops_port: int, series: str) -> float:
    """Return a series' value, 0 if there is none."""
    with urllib.request.urlopen(f"http://127.0.0.1:{ops_port}/metrics", timeout=10) as page:
        lines = page.read().decode().splitlines()
    return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{series} ")), 0.0)
