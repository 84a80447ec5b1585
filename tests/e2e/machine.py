"""What the machine must have: programs from Debian's archive, installed when they are missing."""

from __future__ import annotations

import os
import shutil

from tests.e2e.shell import run

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
}
APT = ("apt-get", "-o", "DPkg::Lock::Timeout=300", "-q", "-y", "--no-install-recommends")


def missing() -> list[str]:
    """Return the packages to install."""
    # Not every PATH has the folders of the system's programs.
    os.environ["PATH"] = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    return [package for program, packages in PROGRAMS.items() if shutil.which(program) is None for package in packages]


def prepare() -> list[str]:
    """Install what is missing; return it."""
    packages = missing()
    if packages:
        run(*APT, "update", timeout=300)
        # RUNLEVEL: where no systemd runs, the packages' own services are not started.
        run(*APT, "install", *packages, timeout=900, environ={"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"})
    return packages
