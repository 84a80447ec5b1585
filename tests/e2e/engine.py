"""A Docker engine of our own: its own socket, its own data below one folder, nothing left when it stops."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

from tests.e2e.shell import StepFailed, eventually, run

BRIDGE = Path("/sys/class/net/docker0")
START_SECONDS = 300.0
STOP_SECONDS = 120.0


class Engine:
    """
    One dockerd. Everything it writes is below *work*, which goes with it.

    client: the docker command that talks to it, from machine.docker_client().
    """

    def __init__(self, work: Path, client: str) -> None:
        self.work = work
        self.client = client
        self.host = f"unix://{work / 'docker.sock'}"
        self.environ = {"DOCKER_HOST": self.host, "DOCKER_BUILDKIT": "1", "BUILDKIT_PROGRESS": "plain", "DOCKER_CONFIG": str(work / "client")}
        self._daemon: subprocess.Popen[bytes] | None = None
        self._bridge_was_there = BRIDGE.exists()

    def start(self) -> None:
        """Start the daemon and wait until it answers."""
        (self.work / "exec").mkdir(parents=True)
        log = self.work / "dockerd.log"
        argv: list[str | Path] = ["dockerd", "--data-root", self.work / "data", "--exec-root", self.work / "exec", "--pidfile", self.work / "pid"]
        with log.open("wb") as stream:
            self._daemon = subprocess.Popen(
                [*argv, "--host", self.host, "--storage-driver", "overlay2"], stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, start_new_session=True
            )
        try:
            eventually("dockerd answers", self._answers, START_SECONDS)
        except StepFailed as exc:
            raise StepFailed(f"{exc}\n{log.read_text(errors='replace')[-3000:]}") from None

    def docker(self, *args: str | Path, timeout: float = 600, text: str | None = None, ok: tuple[int, ...] = (0,)) -> str:
        """Return what a docker command prints."""
        return run(self.client, *args, timeout=timeout, environ=self.environ, text=text, ok=ok)

    def stop(self) -> None:
        """Remove all containers, end the daemon, unmount what it leaves mounted, and delete its folder."""
        if self._daemon is not None and self._daemon.poll() is None:
            with contextlib.suppress(StepFailed):
                containers = self.docker("ps", "--all", "--quiet").split()
                if containers:
                    self.docker("rm", "--force", *containers)
                self.docker("network", "prune", "--force")
            self._end(self._daemon)
        for mount in self.mounts():
            run("umount", "--lazy", mount)
        shutil.rmtree(self.work, ignore_errors=True)
        if BRIDGE.exists() and not self._bridge_was_there and not _another_dockerd():
            run("ip", "link", "delete", "docker0")

    def mounts(self) -> list[str]:
        """Return what is mounted below our folder, the innermost first. Source: /proc/self/mountinfo, field 5."""
        points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        return sorted((point for point in points if point.startswith(f"{self.work}/")), reverse=True)

    def _answers(self) -> bool:
        if self._daemon is not None and self._daemon.poll() is not None:
            raise StepFailed(f"dockerd ended with {self._daemon.returncode}")
        try:
            self.docker("info", timeout=60)
        except StepFailed:
            return False
        return True

    def _end(self, daemon: subprocess.Popen[bytes]) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            daemon.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                daemon.wait(STOP_SECONDS)
                break
        # Its containerd is in its session, and ends with it; give it the time.
        deadline = time.monotonic() + STOP_SECONDS
        while _session(daemon.pid) and time.monotonic() < deadline:
            time.sleep(0.1)
        for pid in _session(daemon.pid):
            os.kill(pid, signal.SIGKILL)


def _session(leader: int) -> list[int]:
    """Return the processes of a session. Source: /proc/PID/stat, fields 3 (state) and 6 (session)."""
    members = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, _, session = stat.read_text().rpartition(")")[2].split()[:4]
            if int(session) == leader and state not in "ZX":
                members.append(int(stat.parent.name))
    return members


def _another_dockerd() -> bool:
    names = []
    for comm in Path("/proc").glob("[0-9]*/comm"):
        with contextlib.suppress(OSError):
            names.append(comm.read_text().strip())
    return "dockerd" in names
