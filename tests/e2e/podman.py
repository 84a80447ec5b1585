"""A podman of our own: its images, containers, volumes and networks below one folder, nothing left when it stops."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from tests.e2e.engine import Engine
from tests.e2e.shell import StepFailed, run

NETWORK = "salt-sidecar-e2e"
# What podman otherwise takes from an init system, which is not everywhere.
CONFIG = """[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
tmp_dir = "{work}/tmp"
[network]
network_config_dir = "{work}/networks"
"""


class Podman:
    """One folder of podman's. Everything it writes is below *work*."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self._conf = work / "containers.conf"

    def start(self, engine: Engine, *tags: str) -> None:
        """Make the folder and the network, and take images over from Docker."""
        (self.work / "networks").mkdir(parents=True)
        (self.work / "tmp").mkdir()
        self._conf.write_text(CONFIG.format(work=self.work))
        archive = self.work / "images.tar"
        engine.docker("save", "--output", archive, *tags, timeout=900)
        self("load", "--input", archive, timeout=900)
        archive.unlink()
        self("network", "create", NETWORK)

    def __call__(self, *args: str | Path, timeout: float = 600, ok: tuple[int, ...] = (0,), text: str | None = None) -> str:
        """Return what a podman command prints."""
        return run("podman", *self._own(), *args, timeout=timeout, ok=ok, text=text, environ=self._environ())

    def _own(self) -> tuple[str | Path, ...]:
        return ("--root", self.work / "root", "--runroot", self.work / "run", "--storage-driver", "overlay")

    def _environ(self) -> dict[str, str]:
        return {"CONTAINERS_CONF": str(self._conf)}

    def play(self, objects: Iterable[dict[str, Any]]) -> None:
        """Start what the objects say."""
        self("play", "kube", "--network", NETWORK, self._written(objects))

    def down(self, objects: Iterable[dict[str, Any]]) -> None:
        """Stop and remove what the objects say."""
        self("play", "kube", "--down", self._written(objects))

    def _written(self, objects: Iterable[dict[str, Any]]) -> Path:
        path = self.work / "play.yaml"
        path.write_text(yaml.safe_dump_all(objects))
        return path

    def address(self, container: str) -> str:
        """Return a container's address, or that of the pod it is in."""
        networks: dict[str, Any] = self.inspect(container)["NetworkSettings"]["Networks"]
        return str(next(iter(networks.values()))["IPAddress"])

    def inspect(self, container: str) -> dict[str, Any]:
        facts: dict[str, Any] = json.loads(self("container", "inspect", container))[0]
        return facts

    def infra(self, pod: str) -> str:
        """Return the container that owns a pod's network."""
        return str(json.loads(self("pod", "inspect", pod))["InfraContainerID"])

    def last_words(self) -> str:
        """Return the end of what each container said, to either of its streams."""
        names = self("ps", "--all", "--format", "{{.Names}}").split()
        return "\n".join(f"{name}:\n{self._logs(name)}" for name in names)

    def _logs(self, container: str) -> str:
        command = ("sh", "-c", 'exec podman "$@" logs --tail=12 "$0" 2>&1', container)
        return run(*command, *self._own(), environ=self._environ(), ok=(0, 125))

    def stop(self) -> None:
        """Remove everything; what cannot be removed is not asked twice."""
        for args in (
            ("pod", "rm", "--force", "--all"),
            ("rm", "--force", "--all"),
            ("volume", "rm", "--force", "--all"),
            ("network", "rm", "--force", NETWORK),
        ):
            with contextlib.suppress(StepFailed):
                self(*args)
        for mount in mounts(self.work):
            run("umount", "--lazy", mount)
        shutil.rmtree(self.work, ignore_errors=True)


def mounts(work: Path) -> list[str]:
    """Return what is mounted below a folder, the innermost first."""
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return sorted((point for point in points if point.startswith(f"{work}/")), reverse=True)
