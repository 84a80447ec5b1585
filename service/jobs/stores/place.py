"""Where a file of jobs may be: in a folder of a local disk that we may write to, and one process has it at a time."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import BinaryIO

from service.errors import ConfigFault, InvalidConfiguration

# WAL keeps its index in memory that all processes share, which no network has; and their locks are not to be trusted.
NETWORK_FILE_SYSTEMS = frozenset("nfs nfs4 cifs smb3 smbfs 9p ceph glusterfs fuse.sshfs".split())
MOUNTS = Path("/proc/self/mounts")


def file_of(url: str) -> Path:
    """Return the file that `jobs.store` names, wherever it is. Raises InvalidConfiguration if it names none."""
    if not url:
        raise InvalidConfiguration([ConfigFault("jobs.store", "is empty", "name a file, such as sqlite:///var/lib/salt-sidecar/jobs.db")])
    if not url.startswith("sqlite:"):
        raise InvalidConfiguration([ConfigFault("jobs.store", "is no file but a database", "look after that with PostgreSQL's own programs")])
    return Path(url.removeprefix("sqlite://"))


def place_of(url: str, mounts: Path = MOUNTS) -> Path:
    """Return the file that `jobs.store` names. Raises InvalidConfiguration if nothing can be kept there."""
    path = file_of(url)
    if not path.parent.is_dir():
        raise unusable(path, "its folder does not exist")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise unusable(path, "we may not write into its folder")
    if (kind := file_system_of(path, mounts)) in NETWORK_FILE_SYSTEMS:
        raise unusable(path, f"is on a network's file system ({kind})")
    return path


def unusable(path: Path, problem: str) -> InvalidConfiguration:
    """Return what to say of a place where no store can be."""
    return InvalidConfiguration([ConfigFault("jobs.store", f"{path}: {problem}", "give it a folder on a local disk that the sidecar may write to")])


def locked(path: Path) -> BinaryIO:
    """Return the open lock file of a store that nobody else has."""
    try:
        file = path.with_name(f"{path.name}.lock").open("ab")
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise unusable(path, "another process has it") from None
    except OSError as exc:
        raise unusable(path, os.strerror(exc.errno or 0)) from None
    return file


def is_held(path: Path) -> bool:
    """Say whether a process has a store."""
    try:
        with path.with_name(f"{path.name}.lock").open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    except OSError as exc:
        raise unusable(path, os.strerror(exc.errno or 0)) from None
    return False


def free_bytes_on(folder: Path) -> int:
    """Return how much room we may still take on a folder's volume."""
    volume = os.statvfs(folder)
    return volume.f_bavail * volume.f_frsize


def file_system_of(path: Path, mounts: Path) -> str:
    """Return the kind of file system that a path is on; nothing where the system does not say."""
    where = str(path.parent.resolve())
    try:
        lines = [line.split() for line in mounts.read_text(encoding="utf-8", errors="replace").splitlines()]
    except OSError:
        return ""
    above = [(len(point), kind) for _, point, kind, *_ in lines if f"{where}/".startswith(f"{point.rstrip('/')}/")]
    return max(above)[1] if above else ""
