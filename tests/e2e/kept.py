"""What outlives a run of `make e2e`: files that took minutes to make, each named after what determines it; the newest few of each kind stay."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path

# Of each kind: this tree's, and those of a branch or two beside it.
MOST = 3
# A file that somebody began and never ended: nobody is at it for so long.
ABANDONED_SECONDS = 24 * 3600.0


def cache() -> Path:
    """Return the folder; it is never part of the tree."""
    named = os.environ.get("E2E_CACHE")
    folder = Path(named) if named else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "salt-sidecar" / "e2e"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def mark_of(*parts: str | bytes) -> str:
    """Return what changes with any of the parts."""
    return hashlib.sha256(b"\0".join(part.encode() if isinstance(part, str) else part for part in parts)).hexdigest()[:12]


def kept(kind: str, mark: str, make: Callable[[Path], object]) -> tuple[Path, bool]:
    """
    Return a file, and whether it was kept; if not it is made.

    kind: of several with different marks only the last used stay. make(path): writes it.
    """
    file = cache() / f"{kind}-{mark}.tar"
    found = file.exists()
    if found:
        file.touch()
    else:
        part = file.with_suffix(".part")
        make(part)
        part.rename(file)
    _prune(kind, file)
    return file, found


def _prune(kind: str, used: Path) -> None:
    """Remove what nobody used for the longest, and what was never ended. Another run may do the same."""
    others = [file for file in cache().glob(f"{kind}-*.tar") if file != used and file.stem.rpartition("-")[0] == kind]
    others.sort(key=_used_at, reverse=True)
    for file in others[MOST - 1 :]:
        file.unlink(missing_ok=True)
    for part in cache().glob("*.part"):
        if time.time() - _used_at(part) > ABANDONED_SECONDS:
            part.unlink(missing_ok=True)


def _used_at(file: Path) -> float:
    """Return when a file was last used; that of one that is gone meanwhile is long ago."""
    try:
        return file.stat().st_mtime
    except FileNotFoundError:
        return 0.0
