"""What the machine must have: programs from Debian's archive, installed when they are missing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

from tests.e2e.shell import StepFailed, run

# Program: Debian packages.
PROGRAMS = {
    "dockerd": ("docker.io",),
    "iptables": ("iptables",),
    "ip": ("iproute2",),
    "debootstrap": ("debootstrap",),
    "podman": ("podman", "catatonit"),
    "promtool": ("prometheus",),
    "openssl": ("openssl",),
    "curl": ("curl",),
    "jq": ("jq",),
    "git": ("git",),
}
# Up to Debian 12 the client is part of docker.io, and builds with BuildKit by itself; from 13 on it takes packages of their own.
DOCKER_CLIENT = ("docker.io", "docker-cli", "docker-buildx")
# Where Debian's packages put the client; Docker's own packages too.
OWN = "/usr/bin"
APT = ("apt-get", "-o", "DPkg::Lock::Timeout=300", "-q", "-y", "--no-install-recommends")


def missing() -> list[str]:
    """Return the packages to install."""
    # Not every PATH has the folders of the system's programs.
    os.environ["PATH"] = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    packages = [package for program, packages in PROGRAMS.items() if shutil.which(program) is None for package in packages]
    return packages if next(_docker_clients(OWN), None) else list(dict.fromkeys([*packages, *DOCKER_CLIENT]))


def prepare() -> list[str]:
    """Install what is missing; return it."""
    packages = missing()
    if packages:
        run(*APT, "update", timeout=300)
        packages = [package for package in packages if package not in DOCKER_CLIENT or _is_in_the_archive(package)]
        # RUNLEVEL: where no systemd runs, the packages' own services are not started.
        run(*APT, "install", *packages, timeout=900, environ={"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"})
    return packages


def docker_client(own: str = OWN) -> str:
    """
    Return a docker command that builds with BuildKit. Raises StepFailed.

    own: the folder of the client that came with the engine, which is asked first; one that stands before it in PATH may lack BuildKit, or be too new for it.
    """
    found = next(_docker_clients(own), None)
    if found is None:
        raise StepFailed(
            "no docker on this machine can build with BuildKit; on Debian: apt-get install docker.io, and from Debian 13 on docker-cli docker-buildx"
        )
    return found


def _docker_clients(own: str) -> Iterator[str]:
    for folder in (own, *os.get_exec_path()):
        client = shutil.which("docker", path=folder)
        if client is not None and _builds(client):
            yield client


def _builds(client: str) -> bool:
    """Say whether a client has BuildKit; one that lacks the component refuses even to explain the command."""
    try:
        return "--secret" in run(client, "build", "--help", environ={"DOCKER_BUILDKIT": "1"})
    except StepFailed:
        return False


def _is_in_the_archive(package: str) -> bool:
    return bool(run("apt-cache", "show", package, ok=(0, 100)))
